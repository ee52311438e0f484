"""Examples parse, and every option of gformer that they use exists."""

from __future__ import annotations

import configparser
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
import yaml
from PIL import Image

from gformer_cli.app import app

EXAMPLES = Path(__file__).parents[1] / "examples"
UNIT = EXAMPLES / "gformer-watch.service"
JOB = EXAMPLES / "github-actions.yml"
SCRIPT = EXAMPLES / "pipeline.sh"


def commands(text: str) -> list[list[str]]:
    """Every call of gformer in `text`, as words; continued lines are joined, comments are left out."""
    lines = text.replace("\\\n", " ").splitlines()
    found = [
        re.search(r"(?:^|[\s=/])gformer (?=[a-z])(.*)", line) for line in lines if not line.lstrip().startswith("#")
    ]
    return [shlex.split(match[1]) for match in found if match]


def options_of(call: list[str]) -> set[str]:
    """Every option that the command of `call` has. Fails where there is no such command."""
    command: Any = typer.main.get_command(app)
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
    [(UNIT, 2), (JOB, 3), (SCRIPT, 5)],
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
    bin = tmp_path / "bin"
    bin.mkdir()
    (bin / "gformer").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m gformer_cli "$@"\n')
    (bin / "gformer").chmod(0o755)
    folders = [tmp_path / name for name in ("sources", "targets", "incoming", "out")]
    done = subprocess.run(
        ["bash", SCRIPT, *folders, preset],
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PATH": f"{bin}:{os.environ['PATH']}", "MINIMUM": "0"},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    lines = (tmp_path / "out" / "labels-of-today.csv").read_text().splitlines()
    assert lines[0] == "path,label" and len(lines) == 13
    whole = (tmp_path / "out" / "predictions.csv").read_text().splitlines()
    assert len(whole) == 13 and whole[0].startswith("path,label,")


def test_the_script_parses() -> None:
    assert subprocess.run(["bash", "-n", SCRIPT], check=False).returncode == 0
