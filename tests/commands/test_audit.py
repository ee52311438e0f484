from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gformer_cli.errors import WorkError

Gformer = Callable[..., Any]


@pytest.fixture
def adapt(gformer: Gformer, bundle: Path, data: Path, tmp_path: Path) -> Callable[..., Any]:
    """`adapt(*options)`: both targets, 8 images a batch, logged to audit.jsonl."""

    def call(*options: object, target: Path | None = None, size: int = 8) -> Any:
        arguments = ["--model", bundle, "--target", target or data / "targets", "--out", tmp_path / "a.csv"]
        audit = ["--audit", tmp_path / "audit.jsonl"]
        return gformer("adapt", *arguments, *audit, "--batch-size", size, "--overwrite", *options)

    return call


@pytest.fixture
def log(adapt: Callable[..., Any], tmp_path: Path) -> Path:
    """Eight batches."""
    assert adapt().status == 0
    return tmp_path / "audit.jsonl"


Adapt = Callable[..., Any]


def lines(log: Path) -> list[Any]:
    return [json.loads(line) for line in log.read_text().splitlines()]


def test_adapt_logs_a_line_a_batch_that_agrees_with_the_predictions(
    log: Path, tmp_path: Path, read_csv: Callable[[Path], list[dict[str, str]]]
) -> None:
    rows = {row["path"]: row for row in read_csv(tmp_path / "a.csv")}
    records = lines(log)
    assert [record["batch"] for record in records] == list(range(8))
    for record in records:
        assert record["settings"]["batch_size"] == 8
        for image in record["images"]:
            row = rows.pop(image["path"])
            assert (row["label"], row["source_label"]) == (image["label"], image["source_label"])
            assert float(row["confidence"]) == pytest.approx(image["confidence"], abs=1e-6)
            assert (row["batch"], row["target"]) == (str(record["batch"]), record["target"])
    assert rows == {}


def test_the_log_changes_no_prediction(log: Path, gformer: Gformer, bundle: Path, data: Path, tmp_path: Path) -> None:
    plain = ["--model", bundle, "--target", data / "targets", "--out", tmp_path / "b.csv", "--batch-size", 8]
    assert gformer("adapt", *plain).status == 0
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()


def test_the_same_command_continues_the_log_and_overwrite_does_not_replace_it(log: Path, adapt: Adapt) -> None:
    before = log.read_bytes()
    assert adapt("--overwrite").status == 0
    assert log.read_bytes().startswith(before) and len(lines(log)) == 16


def test_other_settings_need_audit_append(log: Path, adapt: Adapt) -> None:
    before = log.read_bytes()
    refused = adapt(size=30)
    assert refused.status == 2 and "other settings (batch_size 8 -> 30)" in refused.err
    assert log.read_bytes() == before
    assert adapt("--audit-append", size=30).status == 0
    assert len(lines(log)) == 10


@pytest.mark.parametrize("options", [["--order", "name"], ["--seed", "1"]])
def test_what_decides_the_predictions_is_part_of_the_settings(log: Path, adapt: Adapt, options: list[str]) -> None:
    assert adapt(*options).status == 2


def test_audit_append_needs_a_log(gformer: Gformer, bundle: Path, data: Path, tmp_path: Path) -> None:
    arguments = ["--model", bundle, "--target", data / "targets", "--out", tmp_path / "a.csv"]
    done = gformer("adapt", *arguments, "--audit-append")
    assert done.status == 2 and "Add --audit FILE" in done.err


def test_log_and_predictions_in_one_file_are_refused(adapt: Adapt, tmp_path: Path) -> None:
    done = adapt("--out", tmp_path / "x" / ".." / "audit.jsonl")
    assert done.status == 2 and "cannot hold both" in done.err


def test_a_dry_run_names_what_would_be_written_and_touches_nothing(adapt: Adapt, tmp_path: Path) -> None:
    plan = adapt("--dry-run", "--json", "--save-parameters", tmp_path / "sets").json
    assert plan["outputs"] == [str(tmp_path / name) for name in ("a.csv", "audit.jsonl", "sets")]
    assert list(tmp_path.iterdir()) == []


def test_save_parameters_keeps_one_set_a_batch(adapt: Adapt, tmp_path: Path) -> None:
    sets = tmp_path / "sets"
    assert adapt("--save-parameters", sets).status == 0
    assert len(list(sets.iterdir())) == 8
    assert adapt("--save-parameters", sets, "--audit-append", size=30).status == 0
    assert len(list(sets.iterdir())) == 2


