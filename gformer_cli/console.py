"""What commands print: results on stdout, progress and messages on stderr.

Everything that is shown passes `safe` or `one_line`: names of files, folders and classes are somebody else's, and a
terminal obeys what it is sent. Only JSON and files are exact.
"""

from __future__ import annotations

import io
import json
import re
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from gformer_cli.files import to_json
from gformer_cli.stdio import check_open, writing

LISTED = 5
"""Items of a warning, such as skipped files, that are named without --verbose."""
_INVISIBLE = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)
"""What Python calls printable, and nobody sees."""


class Terminal:
    """The command's two outputs. With `as_json`, stdout carries one JSON document and nothing else; with `aside`, what
    is shown goes to stderr as well, because stdout carries a document of another kind."""

    def __init__(
        self, *, as_json: bool = False, quiet: bool = False, verbose: bool = False, aside: bool = False
    ) -> None:
        self.as_json = as_json
        self.quiet = quiet
        self.verbose = verbose
        self.aside = aside
        self.out = _console(_on_terminal(sys.stdout), stderr=False)
        self.err = _console(_on_terminal(sys.stderr), stderr=True)

    @property
    def draws(self) -> bool:
        """Whether stdout shows what is more than plain text."""
        return _on_terminal(self.out.file) and self.out.encoding.startswith("utf")

    def result(self, document: Any, *shown: Any) -> None:
        """The command's result: `document` with --json, else what is `shown` (text and tables)."""
        if self.as_json:
            self.document(_escaped_json(to_json(document), sys.stdout.encoding))
            return
        if self.aside and self.quiet:
            return
        for item in shown:
            self._show(self.err if self.aside else self.out, item)

    def step(self, *lines: str) -> None:
        """What a command of several steps does next: on stdout, but not beside a document, nor with --quiet."""
        if not self.quiet:
            for line in lines:
                self._show(self.err if self.as_json or self.aside else self.out, line)

    def document(self, text: str) -> None:
        """Exactly `text` on stdout, in UTF-8 in any locale. Raises `WorkError` where it cannot be written."""
        check_open()
        with writing(sys.stdout):
            sys.stdout.flush()
            binary = getattr(sys.stdout, "buffer", None)
            if binary is None:
                sys.stdout.write(text)
            else:
                binary.write(text.encode("utf-8", "backslashreplace"))
                binary.flush()

    @contextmanager
    def stream(self) -> Iterator[TextIO]:
        """A file whose text goes to stdout as it comes, in the form that `document` gives it; errors likewise."""
        check_open()
        with writing(sys.stdout):
            sys.stdout.flush()
            binary = getattr(sys.stdout, "buffer", None)
            if binary is None:
                yield sys.stdout
                return
            file = io.TextIOWrapper(binary, encoding="utf-8", errors="backslashreplace", newline="")
            try:
                yield file
            finally:
                file.detach()  # which writes what waits; stdout stays open

    def text(self, text: str) -> None:
        """A text of several lines that is somebody else's: exact for a file or a pipe, safe on a terminal."""
        if not _on_terminal(sys.stdout):
            self.document(text)
            return
        for line in text.splitlines():
            self._show(self.out, one_line(line))

    def message(self, text: str) -> None:
        """Worth knowing; silenced by --quiet."""
        if not self.quiet:
            self._show(self.err, text)

    def detail(self, text: str) -> None:
        """Shown with --verbose only."""
        if self.verbose:
            self._show(self.err, Text(safe(text), style="dim"))

    def details(self, text: str) -> None:
        """Several lines of detail, such as settings."""
        for line in text.splitlines():
            self.detail(line)

    def warning(self, text: str) -> None:
        """Must be read; --quiet does not silence it."""
        self._show(self.err, Text.assemble(("warning:", "yellow"), " ", safe(text)))

    def skipped(self, files: Sequence[tuple[str, str]]) -> None:
        """Say which files could not be used and why; the whole list with --verbose."""
        if not files:
            return
        noun = "image" if len(files) == 1 else "images"
        self.warning(f"{len(files)} unreadable {noun} skipped")
        self.listed([f"{path}: {reason}" for path, reason in files])

    def listed(self, items: Sequence[str]) -> None:
        """The first few of a warning's items, all of them with --verbose."""
        shown = items if self.verbose else items[:LISTED]
        for item in shown:
            self._show(self.err, f"  {one_line(item)}")
        if len(items) > len(shown):
            self._show(self.err, f"  ... and {len(items) - len(shown)} more: --verbose lists all")

    def progress(self) -> TerminalProgress:
        """A listener for a stage."""
        return TerminalProgress(self)

    def _show(self, console: Console, item: str | Text | Table) -> None:
        console.print(Text(safe(item)) if isinstance(item, str) else item)


