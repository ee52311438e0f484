"""What a shell is told when the user presses tab."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from gformer_cli.preset_files import preset_names


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("gformer meta", {"meta-train"}),
        ("gformer pretrain --leave", {"--leave-one-out"}),
        ("gformer pretrain --preset pacs", {name for name in preset_names() if name.startswith("pacs")}),
        ("gformer pretrain --log t", {"tensorboard"}),
    ],
)
def test_words_are_completed_without_torch(typed: str, offered: set[str]) -> None:
    code = (
        "import atexit, sys\n"
        "atexit.register(lambda: print('torch' in sys.modules, file=sys.stderr))\n"
        "from gformer_cli.app import main\n"
        "main()\n"
    )
    words = {"_GFORMER_COMPLETE": "complete_bash", "COMP_WORDS": typed, "COMP_CWORD": str(typed.count(" "))}
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | words, capture_output=True, text=True, check=False
    )
    assert set(done.stdout.split()) == offered and done.stderr == "False\n"