def test_save_parameters_refuses_a_folder_that_is_not_empty(
    gformer: Gformer, bundle: Path, data: Path, tmp_path: Path
) -> None:
    arguments = ["--model", bundle, "--target", data / "targets", "--out", tmp_path / "a.csv"]
    (tmp_path / "sets").mkdir()
    (tmp_path / "sets" / "mine.txt").touch()
    done = gformer("adapt", *arguments, "--save-parameters", tmp_path / "sets")
    assert done.status == 2 and "not empty" in done.err
    assert not (tmp_path / "a.csv").exists()


def test_the_summary_tells_batches_decisions_targets_and_layers(log: Path, gformer: Gformer) -> None:
    done = gformer("audit", log)
    assert done.status == 0
    decisions = Counter(record["decision"] for record in lines(log))
    assert "8 batches, 60 images" in done.out
    told = next(line for line in done.out.splitlines() if line.startswith("decisions: ")).removeprefix("decisions: ")
    assert {name: int(count) for name, count in (part.split(" ") for part in told.split(", "))} == decisions
    assert "By minute (UTC)" in done.out
    assert all(name in done.out for name in ("fog", "night", lines(log)[0]["bundle"][:12]))
    assert "Most changed layers (10 of 21; --verbose shows all)" in done.out
    longer = gformer("audit", log, "--verbose").out
    assert len(longer.splitlines()) == len(done.out.splitlines()) + 11


def test_the_summary_shows_the_guards_signals(log: Path, gformer: Gformer) -> None:
    records = lines(log)
    records = [record | {"decision": "generated", "signals": {}, "reasons": []} for record in records]
    records[0] |= {"decision": "source", "signals": {"entropy": 2.5}, "reasons": ["entropy"]}
    log.write_text("".join(json.dumps(record, separators=(",", ":")) + "\n" for record in records))
    out = gformer("audit", log).out
    assert "decisions: generated 7, source 1" in out
    assert "Signals out of range" in out and "2.500" in out


def test_the_summary_as_json(log: Path, gformer: Gformer) -> None:
    document = gformer("audit", log, "--json").json
    records = lines(log)
    assert (document["batches"], document["images"], sum(document["decisions"].values())) == (8, 60, 8)
    changed = sum(image["label"] != image["source_label"] for record in records for image in record["images"])
    assert document["changed"] == changed == sum(group["changed"] for group in document["targets"].values())
    assert list(document["bundles"]) == [records[0]["bundle"]]
    assert list(document["settings"].values()) == [records[0]["settings"]]
    means = [values["change"]["mean"] for values in document["layers"].values()]
    assert means == sorted(means, reverse=True) and len(means) == 21


def test_a_torn_line_is_no_error(log: Path, gformer: Gformer) -> None:
    log.write_bytes(log.read_bytes()[:-7])
    assert gformer("audit", log, "--json").json["batches"] == 7


def test_a_replay_proves_the_predictions(log: Path, gformer: Gformer, bundle: Path, data: Path) -> None:
    arguments = ["audit", "--replay", log, "--model", bundle, "--target", data / "targets"]
    done = gformer(*arguments)
    assert done.status == 0
    assert "8 of 8 batches (60 images) give the same predictions, all of them to the last bit." in done.out
    assert gformer(*arguments, "--workers", 0, "--json").json["same"] is True


def test_a_replay_uses_the_precision_of_the_log(
    adapt: Adapt, gformer: Gformer, bundle: Path, data: Path, tmp_path: Path
) -> None:
    log = tmp_path / "audit.jsonl"
    assert adapt("--precision", "bfloat16").status == 0
    assert {record["settings"]["precision"] for record in lines(log)} == {"bfloat16"}
    document = gformer("audit", "--replay", log, "--model", bundle, "--target", data / "targets", "--json").json
    assert document["same"] is True and document["identical_batches"] == document["batches"] == 8


def test_a_replay_says_where_it_differs_and_ends_with_1(
    log: Path, gformer: Gformer, bundle: Path, own_data: Path
) -> None:
    records = lines(log)
    (own_data / "targets" / records[1]["images"][3]["path"]).unlink()
    records[6]["images"][0]["confidence"] += 0.01
    log.write_text("".join(json.dumps(record, separators=(",", ":")) + "\n" for record in records))
    arguments = ["audit", "--replay", log, "--model", bundle, "--target", own_data / "targets"]
    done = gformer(*arguments)
    assert done.status == 1
    assert f"line 2, batch 1 of fog: {records[1]['images'][3]['path']}: the file is missing" in done.out
    assert f"line 7, batch 6 of night: {records[6]['images'][0]['path']}: confidence" in done.out
    assert "6 of 8 batches" in done.out and "2 of 8 batches could not be proved" in done.err
    document = gformer(*arguments, "--tolerance", 0.1, "--json").json
    assert [difference["kind"] for difference in document["differences"]] == ["missing"]


