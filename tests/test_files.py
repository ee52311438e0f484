from __future__ import annotations

import json
from pathlib import Path

import pytest

from gformer_cli.errors import InputError, WorkError
from gformer_cli.files import append_json_line, atomic_path, make_folder, to_json, write_json, write_text


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_finished_block_replaces_the_file_and_leaves_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "file.txt"
    target.write_text("old")
    with atomic_path(target) as temporary:
        temporary.write_text("new")
        assert target.read_text() == "old"
        assert temporary.parent == tmp_path and temporary != target
    assert target.read_text() == "new"
    assert names(tmp_path) == ["file.txt"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_block_that_raises_keeps_the_old_file_and_leaves_nothing_else(
    tmp_path: Path, error: type[BaseException]
) -> None:
    target = tmp_path / "file.txt"
    target.write_text("old")
    with pytest.raises(error), atomic_path(target) as temporary:
        temporary.write_text("half")
        raise error
    assert target.read_text() == "old"
    assert names(tmp_path) == ["file.txt"]


def test_a_block_that_raises_creates_no_file(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="stop"), atomic_path(tmp_path / "file.txt") as temporary:
        temporary.write_text("half")
        raise ValueError("stop")
    assert names(tmp_path) == []


def test_a_full_disk_is_a_failure_of_the_work_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(WorkError) as caught, atomic_path(tmp_path / "file.txt") as temporary:
        temporary.write_text("half")
        raise OSError(28, "No space left on device")
    assert caught.value.message == f"cannot write {tmp_path / 'file.txt'}: No space left on device"
    assert caught.value.hint and caught.value.exit_status == 1
    assert names(tmp_path) == []


def test_a_missing_parent_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No such file or directory"):
        write_text(tmp_path / "missing" / "file.txt", "text")
    assert names(tmp_path) == []


def test_a_parent_that_is_a_file_is_an_input_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("old")
    with pytest.raises(InputError, match="Not a directory"):
        write_text(tmp_path / "file" / "inside.txt", "text")
    with pytest.raises(InputError, match="Not a directory"):
        make_folder(tmp_path / "file" / "inside")
    with pytest.raises(InputError, match="Not a directory"):
        append_json_line(tmp_path / "file" / "log.jsonl", {})
    assert (tmp_path / "file").read_text() == "old"


def test_writing_over_a_folder_is_an_input_error(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputError, match="Is a directory"):
        write_text(tmp_path / "folder", "text")
    assert names(tmp_path) == ["folder"]


def test_make_folder_creates_parents_and_accepts_an_existing_one(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    assert make_folder(folder) == folder == make_folder(folder)
    assert folder.is_dir()


def test_make_folder_where_a_file_lies_is_an_input_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("old")
    with pytest.raises(InputError, match="File exists"):
        make_folder(tmp_path / "file")


def test_text_is_utf8(tmp_path: Path) -> None:
    write_text(tmp_path / "file.txt", "γ β 犬\n")
    assert (tmp_path / "file.txt").read_bytes() == "γ β 犬\n".encode()


def test_json_is_readable_and_ends_in_a_newline(tmp_path: Path) -> None:
    document = {"name": "犬", "values": [1, 2.5]}
    write_json(tmp_path / "file.json", document)
    text = (tmp_path / "file.json").read_text(encoding="utf-8")
    assert text == to_json(document) and json.loads(text) == document
    assert "犬" in text and text.endswith("}\n") and text.startswith('{\n  "name"')


def test_json_lines_are_appended_one_a_line(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    append_json_line(log, {"step": 1, "note": "a\nb"})
    append_json_line(log, {"step": 2})
    lines = log.read_text(encoding="utf-8").splitlines()
    assert [json.loads(line) for line in lines] == [{"step": 1, "note": "a\nb"}, {"step": 2}]
