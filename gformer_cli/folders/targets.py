"""Checks on target folders that adapting and evaluating share."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from gformer_cli.errors import InputError
from gformer_cli.folders.domains import Domain


def check_known_classes(domains: Sequence[Domain], classes: Sequence[str]) -> None:
    """Raises `InputError` for a class folder that the bundle has no class for."""
    for domain in domains:
        unknown = [name for name in domain.classes if name not in classes]
        if unknown:
            near = difflib.get_close_matches(unknown[0], classes, n=1)
            meant = f"Did you mean {near[0]!r}? " if near else ""
            raise InputError(
                f"{domain.root} has classes that the model does not know: {', '.join(unknown[:5])}"
                f"{' ...' if len(unknown) > 5 else ''}",
                f"{meant}It knows: {', '.join(classes[:20])}{' ...' if len(classes) > 20 else ''}. "
                "Folders that are called otherwise: --class-map FILE.csv (folder,class).",
            )


def check_batch_size(batch_size: int) -> None:
    """Raises `InputError` for a batch size below one."""
    if batch_size < 1:
        raise InputError(f"batch size must be 1 or more, got {batch_size}", "For example: --batch-size 64")
