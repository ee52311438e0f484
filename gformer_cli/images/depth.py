"""Which sample value is black and which is white in images of more than 8 bits. No torch here.

Files of 16 bits, 32 bits and floats do not say how much of their range is used: 12-bit cameras write 16-bit files. The
user may say it (`data.white_level`), the file may (a PGM of maxval 4095), training may have found it; else the folder
tells, by its images and not by single pixels. Images of 8 bits are never touched by any of this.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from gformer_cli.folders.domains import Domain, ImageFile

Kind = Literal["integer", "float"]
SAMPLE = 32
"""Images of a folder that are looked at."""
STANDARD: dict[Kind, tuple[float, ...]] = {
    "integer": (255.0, 1023.0, 4095.0, 16383.0, 32767.0, 65535.0, 2.0**24 - 1.0, 2.0**31 - 1.0, 2.0**32 - 1.0),
    "float": (1.0, 255.0, 1023.0, 4095.0, 16383.0, 65535.0),
}
"""The whites that are thought of: 8, 10, 12, 14 and 16 bits, and more."""
_SLACK = 1.1
"""Corrected and interpolated images overshoot a little; floats of 0 to 1 do up to twice."""
_SIGNED = 1 / 8
"""Samples that go so far below zero, as a share of white, are a signed range and not noise around black."""
_BY_EACH = "65535 at 16 bits, else as each image seems to have it"


@dataclass(frozen=True)
class Levels:
    """The samples that become 0 and 255."""

    black: float
    white: float

    def __str__(self) -> str:
        return f"{self.white:.10g}" if not self.black else f"{self.white:.10g} (black is {self.black:.10g})"


@dataclass(frozen=True)
class Reach:
    """How far the samples of one image go, but for stray pixels."""

    low: float
    high: float
    full: float
    """The largest sample that such a file can hold; infinite for floats."""


Look = Callable[[ImageFile], tuple[Kind, Reach] | None]
"""What kind of samples a file holds and how far they go; None where it has 8 bits, says it itself, or is unreadable."""


def reach(samples: NDArray[np.generic], full: float) -> Reach:
    """How far `samples` go. The few brightest and darkest, a thousandth, do not count, nor do NaN and infinity."""
    values = np.asarray(samples, dtype=np.float64).ravel()
    values = values[np.isfinite(values)]
    if not len(values):
        return Reach(0.0, 0.0, full)
    stray = max(min(3, len(values) // 20), len(values) // 1000)
    ordered = np.partition(values, [stray, len(values) - 1 - stray])
    return Reach(float(ordered[stray]), float(ordered[-1 - stray]), full)


def choose(kind: Kind, found: Sequence[Reach]) -> Levels | None:
    """The levels of a folder whose images reach so far: the least standard white that nine of ten stay within.

    None where there is nothing to go by: no image, or nothing but black.
    """
    if not found:
        return None
    odd = len(found) // 10
    high = sorted(one.high for one in found)[-1 - odd]
    low = sorted(one.low for one in found)[odd]
    most = max(high, -low)
    if most <= 0.0:
        return None
    full = max(one.full for one in found)
    whites = [white for white in STANDARD[kind] if white < full and (white != 32767.0 or full == 32767.0)]
    if np.isfinite(full):
        whites.append(full)
    white = next((white for white in whites if _within(most, white)), whites[-1])
    return Levels(-white if low < -_SIGNED * white else 0.0, white)


def _within(value: float, white: float) -> bool:
    return value <= (2.0 if white == 1.0 else _SLACK * white)


class Depth:
    """The levels of files, by the user's word, by what training found, or by the folder that a file lies in.

    A folder is looked at when its first deep image is met, so that folders without one cost nothing. What is found
    depends on the folder's files alone, not on which was met first.
    """

    def __init__(
        self,
        stated: float | None = None,
        known: Mapping[Kind, Levels] | None = None,
        domains: Sequence[Domain] = (),
        look: Look | None = None,
    ) -> None:
        self.stated = stated
        self.known: dict[Kind, Levels] = dict(known or {})
        self._domains = domains
        self._look = look
        self._owners: dict[Path, int] | None = None
        self._found: dict[tuple[int, Kind], Levels | None] = {}
        self._alone: set[Kind] = set()
        self._told: set[str] = set()
        self._lock = Lock()

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_lock"}  # on its way to a process

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _lock=Lock())

    def among(self, domains: Sequence[Domain], look: Look) -> Depth:
        """The same for the files of `domains`, which are looked at by `look`."""
        return Depth(self.stated, self.known, domains, look)

    def of(self, path: Path, kind: Kind) -> Levels | None:
        """The levels for a file with samples of this kind; None where nothing but the file itself can tell."""
        if self.stated is not None:
            return Levels(0.0, self.stated)
        with self._lock:
            if self._owners is None:
                self._owners = {
                    file.path: number for number, domain in enumerate(self._domains) for file in domain.files
                }
            owner = self._owners.get(path)
            if owner is None:
                self._alone.add(kind)
                return self.known.get(kind)
            if (owner, kind) not in self._found:
                self._found[owner, kind] = self._decide(self._domains[owner], kind)
            return self._found[owner, kind]

    def _decide(self, domain: Domain, kind: Kind) -> Levels | None:
        """As training had it, unless the images go beyond that: then the folder's own."""
        own = choose(kind, list(self._reaches(domain, kind)))
        trained = self.known.get(kind)
        if trained is not None and (own is None or (own.white <= trained.white and own.black >= trained.black)):
            return trained
        return own

    def _reaches(self, domain: Domain, kind: Kind) -> Iterator[Reach]:
        assert self._look is not None
        left = SAMPLE
        for file in sorted(domain.files, key=lambda file: (zlib.crc32(_name(file.relative)), file.relative)):
            seen = self._look(file)
            if seen is not None and seen[0] == kind:
                yield seen[1]
                left -= 1
                if not left:
                    return

    def common(self) -> dict[Kind, Levels]:
        """Per kind of samples the levels that all folders with such images agree on: what a bundle keeps."""
        agreed: dict[Kind, Levels] = {}
        for kind in STANDARD:
            levels = {found for (_, own), found in self._found.items() if own == kind and found is not None}
            if len(levels) == 1:
                agreed[kind] = levels.pop()
        return agreed

    def news(self) -> list[str]:
        """Those lines of `told` that were not given yet."""
        lines = [line for line in self.told() if line not in self._told]
        self._told.update(lines)
        return lines

    def found(self) -> dict[str, dict[str, list[float]]]:
        """What was decided, per folder and kind of samples: black and white."""
        decided: dict[str, dict[str, list[float]]] = {}
        for (owner, kind), levels in sorted(self._found.items()):
            if levels is not None:
                decided.setdefault(self._domains[owner].name, {})[kind] = [levels.black, levels.white]
        return decided

    def told(self) -> list[str]:
        """One line per kind of samples that was met and of which the user said nothing: what counts as white."""
        lines = [
            f"images with {kind} samples of more than 8 bits: white is "
            + (f"{self.known[kind]} as in training" if kind in self.known else _BY_EACH)
            for kind in sorted(self._alone)
        ]
        for kind in STANDARD:
            found = {self._domains[owner].name: levels for (owner, own), levels in self._found.items() if own == kind}
            if not found:
                continue
            texts = {name: _BY_EACH if levels is None else str(levels) for name, levels in found.items()}
            if len(set(texts.values())) == 1:
                told = next(iter(texts.values()))
            else:
                told = ", ".join(f"{text} in {name}" for name, text in sorted(texts.items()))
            trained = self.known.get(kind)
            why = " as in training" if trained and all(levels == trained for levels in found.values()) else ""
            lines.append(f"images with {kind} samples of more than 8 bits: white is {told}{why}")
        return lines


def _name(relative: str) -> bytes:
    return relative.encode("utf-8", "surrogateescape")
