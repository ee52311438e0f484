"""The set `letters`, of made-up packages with matplotlib's DejaVu fonts in them."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("matplotlib")

import matplotlib

from gformer_cli.data.demo.drawn import letter_set
from gformer_cli.data.demo.drawn.fonts import font_files, glyph, has_signs
from gformer_cli.data.demo.drawn.packages import Packages
from gformer_cli.errors import InputError

DEJAVU = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
HEAD = "role,domain,slant,package,files,licence\n"


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Packages:
    """`fonts-a` with upright and slanted sans, `fonts-b` with a serif, twice, and a file that is no font."""
    for package, names in {
        "fonts-a": ("DejaVuSans.ttf", "DejaVuSans-Bold.ttf", "DejaVuSans-Oblique.ttf", "STIXSizOneSymReg.ttf"),
        "fonts-b": ("DejaVuSerif.ttf",),
    }.items():
        for name in names:
            (tmp_path / package / "usr").mkdir(parents=True, exist_ok=True)
            shutil.copy(DEJAVU / name, tmp_path / package / "usr" / name)
    shutil.copy(DEJAVU / "DejaVuSerif.ttf", tmp_path / "fonts-b" / "usr" / "copy.ttf")
    (tmp_path / "fonts-b" / "usr" / "broken.ttf").write_bytes(b"no font")
    table = tmp_path / "table.csv"
    table.write_text(
        f"{HEAD}sources,sans,upright,fonts-a,DejaVuSans* STIX*,Bitstream-Vera\n"
        "sources,slanted,slanted,fonts-a,*,Bitstream-Vera\ntargets,serif,any,fonts-b,*,MIT\n"
    )
    monkeypatch.setattr(letter_set, "TABLE", table)
    return Packages(tmp_path)


def test_upright_and_slanted_fonts_of_a_package_are_told_by_their_style_and_come_once(packages: Packages) -> None:
    found = letter_set.letter_set(packages)
    names = {domain: [drawing.name for drawing in classes["a"]] for _, domain, classes, _ in found.domains()}
    assert names == {
        "sans": ["dejavu-sans-bold", "dejavu-sans-book"],
        "slanted": ["dejavu-sans-oblique"],
        "serif": ["dejavu-serif-book"],
    }
    assert {drawing.family for drawing in found.sources["sans"]["z"]} == {"fonts-a"}
    assert [*found.sources["sans"]] == list("abcdefghijklmnopqrstuvwxyz")
    assert found.licences == ("fonts-a of unknown version: Bitstream-Vera", "fonts-b of unknown version: MIT")


def test_a_letter_fills_its_square_at_any_size(packages: Packages) -> None:
    drawing = letter_set.letter_set(packages).targets["serif"]["l"][0]
    for side in (96, 200):
        picture = drawing.draw(side)
        assert picture is not None and picture.mode == "L" and picture.width == picture.height
        assert (np.asarray(picture) > 0).any(axis=1).all()


def test_a_domain_without_a_font_is_named(packages: Packages) -> None:
    letter_set.TABLE.write_text(f"{HEAD}sources,mono,any,fonts-b,Mono*,MIT\n")
    with pytest.raises(InputError, match="no drawing of 'a' for domain 'mono'"):
        letter_set.letter_set(packages)


def test_a_package_without_a_font_is_named(packages: Packages, tmp_path: Path) -> None:
    for path in (tmp_path / "fonts-b" / "usr").iterdir():
        path.rename(path.with_suffix(".txt"))
    with pytest.raises(InputError, match=r"fonts-b is not the whole package: it has no font"):
        letter_set.letter_set(packages)


def test_a_font_of_capitals_alone_is_left_out(packages: Packages, monkeypatch: pytest.MonkeyPatch) -> None:
    def capitals(path: str, sign: str, side: int = 96) -> Image.Image:
        return glyph(path, sign.upper() if "Bold" in path else sign, side)

    monkeypatch.setattr(letter_set, "glyph", capitals)
    fonts = letter_set.letter_set(packages).sources["sans"]["a"]
    assert [font.name for font in fonts] == ["dejavu-sans-book"]


def test_a_font_has_signs_that_differ_from_each_other_and_from_the_sign_for_a_missing_one() -> None:
    sans = str(DEJAVU / "DejaVuSans.ttf")
    assert has_signs(sans, "abc") and not has_signs(sans, "a\U000ffe00")
    assert not has_signs(sans, "aa")
    assert glyph(sans, "l").size[0] == glyph(sans, "l").size[1]


def test_font_files_are_sorted_and_no_links(tmp_path: Path) -> None:
    for name in ("b.ttf", "a.OTF", "c.txt"):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "link.ttf").symlink_to(tmp_path / "b.ttf")
    assert [path.name for path in font_files(tmp_path, ["*"])] == ["a.OTF", "b.ttf"]
