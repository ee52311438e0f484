"""Results made of numbers, and what a page says."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any

import pytest

from gformer_cli.evaluate import Cell, Results
from gformer_cli.evaluate.reading import Document, parse_results
from gformer_cli.evaluate.results import Answers, Details, Inside, Picture

MakeCell = Callable[..., Cell]
PIXEL = "data:image/jpeg;base64,AAAA"


@dataclass
class Page(HTMLParser):
    """What a browser would see of a page."""

    source: str
    sections: list[str] = field(default_factory=list)
    tables: dict[str, list[dict[str, tuple[str, str]]]] = field(default_factory=dict)
    """By caption: rows of (text, value) by column."""
    tags: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    text: str = ""
    """Outside of styles and scripts."""

    def __post_init__(self) -> None:
        super().__init__()
        self._open: list[str] = []
        self._caption, self._columns, self._row, self._value = "", [""], [("", "")], ""
        self.feed(self.source)
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        self.tags.append((tag, found))
        if tag == "section":
            self.sections.append(found["id"])
        elif tag == "table":
            self._caption, self._columns = "", []
        elif tag == "tr":
            self._row = []
        elif tag in ("td", "th"):
            self._row.append(("", found.get("data-value", "")))
        if tag not in ("meta", "link", "img", "br"):
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag
        if tag == "caption":
            self.tables[self._caption] = []
        elif tag == "tr" and not self._columns:
            self._columns = [text for text, _ in self._row]
        elif tag == "tr":
            self.tables[self._caption].append(dict(zip(self._columns, self._row, strict=True)))

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] in ("style", "script"):
            return
        self.text += data
        if "caption" in self._open:
            self._caption += data
        elif ("td" in self._open or "th" in self._open) and "small" not in self._open:
            text, value = self._row[-1]
            self._row[-1] = (text + data.strip(), value)


@pytest.fixture
def look() -> Callable[[str], Page]:
    return Page


@pytest.fixture
def document(make_cell: MakeCell) -> Callable[..., Document]:
    """`document(methods, targets, streams)`: four batches of ten each; `details` of gformer's first stream."""

    def make(
        methods: Sequence[str] = ("source", "bn", "gformer"),
        targets: Sequence[str] = ("fog", "night"),
        streams: Sequence[str] = ("stationary",),
        *,
        sizes: Sequence[int] = (10,),
        right: Callable[[str, str, int], int] | None = None,
        batches: int = 4,
        details: bool = True,
        classes: Sequence[str] = ("cat", "dog"),
        **changes: Any,
    ) -> Document:
        def count(method: str, target: str, batch: int) -> int:
            return 3 + (3 * methods.index(method) + 2 * targets.index(target) + batch) % 8

        cells = [
            make_cell(
                method,
                target,
                [(right or count)(method, target, batch) for batch in range(batches)],
                images=[10] * batches,
                stream=stream,
                batch_size=size,
                cost_ratio=1.0 + methods.index(method) / 3.0,
                details=_details(batches, target, classes) if details and method == "gformer" else None,
            )
            for stream in streams
            for size in (sizes if stream == "batch-sizes" else sizes[:1])
            for target in targets
            for method in methods
        ]
        bundle = {"file": "model.gformer", "sha256": "ab" * 32, "backbone": "resnet18", "classes": list(classes)}
        run = {"command": "gformer evaluate --model model.gformer", "seeds": [0]}
        made = Results(bundle, methods, cells, [], run=run).to_json()
        return parse_results(made | changes)

    return make


def _details(batches: int, target: str, classes: Sequence[str]) -> Details:
    rows = [[0.1 + number / 10, 0.5] for number in range(batches)]
    inside = Inside(["bn1", "layer1.bn2"], list(range(batches)), rows, rows, rows)
    one, other = classes[:2]
    pictures = [
        Picture(f"{target}/gained.png", 0, one, other, 0.75, one, 0.5, PIXEL),
        Picture(f"{target}/lost.png", 0, one, one, 0.25, other, 0.625, PIXEL),
    ]
    answers = [Answers(one, one, 20, 0, 0), Answers(other, one, 5, 3, 1), Answers(one, other, 2, 0, 2)]
    return Details(inside, pictures, answers)
