"""What every command that takes folders says of them: what was left aside, what is empty, what was not looked into."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from gformer_cli.console import Terminal, amount
from gformer_cli.folders.aside import check_all_read, describe_aside, shortened
from gformer_cli.folders.domains import Found, Known, Layout, class_names, count_suffixes
from gformer_cli.folders.domains import find_images as find

if TYPE_CHECKING:
    from gformer_cli.bundle import BundleHeader


SOURCE_SPLITS = ("train", "validation")
"""What is learnt from, where a table or shards name splits."""
TARGET_SPLITS = ("test",)


def known_of(header: BundleHeader, class_map: Mapping[str, str] | None = None) -> Known:
    """The names that a bundle knows; a `class_map` adds to its own and wins."""
    return Known(header.classes, header.data.domains, {**header.class_map, **(class_map or {})})


def find_images(
    terminal: Terminal,
    folders: Sequence[Path],
    layout: Layout,
    *,
    unlabelled: bool = False,
    strict: bool = False,
    known: Known | None = None,
    splits: Collection[str] = (),
    severity: int | None = None,
) -> Found:
    """`data.folders.find_images`, and a line on stderr for whatever a user might miss.

    With `strict`, also raises `InputError` for an image in a format that is not read, a folder that was not looked into
    and a file that is listed and not there.
    """
    found = find(folders, layout, unlabelled=unlabelled, known=known, splits=splits, severity=severity)
    if strict:
        check_all_read(found.aside, found.unseen, found.missing)
    if found.empty:
        terminal.warning("folders without images, which are passed over:")
        terminal.listed([str(folder) for folder in found.empty])
    if found.unseen:
        terminal.warning("folders that were not looked into:")
        terminal.listed([f"{shortened(str(path))}: {reason}" for path, reason in found.unseen])
    if found.missing:
        terminal.warning(f"{amount(len(found.missing), 'file that is', 'files that are')} listed and not there:")
        terminal.listed([str(path) for path in found.missing])
    _tell_aside(terminal, found)
    if found.left_out:
        one = "image is" if found.left_out == 1 else "images are"
        terminal.message(f"{found.left_out} {one} left out: of another split than {' and '.join(splits)}")
    if layout is Layout.auto and not unlabelled and not (known and known.classes):
        _tell_reading(terminal, found)
    return found


def _tell_aside(terminal: Terminal, found: Found) -> None:
    if found.unused:
        terminal.warning(
            "tables that lie in the folders and were not used; to read one, give it in the folder's place:"
        )
        terminal.listed([str(path) for path in found.unused])
    images = [file for file in found.aside if file.unread]
    told = describe_aside(count_suffixes(found.aside), {file.unread for file in images})
    if images:
        terminal.warning(told)
        terminal.listed([f"{file.path}: {file.unread}" for file in images])
    elif told:
        terminal.message(told)
    for file in found.aside:
        if not file.unread:
            terminal.detail(f"left aside: {file.path}")


def _tell_reading(terminal: Terminal, found: Found) -> None:
    """What the folders are taken for, where nothing but their names tells."""
    domains = _counted("domain", "domains", [domain.name for domain in found.domains])
    terminal.message(f"read as {domains} of {_counted('class', 'classes', class_names(found.domains))}")


def _counted(one: str, many: str, names: Sequence[str]) -> str:
    shown = ", ".join(names[:4]) + (", ..." if len(names) > 4 else "")
    return f"{amount(len(names), one, many)} ({shown})"
