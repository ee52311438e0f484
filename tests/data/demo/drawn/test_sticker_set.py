"""The set `stickers`, of made-up packages: what is a drawing, what a photograph, and who sees which."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

pytest.importorskip("resvg_py")

from gformer_cli.data.demo.drawn import sticker_set
from gformer_cli.data.demo.drawn.packages import Packages
from gformer_cli.data.demo.drawn.picture_set import PictureSet
from gformer_cli.data.demo.drawn.pictures import (
    BY_COLOUR,
    CLIP_ART_ROOT,
    STAMPS_ROOT,
    grey,
    pencil,
    picture_files,
    read_picture,
    told_apart,
)  # fmt: skip
from gformer_cli.errors import InputError


def stamp(path: Path, saturation: int) -> None:
    """A picture whose file is no other's."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.new("RGBA", (30, 20))
    image.paste((200, 200 - saturation, 200 - saturation, 255), (5, 5, 25, 15))
    about = PngInfo()
    about.add_text("path", str(path))
    image.save(path, pnginfo=about)


@pytest.fixture
def packages(tmp_path: Path) -> Packages:
    """Of every class ten drawings, three photographs, a cartoon, a mirror image and a broken file."""
    clips, stamps = tmp_path / "openclipart-svg" / CLIP_ART_ROOT, tmp_path / "tuxpaint-stamps-default" / STAMPS_ROOT
    for folders in sticker_set.CLASSES.values():
        for number in range(10):
            stamp(clips / folders[0] / f"Drawing {number}.png", 10 * number)
        (clips / folders[0] / "empty.svg").write_text("<svg")
        for number in range(3):
            stamp(stamps / folders[-1] / f"photo{number}.png", 100)
        stamp(stamps / folders[-1] / "photo0_mirror.png", 100)
        stamp(stamps / folders[-1] / "cartoon" / "laughing.png", 150)
        (stamps / folders[-1] / "broken.png").write_bytes(b"\x89PNG")
    return Packages(tmp_path)


def names(found: PictureSet, label: str) -> dict[str, set[str]]:
    return {domain: {drawing.name for drawing in classes[label]} for _, domain, classes, _ in found.domains()}


@pytest.mark.parametrize("label", ["fish", "vehicle"])
def test_sources_are_drawings_by_colour_and_targets_photographs_and_drawings_unseen(
    packages: Packages, label: str
) -> None:
    found = sticker_set.sticker_set(packages)
    seen = names(found, label)
    drawings = {*(f"drawing-{number}" for number in range(10)), "laughing"}
    assert tuple(found.sources) == BY_COLOUR
    assert seen["photographs"] == {"photo0", "photo1", "photo2"}
    assert len(seen["new"]) == 3 and seen["grey"] == seen["new"]
    sources = set.union(*(seen[domain] for domain in BY_COLOUR))
    assert seen["pencil"] == sources == drawings - seen["new"]
    assert sum(len(seen[domain]) for domain in BY_COLOUR) == len(sources)


def test_a_source_domain_is_more_colourful_than_the_one_before(packages: Packages) -> None:
    found = sticker_set.sticker_set(packages)
    most = [max(_saturation(name) for name in names(found, "bird")[domain]) for domain in BY_COLOUR]
    least = [min(_saturation(name) for name in names(found, "bird")[domain]) for domain in BY_COLOUR]
    assert most[0] < least[1] and most[1] < least[2]


def _saturation(name: str) -> int:
    return 150 if name == "laughing" else 10 * int(name.removeprefix("drawing-"))


