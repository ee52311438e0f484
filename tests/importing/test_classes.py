from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from gformer_cli.errors import InputError
from gformer_cli.importing.classes import distinct, read_class_map, read_classes

NAMES = ["zebra", "ant", "moth"]


def _write(path: Path, content: str | bytes) -> str:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return str(path)


@pytest.mark.parametrize(
    "content",
    [
        "zebra\nant\nmoth\n",
        "zebra\r\nant\r\nmoth",
        "\ufeffzebra\nant\nmoth\n\n",
        " zebra \nant\nmoth",
        '["zebra", "ant", "moth"]',
    ],
)
def test_a_name_a_line_in_the_order_of_the_outputs(content: str, tmp_path: Path) -> None:
    assert read_classes(_write(tmp_path / "classes.txt", content)) == NAMES


@pytest.mark.parametrize(
    "value",
    [
        NAMES,
        {"zebra": 0, "moth": 2, "ant": 1},
        {"2": "moth", "0": "zebra", "1": "ant"},
        {"class_to_idx": {"ant": 1, "zebra": 0, "moth": 2}, "epoch": 3},
        {"id2label": {"0": "zebra", "1": "ant", "2": "moth"}, "model_type": "vit"},
        {"label_names": NAMES},
        {"names": {"0": "zebra", "1": "ant", "2": "moth"}},
    ],
)
def test_json_that_libraries_write(value: Any, tmp_path: Path) -> None:
    assert read_classes(_write(tmp_path / "classes.json", json.dumps(value))) == NAMES


def test_more_than_ten_numbers_are_no_text(tmp_path: Path) -> None:
    labels = {str(number): f"c{number}" for number in reversed(range(12))}
    assert read_classes(_write(tmp_path / "a.json", json.dumps(labels)))[9:] == ["c9", "c10", "c11"]


def test_imagenet_is_built_in_with_a_name_for_each_class() -> None:
    names = read_classes("imagenet1k")
    assert len(set(names)) == 1000
    assert names[0] == "tench" and names[999] == "toilet tissue"


def test_distinct_leaves_single_names_alone() -> None:
    assert distinct(["a", "b", "a", "a"]) == ["a", "b", "a (2)", "a (3)"]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("", "names no class"),
        ("\n\n", "names no class"),
        ("[]", "names no class"),
        ("{}", "holds no names of classes"),
        ("a\n\nb", "line 2: an empty name"),
        ("a\nb\na", "'a' is line 1 and line 3"),
        ('["a", "b", "a"]', "'a' is class 0 and class 2"),
        ("caf\u00e9\ncafe\u0301", "is line 1 and line 2"),
        ('{"a": 0, "b": 2}', "no class of number 1"),
        ('{"a": 1, "b": 2}', "no class of number 0"),
        ('{"a": 0, "b": 0}', "number 0 twice"),
        ('["a", 1]', "holds no names of classes"),
        ('{"a": true}', "holds no names of classes"),
        ("[1", "is no JSON"),
    ],
)
def test_what_names_no_classes_is_told(content: str, told: str, tmp_path: Path) -> None:
    with pytest.raises(InputError) as error:
        read_classes(_write(tmp_path / "classes.txt", content))
    assert told in error.value.message


def test_a_missing_file_and_one_that_is_no_text_are_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file of classes"):
        read_classes(str(tmp_path / "none.txt"))
    with pytest.raises(InputError, match="it is not text in UTF-8"):
        read_classes(_write(tmp_path / "a.txt", b"\xff\xfe\xfa\x00\xd8"[2:] + b"\xff"))


def test_a_map_names_the_class_of_a_folder(tmp_path: Path) -> None:
    path = Path(_write(tmp_path / "map.csv", 'folder,class\nn01,zebra\nn02, moth \n\n"n,3",zebra\n'))
    assert read_class_map(path, NAMES) == {"n01": "zebra", "n02": "moth", "n,3": "zebra"}


def test_columns_may_come_the_other_way_round(tmp_path: Path) -> None:
    assert read_class_map(Path(_write(tmp_path / "map.csv", "class,folder\nzebra,n01")), NAMES) == {"n01": "zebra"}


def test_folders_and_classes_are_compared_in_composed_spelling(tmp_path: Path) -> None:
    path = Path(_write(tmp_path / "map.csv", "folder,class\ncafe\u0301,cafe\u0301\n"))
    assert read_class_map(path, ["caf\u00e9"]) == {"caf\u00e9": "caf\u00e9"}


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("", "not folder,class"),
        ("a,zebra", "begins with 'a,zebra', not folder,class"),
        ("folder,class\n", "maps nothing"),
        ("folder,class\na", "line 2: 'a' is not a folder and a class"),
        ("folder,class\na,", "line 2: 'a,' is not a folder and a class"),
        ("folder,class\na,zebra\na,ant", "line 3: folder 'a' for the second time"),
        ("folder,class\na,zebar", "line 2: 'zebar' is no class of the model"),
    ],
)
def test_what_is_no_map_is_told(content: str, told: str, tmp_path: Path) -> None:
    with pytest.raises(InputError) as error:
        read_class_map(Path(_write(tmp_path / "map.csv", content)), NAMES)
    assert told in error.value.message
    assert error.value.hint
