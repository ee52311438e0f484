"""Lists of image files as benchmarks hand them out: a line is a path and, behind a blank, the number of its class.

DomainNet's are such: `clipart/aircraft_carrier/clipart_001_000018.jpg 0` in `clipart_train.txt`. No torch here.
"""

from __future__ import annotations

import io
import os
import re
from collections.abc import Sequence
from pathlib import Path

from gformer_cli.errors import InputError
from gformer_cli.files import open_regular
from gformer_cli.folders.tables import Row

LISTS = (".txt",)
"""Suffixes of such files."""
HEADER = ("path", "class", "domain")
"""The columns that a list stands for."""
_LINE = re.compile(r"(?P<path>.*\S)\s+(?P<number>\d+)|(?P<alone>.*)", re.DOTALL)


def read_list(path: Path) -> list[Row]:
    """The lines of a list, as rows of `HEADER`.

    Where each number stands beside one folder, and each folder beside one number, the class is called as the folder
    that the image lies in; else by its number. The domain is then the first of two folders or more.

    Raises `InputError` for what cannot be read.
    """
    try:
        with io.FileIO(open_regular(path)) as file:
            lines = [os.fsdecode(line).strip() for line in file.read().removeprefix(b"\xef\xbb\xbf").split(b"\n")]
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}", "It must be a list of image files.") from None
    named = [(place, *_parts(line)) for place, line in enumerate(lines, 1) if line]
    folders = [name.split("/")[:-1] for _, name, _ in named]
    are_classes = _are_classes(folders, [number for *_, number in named])
    rows: list[Row] = []
    for (place, name, number), above in zip(named, folders, strict=True):
        domain = above[0] if are_classes and len(above) > 1 and above[0] not in ("", "..") else ""
        label = above[-1] if are_classes else number
        rows.append((f"{path}, line {place}", dict(zip(HEADER, (name, label, domain), strict=True))))
    return rows


def _parts(line: str) -> tuple[str, str]:
    found = _LINE.fullmatch(line)
    assert found is not None
    name, number = (found["alone"], "") if found["path"] is None else (found["path"], found["number"])
    return name.removeprefix("./"), number


def _are_classes(folders: Sequence[Sequence[str]], numbers: Sequence[str]) -> bool:
    pairs = {(above[-1] if above else "", number) for above, number in zip(folders, numbers, strict=True)}
    names, counted = ({pair[place] for pair in pairs} for place in (0, 1))
    return "" not in names | counted and len(pairs) == len(names) == len(counted)
