from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gformer_cli.adapt.appending import AppendFile

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "watch_kill.py"
Watch = Callable[..., Any]


@pytest.fixture
def incoming(data: Path, tmp_path: Path) -> Path:
    """Six images of fog in a sub-folder, two of night beside it."""
    folder = tmp_path / "incoming"
    (folder / "fog").mkdir(parents=True)
    for label in ("circle", "square", "stripes"):
        for number in range(2):
            shutil.copy(data / "targets/fog" / label / f"{number:02d}.png", folder / "fog" / f"{label}-{number}.png")
    for number in range(2):
        shutil.copy(data / "targets/night/circle" / f"{number:02d}.png", folder)
    return folder


@pytest.fixture
def watch(gformer: Watch, bundle: Path, incoming: Path, tmp_path: Path) -> Watch:
    """`watch(*options)`: what is in the folder, four images a batch, into p.csv."""

    def call(*options: object) -> Any:
        return gformer(
            *("watch", incoming, "--model", bundle, "--out", tmp_path / "p.csv", "--batch-size", 4),
            *("--settle", 0, "--until-idle", 0, *options),
        )

    return call


def test_rows_log_and_summary(watch: Watch, tmp_path: Path, read_csv: Callable[[Path], list[dict[str, str]]]) -> None:
    done = watch("--json", "--max-wait", 0)
    assert done.status == 0, done.err
    rows = read_csv(tmp_path / "p.csv")
    assert [row["target"] for row in rows].count("fog") == 6 and [row["target"] for row in rows].count(".") == 2
    assert list(rows[0])[-3:] == ["batch_size", "bytes", "modified_ns"]
    summary = done.json
    assert (summary["images"], summary["batches"], summary["before"]) == (8, 3, 0)
    assert (summary["ended_by"], summary["skipped"], summary["skipped_file"]) == ("idle", 0, None)
    assert sum(summary["counts"].values()) == 8
    assert summary["changed"] == sum(row["label"] != row["source_label"] for row in rows)
    assert done.err.splitlines()[0].endswith("8 images to predict, 0 predicted before")
    assert [line.split(",")[0] for line in done.err.splitlines()[1:]] == ["batch 0", "batch 1", "batch 2"]
    again = watch()
    assert again.status == 0 and "Ended by idle: 0 images in 0 batches, 8 predicted before" in again.out


def test_its_package_is_asked_for(watch: Watch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gformer_cli.commands.watch.find_spec", lambda name: None)
    done = watch()
    assert done.status == 2 and "pip install 'gformer[watch]'" in done.err and not (tmp_path / "p.csv").exists()


def test_quiet_tells_nothing_but_warnings(watch: Watch, incoming: Path) -> None:
    (incoming / "bad\n.png").write_bytes(b"")
    done = watch("--quiet")
    assert done.err == "warning: skipped bad\\n.png: the file is empty\n"
    assert "1 file skipped, see " in done.out


def test_move_to_makes_its_folder(watch: Watch, incoming: Path, tmp_path: Path) -> None:
    watch("--move-to", tmp_path / "new" / "done")
    assert len(list((tmp_path / "new" / "done" / "fog").iterdir())) == 6
    assert list(incoming.rglob("*.png")) == []


@pytest.mark.slow
def test_probabilities_batch_size_context_and_temperature_have_their_effect(
    watch: Watch, tmp_path: Path, read_csv: Callable[[Path], list[dict[str, str]]]
) -> None:
    def confidences(*options: object) -> list[str]:
        (tmp_path / "p.csv").unlink(missing_ok=True)
        watch("--probabilities", *options)
        rows = read_csv(tmp_path / "p.csv")
        assert len(rows) == 8 and "probability:circle" in rows[0]
        return [row["confidence"] for row in sorted(rows, key=lambda row: row["path"])]

    alone = confidences("--batch-size", 1)
    assert confidences("--batch-size", 4) != alone
    assert confidences("--batch-size", 1, "--context", 4) != alone
    assert max(map(float, confidences("--batch-size", 1, "--temperature", 50))) < 0.4


def test_precision_has_its_effect(
    watch: Watch, tmp_path: Path, read_csv: Callable[[Path], list[dict[str, str]]]
) -> None:
    found = []
    for precision in ("float32", "bfloat16"):
        assert watch("--max-wait", 0, "--guard", "off", "--precision", precision).status == 0
        found.append([float(row["confidence"]) for row in read_csv(tmp_path / "p.csv")])
        (tmp_path / "p.csv").unlink()
    assert found[0] != found[1] and found[1] == pytest.approx(found[0], abs=0.05)


def test_a_dry_run_touches_nothing(watch: Watch, tmp_path: Path) -> None:
    plan = watch("--dry-run", "--json", "--move-to", tmp_path / "done").json
    assert plan["present"] == {"fog": 6, ".": 2} and plan["continues"] is False
    assert [path.name for path in tmp_path.iterdir()] == ["incoming"]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--target", "."], "No such option: --target"),
        (["--overwrite"], "No such option: --overwrite"),
        (["--order", "name"], "No such option: --order"),
        (["--seed", "1"], "No such option: --seed"),
        (["--layout", "flat"], "No such option: --layout"),
        (["--batch-size", "0"], "batch size must be 1 or more"),
        (["--max-wait", "-1"], "--max-wait"),
        (["--context", "-1"], "--context"),
    ],
)
def test_options_that_make_no_sense(watch: Watch, tmp_path: Path, options: list[str], told: str) -> None:
    done = watch(*options)
    assert done.status == 2 and told in done.err
    assert not (tmp_path / "p.csv").exists()


