from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gformer_cli.errors import InputError
from gformer_cli.folders.domains import find_images

CLIPART = ["clipart/The_Eiffel_Tower/a 1.jpg 12", "clipart/t-shirt/b.jpg 3", "clipart/t-shirt/c.jpg 3"]


@pytest.fixture
def make_list(tmp_path: Path, add_image: Any) -> Any:
    """`make_list(lines)`: a list beside the images that it names, but for those of `missing`."""

    def make(lines: list[str], name: str = "clipart_train.txt", *, missing: tuple[str, ...] = ()) -> Path:
        for line in lines:
            image = line.rstrip("0123456789\r").strip()
            if image and image not in missing:
                add_image(tmp_path / image)
        (tmp_path / name).write_text("\n".join(lines) + "\n")
        return tmp_path / name

    return make


def told(path: Path, **how: Any) -> dict[str, list[tuple[str, str | None]]]:
    return {one.name: [(file.relative, file.label) for file in one.files] for one in find_images([path], **how).domains}


def test_lists_of_domainnet_name_classes_and_domain_by_folders(make_list: Any) -> None:
    wanted = [
        ("clipart/The_Eiffel_Tower/a 1.jpg", "The_Eiffel_Tower"),
        ("clipart/t-shirt/b.jpg", "t-shirt"),
        ("clipart/t-shirt/c.jpg", "t-shirt"),
    ]
    assert told(make_list(CLIPART)) == {"clipart": wanted}
    for splits in (("train", "validation"), ("test",)):
        assert told(make_list([*CLIPART, ""]), splits=splits) == {"clipart": wanted}
    two = [*CLIPART, "real/t-shirt/d.jpg 3"]
    assert list(told(make_list(two))) == ["clipart", "real"]


@pytest.mark.parametrize(
    ("lines", "wanted"),
    [
        (["val/1.jpg 65", "val/2.jpg 970"], {"shots": [("val/1.jpg", "65"), ("val/2.jpg", "970")]}),
        (["1.jpg 0", "2.jpg 1"], {"shots": [("1.jpg", "0"), ("2.jpg", "1")]}),
        (["east/a/1.jpg 0", "west/b/2.jpg 0"], {"shots": [("east/a/1.jpg", "0"), ("west/b/2.jpg", "0")]}),
        (["a/1.jpg 0", "b/2.jpg\t1"], {"shots": [("a/1.jpg", "a"), ("b/2.jpg", "b")]}),
        (["./east/a/1.jpg 0"], {"east": [("east/a/1.jpg", "a")]}),
    ],
)
def test_classes_are_numbers_where_folders_are_none(
    make_list: Any, lines: list[str], wanted: dict[str, list[tuple[str, str]]]
) -> None:
    assert told(make_list(lines, "shots.txt")) == wanted


def test_a_list_without_numbers_has_no_labels(make_list: Any) -> None:
    lines = ["Art/a 2/1.jpg", "Art/b/2.jpg\r"]
    path = make_list(lines, "imagelist.txt")
    assert told(path, unlabelled=True) == {"imagelist": [("Art/a 2/1.jpg", None), ("Art/b/2.jpg", None)]}
    with pytest.raises(InputError, match="line 1: no class is named"):
        told(path)


def test_paths_may_be_taken_from_another_folder(make_list: Any, tmp_path: Path) -> None:
    path = make_list(CLIPART)
    (tmp_path / "splits").mkdir()
    moved = path.rename(tmp_path / "splits" / path.name)
    with pytest.raises(InputError, match=r"no such file: .*splits/clipart") as caught:
        told(moved)
    assert "path=FOLDER/{path}" in caught.value.hint
    found = told(Path(f"{moved}:path=../{{path}}"))
    assert [label for _, label in found["clipart"]] == ["The_Eiffel_Tower", "t-shirt", "t-shirt"]
    assert told(Path(f"{moved}:path=../{{path}},class==t-shirt")) == {"clipart": found["clipart"][1:]}


def test_files_that_have_gone_from_a_published_set_are_told(make_list: Any, tmp_path: Path) -> None:
    found = find_images([make_list(CLIPART, missing=("clipart/t-shirt/c.jpg",))])
    assert found.missing == [tmp_path / "clipart/t-shirt/c.jpg"] and len(found.domains[0].files) == 2


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (
            ["a/1.jpg 0", "b/2.jpg 1", "b/3.jpg b"],
            "line 3 has no number of a class behind the path, and others have one",
        ),
        (["a/1.jpg 0", "b/2.jpg"], "line 2 has no number"),
        (
            ["a/1.jpg", "", "b/2.jpg", "b/3.jpg 1"],
            "line 4 has a number of a class behind the path, and others have none",
        ),
    ],
)
def test_all_lines_have_a_number_or_none_has(tmp_path: Path, lines: list[str], message: str) -> None:
    path = tmp_path / "shots.txt"
    path.write_text("\n".join(lines))
    for unlabelled in (True, False):
        with pytest.raises(InputError, match=message):
            find_images([path], unlabelled=unlabelled)


@pytest.mark.parametrize("content", [b"\x89PNG\r\n\x1a\n\x00", "a/1.jpg 0".encode("utf-16"), b"a\x1b[31m"])
def test_what_is_no_text_is_no_list(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "binary.txt").write_bytes(content)
    with pytest.raises(InputError, match=r"binary\.txt is not a list of image files"):
        find_images([tmp_path / "binary.txt"])


def test_what_is_no_list_is_told(make_list: Any, tmp_path: Path) -> None:
    twice = make_list([CLIPART[1], CLIPART[1]])
    with pytest.raises(InputError, match=r"line 2: clipart/t-shirt/b\.jpg was named before, in line 1"):
        told(twice)
    (tmp_path / "empty.txt").write_text("\n")
    with pytest.raises(InputError, match=r"no images in .*empty\.txt"):
        told(tmp_path / "empty.txt")
    with pytest.raises(InputError, match=r"no such file: .*none\.txt"):
        told(tmp_path / "none.txt")
    with pytest.raises(InputError, match="has no column 'domain2'; it has: path, class, domain"):
        told(Path(f"{twice}:domain=domain2"))
