"""One colour and line a method, the same in every figure; readable on white and on black."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

_COLOURS = ("#d2691e", "#2e9e5b", "#c2408f", "#8a63d2", "#a07f00", "#1494a6", "#d14b4b")
_DASHES = ("-", "--", ":")
_ARRAYS = {"-": "none", "--": "6 3", ":": "2 3"}
GREY, ACCENT = "#7d848c", "#2f7fd6"


@dataclass(frozen=True)
class Style:
    colour: str
    dash: str = "-"
    width: float = 1.4

    @property
    def dash_array(self) -> str:
        """`dash` as SVG has it."""
        return _ARRAYS[self.dash]


def styles(methods: Sequence[str], *, subject: str, reference: str) -> dict[str, Style]:
    """A style for each method; the subject of a page and what it is compared with stand out."""
    found: dict[str, Style] = {}
    for method in methods:
        number = len(set(found) - {subject, reference})
        if method == reference:
            found[method] = Style(GREY, "--", 2.0)
        elif method == subject:
            found[method] = Style(ACCENT, "-", 2.4)
        else:
            found[method] = Style(_COLOURS[number % len(_COLOURS)], _DASHES[number // len(_COLOURS) % len(_DASHES)])
    return found