@pytest.mark.parametrize("option", [["--max-wait", 1], ["--settle", 1], ["--move-to", "x"], ["--until-idle", 1]])
def test_options_for_watching_alone(gformer: Watch, bundle: Path, incoming: Path, option: list[object]) -> None:
    done = gformer("adapt", "--model", bundle, "--target", incoming, "--out", "p.csv", *option)
    assert done.status == 2 and f"No such option: {option[0]}" in done.err


@pytest.mark.parametrize(
    ("words", "now"),
    [
        (["--watch", "in"], "gformer watch in"),
        (["--model", "a b", "--watch", "in", "--max-wait", "3"], "gformer watch in --model 'a b' --max-wait 3"),
        (["--until-idle=0", "--watch=in coming"], "gformer watch 'in coming' --until-idle=0"),
        (["--quiet", "--watch"], "gformer watch DIR --quiet"),
    ],
)
def test_a_call_from_before_is_told_the_command_of_now(gformer: Watch, words: list[str], now: str) -> None:
    done = gformer("adapt", *words)
    assert done.status == 2 and done.out == ""
    assert done.err == f"error: adapt --watch is a command of its own now\n  Run: {now}\n"


def test_the_command_that_is_told_works(gformer: Watch, bundle: Path, incoming: Path, tmp_path: Path) -> None:
    words = ["--model", bundle, "--watch", incoming, "--out", tmp_path / "p.csv", "--settle", 0, "--until-idle", 0]
    told = gformer("adapt", *words).err.split("Run: ")[1]
    done = gformer(*shlex.split(told)[1:])
    assert done.status == 0 and "8 images in 2 batches" in done.out


def test_folders_that_make_no_sense(gformer: Watch, watch: Watch, bundle: Path, incoming: Path, tmp_path: Path) -> None:
    for move_to in (incoming, incoming / "done", tmp_path):
        done = watch("--move-to", move_to)
        assert done.status == 2 and "lie within each other" in done.err
    for folder, told in ((tmp_path / "none", "no such folder"), (bundle, "not a folder")):
        done = gformer("watch", folder, "--model", bundle, "--out", tmp_path / "p.csv")
        assert done.status == 2 and told in done.err
    done = gformer("adapt", "--model", bundle, "--out", tmp_path / "p.csv")
    assert done.status == 2 and "no images are named" in done.err and "gformer watch DIR" in done.err
    done = gformer("watch", "--model", bundle, "--out", tmp_path / "p.csv")
    assert done.status == 2 and "Missing argument 'DIR'" in done.err


