"""Contact sheets: rows of small pictures with a few words beside and below them, drawn by Pillow. No torch here."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from gformer_cli.errors import InputError
from gformer_cli.files import atomic_path, check_writable

SIDE = 96
"""Of a picture, in pixels, at most."""
_GAP, _WORDS, _LINE, _SIZE = 8, 230, 16, 12
_INK, _PALE, _PAPER, _FRAME = (26, 26, 26), (96, 96, 96), (255, 255, 255), (214, 214, 214)
_LONGEST = 16_000
"""Pixels of a sheet's height: what is below is cut off, and told."""


@dataclass(frozen=True)
class Shown:
    """One picture."""

    image: Image.Image
    caption: str = ""


@dataclass(frozen=True)
class Row:
    """Pictures side by side, with words to the left of them. Without pictures it is a heading."""

    words: Sequence[str]
    pictures: Sequence[Shown] = ()


def check_sheet(path: Path, *, overwrite: bool) -> None:
    """Raises `InputError` for a sheet that is no PNG, would take the place of a file, or cannot be written."""
    if path.suffix.lower() != ".png":
        raise InputError(f"a contact sheet is a PNG, so it cannot be called {path}", "Name it with the suffix .png.")
    if path.is_dir():
        raise InputError(f"{path} is a folder, not a file", "Name a file, such as sheet.png.")
    if path.exists() and not overwrite:
        raise InputError(f"file exists: {path}", "Replace it with --overwrite, or name another file.")
    check_writable(path)


def write_sheet(path: Path, rows: Sequence[Row], notes: Sequence[str] = ()) -> None:
    """Draw the rows, and the notes below them, atomically. The same rows give the same bytes."""
    sheet = draw(rows, notes)
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        sheet.save(file, "PNG")


def small(image: Image.Image) -> Image.Image:
    """At most `SIDE` pixels wide and high, RGB. What is smaller is enlarged by a whole number, each pixel a square."""
    image = image.convert("RGB")
    times = SIDE // max(image.size)
    if times >= 1:
        return image.resize((image.width * times, image.height * times), Image.Resampling.NEAREST)
    image.thumbnail((SIDE, SIDE), Image.Resampling.BOX)
    return image


def draw(rows: Sequence[Row], notes: Sequence[str]) -> Image.Image:
    """The sheet."""
    font = ImageFont.load_default(_SIZE)
    most = max((len(row.pictures) for row in rows), default=0)
    width = _GAP + _WORDS + most * (SIDE + _GAP)
    lines = [_fitted(note, font, width - 2 * _GAP) for note in notes]
    heights = [_height(row) for row in rows]
    full = _GAP + sum(heights) + _LINE * len(lines) + _GAP
    sheet = Image.new("RGB", (width, min(full, _LONGEST)), _PAPER)
    pen, top = ImageDraw.Draw(sheet), _GAP
    for row, height in zip(rows, heights, strict=True):
        if top + height > _LONGEST - 2 * _LINE:
            pen.text((_GAP, top), "The sheet ends here: there are more rows.", _INK, font)
            return sheet.crop((0, 0, width, top + _LINE + _GAP))
        _draw_row(sheet, pen, row, top, font)
        top += height
    for line in lines[: (_LONGEST - top) // _LINE]:
        pen.text((_GAP, top), line, _INK, font)
        top += _LINE
    return sheet


def _height(row: Row) -> int:
    if not row.pictures:
        return _LINE * len(row.words) + _GAP
    below = _LINE if any(shown.caption for shown in row.pictures) else 0
    return max(SIDE + below, _LINE * len(row.words)) + _GAP


def _draw_row(
    sheet: Image.Image, pen: ImageDraw.ImageDraw, row: Row, top: int, font: ImageFont.FreeTypeFont | ImageFont.ImageFont
) -> None:
    room = _WORDS - _GAP if row.pictures else sheet.width - 2 * _GAP
    for number, words in enumerate(row.words):
        pen.text((_GAP, top + number * _LINE), _fitted(words, font, room), _PALE if number else _INK, font)
    for number, shown in enumerate(row.pictures):
        left = _GAP + _WORDS + number * (SIDE + _GAP)
        pen.rectangle((left - 1, top - 1, left + shown.image.width, top + shown.image.height), outline=_FRAME)
        sheet.paste(shown.image, (left, top))
        if shown.caption:
            pen.text((left, top + SIDE + 1), _fitted(shown.caption, font, SIDE), _PALE, font)


def _fitted(words: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, room: float) -> str:
    """On one line, and cut off in the middle where it is too long: names differ at their ends."""
    words = plain(words)
    if font.getlength(words) <= room:
        return words
    kept = len(words)
    while kept > 2 and font.getlength(_cut(words, kept)) > room:
        kept -= max(1, kept // 16)
    return _cut(words, kept)


def plain(words: str) -> str:
    """In letters that the built-in font has: ASCII. Marks are left off, other letters are a question mark."""
    letters = unicodedata.normalize("NFKD", words)
    return "".join(
        letter if letter.isascii() and letter.isprintable() else "?"
        for letter in letters
        if not unicodedata.combining(letter)
    )


def _cut(words: str, kept: int) -> str:
    return f"{words[: kept // 2]}...{words[len(words) - (kept - kept // 2) :]}"
