"""Lists of image files: as `find` prints them on standard input, and as benchmarks hand them out.

In the latter a line is a path and, behind a blank, the number of its class. DomainNet's are such:
`clipart/aircraft_carrier/clipart_001_000018.jpg 0` in `clipart_train.txt`. No torch here.
"""

from __future__ import annotations

import io
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from gformer_cli.errors import InputError
from gformer_cli.files import open_regular
from gformer_cli.folders.image_files import Domain, ImageFile, ImageFiles
from gformer_cli.folders.tables import Row

STDIN = "stdin"
"""Of the domain that the files on standard input are taken for."""

LISTS = (".txt",)
"""Suffixes of such files."""
HEADER = ("path", "class", "domain")
"""The columns that a list stands for."""
_CONTROL = re.compile(rb"[\x00-\x08\x0e-\x1f\x7f]")
"""What no text holds."""
_LINE = re.compile(r"(?P<path>.*\S)\s+(?P<number>\d+)|(?P<alone>.*)", re.DOTALL)


def read_list(path: Path) -> list[Row]:
    """The lines of a list, as rows of `HEADER`.

    Where each number stands beside one folder, and each folder beside one number, the class is called as the folder
    that the image lies in; else by its number. The domain is then the first of two folders or more.

    Raises `InputError` for what cannot be read or is no list, and where some lines have a number and others have none.
    """
    try:
        with io.FileIO(open_regular(path)) as file:
            content = file.read().removeprefix(b"\xef\xbb\xbf")
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}", "It must be a list of image files.") from None
    if _CONTROL.search(content):
        raise InputError(f"{path} is not a list of image files", "It must be text, with one path a line.")
    lines = [os.fsdecode(line).strip() for line in content.split(b"\n")]
    named = [(place, *_parts(line)) for place, line in enumerate(lines, 1) if line]
    _check_alike(path, named)
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


def _check_alike(path: Path, named: Sequence[tuple[int, str, str]]) -> None:
    """Raises `InputError` where some of the lines (place, path, number) have a number and others have none."""
    bare = [place for place, _, number in named if not number]
    numbered = [place for place, _, number in named if number]
    if bare and numbered:
        odd, told = (bare, "has no number") if len(bare) <= len(numbered) else (numbered, "has a number")
        others = "others have one" if odd is bare else "others have none"
        raise InputError(
            f"{path}, line {odd[0]} {told} of a class behind the path, and {others}",
            "Give a number to every line, or to none. For classes by name: a table (.csv) with path,class.",
        )


def _are_classes(folders: Sequence[Sequence[str]], numbers: Sequence[str]) -> bool:
    pairs = {(above[-1] if above else "", number) for above, number in zip(folders, numbers, strict=True)}
    names, counted = ({pair[place] for pair in pairs} for place in (0, 1))
    return "" not in names | counted and len(pairs) == len(names) == len(counted)


def listed_domain(stream: IO[bytes]) -> Domain:
    """The files that `stream` names, each once, as one unlabelled domain; their paths are as they are written.

    One a line; where there is a zero byte, each ends with one, as `find -print0` has it. Raises `InputError` for none.
    """
    content = stream.read()
    parts = content.split(b"\0") if b"\0" in content else [line.rstrip(b"\r") for line in content.split(b"\n")]
    names = dict.fromkeys(os.fsdecode(part) for part in parts if part)
    if not names:
        raise InputError(
            "there is no file name on standard input", "One a line, such as: find incoming -name '*.jpg' | gformer ..."
        )
    files = ImageFiles(ImageFile(Path(), Path(name).as_posix()) for name in names)
    return Domain(STDIN, Path(), files, ())
