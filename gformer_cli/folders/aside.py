"""What is said of files and folders that are passed over: nothing is left out in silence."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from gformer_cli.console import one_line
from gformer_cli.errors import InputError
from gformer_cli.folders.domains import Aside
from gformer_cli.folders.sniffing import NO_SUFFIX


def describe_aside(counts: Mapping[str, int], unread: Iterable[str] = ()) -> str:
    """One line: how many files of which suffix were left aside, and in which formats images are; empty for none."""
    if not counts:
        return ""
    named = (f"{count} {'without a suffix' if suffix == NO_SUFFIX else suffix}" for suffix, count in counts.items())
    told = f"left aside: {one_line(', '.join(named))}"
    formats = ", ".join(sorted(set(unread)))
    return f"{told}; there are images among them, in formats that are not read: {formats}" if formats else told


def check_all_read(
    aside: Iterable[Aside], unseen: Iterable[tuple[Path, str]] = (), missing: Iterable[Path] = ()
) -> None:
    """Raises `InputError` for an image in a format that is not read, for a folder that was not looked into, and for a
    file that is listed and not there."""
    for file in aside:
        if file.unread:
            raise InputError(
                f"image that is not read: {file.path} ({file.unread})",
                "Convert it to JPEG or PNG, move it away, or run without --strict.",
            )
    for path, reason in unseen:
        raise InputError(f"not looked into: {shortened(str(path))}: {reason}", "Move it away, or run without --strict.")
    for path in missing:
        raise InputError(f"no such file: {shortened(str(path))}", "Take it from the list, or run without --strict.")


def shortened(text: str) -> str:
    """Text of any length, such as a path, as part of one line."""
    text = one_line(text)
    return text if len(text) <= 200 else f"{text[:120]} ... {text[-60:]}"
