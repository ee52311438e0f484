"""Calls of earlier versions: an error that says what they are called now."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import Any

from typer.core import TyperCommand

from gformer_cli.errors import InputError


class Adapt(TyperCommand):
    """`gformer adapt`, which had an option --watch."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Raises `InputError` for --watch, before the options that went with it are found unknown."""
        if any(word.partition("=")[0] == "--watch" for word in args):
            raise InputError("adapt --watch is a command of its own now", f"Run: {shlex.join(_watching(args))}")
        return super().parse_args(ctx, args)


def _watching(words: Sequence[str]) -> list[str]:
    """The command that does what `adapt` did with these words."""
    rest, folder = [], "DIR"
    given = iter(words)
    for word in given:
        name, equals, value = word.partition("=")
        if name == "--watch":
            folder = value if equals else next(given, folder)
        else:
            rest.append(word)
    return ["gformer", "watch", folder, *rest]
