from __future__ import annotations

import json
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from gformer_cli.adapt.predictor import Outcome, Predictor
from gformer_cli.allocator import KeptMemory
from gformer_cli.audit.writer import AuditLog
from gformer_cli.bundle import Bundle
from gformer_cli.errors import InputError, WorkError
from gformer_cli.folders.domains import Domain
from gformer_cli.progress import Silent, StopRequest
from gformer_cli.watch.batches import WatchResult
from gformer_cli.watch.loop import watch
from gformer_cli.watch.moving import move
from gformer_cli.watch.options import WatchOptions

CPU = torch.device("cpu")
Run = Callable[..., WatchResult]
Put = Callable[..., list[str]]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    return tmp_path / "in"


@pytest.fixture
def put(folder: Path, domains: list[Domain]) -> Put:
    """`put("yard", 3)`: the next so many images of a domain come into a sub-folder; returns their names."""
    counts: dict[str, int] = {}
    total = [0]

    def come(place: str, count: int, *, domain: int = 0) -> list[str]:
        names = []
        for _ in range(count):
            number = counts[place] = counts.get(place, -1) + 1
            name = f"{place}/{number:02d}.png" if place else f"{number:02d}.png"
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            hidden = folder / ".coming"
            files = domains[domain].files
            shutil.copy(files[(3 * number) % len(files)].path, hidden)
            total[0] += 1
            os.utime(hidden, (total[0], total[0]))
            hidden.rename(folder / name)
            names.append(name)
        return names

    return come


@pytest.fixture
def run(bundle: Bundle, folder: Path) -> Run:
    """Watch until nothing comes; batches of four, no settling."""

    def call(
        out: str = "p.jsonl", *, sinks: list[Callable[[Outcome], None]] | None = None, **changes: object
    ) -> WatchResult:
        stop = changes.pop("stop", StopRequest())
        progress = changes.pop("progress", None)
        options = {"batch_size": 4, "settle": 0.0, "until_idle": 0.0, "max_wait": 100.0} | changes
        return watch(
            bundle,
            WatchOptions(folder=folder, out=folder.parent / out, **options),  # type: ignore[arg-type]
            device=CPU,
            workers=0,
            stop=stop,  # type: ignore[arg-type]
            sinks=sinks or [],
            progress=progress,  # type: ignore[arg-type]
        )

    return call


@pytest.fixture
def read(folder: Path) -> Callable[..., list[dict[str, object]]]:
    def lines(name: str = "p.jsonl") -> list[dict[str, object]]:
        path = folder.parent / name
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    return lines


Read = Callable[..., list[dict[str, object]]]


def batches(rows: list[dict[str, object]]) -> list[list[object]]:
    return [
        [row["path"] for row in rows if row["batch"] == number]
        for number in sorted({int(str(r["batch"])) for r in rows})
    ]


class Killed(BaseException):
    """As good as SIGKILL for what lies on the disk: nothing of ours catches it."""


@pytest.mark.slow
def test_a_watch_that_waits_gives_memory_back(run: Run, put: Put, monkeypatch: pytest.MonkeyPatch) -> None:
    put("yard", 4)
    asked: list[None] = []
    monkeypatch.setattr(KeptMemory, "give_back_if_due", lambda _self: asked.append(None))
    assert run(until_idle=0.3).batches == 1
    assert len(asked) > 1


def test_each_image_is_predicted_once_in_batches_of_one_sub_folder(run: Run, put: Put, read: Read) -> None:
    yard, gate, root = put("yard", 6), put("gate/monday", 4), put("", 1)
    result = run()
    assert batches(read()) == [yard[:4], gate, yard[4:], root]
    assert [row["target"] for row in read()] == ["yard"] * 4 + ["gate"] * 4 + ["yard"] * 2 + ["."]
    assert (result.images, result.batches, result.before, result.ended_by) == (11, 4, 0, "idle")
    assert sum(result.counts.values()) == 11


def test_predictions_are_those_of_the_predictor_on_these_batches(
    run: Run, put: Put, read: Read, bundle: Bundle
) -> None:
    put("yard", 6)
    seen: list[Outcome] = []
    run(probabilities=True, sinks=[seen.append])
    predictor = Predictor(bundle, CPU)
    expected = [row for each in seen for row in predictor.predict(each.batch, "yard").rows(bundle.header.classes)]
    assert [row["label"] for row in read()] == [row.label for row in expected]
    assert [list(row["probabilities"].values()) for row in read()] == [  # type: ignore[attr-defined]
        [round(value, 6) for value in row.probabilities] for row in expected
    ]


