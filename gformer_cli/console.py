"""What commands print: results on stdout, progress and messages on stderr."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from gformer_cli.files import to_json

LISTED = 5
"""Items of a warning, such as skipped files, that are named without --verbose."""


class Terminal:
    """The command's two outputs. With `as_json`, stdout carries one JSON document and nothing else."""

    def __init__(self, *, as_json: bool = False, quiet: bool = False, verbose: bool = False) -> None:
        self.as_json = as_json
        self.quiet = quiet
        self.verbose = verbose
        self.out = _console(sys.stdout.isatty(), stderr=False)
        self.err = _console(sys.stderr.isatty(), stderr=True)

    @property
    def draws(self) -> bool:
        """Whether stdout shows what is more than plain text."""
        return self.out.is_terminal and self.out.encoding.startswith("utf")

    def result(self, document: Any, *shown: Any) -> None:
        """The command's result: `document` with --json, else what is `shown` (text and tables)."""
        if self.as_json:
            sys.stdout.write(to_json(document))
            return
        for item in shown:
            self.out.print(escape(item) if isinstance(item, str) else item)

    def message(self, text: str) -> None:
        """Worth knowing; silenced by --quiet."""
        if not self.quiet:
            self.err.print(escape(text))

    def detail(self, text: str) -> None:
        """Shown with --verbose only."""
        if self.verbose:
            self.err.print(escape(text), style="dim")

    def warning(self, text: str) -> None:
        """Must be read; --quiet does not silence it."""
        self.err.print(f"[yellow]warning:[/yellow] {escape(text)}")

    def skipped(self, files: Sequence[tuple[str, str]]) -> None:
        """Say which files could not be used and why; the whole list with --verbose."""
        if not files:
            return
        noun = "image" if len(files) == 1 else "images"
        self.warning(f"{len(files)} unreadable {noun} skipped")
        self.listed([f"{one_line(path)}: {reason}" for path, reason in files])

    def listed(self, items: Sequence[str]) -> None:
        """The first few of a warning's items, all of them with --verbose."""
        shown = items if self.verbose else items[:LISTED]
        for item in shown:
            self.err.print(f"  {escape(item)}")
        if len(items) > len(shown):
            self.err.print(f"  ... and {len(items) - len(shown)} more: --verbose lists all")

    def progress(self) -> TerminalProgress:
        """A listener for a stage."""
        return TerminalProgress(self)


def _console(on_terminal: bool, *, stderr: bool) -> Console:
    # into a pipe or a file no table is cut to the width of a terminal that is not there
    return Console(stderr=stderr, soft_wrap=True, highlight=False, width=None if on_terminal else 1000)


class TerminalProgress:
    """Shows a stage's progress: a live bar on a terminal, one line per finished task elsewhere."""

    def __init__(self, terminal: Terminal) -> None:
        self.terminal = terminal
        self.live = terminal.err.is_terminal and not terminal.quiet
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        self._label, self._note, self._total, self._began = "", "", 0, 0.0

    def __enter__(self) -> TerminalProgress:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:  # an error or Ctrl-C must not leave the bar spinning
            self._bar.stop()
            self._bar = None

    def begin(self, label: str, total: int, done: int = 0) -> None:
        self._label, self._note, self._total, self._began = label, "", total, time.monotonic()
        if not self.live:
            return
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}", style="dim"),
            console=self.terminal.err,
            transient=True,
        )
        self._task = self._bar.add_task(escape(label), total=total, completed=done, note="")
        self._bar.start()

    def advance(self, note: str = "") -> None:
        self._note = note
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, advance=1, note=escape(note))

    def end(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
        seconds = time.monotonic() - self._began
        note = f", {self._note}" if self._note else ""
        self.terminal.message(f"{self._label}: {self._total} in {seconds:.1f} s{note}")

    def message(self, text: str) -> None:
        self.terminal.message(text)

    def warning(self, text: str) -> None:
        self.terminal.warning(text)


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str | Text]], *, numbers_from: int = 1) -> Table:
    """A plain table; columns from `numbers_from` on are right-aligned. Cells are shown as they are, not as markup; a
    `Text` brings its style."""
    # a title is not folded to the width of a narrow table
    shown = Text(title, no_wrap=True, overflow="ignore") if title else None
    made = Table(title=shown, title_justify="left", box=None, pad_edge=False)
    for number, column in enumerate(columns):
        made.add_column(escape(column), justify="right" if number >= numbers_from else "left", overflow="fold")
    for row in rows:
        made.add_row(*[cell if isinstance(cell, Text) else escape(one_line(cell)) for cell in row])
    return made


def percent(share: float) -> str:
    """A share as a percentage with one decimal."""
    return f"{100 * share:.1f}"


def one_line(text: str) -> str:
    """Text whose control characters are spelled out, so that a file name cannot break a line or the terminal."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
