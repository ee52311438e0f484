"""Examples parse, and every option of gformer that they use exists."""

from __future__ import annotations

import configparser
import functools
import json
import os
import re
import runpy
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import typer
import yaml
from PIL import Image
from torchvision.models import resnet18

from gformer_cli.app import app

EXAMPLES = Path(__file__).parents[1] / "examples"
GOLDEN = Path(__file__).parent / "golden"
UNIT = EXAMPLES / "gformer-watch.service"
JOB = EXAMPLES / "github-actions.yml"
SCRIPT = EXAMPLES / "pipeline.sh"
IMPORT = EXAMPLES / "import.sh"


def commands(text: str) -> list[list[str]]:
    """Every call of gformer in `text`, as words; continued lines are joined, comments are left out."""
    lines = text.replace("\\\n", " ").splitlines()
    found = [
        re.search(r"(?:^|[\s=/])gformer (?=[a-z])(.*)", line) for line in lines if not line.lstrip().startswith("#")
    ]
    return [shlex.split(match[1]) for match in found if match]


@functools.cache
def program() -> Any:
    return typer.main.get_command(app)


def options_of(call: list[str]) -> set[str]:
    """Every option that the command of `call` has. Fails where there is no such command."""
    command: Any = program()
    for word in call:
        if not hasattr(command, "commands"):
            break
        command = command.commands[word]
    return {name for parameter in command.params for name in parameter.opts}


def unit() -> configparser.ConfigParser:
    parser = configparser.ConfigParser(interpolation=None, strict=True, comment_prefixes=("#",))
    parser.optionxform = str  # type: ignore[assignment]
    # systemd continues a line by a backslash, an INI file by an indented next one
    parser.read_string(UNIT.read_text().replace("\\\n", "\n"))
    return parser


@pytest.mark.parametrize(
    ("example", "count"),
    [(UNIT, 2), (JOB, 3), (SCRIPT, 5), (IMPORT, 2)],
    ids=lambda value: getattr(value, "name", None),
)
def test_every_option_exists(example: Path, count: int) -> None:
    calls = commands(example.read_text())
    assert len(calls) == count
    for call in calls:
        used = {word.split("=")[0] for word in call if word.startswith("-") and word != "-"}
        assert used <= options_of(call), call


def test_an_unknown_option_or_command_would_be_found() -> None:
    (call,) = commands("ExecStart=/opt/bin/gformer adapt --model x \\\n  --no-such-option 1\n# gformer not a call")
    assert call == ["adapt", "--model", "x", "--no-such-option", "1"]
    assert "--no-such-option" not in options_of(call) and "--model" in options_of(call)
    with pytest.raises(KeyError):
        options_of(["no-such-command"])


def test_the_unit_is_a_service_that_stops_gently_and_comes_back() -> None:
    parser = unit()
    assert parser.sections() == ["Unit", "Service", "Install"]
    service = parser["Service"]
    assert service["ExecStart"].startswith("/") and "--max-wait 30" in service["ExecStart"]
    assert service["ExecStartPre"].endswith("--verify")
    assert (service["KillSignal"], service["Restart"]) == ("SIGTERM", "on-failure")
    written = [word for word in shlex.split(service["ExecStart"]) if word.startswith("/srv/")]
    assert len(written) == 4 and all(path.startswith(service["ReadWritePaths"]) for path in written)


def test_the_nightly_job_measures_before_it_predicts() -> None:
    job = yaml.safe_load(JOB.read_text())
    assert job[True]["schedule"] == [{"cron": "0 3 * * *"}]  # YAML reads the key `on` as a truth value
    steps = [commands(step.get("run", "")) for step in job["jobs"]["adapt"]["steps"]]
    calls = [call for step in steps for call in step]
    assert [call[0] for call in calls] == ["inspect", "evaluate", "adapt"]
    assert calls[1][-4:] == ["--fail-under", "gformer=0.8", "--fail-harm", "0.005"]


def test_the_script_shows_both_ends_of_a_pipe() -> None:
    trained, measured, predicted, piped = commands(SCRIPT.read_text())[1:]
    assert [trained[0], measured[0], predicted[0]] == ["meta-train", "evaluate", "adapt"]
    assert piped[piped.index("--target") + 1] == "-" and piped[piped.index("--out") + 1] == "-"


def run_script(script: Path, *words: object, beside: Path) -> subprocess.CompletedProcess[str]:
    """Run it with a `gformer` on its path that is this one."""
    bin = beside / "bin"
    bin.mkdir(exist_ok=True)
    (bin / "gformer").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m gformer_cli "$@"\n')
    (bin / "gformer").chmod(0o755)
    return subprocess.run(
        ["bash", script, *map(str, words)],
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PATH": f"{bin}:{os.environ['PATH']}", "MINIMUM": "0"},
        check=False,
    )


