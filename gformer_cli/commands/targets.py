"""The images of commands that need no labels: folders, or a list of files on stdin."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gformer_cli.commands.found import TARGET_SPLITS, find_images
from gformer_cli.commands.locations import STDOUT
from gformer_cli.console import Terminal
from gformer_cli.errors import InputError
from gformer_cli.folders.domains import Found, Known, Layout, check_folders_exist
from gformer_cli.folders.lists import listed_domain


def check_targets(targets: Sequence[Path]) -> None:
    """Raises `InputError` for a folder that is not there, and for a `-` that cannot be read; looks into nothing."""
    if STDOUT not in targets:
        check_folders_exist(targets)
        return
    if len(targets) > 1:
        raise InputError("--target - takes no other --target beside it", "List those files on standard input as well.")
    if sys.stdin is None:
        raise InputError("--target - reads standard input, which is closed", "Pipe a list of files into the command.")


def find_targets(
    terminal: Terminal, targets: Sequence[Path], layout: Layout, known: Known, *, strict: bool = False
) -> Found:
    """What lies in `targets`; `-` alone is the list on stdin. Raises `InputError`; see `found.find_images`."""
    check_targets(targets)
    if STDOUT not in targets:
        return find_images(terminal, targets, layout, unlabelled=True, strict=strict, known=known, splits=TARGET_SPLITS)
    stream: Any = sys.stdin
    domain = listed_domain(stream.buffer)
    terminal.message(f"{len(domain.files)} files named on standard input")
    return Found([domain])
