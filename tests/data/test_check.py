"""What `check_folders` finds in image folders, and what it lets pass as a note."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from gformer_cli.data.check import ODD_MODES, CheckReport, Sizes, check_folders
from gformer_cli.files import to_json
from gformer_cli.folders.domains import find_domains, find_images
from gformer_cli.images.decoding import Skipped


def _check(*folders: Path, unlabelled: bool = False, workers: int = 0) -> CheckReport:
    return check_folders(find_domains(folders, unlabelled=unlabelled), workers=workers)


def _png_16_bit_colour() -> bytes:
    """Pillow reads such files but does not write them."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 2, 2, 16, 2, 0, 0, 0)
    rows = zlib.compress((b"\0" + bytes(12)) * 2)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def test_sound_folders_are_ok_and_counted(make_folder: Any) -> None:
    report = _check(make_folder("east", {"cat": 2, "dog": 1}), make_folder("west", {"cat": 1, "dog": 3}))
    assert report.ok
    assert [(d.name, d.images, d.classes, d.missing) for d in report.domains] == [
        ("east", 3, {"cat": 2, "dog": 1}, ()),
        ("west", 4, {"cat": 1, "dog": 3}, ()),
    ]
    assert not (report.unreadable or report.duplicates or report.ignored)
    assert report.odd_modes == dict.fromkeys(ODD_MODES, ())


def test_an_empty_class_folder_is_counted_zero_and_not_ok(make_folder: Any) -> None:
    report = _check(make_folder("site", {"cat": 1, "dog": 0}))
    assert report.domains[0].classes == {"cat": 1, "dog": 0}
    assert report.empty_classes == [("site", "dog")]
    assert not report.ok


def test_a_class_missing_from_a_domain_is_a_note(make_folder: Any) -> None:
    report = _check(make_folder("east", {"cat": 1, "dog": 1}), make_folder("west", {"ant": 1, "cat": 1}))
    assert [domain.missing for domain in report.domains] == [("ant",), ("dog",)]
    assert report.ok


def test_a_flat_folder_lacks_no_classes(make_folder: Any, add_image: Any, tmp_path: Path) -> None:
    add_image(tmp_path / "inbox" / "a.png")
    report = _check(make_folder("site", {"cat": 1}), tmp_path / "inbox", unlabelled=True)
    flat = report.domains[1]
    assert (flat.images, flat.classes, flat.missing) == (1, {}, ())
    assert report.ok


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"", "the file is empty"), (b"no image", "not an image that Pillow can read")],
)
def test_an_unreadable_file_is_listed_with_the_reason_and_not_ok(
    make_folder: Any, add_image: Any, content: bytes, reason: str
) -> None:
    folder = make_folder("site", {"cat": 2})
    path = add_image(folder / "cat" / "00.png", content)
    report = _check(folder)
    assert report.unreadable == (Skipped(str(path), reason),)
    assert not report.ok