@pytest.mark.slow
def test_the_script_runs_from_folders_to_predictions(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    for role, domain in [("sources", "a"), ("sources", "b"), ("targets", "x"), ("incoming", "y")]:
        for label, level in (("dark", 40), ("light", 200)):
            folder = tmp_path / role / ("" if role == "incoming" else f"{domain}/{label}")
            folder.mkdir(parents=True, exist_ok=True)
            for number in range(6):
                pixels = random.integers(level - 30, level + 30, (16, 16, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f"{label}-{number}.png")
    preset = tmp_path / "tiny.yaml"
    preset.write_text(
        "data: {image_size: 16}\n"
        "backbone: {stem: small, width: 0.25, weights: none}\n"
        "pretrain: {steps: 4, batch_size: 8, validate_every: 4}\n"
        "meta_train: {steps: 1, validate_every: 1, validation_batches: 1, guard_batches: 1}\n"
    )
    folders = [tmp_path / name for name in ("sources", "targets", "incoming", "out")]
    done = run_script(SCRIPT, *folders, preset, beside=tmp_path)
    assert done.returncode == 0, done.stderr
    lines = (tmp_path / "out" / "labels-of-today.csv").read_text().splitlines()
    assert lines[0] == "path,label" and len(lines) == 13
    whole = (tmp_path / "out" / "predictions.csv").read_text().splitlines()
    assert len(whole) == 13 and whole[0].startswith("path,label,")


@pytest.mark.slow
def test_an_import_is_held_to_the_owners_figure(tmp_path: Path) -> None:
    """One class alone is there, and the head answers with it, or with the other one, whatever the image."""
    labelled = tmp_path / "labelled" / "dark"
    labelled.mkdir(parents=True)
    for number in range(4):
        Image.new("RGB", (40, 40), (10 * number,) * 3).save(labelled / f"{number}.png")
    network = resnet18(num_classes=2)
    torch.nn.init.zeros_(network.fc.weight)
    network.fc.bias.data = torch.tensor([0.0, 1.0])
    torch.save(network.state_dict(), tmp_path / "site.pth")
    (tmp_path / "classes.txt").write_text("light\ndark\n")
    transform = {"resize": 36, "crop": 32, "mean": [0.5] * 3, "std": [0.5] * 3}
    (tmp_path / "transform.json").write_text(json.dumps(transform))
    model = ["resnet18", tmp_path / "site.pth", tmp_path / "classes.txt", tmp_path / "transform.json"]
    bundle = tmp_path / "out" / "model.gformer"

    refused = run_script(IMPORT, *model, labelled.parent, 0.9, bundle.parent, beside=tmp_path)
    assert refused.returncode == 1 and "right on 1.0000 of 4 images" in refused.stderr
    assert not bundle.exists()

    taken = run_script(IMPORT, *model, labelled.parent, 1.0, bundle.parent, beside=tmp_path)
    assert taken.returncode == 0, taken.stderr
    assert bundle.is_file() and "site.pth" in taken.stdout


def test_the_import_stops_at_another_figure_and_shows_what_was_taken_in() -> None:
    taken, shown = commands(IMPORT.read_text())
    assert taken[0] == "import" and {"--check", "--expect"} <= set(taken)
    assert shown[0] == "inspect" and shown[-1] == "--verify"


@pytest.mark.parametrize(
    ("example", "told"),
    [
        (
            "predict_batch.py",
            r"(fog/)?\w+/\d+\.png: (circle|square|stripes) \(\d\.\d\d\)\n(.*\n)+layer4.1.bn2: [\d., ]+\n",
        ),
        ("evaluation_loop.py", r"18 images: source [\d.]+%, adapted [\d.]+%\n"),
    ],
)
def test_the_python_examples_run(
    example: str, told: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle, images = GOLDEN / "bundles" / "guarded.gformer", GOLDEN / "images" / "fog"
    monkeypatch.setattr(sys, "argv", [example, str(bundle), str(images)])
    runpy.run_path(str(EXAMPLES / example), run_name="__main__")
    assert re.fullmatch(told, capsys.readouterr().out)
    monkeypatch.setattr(sys, "argv", [example, "no-such-file.gformer", str(images)])
    with pytest.raises(SystemExit, match="no such bundle"):
        runpy.run_path(str(EXAMPLES / example), run_name="__main__")


@pytest.mark.parametrize("script", [SCRIPT, IMPORT], ids=lambda script: script.name)
def test_the_scripts_parse(script: Path) -> None:
    assert subprocess.run(["bash", "-n", script], check=False).returncode == 0
    told = subprocess.run(["bash", script], capture_output=True, text=True, check=False)
    assert told.returncode == 2 and f"examples/{script.name}" in told.stderr
