from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from gformer_cli.errors import InputError
from gformer_cli.images import contact_sheet
from gformer_cli.images.contact_sheet import SIDE, Row, Shown, check_sheet, draw, plain, small, write_sheet


def test_large_images_shrink_and_small_ones_keep_their_pixels() -> None:
    assert small(Image.new("L", (400, 200))).size == (SIDE, SIDE // 2)
    tiny = Image.new("RGB", (2, 1))
    tiny.putpixel((1, 0), (255, 0, 0))
    shown = small(tiny)
    assert shown.size == (SIDE, SIDE // 2) and sorted(shown.getcolors() or []) == [
        (SIDE**2 // 4, (0, 0, 0)),
        (SIDE**2 // 4, (255, 0, 0)),
    ]


def test_pictures_stand_in_their_row_and_the_same_rows_give_the_same_bytes(tmp_path: Path) -> None:
    red, blue = (Shown(Image.new("RGB", (SIDE, SIDE), colour)) for colour in ("red", "blue"))
    rows = [Row(["a", "of it"], [red, blue]), Row(["b"], [blue])]
    sheet = draw(rows, ["a note"])
    colours = sheet.getcolors(1 << 20)
    assert colours is not None
    found = {colour: count for count, colour in colours}
    assert (found[255, 0, 0], found[0, 0, 255]) == (SIDE**2, 2 * SIDE**2)
    for name in ("one.png", "two.png"):
        write_sheet(tmp_path / name, rows, ["a note"])
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()
    write_sheet(tmp_path / "two.png", rows, ["another"])
    assert (tmp_path / "one.png").read_bytes() != (tmp_path / "two.png").read_bytes()


def test_a_sheet_has_an_end_and_a_long_name_loses_its_middle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contact_sheet, "_LONGEST", 500)
    rows = [Row(["x"], [Shown(Image.new("RGB", (SIDE, SIDE)))])] * 99
    assert draw(rows, []).height <= 500
    font = contact_sheet.ImageFont.load_default(12)
    cut = contact_sheet._fitted("the-beginning-" + "x" * 500 + "-the-end.png", font, 200)
    assert cut.startswith("the-beg") and cut.endswith("end.png") and font.getlength(cut) <= 200
    assert contact_sheet._fitted("two\nlines\x1b", font, 200) == "two?lines?"


def test_words_are_drawn_in_letters_that_the_font_has() -> None:
    assert plain("Küche/schlüssel é") == "Kuche/schlussel e"
    assert plain("ключ\n\u202e\ud800") == "????" + "???"


def test_what_is_no_png_or_there_already_is_refused(tmp_path: Path) -> None:
    (tmp_path / "there.png").touch()
    for path, message in ((tmp_path / "a.jpg", "a contact sheet is a PNG"), (tmp_path / "there.png", "file exists")):
        with pytest.raises(InputError, match=message):
            check_sheet(path, overwrite=False)
    check_sheet(tmp_path / "there.png", overwrite=True)
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(InputError, match="is a folder"):
        check_sheet(tmp_path / "folder.png", overwrite=True)