def _on_terminal(stream: Any) -> bool:
    """Whether somebody looks at it. FORCE_COLOR makes colours, but no terminal of a file."""
    return bool(stream.isatty())


def _console(on_terminal: bool, *, stderr: bool) -> Console:
    # into a pipe or a file no table is cut to the width of a terminal that is not there
    width = None if on_terminal else 1000
    return Console(stderr=stderr, soft_wrap=True, highlight=False, markup=False, emoji=False, width=width)


class TerminalProgress:
    """Shows a stage's progress: a live bar on a terminal, one line per finished task elsewhere."""

    def __init__(self, terminal: Terminal) -> None:
        self.terminal = terminal
        console = terminal.err
        self.live = _on_terminal(console.file) and not console.is_dumb_terminal and not terminal.quiet
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
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}", style="dim", markup=False),
            console=self.terminal.err,
            transient=True,
        )
        self._task = self._bar.add_task(one_line(label), total=total, completed=done, note="")
        self._bar.start()

    def advance(self, note: str = "") -> None:
        self._note = note
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, advance=1, note=one_line(note))

    def end(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
        seconds = time.monotonic() - self._began
        note = f", {self._note}" if self._note else ""
        self.terminal.message(f"{self._label}: {self._total} in {seconds:.1f} s{note}")

    def message(self, text: str) -> None:
        self.terminal.message(text)

    def detail(self, text: str) -> None:
        self.terminal.detail(text)

    def warning(self, text: str) -> None:
        self.terminal.warning(text)


def amount(count: int, one: str, many: str) -> str:
    """A count and what is counted."""
    return f"{count} {one if count == 1 else many}"


def differing(changed: int) -> str:
    """How many labels adapting changed."""
    return f"{amount(changed, 'label differs', 'labels differ')} from the source model's"


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str | Text]], *, numbers_from: int = 1) -> Table:
    """A plain table; columns from `numbers_from` on are right-aligned. Cells are shown as they are, not as markup; a
    `Text` brings its style."""
    # a title is not folded to the width of a narrow table
    shown = Text(one_line(title), no_wrap=True, overflow="ignore") if title else None
    made = Table(title=shown, title_justify="left", box=None, pad_edge=False)
    for number, column in enumerate(columns):
        made.add_column(Text(one_line(column)), justify="right" if number >= numbers_from else "left", overflow="fold")
    for row in rows:
        made.add_row(*map(_cell, row))
    return made


def _cell(cell: str | Text) -> Text:
    return Text(one_line(cell)) if isinstance(cell, str) else Text(one_line(cell.plain), cell.style)


def percent(share: float) -> str:
    """A share as a percentage with one decimal."""
    return f"{100 * share:.1f}"


def one_line(text: str) -> str:
    """Text in which whatever is not seen as itself is spelled out: control characters, marks that turn the direction of
    writing, what has no width. A file name cannot break a line, steer the terminal or look like another one."""
    return "".join(_spelled(c) if not c.isprintable() or _INVISIBLE.match(c) else c for c in text)


def safe(text: str) -> str:
    """`one_line`, but for line breaks at the beginning and the end: inside of a text they may come from a name."""
    inside = text.strip("\n")
    if not inside:
        return text
    before, after = text.split(inside, 1)
    return before + one_line(inside) + after


def _spelled(character: str) -> str:
    return character.encode("unicode_escape").decode()


def _escaped_json(text: str, encoding: str | None) -> str:
    """JSON that means the same and is safe to show and to send: what is not seen as itself is escaped, and everything
    beyond ASCII where stdout is not in UTF-8."""
    utf8 = (encoding or "").lower().replace("-", "").replace("_", "") == "utf8"

    def spelled(found: re.Match[str]) -> str:
        character = found[0]
        if utf8 and one_line(character) == character:
            return character
        return "\\u007f" if character == "\x7f" else json.dumps(character)[1:-1]

    return re.sub(r"[^\n\x20-\x7e]", spelled, text)
