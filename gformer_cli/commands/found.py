"""What every command that takes folders says of them: what was left aside, what is empty, what was not looked into."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from gformer_cli.console import Terminal, one_line
from gformer_cli.data.aside import check_all_read, describe_aside, shortened
from gformer_cli.data.folders import Found, Known, Layout, count_suffixes
from gformer_cli.data.folders import find_images as find


def find_images(
    terminal: Terminal,
    folders: Sequence[Path],
    layout: Layout,
    *,
    unlabelled: bool = False,
    strict: bool = False,
    known: Known | None = None,
) -> Found:
    """`data.folders.find_images`, and a line on stderr for whatever a user might miss.

    With `strict`, also raises `InputError` for an image in a format that is not read and for a folder that was not
    looked into.
    """
    found = find(folders, layout, unlabelled=unlabelled, known=known)
    if strict:
        check_all_read(found.aside, found.unseen)
    for folder in found.empty:
        terminal.warning(f"folder without images: {one_line(str(folder))}")
    for path, reason in found.unseen:
        terminal.warning(f"not looked into: {shortened(str(path))}: {reason}")
    unread = {file.unread for file in found.aside if file.unread}
    told = describe_aside(count_suffixes(found.aside), unread)
    if unread:
        terminal.warning(told)
    elif told:
        terminal.message(told)
    return found
