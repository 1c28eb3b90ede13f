"""Make the text of every generated unit file from the settings and the base template. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from trapd.settings import Settings
from trapd.settings.keys import KEYS
from trapd.spec import PoolSpec
from trapd.units.directives import SECTIONS, Ignored, Known, objection, section, shown

POOL_DROP_IN = "50-pool.conf"  # before override.conf of `systemctl edit` and drop-ins from 60 on, which override it
STARTS, AROUND_START = 4, 15.0  # StartLimitBurst= of the base template; s that RestartSec= and an abort take at most
DAEMON_DROP_IN = "trapd.service.d/50-directories.conf"
_BY = "# Written by trapd-generator from {source}; it is written anew at each daemon-reload.\n"
_PLACEHOLDER = re.compile(r"@([a-z_]+)@")


@dataclass(frozen=True, slots=True)
class Rendered:
    """``files``: path below a unit folder -> text. ``ignored``: settings that are left out of them."""

    files: Mapping[str, str]
    ignored: tuple[Ignored, ...] = ()


def template_name(pool: str) -> str:
    """Return ``trapd-worker-gpu@.service``."""
    return f"trapd-worker-{pool}@.service"


def render(settings: Settings, base: str, known: Known) -> Rendered:
    """Return all files of a configuration; none if trapd runs the workers itself. ``known``: see directives.ask."""
    if settings.backend == "embedded":
        return Rendered({})
    files: dict[str, str] = {}
    ignored: list[Ignored] = []
    by = _BY.format(source=settings.file)
    for pool in settings.pools:
        files[template_name(pool.name)] = by + template(settings, pool, base)
        reasons = {name: objection(name, value, known) for name, value in pool.unit.items()}
        ignored += [Ignored(pool.name, name, why) for name, why in reasons.items() if why]
        if taken := {name: value for name, value in pool.unit.items() if not reasons[name]}:
            files[f"{template_name(pool.name)}.d/{POOL_DROP_IN}"] = by + _drop_in(taken, known)
    if folders := _folders_elsewhere(settings):
        files[DAEMON_DROP_IN] = by + "\n[Service]\n" + "".join(f"ReadWritePaths=-{quoted(p)}\n" for p in folders)
    return Rendered(files, tuple(ignored))


def template(settings: Settings, pool: PoolSpec, base: str) -> str:
    """Return the template of one pool."""
    values = {
        "pool": pool.name,
        "source": literal(str(settings.file)),
        "state_directory": escaped(str(settings.state_directory)),
        "start_timeout": seconds(pool.policy.progress_deadline),
        "start_limit": seconds(STARTS * (pool.policy.progress_deadline + AROUND_START)),
        "watchdog": seconds(settings.watchdog),
    }
    return fill(base, values)


def fill(text: str, values: Mapping[str, str]) -> str:
    """Replace each ``@name@`` by its value; a name without a value stays."""
    return _PLACEHOLDER.sub(lambda match: values.get(match[1], match[0]), text)


def _drop_in(taken: Mapping[str, object], known: Known) -> str:
    text = ""
    for place in SECTIONS:
        lines = [f"{name}={shown(value)}\n" for name, value in taken.items() if section(name, known) == place]
        text += f"\n[{place}]\n" + "".join(lines) if lines else ""
    return text


def _folders_elsewhere(settings: Settings) -> list[Path]:
    """Return the folders that StateDirectory= and RuntimeDirectory= of trapd.service do not open to the daemon."""
    names = ("state_directory", "runtime_directory")
    return [getattr(settings, name) for name in names if getattr(settings, name) != KEYS["trapd"][name].default]


# --- values, as systemd reads them ----------------------------------------------------------------------------------


def seconds(value: float) -> str:
    """Return ``"600s"`` or ``"0.5s"``, never with an exponent, which systemd does not read."""
    return f"{value:.3f}".rstrip("0").rstrip(".") + "s"


def literal(text: str) -> str:
    """Return the text with % doubled, so that systemd finds no specifier in it."""
    return text.replace("%", "%%")


def escaped(text: str) -> str:
    """Return the text for use inside double quotes."""
    return literal(text).replace("\\", "\\\\").replace('"', '\\"')


def quoted(path: Path) -> str:
    """Return the path as one word of a list, whatever characters are in it."""
    text = escaped(str(path))
    return f'"{text}"' if re.search(r"[\s\"'\\;]", text) else text
