from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from gformer_cli import __version__

Gformer = Callable[..., Any]
COMMANDS = [
    (),
    ("pretrain",),
    ("meta-train",),
    ("adapt",),
    ("watch",),
    ("serve",),
    ("audit",),
    ("evaluate",),
    ("report",),
    ("compare",),
    ("data",),
    ("data", "check"),
    ("data", "demo"),
    ("data", "shifts"),
    ("data", "preprocessing"),
    ("presets",),
    ("presets", "list"),
    ("presets", "show"),
    ("presets", "copy"),
    ("freeze",),
    ("export",),
    ("inspect",),
    ("diff",),
    ("runs",),
    ("launch",),
    ("merge",),
    ("doctor",),
    ("demo",),
]


def python(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"NO_COLOR": "1", "TERM": "dumb", "COLUMNS": "200"}
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, timeout=120, env=environment, check=False
    )


@pytest.mark.slow
def test_no_help_imports_torch() -> None:
    asked = [[*command, "--help"] for command in COMMANDS]
    code = (
        "import sys\n"
        "from gformer_cli.app import run\n"
        f"statuses = [run(arguments) for arguments in {asked!r}]\n"
        "heavy = {'torch', 'torchvision', 'numpy', 'sklearn', 'mlxtend'} & set(sys.modules)\n"
        "sys.exit(repr((statuses, heavy)) if any(statuses) or heavy & {'torch', 'torchvision'} else 0)\n"
    )
    done = python("-c", code)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("arguments", [["presets", "list"], ["pretrain", "--set", "x=1"], ["adapt"]])
def test_cheap_answers_and_usage_errors_do_not_import_torch_either(arguments: list[str]) -> None:
    code = f"import sys; from gformer_cli.app import run; run({arguments!r}); sys.exit('torch' in sys.modules)"
    assert python("-c", code).returncode == 0


def test_the_module_runs() -> None:
    done = python("-m", "gformer_cli", "--version")
    assert (done.returncode, done.stdout) == (0, f"gformer {__version__}\n")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_answers_help_in_both_spellings(gformer: Gformer, command: tuple[str, ...]) -> None:
    long, short = gformer(*command, "--help"), gformer(*command, "-h")
    assert long.status == short.status == 0
    assert long.out == short.out
    assert " ".join(("Usage: gformer", *command)) in long.out


def test_the_help_lists_every_command(gformer: Gformer) -> None:
    out = gformer("--help").out
    for command in {command[0] for command in COMMANDS if command}:
        assert re.search(rf"\b{command} ", out)


@pytest.mark.parametrize("command", [c for c in COMMANDS if c not in {(), ("data",), ("presets",)}])
def test_every_option_has_a_help_text(command: tuple[str, ...]) -> None:
    import typer

    from gformer_cli.app import app

    found: Any = typer.main.get_command(app)
    for name in command:
        found = found.commands[name]
    assert found.help
    assert [parameter.name for parameter in found.params if not parameter.help] == []


# the options of launch are torchrun's
@pytest.mark.parametrize("command", [c for c in COMMANDS if c not in {(), ("data",), ("presets",), ("launch",)}])
def test_every_command_takes_the_common_options(command: tuple[str, ...]) -> None:
    import typer

    from gformer_cli.app import app

    found: Any = typer.main.get_command(app)
    for name in command:
        found = found.commands[name]
    taken = {name for parameter in found.params for name in parameter.opts}
    assert {"--json", "--quiet", "-q", "--verbose", "-v", "--debug"} <= taken


def test_no_arguments_show_the_help(gformer: Gformer) -> None:
    shown = gformer()
    assert "Usage: gformer" in shown.out + shown.err
