"""The images of commands that need no labels: folders, or a list of files on stdin."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gformer_cli.commands.locations import STDOUT
from gformer_cli.console import Terminal
from gformer_cli.data.folders import Domain, Layout, find_domains
from gformer_cli.data.listed import listed_domain
from gformer_cli.errors import InputError


def find_targets(terminal: Terminal, targets: Sequence[Path], layout: Layout) -> list[Domain]:
    """The domains of `targets`; `-` alone is the list on stdin. Raises `InputError`."""
    if STDOUT not in targets:
        return find_domains(targets, layout, unlabelled=True)
    if len(targets) > 1:
        raise InputError("--target - takes no other --target beside it", "List those files on standard input as well.")
    stream: Any = sys.stdin
    if stream is None:
        raise InputError("--target - reads standard input, which is closed", "Pipe a list of files into the command.")
    domain = listed_domain(stream.buffer)
    terminal.message(f"{len(domain.files)} files named on standard input")
    return [domain]
