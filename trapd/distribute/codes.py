"""Which code answered for which image: a run has one version of the source finder, or says that it has not."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from trapd.distribute.endings import OtherCodeError

Policy = Literal["pin", "redo", "mix"]
DECISIVE = ("trap", "radio-pyse")  # what has to be the same where Trap's main line runs and where sources are extracted


@dataclass(frozen=True, slots=True)
class Code:
    """What decides the answer for an image: versions by distribution, and the digest of the generation, if there is
    one. Two answers of the same code are comparable."""

    versions: tuple[tuple[str, str], ...]
    digest: str | None

    @classmethod
    def of(cls, versions: Mapping[str, str], digest: str | None) -> Code:
        return cls(tuple(sorted(versions.items())), digest)

    @classmethod
    def of_answer(cls, answer: Mapping[str, Any]) -> Code:
        return cls.of(answer["versions"], answer["digest"])

    def suits(self, other: Code) -> bool:
        """Whether it has the same Trap and source finder as ``other``, and the same digest where both have one."""
        mine, its = dict(self.versions), dict(other.versions)
        same = all(mine.get(name) == its.get(name) for name in DECISIVE)
        return same and (self.digest == other.digest or not (self.digest and other.digest))

    def __str__(self) -> str:
        words = ", ".join(f"{name} {version}" for name, version in self.versions)
        return f"{words} (code {self.digest[:12]})" if self.digest else words


class StaleAnswersError(OtherCodeError):
    """Kept answers are of other code than those of the workers now: begun again with ``code``, the run can go on."""

    def __init__(self, message: str, code: Code) -> None:
        super().__init__(message)
        self.code = code


class Codes:
    """The codes of the answers of a run. Use it from any thread."""

    def __init__(self, policy: Policy, own: Code) -> None:
        """``own``: the code of the process that runs Trap's main line."""
        self.policy, self.own = policy, own
        self._lock = threading.Lock()
        self.forget()

    def forget(self) -> None:
        """Begin anew: the main line runs again."""
        self._images: dict[str, set[Code]] = {}
        self._first: Code | None = None
        self._fresh: set[Code] = set()  # of the answers that are no kept ones
        self.latest: Code | None = None  # of the answers that are no kept ones: what the workers have

    def take(self, image: str, code: Code, *, fresh: bool) -> None:
        """Note that ``code`` answered for ``image``: ``fresh``, or earlier, and the answer was kept.

        Raises OtherCodeError if the policy is to have one code only, StaleAnswersError if only kept answers differ.
        """
        with self._lock:
            self._images.setdefault(image, set()).add(code)
            first = self._first = self._first or code
            if fresh:
                self.latest = code
                self._fresh.add(code)
            fresh_ones = set(self._fresh)
        if self.policy != "pin":
            return
        if not code.suits(self.own):
            raise OtherCodeError(
                f"cannot go on: workers answer with {code}, and Trap runs here with {self.own}; "
                "install the same versions here, or begin with --on-upgrade mix"
            )
        if code == first:
            return
        if len(fresh_ones) < 2:  # all others were kept
            now = next(iter(fresh_ones), first)
            raise StaleAnswersError(f"some kept answers are of other code than the workers: {now} counts", now)
        raise OtherCodeError(
            f"cannot go on: {image} was answered with {code}, the images before it with {first}; wait until "
            "the upgrade is complete and begin again with --on-upgrade redo"
        )

    def counts(self) -> Counter[Code]:
        """Return for each code the number of images that it answered for, in part at least."""
        with self._lock:
            return Counter(code for codes in self._images.values() for code in codes)

    def told(self) -> str:
        return "; ".join(
            f"{count} image{'s' * (count != 1)} with {code}" for code, count in self.counts().most_common()
        )
