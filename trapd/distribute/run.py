"""Run Trap as trap-run does, with the source extraction on Celery's workers.

    python -m trapd.distribute.run [OPTIONS] -- OPTIONS OF TRAP-RUN

Trap has to be installed in this Python, in the version that the workers have. The database is equal to that of
trap-run, with two tables more: trapd_run and trapd_provenance. Where tasks are sent to is in Celery's configuration, a
module celeryconfig or the module that CELERY_CONFIG_MODULE names. Exit statuses: see trapd/distribute/endings.py.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import getpass
import importlib.metadata
import os
import signal
import socket
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import trapd
from trapd.distribute import disk, endings, provenance, trap_database
from trapd.distribute.app import app
from trapd.distribute.codes import Code, Codes, StaleAnswersError
from trapd.distribute.endings import OtherCodeError, RunError
from trapd.distribute.hub import Hub
from trapd.distribute.kept import Kept
from trapd.distribute.main_line import AHEAD, Header, Remote, images_at_once, replaced, threads, unreadable
from trapd.distribute.progress import Progress
from trapd.sizes import counted
from trapd.worker import numba_cache

KNOWN = ("1.3.0", "1.4.0")  # Traps whose databases were compared with those of trap-run
ROUNDS = 3  # of --on-upgrade redo: the first asks those again who are fewer, the next ones all but the latest code


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(
        prog="python -m trapd.distribute.run",
        description="Run Trap as trap-run does, with the source extraction on Celery's workers.",
        usage="%(prog)s [OPTIONS] -- OPTIONS OF TRAP-RUN",
        allow_abbrev=False,
    )
    options.add_argument(
        "--on-error",
        choices=["reject", "stop"],
        default="reject",
        help="an image that cannot be used: go on without it, name it and exit 23 (default), or stop",
    )
    options.add_argument(
        "--on-upgrade",
        choices=["pin", "redo", "mix"],
        default="pin",
        help="answers of another version: stop (default), extract again what fewer have, or use both and exit 25",
    )
    options.add_argument("--in-flight", type=_positive, metavar="N", help="images in work at once")
    options.add_argument("--keep", type=Path, metavar="DIR", help="folder of the answers; default: beside the database")
    options.add_argument("--queue", metavar="NAME", help="queue of the workers; default: Celery's default queue")
    options.add_argument("trap", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    return options


def _positive(text: str) -> int:
    if (number := int(text)) < 1:
        raise ValueError
    return number


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, and return the exit status."""
    options = parser().parse_args(arguments)
    if options.trap[:1] == ["--"]:
        del options.trap[0]
    signal.signal(signal.SIGTERM, _terminated)
    if signal.getsignal(signal.SIGHUP) is signal.SIG_DFL:  # not under nohup
        signal.signal(signal.SIGHUP, _terminated)
    try:
        return _run(options)
    except RunError as error:
        print(f"trapd: {error}", file=sys.stderr)
        return error.status
    except Exception as error:
        if not (words := disk.refusal(error)):
            raise
        print(
            f"trapd: cannot go on: {words}; mend that and type the same command again: it goes on from the answers so "
            "far",
            file=sys.stderr,
        )
        return endings.FAILED
    except KeyboardInterrupt:
        print("Interrupted. The answers so far are kept; the same command goes on from there.", file=sys.stderr)
        return endings.INTERRUPTED


def _run(options: argparse.Namespace) -> int:
    """Run; and again without the kept answers that are of other code than the workers have by now."""
    for _ in range(ROUNDS - 1):
        try:
            return Run(options).run()
        except StaleAnswersError as error:
            print(f"{error}, and what is not of it is done again", file=sys.stderr)
        gc.collect()  # what Trap had open
    return Run(options).run()


def _terminated(number: int, frame: object) -> None:
    raise SystemExit(endings.HUNG_UP if number == signal.SIGHUP else endings.TERMINATED)