def test_many_differences_are_one_line_a_batch_and_in_full_with_verbose(
    log: Path, gformer: Gformer, bundle: Path, own_data: Path
) -> None:
    for path in (own_data / "targets" / "fog").rglob("*.png"):
        path.write_bytes(b"")
    arguments = ["audit", "--replay", log, "--model", bundle, "--target", own_data / "targets"]
    short, full = gformer(*arguments), gformer(*arguments, "--verbose")
    assert short.out.count("other content") == 4 and "(and 7 more of this batch)" in short.out
    assert full.out.count("other content") == 30 and "more of this batch" not in full.out
    assert "--verbose names every image" in short.err and "--verbose" not in full.err


def test_only_the_first_batches_that_differ_are_listed(log: Path, gformer: Gformer, bundle: Path, data: Path) -> None:
    other = json.dumps(lines(log)[0] | {"bundle": "f" * 64}, separators=(",", ":"))
    log.write_text(f"{other}\n" * 12)
    arguments = ["audit", "--replay", log, "--model", bundle, "--target", data / "targets"]
    short, full = gformer(*arguments).out, gformer(*arguments, "--verbose").out
    assert short.count("another bundle") == 10 and "... and 2 more such lines" in short
    assert full.count("another bundle") == 12


@pytest.mark.parametrize("option", [["--model", "m"], ["--target", "t"], ["--tolerance", "0.1"]])
def test_options_of_a_replay_need_it(log: Path, gformer: Gformer, option: list[str]) -> None:
    done = gformer("audit", log, *option)
    assert done.status == 2 and f"{option[0]} is for --replay" in done.err


def test_a_replay_needs_bundle_and_images(log: Path, gformer: Gformer, bundle: Path) -> None:
    done = gformer("audit", "--replay", log, "--model", bundle)
    assert done.status == 2 and "--target DIR" in done.err


@pytest.mark.parametrize("content", [None, "", "path,label\n", "[]"])
def test_nonsense_is_told_in_two_lines(gformer: Gformer, tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "a.jsonl"
    if content is not None:
        path.write_text(content)
    done = gformer("audit", path)
    assert done.status == 2 and len(done.err.splitlines()) == 2


def test_a_summary_does_not_import_torch(log: Path) -> None:
    import subprocess
    import sys

    code = (
        f"import sys; from gformer_cli.app import run; sys.exit(run(['audit', {str(log)!r}]) or 'torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=False, timeout=120).returncode == 0


def test_a_damaged_line_is_left_out_and_told(log: Path, gformer: Gformer, bundle: Path, data: Path) -> None:
    content = log.read_bytes().splitlines(keepends=True)
    log.write_bytes(b"".join([*content[:2], content[2][:200] + b"\n", *content[3:]]))
    done = gformer("audit", log)
    assert done.status == 1 and "7 batches" in done.out
    assert f"1 line is damaged in {log}, the first is line 3" in done.err
    assert gformer("audit", log, "--json").json["damaged_lines"][0]["line"] == 3
    replay = gformer("audit", "--replay", log, "--model", bundle, "--target", data / "targets", "--json")
    assert replay.status == 1 and replay.json["same"] is False
    assert (replay.json["batches"], replay.json["equal_batches"], replay.json["damaged"]) == (7, 7, 1)


def test_parameters_that_are_to_be_replaced_stay_where_the_run_fails(
    adapt: Adapt, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "parameters"

    def sets() -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in folder.iterdir()}

    assert adapt("--save-parameters", folder).status == 0
    (folder / "notes.txt").write_text("mine")
    before = sets()
    with monkeypatch.context() as patch:
        patch.setattr("gformer_cli.adapt.folder.Predictor.predict", _fail)
        assert adapt("--save-parameters", folder, "--audit-append", size=64).status == 1
    assert sets() == before
    assert adapt("--save-parameters", folder, "--audit-append", size=64).status == 0
    assert sorted(sets()) == ["batch-000000.safetensors", "batch-000001.safetensors", "notes.txt"]


def _fail(*_: object) -> None:
    raise WorkError("the power went")


@pytest.mark.slow
@pytest.mark.parametrize("threads", [1, 2])
def test_threads_decides_on_how_many_a_batch_is_computed(adapt: Adapt, tmp_path: Path, threads: int) -> None:
    done = adapt("--threads", threads, "--verbose", target=None)
    assert done.status == 0 and f"threads: {threads} (--threads)" in done.err
    assert {line["threads"] for line in lines(tmp_path / "audit.jsonl")} == {threads}
