"""Write every pool's template, and keep copies of good templates. systemd runs this at boot and at each daemon-reload.

The generator may run before anything but / and /usr is mounted, and PID 1 waits for it: so it asks PID 1 nothing, looks
up no user, and needs only the standard library. If it fails, the shell script that calls it puts the latest copy in
place and goes on.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from trapd import atomic, layout
from trapd.errors import SettingsError
from trapd.settings import load
from trapd.units import directives
from trapd.units.render import Rendered, render
from trapd.units.running import LINKS


def main(argv: list[str] | None = None) -> int:
    """Run the generator. Exit status: 0 written, 1 failed. It prints messages for the journal, one on each line."""
    parser = argparse.ArgumentParser(prog="trapd-generator", description="Write the pools' unit templates.")
    parser.add_argument("--config", type=Path, default=layout.CONFIGURATION)
    parser.add_argument("--base", type=Path, required=True, help="the base template")
    parser.add_argument(
        "--kept",
        type=Path,
        required=True,
        action="append",
        help="keep a copy of good templates in this folder; may be given again",
    )
    parser.add_argument(
        "--running", type=Path, default=LINKS, help="the folder in which PID 1 records the units that run"
    )
    parser.add_argument("--keep", action="store_true", help="only keep a copy, where one can be written now")
    parser.add_argument("folders", nargs="*", type=Path, help="systemd's: normal, early, late; the first is used")
    options = parser.parse_args(argv)
    os.umask(0o022)  # trapd.service has a narrower one
    try:
        rendered = rendering(options.config, options.base)
        for setting in rendered.ignored:
            print(f"ignored: {setting}", file=sys.stderr)
        files = {**of_removed_pools(options.kept, options.running), **rendered.files}
        if options.folders and not options.keep:
            write(files, options.folders[0])
    except (SettingsError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    for folder in options.kept:
        try:
            keep(files, folder)
        except OSError as error:
            # At boot / may still be read-only, and systemd 257 makes all but /run so; --keep comes when it is not.
            if options.keep:
                print(f"cannot keep a copy of the units in {folder}: {error.strerror}", file=sys.stderr)
    return 0


def rendering(config: Path, base: Path) -> Rendered:
    """Return the templates. Raises SettingsError, and OSError if the base template cannot be read."""
    settings = load(config)
    known = directives.ask() if any(pool.unit for pool in settings.pools) else {}
    return render(settings, base.read_text("utf-8"), known)


def of_removed_pools(kept: Sequence[Path], running: Path) -> dict[str, str]:
    """Return the kept files of every pool of which a worker runs: a worker whose pool was taken out of the
    configuration needs its settings until it is gone. Without them PID 1 goes on with its defaults (systemd#13032),
    such as KillMode=control-group, which kills running tasks. ``kept``: the latest copy first; only that is read."""
    latest = next((folder for folder in kept if folder.is_dir()), kept[-1])
    files: dict[str, str] = {}
    for template in latest.glob("trapd-worker-*@.service"):
        if any(running.glob(f"invocation:{template.stem}*")):
            of_pool = [template, *latest.glob(f"{template.name}.d/*.conf")]
            files |= {str(path.relative_to(latest)): path.read_text("utf-8") for path in of_pool}
    return files


def write(files: Mapping[str, str], folder: Path) -> None:
    """Write each file in one step, unless the same file is there. Raises OSError."""
    for name, text in files.items():
        path = folder / name
        with contextlib.suppress(FileNotFoundError):
            if path.read_text("utf-8") == text:
                continue
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic.write(path, text, mode=0o644)


def keep(files: Mapping[str, str], folder: Path) -> None:
    """Make the folder contain these files and no others; each file is complete at any moment. Raises OSError."""
    write(files, folder)
    wanted = {folder / name for name in files}
    for path in _below(folder):
        if path.is_dir() and not path.is_symlink():
            with contextlib.suppress(OSError):  # not empty
                path.rmdir()
        elif path not in wanted:
            path.unlink()


def _below(folder: Path) -> Iterator[Path]:
    """Yield all files and folders in it, the deepest first."""
    for place, folders, names in os.walk(folder, topdown=False):
        yield from (Path(place, name) for name in [*names, *folders])


if __name__ == "__main__":
    sys.exit(main())