class Run:
    """One run, from the options to the exit status."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.progress = Progress()
        self.began = time.time()
        try:
            self.own = Code.of(provenance.versions(), provenance.digest(Path(__file__)))
        except importlib.metadata.PackageNotFoundError as error:
            raise RunError(
                f"cannot run Trap: {sys.executable} has no trap; install it, as the workers have it"
            ) from error
        self.trap = dict(self.own.versions)["trap"]
        self.hub = Hub(app, queue_name=options.queue)
        self.codes = Codes(options.on_upgrade, self.own)

    def run(self) -> int:
        self.hub.reach()
        if self.trap not in KNOWN:
            self.progress.say(
                f"WARNING: trap {self.trap} is unknown here; known are {', '.join(KNOWN)}. Compare the database of a "
                "small run with that of trap-run"
            )
        with _compiled():
            from trap import cli, run  # noqa: F401  (imports all of Trap: 2 to 20 s)
        sys.argv[1:] = self.options.trap
        self.params = params = cli.parse_arguments()
        if params["version"] or params["pyse_version"] or params["input_images"] is None:
            cli.run_batch(params)  # prints, or says what is missing
            return endings.DONE
        self.told = {name: value for name, value in params.items() if name != "db_password"}
        self.database = trap_database.database(params)
        self.rejected: dict[str, str] = {}
        self.headers: dict[str, Header] = {}
        with self._readable(), self.database.alone():
            self.fingerprint = trap_database.fingerprint(params, self._images())
            if self._is_there():
                return endings.DONE
            self.kept = Kept(self.options.keep or self.database.kept, self.own)
            if self.options.on_upgrade == "pin":
                self.kept.wanted = self.kept.preferred()
            try:
                return self._work(cli)
            except StaleAnswersError as error:
                self.kept.prefer(error.code)
                raise
            finally:
                self.kept.close()

    # -- before --------------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _readable(self) -> Iterator[None]:
        """Keep images whose header cannot be read from Trap, which would not begin with one of them."""
        from trap import io

        if self.options.on_error == "stop":
            yield
            return
        before = io.find_fits
        io.find_fits = unreadable(before, self.headers, self.rejected, self.progress)
        try:
            yield
        finally:
            io.find_fits = before

    def _images(self) -> set[Path]:
        from trap import io

        try:
            found = {path for place in self.params["input_images"] for path in io.find_fits(Path(place).absolute())}
        except ValueError as error:  # Trap's word for a place that is not there
            raise RunError(f"cannot begin: {error}") from error
        if not found and not self.rejected:
            places = ", ".join(map(str, self.params["input_images"]))
            raise RunError(f"cannot begin: there is no FITS image in {places}; name a folder, a file or a pattern")
        return found

    def _is_there(self) -> bool:
        """Whether the same run is complete already. Raises RunError if the database is one of something else."""
        database = self.database
        found = database.found()
        if found is None or database.overwrite:
            return False
        same = found.get("fingerprint") == self.fingerprint
        if same and found["state"] == trap_database.COMPLETE:
            self.progress.say(f"{database.name} has this run already; --db_overwrite writes it anew")
            return True
        if same:
            self.progress.say(f"{database.name} has this run, {found['state']}: it is written anew from kept answers")
            return False
        what = "an unfinished run of other options or images" if found.get("state") == "running" else "another run"
        raise RunError(
            f"cannot write {database.name}: it is there, with {what if found else 'no run of trapd'}; "
            "give another --db_name, or remove it with --db_overwrite"
        )

    # -- the run -------------------------------------------------------------------------------------------------------

    def _work(self, cli: Any) -> int:
        self.remote = Remote(self.hub, self.kept, self.codes, self.progress, self.options.on_error, self.headers)
        self.database.prepare()
        problem: BaseException | None = None
        self.hub.start()
        try:
            with replaced(self.remote, self._main) as self.traps_main:
                cli.run_batch(self.params)
        except BaseException as error:
            problem = error
            raise
        finally:
            self.progress.close()
            self.hub.close(problem)
        return self.status

    def _main(self, image_paths: Sequence[Any], **arguments: Any) -> None:
        """In the place of Trap's main: the same, once or again, then trapd's tables."""
        paths = [str(path) for path in image_paths]
        in_flight = images_at_once(self.options.in_flight, arguments["max_concurrent_images"], self.progress)
        arguments["max_concurrent_images"] = max(arguments["max_concurrent_images"], AHEAD * in_flight)
        self._write_run(trap_database.RUNNING, paths)
        before = self.database.tables()
        self.progress.show()
        for attempt in range(ROUNDS):
            self.progress.begin(len(paths))
            self.remote.begin(len(paths), in_flight)
            with threads(in_flight):
                self.traps_main(image_paths, **arguments)
            if (wanted := self._again(attempt)) is None:
                break
            self.kept.wanted = wanted
            self.progress.say(f"{self.codes.told()}: what is not of {wanted} is done again")
            self.codes.forget()
            self.database.drop(self.database.tables() - before)
        self._end(paths)

    def _again(self, attempt: int) -> Code | None:
        """Return the code of which all answers are to be, for --on-upgrade redo; None: the run is at its end.

        Raises OtherCodeError if workers have other code by now than this process: Trap's main line writes the database,
        and that of another Trap has other values and types in it (1.3.0 and 1.4.0 differ in two tables)."""
        counts = self.codes.counts()
        if self.options.on_upgrade != "redo" or not counts:
            return None
        majority = counts.most_common(1)[0][0]
        latest = self.codes.latest or majority
        if not latest.suits(self.own):
            raise OtherCodeError(
                f"cannot end this run here: workers answer with {latest} by now, and Trap's main line runs with "
                f"{self.own}; with the same versions here, the same command goes on from the kept answers"
            )
        if len(counts) < 2 or attempt == ROUNDS - 1:
            return None
        return majority if attempt == 0 and majority.suits(self.own) else latest

    def _end(self, paths: list[str]) -> None:
        failed = self.remote.failures.reasons | self.rejected
        codes = self.codes.counts()
        mixed = len(codes) > 1 or not all(code.suits(self.own) for code in codes)
        state = "mixed" if mixed else "partial" if failed else trap_database.COMPLETE
        self.database.write("trapd_provenance", [*self._provenance(paths)])
        self._write_run(state, paths)
        self.database.finish()
        self.status = endings.OTHER_CODE if mixed else endings.PARTIAL if failed else endings.DONE
        self.progress.close()
        self.progress.say(
            f"{self.database.name}: {counted(len(paths), 'image')}, {self.codes.told() or 'none extracted'}"
        )
        if mixed:
            self.progress.say(
                "NOT COMPARABLE: more than one version did this run; trapd_provenance and trapd_run have which"
            )
        for image, reason in sorted(failed.items()):
            self.progress.say(f"REJECTED {image}: {reason}")

    def _write_run(self, state: str, paths: list[str]) -> None:
        row = {
            "state": state,
            "fingerprint": self.fingerprint,
            "options": trap_database.as_json(self.told),
            "on_error": self.options.on_error,
            "on_upgrade": self.options.on_upgrade,
            "began": self.began,
            "ended": None if state == trap_database.RUNNING else time.time(),
            "images": len(paths) + len(self.rejected),
            "failed": len(self.remote.failures.reasons | self.rejected),
            "codes": len(self.codes.counts()),
            "trap": self.trap,
            "trapd": trapd.__version__,
            "host": socket.gethostname(),
            "account": _account(),
        }
        self.database.write("trapd_run", [row])

    def _provenance(self, paths: list[str]) -> Iterator[dict[str, Any]]:
        """Yield a row for each image, in Trap's order."""
        for number, path in enumerate(paths):
            work = self.remote.work[path]
            answer, fit = work.extracted, work.fitted
            versions = {name.replace("-", "_"): value for name, value in answer.get("versions", {}).items()}
            yield {
                **{
                    name: answer.get(name) for name in ("digest", "generation", "worker", "host", "started", "finished")
                },
                **versions,
                "im_id": number,
                "image": path,
                "error": work.error,
                "attempts": work.attempts,
                "fit_worker": fit.get("worker"),
                "fit_trap": fit.get("versions", {}).get("trap"),
                "fit_digest": fit.get("digest"),
            }
        yield from ({"image": path, "error": reason, "attempts": 0} for path, reason in sorted(self.rejected.items()))


@contextlib.contextmanager
def _compiled() -> Iterator[None]:
    """Keep what numba compiles while Trap is imported: see docs/adr/0039-numbas-cache-is-named-by-content.md."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    cache = numba_cache.wanted(Path(home, "trapd"), os.environ)
    try:
        yield
    except BaseException:
        cache.abandon()
        raise
    cache.publish()


def _account() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a user without a name
        return str(os.getuid())


if __name__ == "__main__":
    sys.exit(main())
