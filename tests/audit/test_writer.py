from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
import torch

from gformer_cli.adapt import Outcome, Predictor, adapt
from gformer_cli.adapt.appending import AppendFile
from gformer_cli.audit.records import BatchRecord, read_log
from gformer_cli.audit.writer import AuditLog, environment
from gformer_cli.bundle import Bundle
from gformer_cli.errors import InputError, WorkError
from gformer_cli.folders.domains import Domain, ImageFile
from gformer_cli.guard.rule import Verdict
from gformer_cli.images.preprocessing import read_batches

CPU = torch.device("cpu")
HASH = "a" * 64
SETTINGS = {"batch_size": 4, "seed": 0}


@pytest.fixture
def outcome(bundle: Bundle, domains: list[Domain]) -> Outcome:
    """Of four images."""
    (batch, *_) = read_batches(domains[0].files, bundle.preprocessing, batch_size=4, workers=0, skipped=[])
    return Predictor(bundle, CPU).predict(batch, "blue")


@pytest.fixture
def open_log(bundle: Bundle, tmp_path: Path) -> Callable[..., AuditLog]:
    def call(sha256: str = HASH, settings: Any = SETTINGS, **options: bool) -> AuditLog:
        return AuditLog(tmp_path / "audit.jsonl", bundle, sha256, settings, **options)

    return call


OpenLog = Callable[..., AuditLog]


def read(log: AuditLog) -> list[BatchRecord]:
    return [record for _, record in read_log(log.path)]


def test_a_line_tells_everything_about_its_batch(open_log: OpenLog, outcome: Outcome, bundle: Bundle) -> None:
    with open_log() as log:
        log(outcome)
    (record,) = read(log)
    assert record == log.record(outcome).model_copy(update={"time": record.time})
    assert abs((datetime.now(timezone.utc) - record.time).total_seconds()) < 60
    assert (record.bundle, record.settings, record.batch, record.target) == (HASH, SETTINGS, 0, "blue")
    assert [image.path for image in record.images] == [file.relative for file in outcome.batch.files]
    assert tuple(image.sha256 for image in record.images) == outcome.batch.digests
    rows = outcome.rows(bundle.header.classes)
    told = [(image.label, image.confidence, image.source_label) for image in record.images]
    assert told == [(row.label, row.confidence, row.source_label) for row in rows]
    before = outcome.source_probabilities.max(dim=1).values
    assert [image.source_confidence for image in record.images] == before.tolist()
    assert record.changed == sum(row.label != row.source_label for row in rows)
    assert [layer.name for layer in record.layers] == bundle.backbone.layer_names
    assert record.classifier.name == bundle.backbone.classifier_name
    mix = outcome.prediction.parameters.mix
    assert mix is not None
    assert [layer.mixing for layer in record.layers] == pytest.approx(mix.tolist(), abs=1e-6)
    assert record.seconds == pytest.approx(outcome.seconds, abs=1e-6)


def test_whatever_the_guard_says_is_written_down(open_log: OpenLog, outcome: Outcome) -> None:
    verdict = Verdict("blended", 0.25, {"entropy": 1.5, "distance": float("inf")}, ("distance",))
    record = open_log().record(replace(outcome, verdict=verdict))
    assert (record.decision, record.share) == ("blended", 0.25)
    assert (record.signals, record.reasons) == ({"entropy": 1.5, "distance": None}, ["distance"])


