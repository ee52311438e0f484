from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from gformer_cli.errors import InputError, WorkError
from gformer_cli.files import (
    append_json_line,
    atomic_path,
    check_appendable,
    check_fillable,
    check_writable,
    make_folder,
    read_regular,
    read_text,
    remove_tree,
    to_json,
    write_json,
    write_text,
)


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


def test_a_link_stays_and_the_file_that_it_leads_to_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link.txt").symlink_to("middle.txt")
    (tmp_path / "middle.txt").symlink_to("real/file.txt")
    for text in ("first", "second"):  # at first it leads to nothing
        write_text(tmp_path / "link.txt", text)
        assert (tmp_path / "real" / "file.txt").read_text() == text
    assert (tmp_path / "link.txt").is_symlink() and (tmp_path / "middle.txt").is_symlink()
    assert names(tmp_path) == ["link.txt", "middle.txt", "real"] and names(tmp_path / "real") == ["file.txt"]


def test_a_link_to_a_folder_that_is_not_there_makes_it(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("real")
    make_folder(tmp_path / "link")
    assert (tmp_path / "real").is_dir() and (tmp_path / "link").is_symlink()


def test_links_in_a_circle_and_into_a_missing_folder_are_input_errors(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    (tmp_path / "c").symlink_to("nowhere/file")
    for refuse in (write_text, check_writable):
        with pytest.raises(InputError, match="Too many levels of symbolic links"):
            refuse(tmp_path / "a", *(["x"] if refuse is write_text else []))
    with pytest.raises(InputError, match="No such file or directory"):
        write_text(tmp_path / "c", "x")
    assert names(tmp_path) == ["a", "b", "c"] and (tmp_path / "a").is_symlink()


def test_a_device_and_a_pipe_are_not_replaced(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "null").symlink_to("/dev/null")
    for name in ("pipe", "null"):
        with pytest.raises(InputError, match="not a regular file"):
            write_text(tmp_path / name, "x")
        with pytest.raises(InputError, match="not a regular file"):
            check_writable(tmp_path / name)
        with pytest.raises(InputError, match=r"not a regular file|No such device"):
            append_json_line(tmp_path / name, {})


def test_a_replaced_file_keeps_its_permissions(tmp_path: Path) -> None:
    (tmp_path / "private").write_text("old")
    (tmp_path / "private").chmod(0o600)
    write_text(tmp_path / "private", "new")
    assert (tmp_path / "private").stat().st_mode & 0o777 == 0o600


def test_a_name_as_long_as_names_may_be_is_written_to(tmp_path: Path) -> None:
    for name in ("x" * 255, "犬" * 85):
        check_writable(tmp_path / name)
        write_text(tmp_path / name, "x")
        assert (tmp_path / name).read_text() == "x"


@pytest.mark.parametrize("check", [check_writable, check_appendable, check_fillable])
def test_trying_leaves_nothing_behind(tmp_path: Path, check: Callable[[Path], None]) -> None:
    (tmp_path / "there").mkdir()
    check(tmp_path / "there" / "new" / "deep")
    check(tmp_path / "new")
    assert names(tmp_path) == ["there"] and names(tmp_path / "there") == []
    if check is not check_fillable:
        (tmp_path / "file").write_text("old")
        check(tmp_path / "file")
        assert (tmp_path / "file").read_text() == "old"


@pytest.mark.parametrize("check", [check_writable, check_appendable, check_fillable])
@pytest.mark.parametrize(
    "place", ["/proc/x", "/proc/1/x/y", "file/x", "x" * 256, f"new/{'x' * 256}", f"new/{'x' * 256}/y"]
)
def test_what_cannot_be_written_is_told_beforehand(tmp_path: Path, check: Callable[[Path], None], place: str) -> None:
    (tmp_path / "file").write_text("old")
    with pytest.raises(InputError, match=f"^cannot write {tmp_path / place}: "):
        check(tmp_path / place)
    assert names(tmp_path) == ["file"]


def test_a_full_disk_is_told_beforehand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_self: Path, _data: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(WorkError, match="No space left on device"):
        check_writable(tmp_path / "new" / "file")
    assert names(tmp_path) == []


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="nothing is refused to root")
def test_permissions_are_told_beforehand(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("old")
    (tmp_path / "file").chmod(0o444)
    tmp_path.chmod(0o555)
    try:
        for check in (check_writable, check_fillable):
            with pytest.raises(InputError, match="Permission denied"):
                check(tmp_path / "new")
        with pytest.raises(InputError, match="Permission denied"):
            check_appendable(tmp_path / "file")
    finally:
        tmp_path.chmod(0o755)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_text_with_a_mark_is_read_as_the_mark_says(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "file").write_bytes("γ: 犬\n".encode(encoding))
    assert read_text(tmp_path / "file", 100) == "γ: 犬\n"


def test_other_bytes_are_no_text(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"caf\xe9")
    with pytest.raises(OSError, match=r"byte 3.*save it as UTF-8"):
        read_text(tmp_path / "file", 100)


def test_only_regular_files_of_bounded_size_are_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for place in (tmp_path / "pipe", Path("/dev/zero"), tmp_path):
        with pytest.raises(OSError, match="not a regular file"):
            read_regular(place, 100)
    (tmp_path / "file").write_bytes(b"x" * 100)
    assert read_regular(tmp_path / "file", 100) == b"x" * 100
    with pytest.raises(OSError, match="larger than"):
        read_regular(tmp_path / "file", 99)


def test_json_has_no_number_that_is_not_finite(tmp_path: Path) -> None:
    append_json_line(tmp_path / "log", {"a": [float("nan"), 1.5], "b": {"c": float("inf")}, "d": (1, 2)})
    assert json.loads((tmp_path / "log").read_text()) == {"a": [None, 1.5], "b": {"c": None}, "d": [1, 2]}
    assert "NaN" not in to_json({"x": float("nan")})


def test_a_tree_of_any_depth_is_removed_and_what_links_lead_to_is_left(
    tmp_path: Path, make_deep: Callable[[Path], Path]
) -> None:
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept/file").touch()
    deep = make_deep(tmp_path / "deep")
    for folder in (tmp_path / "deep", tmp_path / "deep/d/d", deep):
        (folder / "0.remove").touch()
        (folder / ".0.remove").mkdir()
        (folder / "link").symlink_to(tmp_path / "kept")
        (folder / "nowhere").symlink_to("nowhere")
    remove_tree(tmp_path / "deep")
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]
    assert (tmp_path / "kept/file").exists()


def test_a_folder_of_any_depth_is_made(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "/".join("d" * 1200)
    make_folder(folder)
    assert folder.is_dir()
    remove_tree(tmp_path / "deep")
