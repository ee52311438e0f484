"""The process's standard streams: made fit to be written to, whatever they lead to."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from gformer_cli.errors import WorkError

_closed = False


def check_open() -> None:
    """Raises `WorkError` where stdout was closed by the caller: for a document that is asked for and would be lost."""
    if _closed:
        raise WorkError("cannot write to standard output: it is closed", "Send it to a file or a pipe.")


def prepare() -> None:
    """Open what the caller has closed, and let no character be refused: Windows pipes know few of them.

    A closed stdout or stderr is nobody who reads, as /dev/null is. Its number must not be left free: the next file
    that is opened would get it, and with it what libraries print.
    """
    global _closed
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            _closed = _closed or number == 1
            opened = os.open(os.devnull, os.O_RDWR)  # the lowest free number, which is this one
            os.set_inheritable(opened, True)
    sys.stdout = _readied(sys.stdout, 1, Output)
    sys.stderr = _readied(sys.stderr, 2, Messages)


def finish() -> None:
    """Write what waits; raises `WorkError` where stdout refuses it. Nothing is left for Python to stumble over."""
    with writing(sys.stdout):
        sys.stdout.flush()


@contextmanager
def writing(stream: Any) -> Iterator[None]:
    """Turn what the operating system says of stdout into an error; of a reader that has gone it stays as it is."""
    try:
        yield
    except OSError as error:
        _discard(stream)
        if isinstance(error, BrokenPipeError | WorkError):
            raise
        raise WorkError(
            f"cannot write to standard output: {error.strerror or error}",
            "Files that the command wrote are whole. Free some space, or send its output elsewhere.",
        ) from error


@contextmanager
def silent() -> Iterator[None]:
    """Within the block what is written to stdout and stderr goes nowhere."""
    before = sys.stdout, sys.stderr
    with Path(os.devnull).open("w", encoding="utf-8") as nowhere:
        sys.stdout = sys.stderr = nowhere
        try:
            yield
        finally:
            sys.stdout, sys.stderr = before


class Output(io.TextIOWrapper):
    """stdout: an error on writing to it says so."""

    def write(self, text: str, /) -> int:
        with writing(self):
            return super().write(text)

    def flush(self) -> None:
        with writing(self):
            super().flush()


class Messages(io.TextIOWrapper):
    """stderr: where it cannot be written to, nobody can be told, and the work goes on."""

    def write(self, text: str, /) -> int:
        try:
            return super().write(text)
        except OSError:
            _discard(self)
            return len(text)

    def flush(self) -> None:
        try:
            super().flush()
        except OSError:
            _discard(self)


def _readied(stream: TextIO | None, number: int, kind: type[io.TextIOWrapper]) -> TextIO:
    if stream is None:
        return kind(open(number, "wb", closefd=False), encoding="utf-8", errors="backslashreplace")
    if type(stream) is not io.TextIOWrapper:
        return stream
    encoding, buffered = stream.encoding, not stream.line_buffering
    return kind(
        stream.detach(),
        encoding=encoding,
        errors="backslashreplace",
        line_buffering=not buffered,
    )


def _discard(stream: Any) -> None:
    """Let what still waits, and what comes, go nowhere: it would be tried again at the end of the process."""
    try:
        number = stream.fileno()
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, number)
        os.close(nowhere)
    except (OSError, ValueError):  # not a stream of the process
        pass