def test_each_line_is_on_the_disk_when_the_call_returns(
    open_log: OpenLog, outcome: Outcome, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []
    fsync = os.fsync
    monkeypatch.setattr(os, "fsync", lambda file: (synced.append(os.fstat(file).st_size), fsync(file)))
    monkeypatch.setattr(AppendFile, "_sync_folder", lambda _self: None)
    with open_log() as log:
        for count in (1, 2):
            log(outcome)
            assert len(read(log)) == len(synced) == count
            assert synced[-1] == log.path.stat().st_size


def test_what_is_not_finite_becomes_null_and_is_read_back(open_log: OpenLog, outcome: Outcome) -> None:
    broken = outcome.probabilities.clone()
    broken[0] = float("nan")
    with open_log() as log:
        log(replace(outcome, probabilities=broken))
    assert json.loads(log.path.read_text())["images"][0]["confidence"] is None
    assert read(log)[0].images[0].confidence is None


def test_file_names_of_any_bytes_are_written(open_log: OpenLog, outcome: Outcome) -> None:
    names = ["\udcff.png", 'a,"b"\n.png', "犬.png", "\u2028.png"]
    files = tuple(ImageFile(Path(), name) for name in names)
    with open_log() as log:
        log(replace(outcome, batch=replace(outcome.batch, files=files), target="\udcfe"))
    assert [image.path for image in read(log)[0].images] == ["\\udcff.png", *names[1:]]
    assert log.path.read_bytes().count(b"\n") == 1


def test_a_log_of_the_same_bundle_and_settings_is_continued(open_log: OpenLog, outcome: Outcome) -> None:
    for _ in range(2):
        with open_log(settings=dict(reversed(SETTINGS.items()))) as log:
            log(outcome)
    assert len(read(log)) == 2


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"sha256": "c" * 64}, r"another bundle \(aaaaaaaaaaaa, this one is cccccccccccc\)"),
        ({"settings": {"batch_size": 8, "seed": 0}}, r"other settings \(batch_size 4 -> 8\)"),
    ],
)
def test_a_log_of_another_bundle_or_of_other_settings_is_continued_only_when_asked(
    open_log: OpenLog, outcome: Outcome, changes: dict[str, Any], told: str
) -> None:
    with open_log() as log:
        log(outcome)
    before = log.path.read_bytes()
    with pytest.raises(InputError, match=told) as caught:
        open_log(**changes)
    assert "--audit-append" in caught.value.hint
    assert log.path.read_bytes() == before
    with open_log(**changes, append=True) as log:
        log(outcome)
    assert log.path.read_bytes().startswith(before) and len(read(log)) == 2


@pytest.mark.parametrize("kept", [0, 1])
def test_a_torn_line_is_cut_off_before_the_next_is_appended(open_log: OpenLog, outcome: Outcome, kept: int) -> None:
    with open_log() as log:
        for _ in range(kept + 1):
            log(outcome)
    log.path.write_bytes(log.path.read_bytes()[:-50])
    torn = log.path.read_bytes()
    log = open_log()
    assert log.path.read_bytes() == torn  # nothing is touched before the first batch is due
    with log:
        log(replace(outcome, number=7))
    assert [record.batch for record in read(log)] == [0] * kept + [7]


@pytest.mark.parametrize("append", [False, True])
@pytest.mark.parametrize("content", ["mine", "path,label\na.png,cat\n"])
def test_a_file_of_something_else_is_left_alone(open_log: OpenLog, append: bool, content: str) -> None:
    path = open_log().path
    path.write_text(content)
    with pytest.raises(InputError, match="not an audit log"):
        open_log(append=append)
    assert path.read_text() == content


def test_a_folder_in_its_place_is_told(open_log: OpenLog) -> None:
    open_log().path.mkdir()
    with pytest.raises(InputError, match="is not a file"):
        open_log()


def test_a_write_in_parts_is_gone_on_with(open_log: OpenLog, outcome: Outcome, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write
    monkeypatch.setattr(os, "write", lambda file, data: write(file, data[:1000]))
    with open_log() as log:
        log(outcome)
    assert len(read(log)) == 1


def test_a_full_disk_ends_the_run_before_the_batch_counts(
    open_log: OpenLog, bundle: Bundle, domains: list[Domain], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> int:
        raise OSError(28, "No space left on device")

    later: list[Outcome] = []
    with open_log() as log:
        monkeypatch.setattr(os, "write", refuse)
        with pytest.raises(WorkError, match="No space left"):
            adapt(
                bundle,
                domains,
                batch_size=4,
                order="name",
                seed=0,
                device=CPU,
                workers=0,
                sinks=[log, later.append],
            )
    assert later == []


def test_the_environment_names_what_bits_depend_on() -> None:
    here = environment(CPU)
    assert here["device"] == "cpu"
    assert "threads" not in here  # each batch has its own number
    assert isinstance(here["versions"], dict) and here["versions"]["torch"] == torch.__version__
    assert torch.backends.cpu.get_cpu_capability() in str(here["hardware"])


def test_a_log_that_is_rotated_away_ends_the_run_before_the_batch_counts(open_log: OpenLog, outcome: Outcome) -> None:
    with open_log() as log:
        log(outcome)
        log.path.rename(log.path.with_name("rotated"))
        with pytest.raises(WorkError, match="has been moved or removed"):
            log(outcome)
        assert not log.path.exists()


def test_a_log_that_another_process_writes_is_refused(open_log: OpenLog) -> None:
    with open_log(), pytest.raises(InputError, match="another process is writing to"), open_log():
        pass
