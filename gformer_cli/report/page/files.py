"""Where a page goes, checked before the work that it shows."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from gformer_cli.errors import InputError
from gformer_cli.files import check_writable, encodable, make_folder, write_text

SUFFIXES = (".html", ".htm")


def check_report(path: Path, *, overwrite: bool) -> None:
    """Raises `InputError` for a page that cannot be made, would take the place of a file, or cannot be written."""
    missing = [name for name in ("jinja2", "matplotlib") if find_spec(name) is None]
    if missing:
        raise InputError(f"a report needs {' and '.join(missing)}", "Install them: pip install 'gformer[report]'")
    if path.suffix.lower() not in SUFFIXES:
        raise InputError(f"a report is a web page, so it cannot be called {path}", "Name it with the suffix .html.")
    if path.is_dir():
        raise InputError(f"{path} is a folder, not a file", "Name a file, such as report.html.")
    if path.exists() and not overwrite:
        raise InputError(f"report file exists: {path}", "Replace it with --overwrite, or name another file.")
    check_writable(path)


def write_report(path: Path, page: str) -> None:
    """Write a page atomically, in UTF-8."""
    make_folder(path.parent)
    write_text(path, encodable(page))
