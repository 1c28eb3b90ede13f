"""What the units of a configuration look like, without any systemd."""

from __future__ import annotations

import configparser
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from trapd.model import InstanceId
from trapd.settings import Settings, WatchSettings
from trapd.spec import Application, Policy, PoolSpec
from trapd.units import layout
from trapd.units.directives import Known, parse
from trapd.units.render import DAEMON_DROP_IN, Rendered, quoted, render, seconds, template_name

SHIPPED = Path(__file__).parents[3] / "systemd"
BASE = "[Unit]\nSourcePath=@source@\n[Service]\nExecStart=/x @pool@ %i\nTimeoutStartSec=@start_timeout@\n"
KNOWN = parse(
    "[Unit]\nAfter=UNIT [...]\nStartLimitBurst=N\n\n[Service]\nNice=NICE\nMemoryMax=LIMIT\nStartLimitBurst=N\n"
)
SETTINGS = Settings(
    file=Path("/etc/trapd/trapd.toml"),
    backend="auto",
    state_directory=Path("/var/lib/trapd"),
    runtime_directory=Path("/run/trapd"),
    application=Application("a:b", "/c", "/p", None),
    watch=WatchSettings(("trap",), 2.0, 120.0),
    pools=(PoolSpec("default"), PoolSpec("gpu", policy=Policy(progress_deadline=90.0))),
)


def with_units(units: Mapping[str, Mapping[str, object]]) -> Settings:
    """``units``: by pool."""
    return replace(SETTINGS, pools=tuple(replace(pool, unit=units.get(pool.name, {})) for pool in SETTINGS.pools))


def with_gpu(known: Known = KNOWN, **unit: str | int | bool) -> Rendered:
    return render(with_units({"gpu": unit}), BASE, known)


def drop_in(rendered: Rendered) -> str:
    text = rendered.files["trapd-worker-gpu@.service.d/50-pool.conf"]
    return "\n".join(line for line in text.splitlines() if line and not line.startswith("#"))


def test_each_pool_gets_a_template_of_its_own() -> None:
    files = render(SETTINGS, BASE, KNOWN).files
    assert set(files) == {"trapd-worker-default@.service", "trapd-worker-gpu@.service"}
    assert "ExecStart=/x gpu %i\nTimeoutStartSec=90s\n" in files["trapd-worker-gpu@.service"]
    assert "TimeoutStartSec=600s" in files["trapd-worker-default@.service"]


def test_a_template_is_the_one_of_its_pools_instances() -> None:
    assert InstanceId("gpu", 7, 1).unit == template_name("gpu").replace("@", "@7-1")


def test_settings_go_by_name_into_the_section_where_systemd_knows_them() -> None:
    assert drop_in(with_gpu(Nice=5, MemoryMax="8G", After="a.service")) == (
        "[Unit]\nAfter=a.service\n[Service]\nNice=5\nMemoryMax=8G"
    )


def test_true_and_false_are_written_as_systemd_has_them() -> None:
    assert drop_in(with_gpu(MemoryMax=True, Nice=False)) == "[Service]\nMemoryMax=yes\nNice=no"


def test_what_two_sections_know_goes_where_it_is_not_an_old_spelling() -> None:
    assert drop_in(with_gpu(StartLimitBurst=3)) == "[Unit]\nStartLimitBurst=3"


REFUSED: Mapping[str, tuple[str, str | int, str]] = {
    "unknown": ("MemoryMx", "8G", "does not know it; did you mean MemoryMax?"),
    "known elsewhere": ("OnCalendar", "daily", "does not know it; remove it"),
    "no name": ("Nice=1\nExecStart", "x", "is not a name of systemd's"),
    "lower case": ("nice", 1, "is not a name of systemd's"),
    "ours": ("KillMode", "process", "cannot be set here: trapd relies on how its workers start and stop"),
    "another user": ("User", "root", "SupplementaryGroups"),
    "tied to trapd": ("PartOf", "trapd.service", "it would stop or restart workers together with another unit"),
    "a continued line": ("Nice", "5 \\", "its value has more than one line"),
    "two lines": ("Nice", "5\rExecStart=evil", "its value has more than one line"),
}


@pytest.mark.parametrize(("name", "value", "why"), REFUSED.values(), ids=REFUSED)
def test_a_setting_that_cannot_be_handed_on_is_left_out_with_the_reason(name: str, value: str | int, why: str) -> None:
    settings: dict[str, Any] = {name: value, "MemoryMax": "1G"}
    rendered = with_gpu(**settings)
    assert drop_in(rendered) == "[Service]\nMemoryMax=1G"
    assert [(one.pool, one.name) for one in rendered.ignored] == [("gpu", name)]
    assert why in str(rendered.ignored[0])


def test_where_systemd_cannot_be_asked_every_name_is_taken_for_one_of_a_service() -> None:
    assert drop_in(with_gpu(known={}, Whatever=1, KillMode="process")) == "[Service]\nWhatever=1"


def test_a_suggestion_is_never_one_that_would_be_refused() -> None:
    (ignored,) = with_gpu(known={"Service": frozenset({"Type"})}, Typo=1).ignored
    assert "did you mean" not in str(ignored)


def test_trapd_needs_no_units_where_it_runs_the_workers_itself() -> None:
    assert render(replace(SETTINGS, backend="embedded"), BASE, KNOWN).files == {}


