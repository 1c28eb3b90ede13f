"""Trap's own main line, in which three functions send their work to workers.

See docs/adr/0042-traps-main-line-is-used.md.

Trap parses the options, orders the images, associates sources, computes variability and writes the database, all of it
in this process and in its own threads. In ``trap.run`` three names are replaced: ``read_pyse_image``,
``sources_from_fits_pyse`` and ``force_fit``. Each of them waits for the answer of a worker.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal

from trapd.distribute.app import EXTRACT_TABLE, FIT_POSITIONS
from trapd.distribute.codes import Code, Codes
from trapd.distribute.endings import ImageError, RunError
from trapd.distribute.failures import Failures, without_numbers
from trapd.distribute.hub import Hub
from trapd.distribute.kept import Kept
from trapd.distribute.progress import Progress
from trapd.distribute.submit import ATTEMPTS, Answer, Request
from trapd.sizes import counted

REPLACED = ("read_pyse_image", "sources_from_fits_pyse", "force_fit")
IN_FLIGHT = 32  # images at once, where memory does not forbid it
AHEAD = 8  # Trap waits for the end of each batch of images; a batch has so many times the images at once
_RADIUS = 1500  # pixels, Trap's default


@dataclass(frozen=True, slots=True)
class Image:
    """What Trap's main line needs of an image: its sources and its coordinates, but not its pixels."""

    path: str
    options: dict[str, Any]
    sources: Any  # a pandas frame
    wcs: Any
    failed: bool = False


@dataclass(frozen=True, slots=True)
class Header:
    """What Trap writes of an image that it rejects."""

    frequency: float
    width: float
    taken: Any  # Trap's time


@dataclass(slots=True)
class Work:
    """Who answered for an image, for the table trapd_provenance."""

    extracted: dict[str, Any] = field(default_factory=dict)  # the answer, without its table
    fitted: dict[str, Any] = field(default_factory=dict)
    attempts: int = 0
    kept: bool = False
    error: str | None = None


