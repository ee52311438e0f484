from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from gformer_cli.errors import InputError
from gformer_cli.importing.classes import check_class_map, check_count, distinct, read_class_map, read_classes

NAMES = ["zebra", "ant", "moth"]
COMPOSED, DECOMPOSED = "caf\u00e9", "cafe\u0301"


def _write(path: Path, content: str | bytes) -> str:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return str(path)


@pytest.fixture
def csv(tmp_path: Path) -> Any:
    """`csv(content)`: a class map."""
    return lambda content: Path(_write(tmp_path / "map.csv", content))


@pytest.mark.parametrize(
    "content",
    [
        "zebra\nant\nmoth\n",
        "zebra\r\nant\r\nmoth",
        "\ufeffzebra\nant\nmoth\n\n \r\n",
        " zebra \nant\t\nmoth",
        '["zebra", "ant", "moth"]',
        "zebra\nant\nmoth\n".encode("utf-16"),
    ],
)
def test_a_name_a_line_in_the_order_of_the_outputs(content: str | bytes, tmp_path: Path) -> None:
    assert read_classes(_write(tmp_path / "classes.txt", content)) == NAMES


def test_names_stay_as_they_are(tmp_path: Path) -> None:
    names = [DECOMPOSED, "Zebra", "zebra", "a, b", "two words", "x\u2028y\u0085z", "7"]
    assert read_classes(_write(tmp_path / "classes.txt", "\n".join(names))) == names


@pytest.mark.parametrize(
    "value",
    [
        NAMES,
        {"zebra": 0, "moth": 2, "ant": 1},
        {"2": "moth", "0": "zebra", "1": "ant"},
        {"class_to_idx": {"ant": 1, "zebra": 0, "moth": 2}, "epoch": 3},
        {"id2label": {"0": "zebra", "1": "ant", "2": "moth"}, "label2id": {"zebra": 0}, "model_type": "vit"},
        {"classes": NAMES},
        {"label_names": NAMES},
        {"labels": NAMES},
        {"names": {"0": "zebra", "1": "ant", "2": "moth"}},
        {"zebra": "0", "moth": "2", "ant": "1"},
    ],
)
def test_json_that_libraries_write(value: Any, tmp_path: Path) -> None:
    assert read_classes(_write(tmp_path / "classes.json", json.dumps(value))) == NAMES


@pytest.mark.parametrize(
    "content",
    [
        "path: data\ntrain: images\nnames:\n  0: zebra\n  1: ant\n  2: moth\n",
        "nc: 3\nnames: [zebra, ant, moth]\n",
        "- zebra\n- ant\n- moth\n",
    ],
)
def test_yaml_that_libraries_write(content: str, tmp_path: Path) -> None:
    assert read_classes(_write(tmp_path / "data.yaml", content)) == NAMES


def test_names_that_yaml_takes_for_something_else_are_names(tmp_path: Path) -> None:
    assert read_classes(_write(tmp_path / "data.yml", "names: [no, 7, null, 1e3]")) == ["no", "7", "null", "1e3"]
    assert read_classes(_write(tmp_path / "data.yml", "names: {0: no, 1: 5}")) == ["no", "5"]


def test_numbers_are_in_order_of_value_and_classes_may_be_called_by_digits(tmp_path: Path) -> None:
    labels = {str(number): f"c{number}" for number in reversed(range(12))}
    assert read_classes(_write(tmp_path / "a.json", json.dumps(labels)))[9:] == ["c9", "c10", "c11"]
    assert read_classes(_write(tmp_path / "b.json", '{"7": 1, "3": 0, "12": 2}')) == ["3", "7", "12"]


def test_imagenet_is_built_in_with_a_name_for_each_class() -> None:
    names = read_classes("imagenet1k")
    assert len(set(names)) == 1000
    assert names[0] == "tench" and names[999] == "toilet tissue"


def test_a_file_of_the_name_of_a_built_in_list_is_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    _write(tmp_path / "imagenet1k", "a\nb")
    assert read_classes("imagenet1k") == ["a", "b"]


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["a", "b"], ["a", "b"]),
        (["a", "b", "a", "a"], ["a", "b", "a (2)", "a (3)"]),
        (["a (2)", "b", "a", "a"], ["a (2)", "b", "a", "a (3)"]),
        (["a", "a", "a (1)"], ["a", "a (1) (1)", "a (1)"]),
        ([COMPOSED, DECOMPOSED], [COMPOSED, f"{DECOMPOSED} (1)"]),
    ],
)
def test_distinct_changes_later_names_alone(names: list[str], expected: list[str]) -> None:
    assert distinct(names) == expected


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("", "names no class"),
        ("\n\n", "names no class"),
        ("[]", "names no class"),
        ("{}", "holds no names of classes"),
        ("a\n\nb", "line 2: an empty name"),
        ("\na\nb", "line 1: an empty name"),
        ('["a", " "]', "class 1: an empty name"),
        ('["a", "\\ud800"]', "class 1: '\\ud800' is not UTF-8"),
        ("a\nb\na", "'a' is line 1 and line 3"),
        ('["a", "b", "a"]', "'a' is class 0 and class 2"),
        ("caf\u00e9\ncafe\u0301", "is line 1 and line 2"),
        ('{"a": 0, "b": 2}', "no class of number 1"),
        ('{"a": 1, "b": 2}', "no class of number 0"),
        ('{"0": "a", "2": "b"}', "no class of number 1"),
        ('{"a": -1, "b": 0}', "no class of number 0"),
        ('{"a": 0, "b": 0}', "two classes of number 0"),
        ('{"a": 0, "b": 1, "c": 1, "d": 5}', "two classes of number 1"),
        ('["a", 1]', "holds no names of classes"),
        ('{"0": "a", "1": 2}', "holds no names of classes"),
        ('{"a": true}', "holds no names of classes"),
        ('{"a": 0.5}', "holds no names of classes"),
        ("[1", "is no JSON"),
        ("[" * 100_000, "is no JSON"),
    ],
)
def test_what_names_no_classes_is_told(content: str, told: str, tmp_path: Path) -> None:
    with pytest.raises(InputError) as error:
        read_classes(_write(tmp_path / "classes.txt", content))
    assert told in error.value.message
    assert error.value.hint