def test_pencil_leaves_edges_and_grey_no_colour(packages: Packages) -> None:
    found = sticker_set.sticker_set(packages)
    line, plain = (found.targets[domain]["fruit"][0].draw(96) for domain in ("pencil", "grey"))
    assert line is not None and line.mode == "L" and plain is not None and plain.mode == "RGBA"
    inside = np.asarray(plain)[5, 5]
    assert inside[0] == inside[1] == inside[2] and inside[3] == 255
    assert np.asarray(line)[line.height // 2, line.width // 2] == 0 and np.asarray(line).max() > 0


def test_colours_and_lines_of_a_picture() -> None:
    red = Image.new("RGBA", (20, 20), (255, 0, 0, 255))
    assert np.asarray(grey(red))[10, 10].tolist() == [76, 76, 76, 255]  # 0.299 of 255
    lines = np.asarray(pencil(red))
    assert lines.shape == (26, 26) and lines[13, 13] == 0 and lines[2:5, 13].max() == 255


def test_a_picture_is_cut_to_what_is_drawn_and_a_broken_one_is_none(tmp_path: Path) -> None:
    stamp(tmp_path / "a.png", 100)
    picture = read_picture(tmp_path / "a.png")
    assert picture is not None and picture.size == (20, 10)
    (tmp_path / "b.png").write_bytes(b"\x89PNG")
    assert read_picture(tmp_path / "b.png") is None


def test_pictures_of_something_else_are_left_out_by_name_class_by_class(packages: Packages, tmp_path: Path) -> None:
    clips, stamps = tmp_path / "openclipart-svg" / CLIP_ART_ROOT, tmp_path / "tuxpaint-stamps-default" / STAMPS_ROOT
    for path in (
        clips / "animals/fish/dolphin.png", clips / "animals/mammals/dolphin.png",
        stamps / "animals/fish/dolphinfish.png",
        clips / "transportation/boating/knot_bowline.png", clips / "transportation/boating/sailing_tack.png",
        clips / "transportation/boating/sailing_sunset.png", stamps / "vehicles/cartoon/trainSign.png",
    ):  # fmt: skip
        stamp(path, 60)
    found = sticker_set.sticker_set(packages)
    fish, mammals, vehicles = (set.union(*names(found, label).values()) for label in ("fish", "mammal", "vehicle"))
    assert "dolphin" not in fish and "dolphinfish" in fish and "dolphin" in mammals
    assert "sailing-sunset" in vehicles and not vehicles & {"knot-bowline", "sailing-tack", "trainsign"}


def test_every_class_whose_pictures_are_named_out_is_a_class() -> None:
    assert sticker_set.NOT_WHAT.keys() <= sticker_set.CLASSES.keys()
    assert all(pattern == pattern.lower() for patterns in sticker_set.NOT_WHAT.values() for pattern in patterns)


def test_a_picture_of_two_classes_is_of_none_and_of_equal_ones_one_is_kept(tmp_path: Path) -> None:
    for name, content in {
        "a/both.svg": "1", "b/other_name.svg": "1", "a/tux.svg": "2", "a/tux_again.svg": "2", "b/one.svg": "3",
        "b/one.png": "4", "b/two.png": "5",
    }.items():  # fmt: skip
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content)
    found = told_apart({folder: sorted((tmp_path / folder).iterdir()) for folder in ("a", "b")})
    assert {label: [file.name for file in files] for label, files in found.items()} == {
        "a": ["tux.svg"], "b": ["one.svg", "two.png"],
    }  # fmt: skip


def test_files_are_found_in_any_case_of_their_names_but_for_those_without(tmp_path: Path) -> None:
    for name in ("Slug.png", "bee.svg", "notes.txt"):
        (tmp_path / name).write_bytes(b"")
    assert {file.name for file in picture_files(tmp_path, ["."])} == {"Slug.png", "bee.svg"}
    assert [file.name for file in picture_files(tmp_path, ["."], ["slug", "be"])] == ["bee.svg"]


def test_a_package_without_its_pictures_is_named(packages: Packages, tmp_path: Path) -> None:
    root = tmp_path / "openclipart-svg"
    (root / CLIP_ART_ROOT).rename(root / "elsewhere")
    with pytest.raises(
        InputError, match=r"openclipart-svg is not the whole package: it has no usr/share/openclipart/svg"
    ):
        sticker_set.sticker_set(packages)


def test_packages_are_named_with_their_versions(packages: Packages, tmp_path: Path) -> None:
    told = tmp_path / "openclipart-svg" / "usr/share/doc/openclipart-svg/changelog.Debian.gz"
    told.parent.mkdir(parents=True)
    told.write_bytes(gzip.compress(b"openclipart (1:0.18-19) unstable; urgency=medium\n"))
    assert [line.partition(" (")[0] for line in sticker_set.sticker_set(packages).licences] == [
        "openclipart-svg 1:0.18-19", "tuxpaint-stamps-default of unknown version",
    ]  # fmt: skip