def test_a_truncated_file_is_unreadable(make_folder: Any, add_image: Any) -> None:
    folder = make_folder("site", {"cat": 1})
    data = (folder / "cat" / "00.png").read_bytes()
    add_image(folder / "cat" / "cut.png", data[: len(data) // 2])
    assert [Path(item.path).name for item in _check(folder).unreadable] == ["cut.png"]


def test_empty_files_are_no_duplicates_of_each_other(make_folder: Any, add_image: Any) -> None:
    folder = make_folder("site", {"cat": 1})
    add_image(folder / "cat" / "a.png", b"")
    add_image(folder / "cat" / "b.png", b"")
    assert _check(folder).duplicates == ()


@pytest.mark.parametrize(
    ("copy", "across_domains", "across_classes"),
    [
        ("east/cat/copy.png", False, False),
        ("east/dog/copy.png", False, True),
        ("west/cat/copy.png", True, False),
        ("west/dog/copy.png", True, True),
    ],
)
def test_equal_files_are_duplicates_marked_by_what_they_span(
    make_folder: Any, add_image: Any, tmp_path: Path, copy: str, across_domains: bool, across_classes: bool
) -> None:
    folders = [make_folder(name, {"cat": 1, "dog": 1}) for name in ("east", "west")]
    original = folders[0] / "cat" / "00.png"
    add_image(tmp_path / copy, original.read_bytes())
    report = _check(*folders)
    (group,) = report.duplicates
    assert set(group.paths) == {str(original), str(tmp_path / copy)}
    assert (group.across_domains, group.across_classes) == (across_domains, across_classes)
    assert report.ok


def test_a_labelled_and_an_unlabelled_copy_do_not_contradict(make_folder: Any, add_image: Any, tmp_path: Path) -> None:
    folder = make_folder("site", {"cat": 1})
    add_image(tmp_path / "inbox" / "a.png", (folder / "cat" / "00.png").read_bytes())
    (group,) = _check(folder, tmp_path / "inbox", unlabelled=True).duplicates
    assert group.across_domains
    assert not group.across_classes


def _odd_images(encode: Any) -> dict[str, tuple[list[str], bytes]]:
    """File name to (kinds expected, content)."""
    red, blue = Image.new("RGB", (4, 4), "red"), Image.new("RGB", (4, 4), "blue")
    exif = Image.Exif()
    exif[0x0112] = 6
    upright = Image.Exif()
    upright[0x0112] = 1
    grey16 = Image.fromarray(np.full((4, 4), 1000, dtype=np.uint16))
    return {
        "plain.png": ([], encode(red)),
        "grey.png": ([], encode(red.convert("L"))),
        "grey16.png": (["16-bit"], encode(grey16)),
        "grey16.tif": (["16-bit"], encode(grey16, "TIFF")),
        "colour16.png": (["16-bit"], _png_16_bit_colour()),
        "float.tif": (["16-bit"], encode(red.convert("F"), "TIFF")),
        "print.jpg": (["CMYK"], encode(red.convert("CMYK"), "JPEG")),
        "palette.png": (["palette"], encode(red.convert("P"))),
        "see-through-palette.png": (["palette", "alpha"], encode(red.convert("P"), transparency=0)),
        "alpha.png": (["alpha"], encode(red.convert("RGBA"))),
        "turned.jpg": (["EXIF rotation"], encode(red, "JPEG", exif=exif)),
        "upright.jpg": ([], encode(blue, "JPEG", exif=upright)),
        "moving.webp": (["animated"], encode(red, "WEBP", save_all=True, append_images=[blue])),
        "still.webp": ([], encode(red, "WEBP")),
        "fax.png": (["1-bit"], encode(red.convert("1"))),
    }


def test_odd_modes_are_listed_by_kind_and_stay_ok(encode: Any, add_image: Any, tmp_path: Path) -> None:
    images = _odd_images(encode)
    for name, (_, content) in images.items():
        add_image(tmp_path / "site" / "cat" / name, content)
    report = _check(tmp_path / "site")
    found: dict[str, list[str]] = {name: [] for name in images}
    for kind, paths in report.odd_modes.items():
        for path in paths:
            found[Path(path).name].append(kind)
    assert found == {name: kinds for name, (kinds, _) in images.items()}
    assert tuple(report.odd_modes) == ODD_MODES
    assert report.ok


def test_a_broken_later_frame_leaves_an_animation_readable(encode: Any, add_image: Any, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    frames = [Image.fromarray(rng.integers(0, 256, (20, 30, 3), dtype=np.uint8))]
    frames += [Image.new("RGB", (30, 20), "red")] * 3
    data = encode(frames[0], "GIF", save_all=True, append_images=frames[1:])
    for cut in range(0, 80, 7):
        add_image(tmp_path / "site" / "cat" / f"{cut:02d}.gif", data[: len(data) - cut])
    report = _check(tmp_path / "site")
    assert report.unreadable == ()
    assert len(report.odd_modes["palette"]) == 12


def test_sizes_are_those_of_upright_images(encode: Any, add_image: Any, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    sizes = {"a": (3, 9), "b": (5, 2), "c": (5, 2), "d": (4, 4)}
    for name, size in sizes.items():
        add_image(tmp_path / "site" / "cat" / f"{name}.png", encode(Image.new("RGB", size, "red")))
    add_image(tmp_path / "site" / "cat" / "turned.jpg", encode(Image.new("RGB", (30, 20)), "JPEG", exif=exif))
    assert _check(tmp_path / "site").sizes == Sizes((5, 2), (20, 30), (5, 2), 4)


def test_without_a_readable_image_there_are_no_sizes(add_image: Any, tmp_path: Path) -> None:
    add_image(tmp_path / "site" / "cat" / "a.png", b"")
    assert _check(tmp_path / "site").sizes is None


def test_ignored_files_are_a_note_with_their_whole_path(make_folder: Any, tmp_path: Path) -> None:
    make_folder("root/east", {"cat": 1})
    flat = make_folder("west", {"cat": 1})
    expected = [tmp_path / "root/east/cat/notes.txt", flat / "cat" / "labels.db"]
    for path in expected:
        path.write_text("no image")
    found = find_images([tmp_path / "root", flat])
    report = check_folders(found.domains, aside=found.aside, workers=0)
    assert report.ignored == tuple(map(str, expected))
    assert report.left_aside == {".db": 1, ".txt": 1}
    assert report.ok


def test_workers_do_not_change_the_report(make_folder: Any, add_image: Any) -> None:
    folder = make_folder("site", {"cat": 20, "dog": 5})
    add_image(folder / "cat" / "07.png", b"")
    add_image(folder / "dog" / "copy.png", (folder / "cat" / "00.png").read_bytes())
    assert _check(folder, workers=0) == _check(folder, workers=3)


def test_advance_is_called_once_a_file(make_folder: Any, add_image: Any) -> None:
    folder = make_folder("site", {"cat": 3})
    add_image(folder / "cat" / "00.png", b"")
    calls: list[int] = []
    check_folders(find_domains([folder]), workers=2, advance=lambda: calls.append(1))
    assert len(calls) == 3


def test_the_report_is_json(make_folder: Any, add_image: Any, encode: Any) -> None:
    folder = make_folder("site", {"猫": 1, "dog": 0})
    fax = add_image(folder / "猫" / "fax.png", encode(Image.new("1", (2, 3))))
    document = json.loads(json.dumps(_check(folder).to_json()))
    assert document["ok"] is False
    assert document["empty_classes"] == [{"domain": "site", "class": "dog"}]
    assert document["domains"][0]["classes"] == {"猫": 2, "dog": 0}
    assert document["odd_modes"]["1-bit"] == {"count": 1, "paths": [str(fax)]}
    assert document["odd_modes"]["CMYK"] == {"count": 0, "paths": []}
    assert document["sizes"] == {"smallest": [2, 3], "largest": [8, 8], "most_common": [2, 3], "different": 2}
    assert document["unreadable"] == document["duplicates"] == document["ignored"] == []


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names")
def test_the_report_of_a_file_name_that_is_not_utf_8_can_be_written(add_image: Any, tmp_path: Path) -> None:
    path = add_image(tmp_path / "site" / "cat" / os.fsdecode(b"cr\xe8me.png"), b"")
    text = to_json(_check(tmp_path / "site").to_json()).encode("utf-8").decode("utf-8")
    assert json.loads(text)["unreadable"] == [{"path": str(path), "reason": "the file is empty"}]


def test_checking_does_not_import_torch() -> None:
    code = "import sys, gformer_cli.data.check; sys.exit('torch' in sys.modules)"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    assert subprocess.run([sys.executable, "-c", code], env=environment, check=False).returncode == 0