def test_folders_elsewhere_are_opened_to_the_daemon() -> None:
    elsewhere = replace(SETTINGS, state_directory=Path('/data/50% "x"'), runtime_directory=Path("/run/other"))
    text = render(elsewhere, BASE, KNOWN).files[DAEMON_DROP_IN]
    assert text.endswith('[Service]\nReadWritePaths=-"/data/50%% \\"x\\""\nReadWritePaths=-/run/other\n')
    assert DAEMON_DROP_IN not in render(SETTINGS, BASE, KNOWN).files


def test_durations_are_written_without_an_exponent() -> None:
    assert [seconds(value) for value in (0.5, 60.0, 1e7, 90.25)] == ["0.5s", "60s", "10000000s", "90.25s"]


def test_specifiers_in_values_of_ours_mean_themselves() -> None:
    assert quoted(Path("/a%i b")) == '"/a%%i b"'
    text = render(replace(SETTINGS, file=Path("/etc/a%n.toml")), BASE, KNOWN).files["trapd-worker-gpu@.service"]
    assert "SourcePath=/etc/a%%n.toml" in text


# --- the shipped files ----------------------------------------------------------------------------------------------


def installed(folders: Mapping[str, Path] = layout.PACKAGE) -> dict[str, layout.Placed]:
    return {str(file.path): file for file in layout.placed(SHIPPED, Path("/opt/trapd/bin"), folders)}


def test_every_shipped_file_has_a_place() -> None:
    files = (path.relative_to(SHIPPED) for path in SHIPPED.rglob("*") if path.is_file())
    shipped = {path.name for path in files if path.parts[0] != "debian"}  # which makes the package
    assert {Path(path).name for path in installed()} == shipped


@pytest.mark.parametrize("folders", [layout.PACKAGE, layout.LOCAL], ids=["package", "local"])
def test_no_placeholder_is_left_once_it_is_rendered(folders: Mapping[str, Path]) -> None:
    files = installed(folders)
    base = next(file.text for path, file in files.items() if path.endswith(".in"))
    rendered = render(SETTINGS, base, KNOWN).files
    texts = [file.text for path, file in files.items() if not path.endswith(".in")] + list(rendered.values())
    assert [found for text in texts for found in re.findall(r"@[a-z_]+@", text)] == []
    assert "ExecStart=/opt/trapd/bin/trapd-worker gpu %i\n" in rendered["trapd-worker-gpu@.service"]


def test_files_name_each_other_where_they_are() -> None:
    for folders in (layout.PACKAGE, layout.LOCAL):
        files = installed(folders)
        texts = "".join(file.text for file in files.values())
        named = {str(folders["lib"] / name) for name in ("trapd-shutdown", "trapd-stop", "trapd-worker@.service.in")}
        named.add(str(folders["generators"] / "trapd-generator"))
        assert named <= set(files)
        assert all(path in texts for path in named)


def test_only_what_others_run_by_its_path_can_be_executed() -> None:
    assert {path for path, file in installed().items() if file.mode & 0o111} == {
        "/usr/lib/systemd/system-generators/trapd-generator",
        "/etc/needrestart/restart.d/trapd.service",
    }


def test_no_unit_ties_workers_to_the_daemon() -> None:
    """Each of these would stop or restart workers together with trapd, or the other way round (docs/systemd.md)."""
    ties = ("PartOf", "BindsTo", "Requires", "Requisite", "StopPropagatedFrom", "PropagatesStopTo", "Upholds")
    for name in ("trapd-worker@.service.in", "trapd.service", "trapd-boot.service", "trapd-shutdown.service"):
        unit = configparser.RawConfigParser(strict=False, delimiters=("=",), comment_prefixes=("#",))
        unit.optionxform = str  # type: ignore[assignment,method-assign]
        unit.read_string((SHIPPED / name).read_text())
        tied = {key: value for key, value in unit["Unit"].items() if key in ties}
        assert tied in ({}, {"Requires": "dbus.socket"})
        assert not ("worker@" in name and "trapd.service" in str(dict(unit["Unit"])))


def shipped_template() -> dict[str, str]:
    """Settings of the gpu pool's template; of one that stands there twice the last."""
    text = render(SETTINGS, (SHIPPED / "trapd-worker@.service.in").read_text(), KNOWN).files[template_name("gpu")]
    return dict(re.findall(r"^(\w+)=(.*)$", text, re.MULTILINE))


def test_workers_that_start_slowly_and_crash_reach_the_limit_too() -> None:
    """Or systemd would start them again for ever, and trapd never learn that they failed."""
    unit = shipped_template()
    seconds_of = {name: float(value.rstrip("s")) for name, value in unit.items() if re.fullmatch(r"[\d.]+s?", value)}
    one_try = seconds_of["TimeoutStartSec"] + seconds_of["RestartSec"] + seconds_of["TimeoutAbortSec"]
    assert seconds_of["StartLimitIntervalSec"] >= seconds_of["StartLimitBurst"] * one_try


def test_a_worker_that_hung_is_left_to_trapd() -> None:
    unit = shipped_template()
    assert "SIGABRT" in unit["RestartPreventExitStatus"].split()
    assert unit["TimeoutStartFailureMode"] == "abort"
