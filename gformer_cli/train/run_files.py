"""Names of a run's files, clearing it, and whether it was started with other settings."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from pathlib import Path
from typing import Any

from gformer_cli.config import keys
from gformer_cli.errors import InputError
from gformer_cli.files import remove_tree, writing_to
from gformer_cli.settings import Settings

_NAME = 100
"""Characters of a label that are kept in a file's name."""
_PLAIN = re.compile(rf"[a-z0-9_][a-z0-9_.-]{{0,{_NAME}}}")
_OTHER = re.compile(r"[^a-z0-9_.]+")


def labelled_file(folder: Path, label: str, suffix: str) -> Path:
    """The file of `label` in `folder`: named by it where every file system tells such names apart and takes them.

    Else by what is left of it and a hash: a domain may be called `Site-A` beside `site-a`, or by 245 characters. Files
    that earlier versions named by any label are still found.
    """
    name = label
    if not _PLAIN.fullmatch(label):
        digest = hashlib.sha256(unicodedata.normalize("NFC", label).encode("utf-8", "surrogateescape")).hexdigest()
        name = f"{_OTHER.sub('-', label.lower())[:_NAME]}-{digest[:12]}"
        if folder.is_dir() and any(path.name == label + suffix for path in folder.iterdir()):
            name = label
    return folder / f"{name}{suffix}"


def clear(folder: Path, *, but: Path | None = None) -> None:
    """Remove what is in `folder`, not the folder itself: it may be a link or a mount."""
    with writing_to(folder):
        for path in folder.iterdir():
            if path == but:
                continue
            if path.is_dir() and not path.is_symlink():
                remove_tree(path)
            else:
                path.unlink()


def require_same(before: Settings, now: Settings, root: Path) -> None:
    old, new = before.model_dump(mode="json"), now.model_dump(mode="json")
    changed = [f"{key}={_value(new, key)}" for key in keys() if _value(old, key) != _value(new, key)]
    if changed:
        raise InputError(
            f"{root} was started with other settings; now different: {'; '.join(changed[:3])}",
            "Resume with the command it was started with, or start again with --overwrite.",
        )


def _value(tree: dict[str, Any], key: str) -> Any:
    value: Any = tree
    for part in key.split("."):
        value = value[part]
    return value
