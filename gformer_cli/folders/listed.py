"""A list of image files, as `find` prints it, in the place of a folder."""

from __future__ import annotations

import os
from pathlib import Path
from typing import IO

from gformer_cli.errors import InputError
from gformer_cli.folders.domains import Domain, ImageFile, ImageFiles

NAME = "stdin"
"""Of the domain that the files are taken for."""


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
    return Domain(NAME, Path(), files, ())