class Remote:
    """The three functions. Trap's threads call them."""

    def __init__(
        self,
        hub: Hub,
        kept: Kept,
        codes: Codes,
        progress: Progress,
        on_error: Literal["reject", "stop"],
        headers: Mapping[str, Header],
    ) -> None:
        """``headers``: of all images, if bad ones are rejected: the file of one may be gone by then."""
        self._headers = headers
        self._hub, self._kept, self._codes, self._progress, self._on_error = hub, kept, codes, progress, on_error
        self._lock = threading.Lock()
        self._told: set[str] = set()
        self._eager = bool(hub.app.conf.task_always_eager)
        self.begin(0, 1)

    def begin(self, total: int, in_flight: int) -> None:
        """Forget everything: the main line begins, or begins again."""
        self.failures = Failures(total, in_flight)
        self.work: dict[str, Work] = {}
        self._over: RunError | None = None  # why the run stops: Trap's other threads ask for no more images

    # -- Trap's names --------------------------------------------------------------------------------------------------

    def read_pyse_image(self, path: str, freq_bands: Any = None, **options: Any) -> tuple[Image, dict[str, Any], bool]:
        from trapd.distribute import exact

        work = self.work.setdefault(path, Work())
        answer = self._answer(Request(path, EXTRACT_TABLE, (path, options), {}), work)
        self._progress.count(kept=work.kept, rejected=answer is None)
        if answer is None:
            return self._rejected(path, freq_bands, options)
        work.extracted = {name: value for name, value in answer.items() if name != "table"}
        meta = exact.originals(answer["meta"])
        if freq_bands is not None:  # the run's own bands: the worker knows only the one of its image
            meta["freq_band"] = freq_bands.get_frequency_band(meta["freq_eff"], meta["freq_bw"])
        coordinates = SimpleNamespace(wcs=exact.coordinates(answer["header"]))
        return Image(path, options, exact.frame(answer["table"]), coordinates), meta, answer["rejected"]

    def sources_from_fits_pyse(self, image: Image, *, rejected: bool = False) -> Any:
        return image.sources

    def force_fit(self, image: Image, positions: Any, **_: Any) -> tuple[Any, Any]:
        from trap import source_extraction

        from trapd.distribute import exact

        work = self.work[image.path]
        request = Request(image.path, FIT_POSITIONS, (image.path, image.options, exact.positions(positions)), {})
        answer = None if image.failed else self._answer(request, work)
        if answer is None:
            columns = [*source_extraction.PYSE_OUT_COLUMNS_LEGACY, "uncertainty_ew", "uncertainty_ns"]
            return exact.no_fits(columns), exact.array([])
        work.fitted = {name: value for name, value in answer.items() if name not in ("table", "fitted")}
        return exact.frame(answer["table"]), exact.array(answer["fitted"]) if answer["fitted"] else []

    # -- answers -------------------------------------------------------------------------------------------------------

    def _answer(self, request: Request, work: Work) -> dict[str, Any] | None:
        """Return the answer, kept or fresh; None: the image failed, and the run goes on without it.

        Raises RunError if the run cannot go on, in this thread and from then on in all of Trap's threads.
        """
        if self._over is not None:
            raise self._over
        try:
            return self._kept_or_fresh(request, work)
        except RunError as error:
            self._over = error
            raise

    def _kept_or_fresh(self, request: Request, work: Work) -> dict[str, Any] | None:
        try:
            state = Path(request.image).stat()
        except OSError as error:  # it was there when the run began
            words = f"cannot read {request.image}: {error.strerror}"
            self._failed("", Answer("", request.image, 0.0, 0.0, None, words, "image"), work)
            return None
        name = self._kept.name(request, state)
        answer = self._kept.find(name)
        if answer is not None:
            work.kept = True
            self._codes.take(request.image, Code.of_answer(answer), fresh=False)
            return answer
        work.kept = False
        given = self._ask(request, work)
        answer = dict(given.result or {})
        if answer:  # also one that the image is bad: other code might have found sources in it
            self._tell(request.image, answer.pop("warnings", []), answer["worker"])
            self._codes.take(request.image, Code.of_answer(answer), fresh=True)
        if given.error:
            if request.task == FIT_POSITIONS:
                work.fitted = answer
            else:
                work.extracted = answer
            self._failed(name, given, work)
            return None
        self.failures.succeeded()
        self._kept.keep(name, answer)
        return answer

    def _ask(self, request: Request, work: Work) -> Answer:
        """Send the request, and again if the worker cannot see the image: another one may."""
        for _ in range(ATTEMPTS):
            answer = self._hub.ask(request)
            work.attempts += answer.attempts
            if not (answer.result and answer.result.get("unseen")):
                break
        return answer

    def _failed(self, name: str, answer: Answer, work: Work) -> None:
        """``name``: that of the answer, if there were one to keep; empty: the image has vanished."""
        image, reason = answer.image, answer.error
        work.error = reason
        if self._on_error == "stop":
            raise ImageError(f"{reason}; the run stops at the first error, --on-error reject goes on without the image")
        unseen = bool(answer.result and answer.result.get("unseen"))
        self.failures.failed(image, reason, unseen=unseen, before=bool(name) and self._kept.has_failed(name))
        if name and self.failures.some_succeeded:
            self._kept.keep_failure(name)
        self._progress.say(f"REJECTED {image}: {reason}")

    def _tell(self, image: str, warnings: list[str], worker: str) -> None:
        """Show each warning of a worker once; a worker in this process has shown it already."""
        for warning in warnings:
            words = without_numbers(image, warning)
            with self._lock:
                new = words not in self._told
                self._told.add(words)
            if new and not self._eager:
                self._progress.say(f"{worker}: {image}: {warning}")

    def _rejected(self, path: str, freq_bands: Any, options: dict[str, Any]) -> tuple[Image, dict[str, Any], bool]:
        """Return what Trap itself makes of an image that it rejects, as far as that is in the header."""
        from trap import source_extraction

        header = self._headers[path]
        unknown = float("nan")
        meta: dict[str, Any] = {
            **dict.fromkeys(("rms", "rms_min", "rms_max"), unknown),
            "freq_band": freq_bands.get_frequency_band(header.frequency, header.width),
            "freq_eff": header.frequency,
            "freq_bw": header.width,
            "taustart_ts": header.taken,
            "url": path,
            **dict.fromkeys(("rb_smaj", "rb_smin", "rb_pa", "centre_ra", "centre_dec"), unknown),
            "xtr_radius": options.get("radius", _RADIUS),
            "rejected": 1,
        }
        sources = source_extraction.sources_from_fits_pyse(None, rejected=True)
        return Image(path, options, sources, SimpleNamespace(wcs=None), failed=True), meta, True


