from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from gformer_cli.audit.records import BatchRecord, Damage, differing, hash_settings, last_line, read_log
from gformer_cli.errors import InputError

MakeRecord = Callable[..., BatchRecord]
Write = Callable[..., Path]


@pytest.fixture
def log(tmp_path: Path, make_record: MakeRecord, write_records: Write) -> Path:
    """Three records."""
    return write_records(tmp_path / "audit.jsonl", *map(make_record, range(3)))


def test_records_are_read_as_written_with_their_lines(log: Path, make_record: MakeRecord) -> None:
    assert list(read_log(log)) == [(number + 1, make_record(number)) for number in range(3)]


@pytest.mark.parametrize("cut", [1, 2, 30, 200])
def test_a_torn_last_line_is_passed_over(log: Path, cut: int) -> None:
    log.write_bytes(log.read_bytes()[:-cut])
    assert [line for line, _ in read_log(log)] == [1, 2]


@pytest.mark.parametrize("rest", [b"", b"{", b'{"schema_version":1,"ti'])
def test_a_log_of_nothing_but_a_torn_line_is_empty(tmp_path: Path, rest: bytes) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(rest)
    assert list(read_log(path)) == []
    assert last_line(path) == (None, 0)


@pytest.mark.parametrize("content", [b"mine", b"path,label\na.png,cat\n", b"\x89PNG\n\x00", b'{"path": "a"}\n', b"\n"])
def test_a_file_of_something_else_is_told(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(content)
    with pytest.raises(InputError, match="not an audit log"):
        list(read_log(path))


def test_a_damaged_line_in_the_middle_is_named(log: Path) -> None:
    lines = log.read_text().splitlines(keepends=True)
    log.write_text(lines[0] + lines[1][:100] + "\n" + lines[2])
    with pytest.raises(InputError, match=r"damaged audit log .*: line 2"):
        list(read_log(log))


def test_a_missing_field_is_named(log: Path) -> None:
    record = json.loads(log.read_text().splitlines()[0])
    del record["decision"]
    log.write_text(json.dumps(record, separators=(",", ":")) + "\n")
    with pytest.raises(InputError, match="line 1: decision: Field required"):
        list(read_log(log))


def test_a_newer_schema_asks_for_an_upgrade_whatever_else_it_holds(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"schema_version":2,"new":[]}\n')
    with pytest.raises(InputError, match=r"schema version 2 in line 1; this gformer reads up to 1") as caught:
        list(read_log(tmp_path / "a.jsonl"))
    assert "Upgrade" in caught.value.hint


def test_a_field_that_is_not_known_is_no_error(log: Path) -> None:
    record = json.loads(log.read_text().splitlines()[0]) | {"later": 1}
    log.write_text(json.dumps(record) + "\n")
    assert len(list(read_log(log))) == 1


def test_a_missing_log_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such audit log"):
        list(read_log(tmp_path / "a.jsonl"))


@pytest.mark.parametrize("torn", [b"", b'{"schema', b"\0" * 5000, b"x" * 200_000])
def test_the_last_whole_line_is_found_from_the_end(log: Path, torn: bytes) -> None:
    content = log.read_bytes()
    log.write_bytes(content + torn)
    assert last_line(log) == (content.splitlines(keepends=True)[-1], len(content))


def test_a_last_line_longer_than_a_block_is_found_whole(log: Path) -> None:
    content, long = log.read_bytes(), b"y" * 300_000 + b"\n"
    log.write_bytes(content + long)
    assert last_line(log) == (long, len(content + long))
    log.write_bytes(long)
    assert last_line(log) == (long, len(long))


def test_the_hash_of_settings_depends_on_values_not_on_the_order_of_keys() -> None:
    assert hash_settings({"a": 1, "b": 2}) == hash_settings({"b": 2, "a": 1}) != hash_settings({"a": 1, "b": 3})


def test_differing_settings_are_named_with_both_values() -> None:
    before = {"size": 64, "seed": 0, "versions": {"torch": "2.1", "python": "3.11"}}
    now = {"size": 8, "seed": 0, "versions": {"torch": "2.2", "python": "3.11"}, "guard": "on"}
    assert differing(before, now) == "size 64 -> 8, versions: torch 2.1 -> 2.2, guard None -> on"


def test_damaged_lines_are_passed_over_and_told(log: Path, make_record: MakeRecord) -> None:
    lines = log.read_bytes().splitlines(keepends=True)
    log.write_bytes(lines[0] + lines[1][:100] + b"\n" + b"mine\n" + lines[2].replace(b'n":1,', b'n":9,', 1) + lines[2])
    damage = Damage()
    assert list(read_log(log, damage)) == [(1, make_record(0)), (5, make_record(2))]
    assert damage.count == 3 and [number for number, _ in damage.lines] == [2, 3, 4]
    assert "schema version 9" in damage.lines[2][1]


@pytest.mark.parametrize("content", [b"mine\n" * 5000, b"x" * 300, b"x" * 300 + b"\n"])
def test_a_file_without_any_record_is_no_log_with_damage(
    tmp_path: Path, content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gformer_cli.audit.records._LONGEST", 100)
    (tmp_path / "a.jsonl").write_bytes(content)
    with pytest.raises(InputError, match="not an audit log"):
        list(read_log(tmp_path / "a.jsonl", Damage()))


def test_a_line_without_an_end_takes_no_memory(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = log.read_bytes().splitlines(keepends=True)
    longest = max(map(len, lines)) + 1
    monkeypatch.setattr("gformer_cli.audit.records._LONGEST", longest)
    log.write_bytes(lines[0] + b"{" * (3 * longest) + b"\n" + lines[1])
    damage = Damage()
    assert [number for number, _ in read_log(log, damage)] == [1, 3] and damage.count == 1


def test_a_pipe_is_no_log(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match="nor a regular file"):
        list(read_log(tmp_path / "pipe"))