def test_adapt_leaves_a_file_alone_that_is_watched_into(
    gformer: Watch, watch: Watch, bundle: Path, incoming: Path, tmp_path: Path
) -> None:
    watch()
    before = (tmp_path / "p.csv").read_bytes()
    command = ["adapt", "--model", bundle, "--target", incoming / "fog", "--out", tmp_path / "p.csv", "--overwrite"]
    with AppendFile(tmp_path / "p.csv"):
        for extra in ([], ["--dry-run"]):
            done = gformer(*command, *extra)
            assert done.status == 2 and f"another process is writing to {tmp_path / 'p.csv'}" in done.err
            assert "adapting" not in done.err
    assert (tmp_path / "p.csv").read_bytes() == before
    assert gformer(*command).status == 0


@pytest.mark.parametrize("option", ["--out", "--move-to", "--audit", "--save-parameters"])
def test_what_cannot_be_written_is_told_before_the_work_and_in_a_dry_run(
    gformer: Watch, bundle: Path, incoming: Path, tmp_path: Path, option: str
) -> None:
    (tmp_path / "file").write_text("old")
    options = {"--out": tmp_path / "p.csv"}
    for place in ("/proc/x/p.csv", tmp_path / "file" / "p.csv"):
        for command in (["watch"], ["adapt", "--target"]):
            given = [word for pair in (options | {option: place}).items() for word in pair]
            if option == "--move-to" and command[0] == "adapt":
                continue
            for extra in ([], ["--dry-run"]):
                done = gformer(*command, incoming / "fog", "--model", bundle, *given, *extra)
                assert done.status == 2 and f"error: cannot write {place}: " in done.err
                assert "batch" not in done.err and "adapting" not in done.err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "incoming"]


def start(bundle: Path, folder: Path, out: Path, *options: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "gformer_cli", "watch", folder, "--model", bundle, "--out", out]
    words = [str(word) for word in [*command, "--settle", 0.1, *options]]
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.slow
@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_a_signal_finishes_the_batch_in_hand(
    bundle: Path, incoming: Path, tmp_path: Path, number: int, status: int
) -> None:
    out = tmp_path / "p.jsonl"
    with start(bundle, incoming, out, "--batch-size", 1, "--json") as process:
        assert process.stderr is not None and process.stdout is not None
        for line in process.stderr:
            if line.startswith("batch 1"):
                break
        process.send_signal(number)
        told, rest = process.stdout.read(), process.stderr.read()
        assert process.wait() == status, rest
    summary = json.loads(told)
    assert summary["ended_by"] == signal.Signals(number).name
    assert summary["images"] == len(out.read_text().splitlines()) >= 2


@pytest.mark.slow
def test_a_signal_while_nothing_comes(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with start(bundle, tmp_path / "empty", tmp_path / "p.csv") as process:
        assert process.stderr is not None
        process.stderr.readline()
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
        assert process.wait() == 0 and time.monotonic() - began < 20.0


@pytest.mark.slow
def test_a_full_disk_ends_with_status_1_and_a_restart_loses_nothing(
    bundle: Path, incoming: Path, tmp_path: Path
) -> None:
    import resource

    out = tmp_path / "p.jsonl"
    command = [sys.executable, "-m", "gformer_cli", "watch", incoming, "--model", bundle, "--out", out]
    command += ["--settle", "0", "--until-idle", "0", "--batch-size", "2"]
    limited = subprocess.run(
        command,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (700, 700)),
        capture_output=True,
        text=True,
        check=False,
    )
    assert limited.returncode == 1 and f"cannot write {out}: File too large" in limited.stderr
    assert 0 < len(out.read_text().splitlines()) < 8
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0
    paths = [json.loads(line)["path"] for line in out.read_text().splitlines()]
    assert len(paths) == len(set(paths)) == 8


@pytest.mark.slow
def test_killed_again_and_again_every_image_is_predicted_once_as_without_kills(bundle: Path, data: Path) -> None:
    command = [sys.executable, BENCHMARK, "--model", bundle, "--images", data / "targets"]
    command += ["--count", 60, "--kills", 8, "--batch-size", 3]
    done = subprocess.run(
        [str(word) for word in command], capture_output=True, text=True, check=False, env={**os.environ}
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(done.stdout) | {"problems": []} == json.loads(done.stdout)
