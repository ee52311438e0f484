from __future__ import annotations

import csv
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from gformer_cli.adapt.rows import Row
from gformer_cli.errors import InputError, WorkError
from gformer_cli.watch.ledger import Ledger, SkippedList, Stamp, key_of

CLASSES = ["cat", 'dog, "brown"\nor black']
STAMP = Stamp(7, 1_700_000_000_123_456_789)


def rows(batch: int, names: list[str]) -> list[Row]:
    return [Row("yard", name, "cat", 0.75, batch, CLASSES[1], (0.75, 0.25)) for name in names]


def open_ledger(out: Path, *, probabilities: bool = False) -> Ledger:
    return Ledger(out, CLASSES, probabilities=probabilities)


def write(out: Path, batches: list[list[str]], *, probabilities: bool = False) -> list[int]:
    """Batches in one file; returns the size after each, the empty file's first."""
    ledger = open_ledger(out, probabilities=probabilities)
    sizes = [out.stat().st_size]
    for number, names in enumerate(batches):
        ledger.append(rows(number, names), [STAMP] * len(names))
        sizes.append(out.stat().st_size)
    ledger.close()
    return sizes


@pytest.fixture(params=["p.csv", "p.jsonl"])
def out(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return tmp_path / str(request.param)


def test_rows_hold_what_write_rows_writes_and_what_tells_images_apart(tmp_path: Path) -> None:
    for name in ("p.csv", "p.jsonl"):
        write(tmp_path / name, [["a.png", 'b,"1"\n.png']], probabilities=True)
    with (tmp_path / "p.csv").open(newline="") as file:
        records = list(csv.DictReader(file))
    expected = {
        "path": "a.png",
        "label": "cat",
        "confidence": 0.75,
        "batch": 0,
        "source_label": CLASSES[1],
        "decision": "generated",
        "target": "yard",
        "batch_size": 2,
        "bytes": 7,
        "modified_ns": STAMP.modified_ns,
    }
    assert records[0] == {key: str(value) for key, value in expected.items()} | {
        f"probability:{CLASSES[0]}": "0.750000",
        f"probability:{CLASSES[1]}": "0.250000",
    }
    lines = [json.loads(line) for line in (tmp_path / "p.jsonl").read_text().splitlines()]
    assert lines[0] == expected | {"probabilities": dict(zip(CLASSES, (0.75, 0.25), strict=True))}
    assert records[1]["path"] == lines[1]["path"] == 'b,"1"\n.png'


@pytest.mark.slow
@pytest.mark.parametrize("probabilities", [False, True])
def test_wherever_a_file_is_torn_its_whole_batches_stay_and_the_rest_can_be_written_again(
    out: Path, probabilities: bool
) -> None:
    names = [["a.png", 'b,"1"\n".png'], ["犬.png"], ["\udcff.png", "d,\r\n.png", "e.png"]]
    sizes = write(out, names, probabilities=probabilities)
    content = out.read_bytes()
    for length in range(len(content) + 1):
        out.write_bytes(content[:length])
        whole = max(0, sum(size <= length for size in sizes) - 1)
        ledger = open_ledger(out, probabilities=probabilities)
        assert ledger.done == {key_of(name, STAMP) for batch in names[:whole] for name in batch}
        assert (ledger.next_batch, ledger.images) == (whole, sum(map(len, names[:whole])))
        assert ledger.cut == length - (sizes[whole] if length >= sizes[0] else 0)
        for number in range(whole, 3):
            ledger.append(rows(number, names[number]), [STAMP] * len(names[number]))
        ledger.close()
        assert out.read_bytes() == content


def test_a_block_of_zeros_at_the_end_is_torn(out: Path) -> None:
    sizes = write(out, [["a.png"], ["b.png"]])
    os.truncate(out, sizes[1])
    os.truncate(out, sizes[1] + 40)
    ledger = open_ledger(out)
    assert ledger.done == {key_of("a.png", STAMP)} and ledger.cut == 40
    ledger.close()


def test_the_same_name_with_another_size_or_time_is_another_image(out: Path) -> None:
    write(out, [["a.png"]])
    ledger = open_ledger(out)
    ledger.close()
    assert key_of("a.png", STAMP) in ledger.done
    assert key_of("a.png", STAMP._replace(size=8)) not in ledger.done
    assert key_of("a.png", STAMP._replace(modified_ns=STAMP.modified_ns + 1)) not in ledger.done


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("p.csv", "mine\r\n"),
        ("p.csv", "path,label,confidence,batch,source_label\r\na.png,cat,0.5,0,cat\r\n"),
        ("p.jsonl", "mine\n"),
        ("p.jsonl", "[1]\n"),
        ("p.jsonl", '{"path": "a.png", "label": "cat"}\n'),
    ],
)
def test_a_file_of_another_kind_is_refused_and_kept(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_bytes(content.encode())
    with pytest.raises(InputError, match="not as this command writes it"):
        open_ledger(tmp_path / name)
    assert (tmp_path / name).read_bytes() == content.encode()


@pytest.mark.parametrize("probabilities", [False, True])
def test_a_file_with_other_columns_is_refused(out: Path, probabilities: bool) -> None:
    write(out, [["a.png"]], probabilities=probabilities)
    before = out.read_bytes()
    with pytest.raises(InputError, match="not as this command writes it"):
        open_ledger(out, probabilities=not probabilities)
    assert out.read_bytes() == before


def test_a_batch_that_misses_rows_in_the_middle_is_damage_and_not_torn(out: Path) -> None:
    write(out, [["a.png", "b.png"], ["c.png"]])
    out.write_bytes(out.read_bytes().replace(b",2,7,", b",3,7,").replace(b'"batch_size": 2', b'"batch_size": 3'))
    with pytest.raises(InputError, match="rows of batch 0 are missing"):
        open_ledger(out)


def test_a_number_that_is_none(out: Path) -> None:
    write(out, [["a.png"]])
    out.write_bytes(out.read_bytes().replace(str(STAMP.modified_ns).encode(), b'"x"'))
    with pytest.raises(InputError, match="image 1: "):
        open_ledger(out)


def test_a_second_process_is_refused(out: Path) -> None:
    ledger = open_ledger(out)
    with pytest.raises(InputError, match="another process is writing"):
        open_ledger(out)
    ledger.close()
    open_ledger(out).close()


def test_a_full_disk_is_an_error_and_leaves_the_file_as_it_was(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(out, [["a.png"]])
    before, ledger, real = out.read_bytes(), open_ledger(out), os.write

    def nearly_full(file: int, data: memoryview) -> int:
        if len(data) < 30:
            raise OSError(28, "No space left on device")
        return real(file, data[:30])

    monkeypatch.setattr(os, "write", nearly_full)
    with pytest.raises(WorkError, match="No space left on device"):
        ledger.append(rows(1, ["b.png"]), [STAMP])
    ledger.close()
    assert out.read_bytes() == before and key_of("b.png", STAMP) not in ledger.done


def test_a_batch_is_synchronised_before_it_counts(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger, seen = open_ledger(out), []
    monkeypatch.setattr(os, "fsync", lambda _: seen.append((out.stat().st_size, len(ledger.done))))
    before = out.stat().st_size
    ledger.append(rows(0, ["a.png"]), [STAMP])
    ledger.close()
    assert seen[0][0] > before and seen[0][1] == 0


def test_skipped_files_are_listed_beside_and_known_after_a_restart(tmp_path: Path) -> None:
    skipped = SkippedList(tmp_path / "p.csv")
    skipped.add("a\n犬\udcff.png", "the file is empty", STAMP)
    skipped.add("b.png", "it has gone", None)
    assert (skipped.path, skipped.new) == (tmp_path / "p.skipped.jsonl", 2)
    with skipped.path.open("a") as file:
        file.write('{"path": "c.png", "rea')
    again = SkippedList(tmp_path / "p.csv")
    assert again.keys == skipped.keys == {key_of("a\n犬\udcff.png", STAMP)}
    again.add("c.png", "the file is empty", STAMP)
    records = [json.loads(line) for line in skipped.path.read_text().splitlines()]
    assert [record["path"] for record in records] == ["a\n犬\udcff.png", "b.png", "c.png"]
    assert records[0] == {"path": "a\n犬\udcff.png", "reason": "the file is empty", "bytes": 7} | {
        "modified_ns": STAMP.modified_ns
    }


def test_a_list_of_another_kind_is_refused(tmp_path: Path) -> None:
    (tmp_path / "p.skipped.jsonl").write_text("mine\n")
    with pytest.raises(InputError, match=r"p\.skipped\.jsonl, line 1"):
        SkippedList(tmp_path / "p.csv")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda path: path.rename(path.with_name("rotated")), "has been moved or removed"),
        (lambda path: path.unlink(), "has been moved or removed"),
        (lambda path: shutil.copy(path, path.with_name("new")) and path.with_name("new").replace(path), "another file"),
        (lambda path: path.write_bytes(b""), "changed by another program"),
        (lambda path: path.write_bytes(path.read_bytes() + b"mine"), "changed by another program"),
    ],
    ids=["moved", "removed", "replaced", "emptied", "added to"],
)
def test_a_file_that_is_no_longer_the_open_one_takes_no_batch(
    out: Path, change: Callable[[Path], object], told: str
) -> None:
    ledger = open_ledger(out)
    ledger.append(rows(0, ["a.png"]), [STAMP])
    change(out)
    content = out.read_bytes() if out.exists() else None
    with pytest.raises(WorkError, match=told) as caught:
        ledger.append(rows(1, ["b.png"]), [STAMP])
    assert str(out) in caught.value.message and key_of("b.png", STAMP) not in ledger.done
    assert (out.read_bytes() if out.exists() else None) == content