@pytest.mark.parametrize(
    ("content", "told"),
    [("names: [a", "is no YAML"), ("names: zebra", "holds no names"), ("a: !!python/object:os.system {}", "no names")],
)
def test_what_is_no_yaml_of_classes_is_told(content: str, told: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=told):
        read_classes(_write(tmp_path / "data.yaml", content))


def test_a_missing_file_a_folder_and_what_is_no_text_are_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file of classes"):
        read_classes(str(tmp_path / "none.txt"))
    with pytest.raises(InputError, match="cannot read classes"):
        read_classes(str(tmp_path))
    with pytest.raises(InputError, match="it is not text in UTF-8"):
        read_classes(_write(tmp_path / "a.txt", b"a\nb\xff"))


def test_as_many_names_as_outputs_are_right() -> None:
    check_count(NAMES, 3, "classes.txt")


@pytest.mark.parametrize(
    ("names", "heads", "hint"),
    [
        (["Class", *NAMES], 3, "'Class' at its beginning looks like a header"),
        (["__background__", *NAMES], 3, "'__background__' may be a class that the model has no output for"),
        ([*NAMES, "Background"], 3, "'Background' may be"),
        (NAMES, 4, "one for the background"),
        (NAMES, 2, "Every output of the model needs a name, in their order."),
        (["background", *NAMES], 10, "Every output of the model needs a name, in their order."),
    ],
)
def test_another_number_of_names_than_outputs(names: list[str], heads: int, hint: str) -> None:
    with pytest.raises(InputError) as error:
        check_count(names, heads, "classes.txt")
    assert error.value.message == f"classes.txt names {len(names)} classes, and the model has {heads} outputs"
    assert hint in error.value.hint


@pytest.mark.parametrize(
    "content",
    [
        'folder,class\nn01,zebra\nn02, moth \n\n"n,3",zebra\n',
        'Folder, Class\r\nn01,zebra\r\nn02,moth\r\n"n,3",zebra',
        '\ufeffn01,zebra\nn02,moth\n"n,3",zebra',
        'class,folder\nzebra,n01\nmoth,n02\nzebra,"n,3"\n',
    ],
)
def test_a_map_names_the_class_of_a_folder(content: str, csv: Any) -> None:
    assert read_class_map(csv(content)) == {"n01": "zebra", "n02": "moth", "n,3": "zebra"}


def test_folders_of_a_map_are_in_composed_spelling(csv: Any) -> None:
    assert read_class_map(csv(f"{DECOMPOSED},ant")) == {COMPOSED: "ant"}
    with pytest.raises(InputError, match="line 2: folder 'caf\u00e9' for the second time"):
        read_class_map(csv(f"{COMPOSED},ant\n{DECOMPOSED},ant"))


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("", "names no folder"),
        ("folder,class\n", "names no folder"),
        ("folder,label\na,zebra", "has the columns folder, label, not folder and class"),
        ("folder,class,note\na,zebra,x", "has the columns folder, class, note, not folder and class"),
        ("folder\na", "has the columns folder, not"),
        ("folder,class\na", "line 2: 'a' is not a folder and a class"),
        ("folder,class\n\na,", "line 3: 'a,' is not a folder and a class"),
        ("a,zebra,x", "line 1: 'a,zebra,x' is not a folder and a class"),
        ("a;zebra", "line 1: 'a;zebra' is not a folder and a class"),
        ("folder,class\na,zebra\na,zebra", "line 3: folder 'a' for the second time"),
        ("site/a,zebra", "line 1: 'site/a' is a path"),
        ("a," + "b" * 200_000, "is no CSV"),
    ],
)
def test_what_is_no_map_is_told(content: str, told: str, csv: Any) -> None:
    with pytest.raises(InputError) as error:
        read_class_map(csv(content))
    assert told in error.value.message
    assert error.value.hint


def test_a_map_that_is_not_there_or_no_text_is_told(csv: Any, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such class map"):
        read_class_map(tmp_path / "none.csv")
    with pytest.raises(InputError, match="it is not text in UTF-8"):
        read_class_map(csv(b"a,\xff"))


def test_a_map_is_checked_against_the_classes_of_the_model() -> None:
    assert check_class_map({"n01": DECOMPOSED, "n02": COMPOSED}, [COMPOSED, "ant"]) == {
        "n01": COMPOSED,
        "n02": COMPOSED,
    }
    with pytest.raises(InputError) as error:
        check_class_map({"n01": "zebra", "n02": "zebar"}, NAMES)
    assert error.value.message == "the class map gives folder 'n02' the class 'zebar', which the model does not have"
    assert "Did you mean 'zebra'?" in error.value.hint