@contextlib.contextmanager
def replaced(remote: Remote, main: Callable[..., None]) -> Iterator[Callable[..., None]]:
    """Replace the three names in ``trap.run``, and its ``main`` by ``main``; yield Trap's own main. Raises RunError if
    this Trap lacks one of them."""
    from trap import run

    names = {name: getattr(remote, name) for name in REPLACED} | {"main": main}
    if missing := sorted(name for name in names if not hasattr(run, name)):
        raise RunError(f"cannot run this Trap: trap.run lacks {', '.join(missing)}; use trap-run, or another trapd")
    before = {name: getattr(run, name) for name in names}
    vars(run).update(names)
    try:
        yield before["main"]
    finally:
        vars(run).update(before)


def unreadable(
    find: Callable[[Any], list[Any]], headers: dict[str, Header], rejected: dict[str, str], progress: Progress
) -> Callable[[Any], list[Any]]:
    """Return Trap's ``find_fits`` without the files whose header cannot be used; they go into ``rejected``, with the
    reason, and what the others have into ``headers``. Trap reads all headers before it begins, and ends at the first
    one that it cannot use."""

    def find_good(place: Any) -> list[Any]:
        paths = find(place)
        for path in paths:
            if str(path) in headers or str(path) in rejected:
                continue
            try:
                headers[str(path)] = _header(str(path))
            except Exception as error:  # whatever astropy makes of a file that is none of FITS
                words = " ".join(str(error).split()) or "no reason given"
                rejected[str(path)] = f"cannot read the header of {path}: {type(error).__name__}: {words}"
                progress.say(f"REJECTED {path}: {rejected[str(path)]}")
        return [path for path in paths if str(path) not in rejected]

    return find_good


def _header(path: str) -> Header:
    """Raises what Trap would raise for this header."""
    from astropy.io import fits
    from trap.frequency_bands import FrequencyBands

    from trapd.distribute import exact

    with fits.open(path) as file:
        header = file[0].header
    frequency, width = FrequencyBands.parse_frequency(header, path)
    return Header(frequency, width, exact.timestamp(header["DATE-OBS"]))


def images_at_once(wanted: int | None, fits_memory: int, progress: Progress) -> int:
    """Return how many images may be in work at once.

    ``fits_memory``: for how many this machine has memory by Trap's own rule, 20 times the size of the file for each.
    """
    if wanted is None:
        number = max(1, min(IN_FLIGHT, fits_memory))
        if number < IN_FLIGHT:
            progress.say(
                f"{counted(number, 'image')} at once: each needs about 20 times its file, and this machine has no "
                f"memory for more; --in-flight {IN_FLIGHT} if the workers are elsewhere"
            )
        return number
    if wanted > fits_memory:
        progress.say(
            f"WARNING: {counted(wanted, 'image')} at once may need more memory than this machine has: each needs about "
            f"20 times its file, which is enough for {fits_memory}"
        )
    return wanted


@contextlib.contextmanager
def threads(number: int) -> Iterator[None]:
    """Let Trap's graph run in so many threads, each of which may wait for one answer."""
    import dask

    pool = ThreadPoolExecutor(number, thread_name_prefix="trap")
    try:
        with dask.config.set(scheduler="threads", pool=pool):
            yield
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