def test_a_file_that_goes_while_it_is_written_to_takes_no_batch(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger, real = open_ledger(out), os.fsync

    def rotate(file: int) -> None:
        real(file)
        out.rename(out.with_name("rotated"))

    monkeypatch.setattr(os, "fsync", rotate)
    with pytest.raises(WorkError, match="has been moved or removed"):
        ledger.append(rows(0, ["a.png"]), [STAMP])
    assert ledger.done == set()


def test_a_pipe_and_a_device_are_no_predictions_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.csv")
    (tmp_path / "zero.csv").symlink_to("/dev/zero")
    for name in ("pipe.csv", "zero.csv"):
        with pytest.raises(WorkError, match="not a regular file"):
            open_ledger(tmp_path / name)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda text: "\ufeff" + text, "it has a byte order mark, as if another program had saved it"),
        (lambda text: text.encode("utf-16").decode("utf-8", "surrogateescape"), "it has a byte order mark"),
        (lambda text: text.replace(",", ";"), "it has ';' between the columns"),
        (lambda text: text.replace(",", "\t"), "it has tabs between the columns"),
        (lambda text: text.replace("\r\n", "\n"), "it has other ends of lines"),
        (lambda text: '"' + text.replace(",", '","', 10).replace("\r", '"\r', 1), "it has quotes around them"),
        (
            lambda text: "\ufeff" + text.replace(",", ";").replace("\r\n", "\n"),
            "it has a byte order mark and ';' between the columns and other ends of lines",
        ),
        (lambda text: text.replace(",target,batch_size,bytes,modified_ns", ""), "it lacks the columns target, batch_"),
        (lambda text: text.replace("_ns", "_ns,note"), "it has other columns: note"),
        (lambda text: text.replace("path,label", "label,path"), "its columns are in another order"),
    ],
)
def test_what_another_program_has_made_of_it_is_told(tmp_path: Path, change: Callable[[str], str], told: str) -> None:
    write(tmp_path / "p.csv", [["a.png"]])
    text = (tmp_path / "p.csv").read_bytes().decode()
    changed = change(text).encode("utf-8", "surrogateescape")
    (tmp_path / "p.csv").write_bytes(changed)
    with pytest.raises(InputError, match=told):
        open_ledger(tmp_path / "p.csv")
    assert (tmp_path / "p.csv").read_bytes() == changed


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_lines_in_another_encoding_are_no_torn_ones(tmp_path: Path, encoding: str) -> None:
    write(tmp_path / "p.jsonl", [["a.png"], ["b.png"]])
    changed = (tmp_path / "p.jsonl").read_text().encode(encoding)
    (tmp_path / "p.jsonl").write_bytes(changed)
    with pytest.raises(InputError, match="not as this command writes it"):
        open_ledger(tmp_path / "p.jsonl")
    assert (tmp_path / "p.jsonl").read_bytes() == changed


def test_numbers_that_a_spreadsheet_has_rounded_are_told(tmp_path: Path) -> None:
    write(tmp_path / "p.csv", [["a.png"]])
    path = tmp_path / "p.csv"
    path.write_bytes(path.read_bytes().replace(str(STAMP.modified_ns).encode(), b"1.7E+18"))
    with pytest.raises(InputError, match=r"modified_ns is '1.7E\+18', no whole number: has a spreadsheet saved it"):
        open_ledger(path)
