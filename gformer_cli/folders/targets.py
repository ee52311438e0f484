"""Checks on target folders that several commands share."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from gformer_cli.errors import InputError
from gformer_cli.folders.domains import Domain, nfc

_FEW = 5


def check_known_classes(domains: Sequence[Domain], classes: Sequence[str]) -> None:
    """Raises `InputError` for class folders that the model has no class for; `classes` are the model's.

    A domain may lack classes. Folders of other names than their class are named by `Known.class_map`.
    """
    for domain in domains:
        unknown = [name for name in domain.classes if name not in classes]
        if unknown:
            hints = [f"It knows: {', '.join(classes[:20])}{' ...' if len(classes) > 20 else ''}."]
            near = {name: found for name in unknown[:_FEW] if (found := _nearest(name, classes))}
            if near:
                hints.insert(0, f"Did you mean {', '.join(map(repr, near.values()))}?")
            hints.append("For folders of other names than their class: --class-map FILE.csv (folder,class).")
            more = f" and {len(unknown) - _FEW} more" if len(unknown) > _FEW else ""
            raise InputError(
                f"{domain.root} has classes that the model does not know: {', '.join(unknown[:_FEW])}{more}",
                " ".join(hints),
            )


def _nearest(name: str, classes: Sequence[str]) -> str | None:
    folded = {nfc(known).casefold(): known for known in classes}
    near = difflib.get_close_matches(name.casefold(), folded, n=1)
    return folded[near[0]] if near else None


def check_batch_size(batch_size: int) -> None:
    """Raises `InputError` for a batch size below one."""
    if batch_size < 1:
        raise InputError(f"batch size must be 1 or more, got {batch_size}", "For example: --batch-size 64")