def test_the_next_call_goes_on_and_numbers_on(run: Run, put: Put, read: Read) -> None:
    first = put("yard", 5)
    run()
    second = put("yard", 2)
    result = run()
    assert batches(read()) == [first[:4], first[4:], second]
    assert (result.before, result.images) == (5, 2)
    before = read()
    assert run().images == 0 and read() == before


@pytest.mark.parametrize("moment", ["before the sinks", "after the sinks", "after writing", "within the moves"])
@pytest.mark.parametrize("at", [0, 1, 2])
def test_a_kill_at_any_moment_loses_nothing_doubles_nothing_and_keeps_the_batches(
    run: Run, put: Put, read: Read, folder: Path, monkeypatch: pytest.MonkeyPatch, moment: str, at: int
) -> None:
    names = put("yard", 12)
    run("whole.jsonl")
    calls = [0]

    def kill(real: Callable[..., object]) -> Callable[..., object]:
        def step(*arguments: object) -> object:
            calls[0] += 1
            if calls[0] == at + 1:
                raise Killed
            return real(*arguments)

        return step

    sinks = []
    with monkeypatch.context() as patch:
        if moment == "before the sinks":
            patch.setattr(Predictor, "predict", kill(Predictor.predict))
        elif moment == "after the sinks":
            sinks = [kill(lambda _: None)]
        elif moment == "after writing":
            patch.setattr("gformer_cli.watch.batches.Batches._move", kill(lambda *_: None))
        else:
            patch.setattr("gformer_cli.watch.batches.move", kill(move))
        (folder.parent / "done").mkdir()
        with pytest.raises(Killed):
            run(move_to=folder.parent / "done", sinks=sinks)
    run(move_to=folder.parent / "done")
    assert read() == read("whole.jsonl")
    assert sorted(path.name for path in (folder.parent / "done" / "yard").iterdir()) == [Path(n).name for n in names]
    assert list((folder / "yard").iterdir()) == []


def test_sinks_are_told_before_predictions_count_as_written(run: Run, put: Put, read: Read) -> None:
    put("yard", 8)
    written: list[int] = []
    run(sinks=[lambda outcome: written.append(len(read())), lambda outcome: written.append(outcome.number)])
    assert written == [0, 0, 4, 1]


def test_a_small_batch_waits_for_others_so_long(run: Run, put: Put, read: Read) -> None:
    put("yard", 3)
    began = time.monotonic()
    seen: list[float] = []
    run(max_wait=0.6, until_idle=1.5, sinks=[lambda _: seen.append(time.monotonic() - began)])
    assert 0.6 <= seen[0] < 1.5 and len(read()) == 3


def test_files_that_come_meanwhile_are_predicted(run: Run, put: Put, read: Read) -> None:
    names = put("yard", 4)

    def come(outcome: Outcome) -> None:
        if outcome.number == 0:
            names.extend(put("yard", 2) + put("new", 4))

    run(sinks=[come], until_idle=0.5)
    assert sorted(str(row["path"]) for row in read()) == sorted(names) and len(names) == 10


