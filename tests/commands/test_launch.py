from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gformer_cli.commands.launch import split
from gformer_cli.errors import InputError
from tests.commands.launching import TORCHRUN, launched

Gformer = Callable[..., Any]


def test_the_command_is_found_behind_the_options_of_torchrun() -> None:
    assert split(["--nnodes", "2", "--rdzv-id=pretrain", "meta-train", "--run", "pretrain"]) == (
        ["--nnodes", "2", "--rdzv-id=pretrain"],
        ["meta-train", "--run", "pretrain"],
    )
    assert split(["pretrain"]) == ([], ["pretrain"])
    with pytest.raises(InputError, match="no command"):
        split(["--nproc-per-node", "2", "inspect", "x.gformer"])


def test_what_torchrun_refuses_is_told_as_an_error_of_ours(gformer: Gformer) -> None:
    done = gformer("launch", "--nproc-per-node", "two", "pretrain")
    assert done.status == 2
    assert done.err == "error: torchrun: Unsupported nproc_per_node value: two\n  See: torchrun --help\n"
    done = gformer("launch", "--no-such-option", "pretrain")
    assert done.status == 2 and "--no-such-option" in done.err and done.err.count("\n") == 2


@pytest.mark.slow
def test_an_error_of_all_processes_is_told_once(tmp_path: Path) -> None:
    done = launched("meta-train", "--source", tmp_path / "none", "--run", tmp_path / "run")
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr == f"error: no such folder: {tmp_path}/none\n  Check the path; it must be a folder of images.\n"


@pytest.mark.slow
def test_torchrun_itself_starts_a_command_whose_options_are_shielded(tmp_path: Path) -> None:
    bin = tmp_path / "gformer"
    bin.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m gformer_cli "$@"\n')
    bin.chmod(0o755)
    done = launched("--no-python", "--", bin, "meta-train", "--source", tmp_path / "none", "--run", "x", by=TORCHRUN)
    assert done.stderr.count("no such folder") == 1, done.stderr


@pytest.mark.slow
def test_what_processes_do_not_share_is_refused(tmp_path: Path) -> None:
    done = launched("-m", "--", "gformer_cli", "inspect", tmp_path / "x.gformer", by=TORCHRUN)
    assert done.stderr.count("each of 2 processes would do the whole of: gformer inspect") == 1, done.stderr