def test_a_file_that_is_copied_slowly_is_read_when_it_is_whole(
    run: Run, put: Put, read: Read, folder: Path, domains: list[Domain]
) -> None:
    put("yard", 1)
    content = domains[0].files[0].path.read_bytes()

    def copy() -> None:
        with (folder / "slow.png").open("wb", buffering=0) as file:
            for start in range(0, len(content), 1 + len(content) // 8):
                file.write(content[start : start + 1 + len(content) // 8])
                time.sleep(0.08)

    thread = threading.Thread(target=copy)
    thread.start()
    result = run(settle=0.3, until_idle=1.0)
    thread.join()
    assert (result.images, result.skipped) == (2, 0)
    assert next(row for row in read() if row["path"] == "slow.png")["bytes"] == len(content)


def test_bad_files_are_listed_once_and_their_place_in_the_batch_is_filled(
    run: Run, put: Put, read: Read, folder: Path
) -> None:
    names = put("yard", 9)
    for bad in (1, 6):
        content = (folder / names[bad]).read_bytes()
        (folder / names[bad]).write_bytes(content[: len(content) // 2])
        os.utime(folder / names[bad], (bad + 1, bad + 1))
    good = [name for number, name in enumerate(names) if number not in (1, 6)]
    told: list[str] = []

    class Listener(Silent):
        def warning(self, text: str) -> None:
            told.append(text)

    result = run(progress=Listener())
    assert batches(read()) == [good[:4], good[4:]]
    listed = read("p.skipped.jsonl")
    assert sorted(str(row["path"]) for row in listed) == [names[1], names[6]] and result.skipped == 2
    assert len(told) == 2 and all("skipped yard/" in text for text in told)
    assert run().skipped == 0 and read("p.skipped.jsonl") == listed
    # once it is repaired it is another file
    shutil.copy(folder / good[0], folder / names[1])
    run()
    assert read()[-1]["path"] == names[1]


def test_strict_ends_at_a_bad_file_and_keeps_what_is_done(run: Run, put: Put, read: Read, folder: Path) -> None:
    put("yard", 4)
    (folder / "yard" / "zz.png").write_bytes(b"no image")
    with pytest.raises(InputError, match=r"unreadable image: yard/zz\.png"):
        run(strict=True)
    assert len(read()) == 4


def test_a_file_that_goes_before_it_is_read_is_listed_and_read_when_it_comes_back(
    run: Run, put: Put, read: Read, folder: Path
) -> None:
    put("yard", 8)

    def take_away(outcome: Outcome) -> None:
        if outcome.number == 0:
            (folder / "yard" / "05.png").rename(folder / ".away")

    result = run(sinks=[take_away])
    assert (result.images, result.skipped) == (7, 1)
    assert read("p.skipped.jsonl") == [{"path": "yard/05.png", "reason": "it has gone before it was read"}]
    (folder / ".away").rename(folder / "yard" / "05.png")
    assert run().images == 1 and read()[-1]["path"] == "yard/05.png"


def test_a_new_image_of_an_old_name_is_predicted_and_neither_is_lost_in_the_move(
    run: Run, put: Put, read: Read, folder: Path
) -> None:
    done = folder.parent / "done"
    (name,) = put("yard", 1)
    run(move_to=done)
    shutil.copy(done / name, folder / name)
    os.utime(folder / name, (5, 5))
    run(move_to=done)
    assert [row["path"] for row in read()] == [name, name]
    assert sorted(path.name for path in (done / "yard").iterdir()) == ["00.png", "00~1.png"]


def test_what_cannot_be_moved_stays_and_is_not_predicted_again(
    run: Run, put: Put, read: Read, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = put("yard", 2)

    def refuse(*_: object) -> Path:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("gformer_cli.watch.batches.move", refuse)
    run(move_to=folder.parent / "done")
    assert run(move_to=folder.parent / "done").images == 0
    assert len(read()) == 2 and all((folder / name).exists() for name in names)


def test_a_full_disk_ends_it_and_the_next_call_goes_on(
    run: Run, put: Put, read: Read, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names, real = put("yard", 8), os.write

    def full(file: int, data: memoryview) -> int:
        if len(data) > 1 and len(read()) == 4:  # the notices write single bytes
            raise OSError(28, "No space left on device")
        return real(file, data)

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        with pytest.raises(WorkError, match="No space left on device"):
            run(move_to=folder.parent / "done")
    run(move_to=folder.parent / "done")
    assert batches(read()) == [names[:4], names[4:]]


def test_a_request_to_stop_finishes_the_batch_in_hand_and_takes_no_other(run: Run, put: Put, read: Read) -> None:
    names = put("yard", 12)
    stop = StopRequest()

    def ask(_: Outcome) -> None:
        stop.requested, stop.signal = True, signal.SIGTERM

    result = run(sinks=[ask], stop=stop, until_idle=None)
    assert (result.ended_by, batches(read())) == ("SIGTERM", [names[:4]])


def test_a_context_is_kept_for_each_sub_folder_by_itself(run: Run, put: Put, read: Read) -> None:
    def confidences(name: str) -> list[object]:
        return [row["confidence"] for row in read(name) if row["target"] == "yard"]

    put("yard", 6)
    run("alone.jsonl", batch_size=1)
    run("context.jsonl", batch_size=1, context=3)
    assert confidences("alone.jsonl")[0] == confidences("context.jsonl")[0]
    assert confidences("alone.jsonl")[1:] != confidences("context.jsonl")[1:]
    put("gate", 6, domain=2)
    run("both.jsonl", batch_size=1, context=3)
    assert confidences("both.jsonl") == confidences("context.jsonl")


def test_a_folder_without_notices_is_scanned(run: Run, put: Put, read: Read, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(28, "inotify watch limit reached")

    monkeypatch.setattr("gformer_cli.watch.notices.Observer.schedule", refuse)
    monkeypatch.setattr("gformer_cli.watch.loop.SCAN_EVERY", 0.1)
    put("yard", 4)
    told: list[str] = []

    class Listener(Silent):
        def message(self, text: str) -> None:
            told.append(text)

    run(sinks=[lambda outcome: put("yard", 4) if outcome.number == 0 else None], until_idle=1.0, progress=Listener())
    assert len(read()) == 8
    assert "inotify watch limit reached" in told[0] and told[1].startswith("batch 0, yard: 4 images in ")


@pytest.mark.parametrize("name", ["p.jsonl", "audit.jsonl"])
def test_a_file_that_is_rotated_away_leaves_the_images_in_place(
    run: Run, put: Put, read: Read, folder: Path, bundle: Bundle, name: str
) -> None:
    names, done = put("yard", 8), folder.parent / "done"

    def rotate(outcome: Outcome) -> None:
        if outcome.number == 1:
            (folder.parent / name).rename(folder.parent / "rotated")

    log = AuditLog(folder.parent / "audit.jsonl", bundle, "a" * 64, {})
    with log, pytest.raises(WorkError, match=f"{name} has been moved or removed"):
        run(move_to=done, sinks=[rotate, log])
    assert sorted(path.name for path in (folder / "yard").iterdir()) == [Path(n).name for n in names[4:]]
    run(move_to=done)
    assert [row["path"] for row in read()] == (names if name == "audit.jsonl" else names[4:])


def test_images_of_another_folder_are_predicted_and_never_moved(
    run: Run, put: Put, read: Read, folder: Path, domains: list[Domain]
) -> None:
    other, done = folder.parent / "other", folder.parent / "done"
    other.mkdir()
    for place in (other / "1.png", other / "2.png"):
        shutil.copy(domains[0].files[0].path, place)
    put("yard", 1)
    (folder / "link").symlink_to(other)
    (folder / "one.png").symlink_to("../other/1.png")
    told: list[str] = []

    class Listener(Silent):
        def warning(self, text: str) -> None:
            told.append(text)

    for _ in range(2):
        run(move_to=done, progress=Listener())
    assert sorted(str(row["path"]) for row in read()) == ["link/1.png", "link/2.png", "one.png", "yard/00.png"]
    assert sorted(path.name for path in other.iterdir()) == ["1.png", "2.png"]
    assert sorted(path.name for path in done.iterdir()) == ["one.png", "yard"]
    assert (done / "one.png").samefile(other / "1.png")
    assert len(told) == 4 and "cannot move link/1.png: it lies in a linked folder" in told[0]


def test_a_folder_that_vanishes_is_an_error_and_not_an_end(run: Run, put: Put, folder: Path) -> None:
    put("yard", 4)
    away = folder.with_name("away")
    with pytest.raises(InputError, match=f"the watched folder has gone: {folder}"):
        run(sinks=[lambda _: folder.rename(away)])


def test_a_folder_that_is_replaced_is_an_error_and_not_an_end(run: Run, put: Put, folder: Path) -> None:
    """As where what was mounted there is no more."""
    put("yard", 4)

    def unmount(_: Outcome) -> None:
        folder.rename(folder.with_name("away"))
        folder.mkdir()

    with pytest.raises(InputError, match="is another folder than at the start"):
        run(sinks=[unmount])


def test_a_snapshot_that_is_rewritten_for_ever_is_told_once_and_does_not_keep_the_command(
    run: Run, put: Put, read: Read, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gformer_cli.watch.incoming.RESTLESS", 0.5)
    put("yard", 4)
    stop, told = threading.Event(), []

    def rewrite() -> None:
        count = 0
        while not stop.wait(0.02):
            (folder / "snapshot.png").write_bytes(b"x" * (count := count + 1))

    class Listener(Silent):
        def warning(self, text: str) -> None:
            told.append(text)

    thread = threading.Thread(target=rewrite)
    thread.start()
    try:
        result = run(settle=0.05, until_idle=0.3, progress=Listener())
    finally:
        stop.set()
        thread.join()
    assert (result.images, result.unsettled) == (4, 1)
    assert len(told) == 1 and told[0].startswith("snapshot.png goes on changing, so it is never complete")
