"""The command as a process of its own whose streams are closed, full, or know few characters."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gformer_cli import interrupts

COMMANDS = [["--version"], ["--help"], ["presets", "list"], ["presets", "list", "--json"], ["presets", "show", "quick"]]
"""What answers without importing torch."""
FULL = Path("/dev/full")


def shell(redirected: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    """The command with shell redirections such as `>&-`."""
    call = f'exec "$0" -m gformer_cli "$@" {redirected}'
    return subprocess.run(
        ["sh", "-c", call, sys.executable, *arguments],
        capture_output=True,
        timeout=60,
        env=os.environ | environment,
        check=False,
    )


@pytest.mark.skipif(not FULL.exists(), reason="needs /dev/full")
@pytest.mark.parametrize("arguments", COMMANDS, ids=" ".join)
def test_a_full_stdout_is_told_with_status_1(arguments: list[str]) -> None:
    done = shell(f">{FULL}", *arguments)
    lines = done.stderr.decode().splitlines()
    assert done.returncode == 1 and len(lines) == 2
    assert lines[0] == "error: cannot write to standard output: No space left on device"


@pytest.mark.skipif(os.name == "nt", reason="closed descriptors are the shell's")
@pytest.mark.parametrize("arguments", COMMANDS, ids=" ".join)
def test_a_closed_stdout_is_nobody_but_for_a_document(arguments: list[str]) -> None:
    done = shell(">&-", *arguments)
    if "--json" in arguments or "show" in arguments:
        assert done.returncode == 1 and b"standard output: it is closed" in done.stderr
    else:
        assert done.returncode == 0 and b"error" not in done.stderr


@pytest.mark.parametrize("redirected", ["2>&-", f"2>{FULL}", "2>&- <&-"])
def test_a_stderr_that_takes_nothing_stops_nothing(redirected: str) -> None:
    done = shell(redirected, "presets", "list")
    assert done.returncode == 0 and b"quick" in done.stdout
    done = shell(redirected, "presets", "show", "no-such-preset")
    assert done.returncode == 2


@pytest.mark.skipif(os.name == "nt", reason="closed descriptors are the shell's")
def test_no_file_gets_the_number_of_a_closed_stream(tmp_path: Path) -> None:
    code = "import os; from gformer_cli import stdio; stdio.prepare(); os.write(3, b'%d' % os.open('.', os.O_RDONLY))"
    call = 'exec "$0" -c "$1" 3>&1 >&- 2>&- <&-'
    done = subprocess.run(["sh", "-c", call, sys.executable, code], capture_output=True, text=True, check=True)
    assert int(done.stdout) > 2


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "latin-1:strict"])
def test_names_beyond_the_encoding_are_spelled_out_and_json_is_exact(encoding: str, tmp_path: Path) -> None:
    preset = tmp_path / "犬é🙂.yaml"
    preset.write_text("# für 犬\nseed: 1\n", encoding="utf-8")
    done = shell("", "presets", "copy", "quick", str(preset), PYTHONIOENCODING=encoding)
    assert done.returncode == 2 and b"output file exists" in done.stderr and b"\\u72ac" in done.stderr
    shown = shell("", "presets", "show", str(preset), PYTHONIOENCODING=encoding)
    assert shown.stdout == preset.read_bytes()  # a file is sent as it is
    code = (
        "from gformer_cli import stdio; stdio.prepare()\n"
        "from gformer_cli.console import Terminal, table\n"
        "name = '犬é🙂\\udcff'\n"
        "Terminal().result({}, name, table(name, [name], [[name]]))\n"
        "Terminal(as_json=True).result({name: name})\n"
    )
    printed = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        env=os.environ | {"PYTHONIOENCODING": encoding},
        check=True,
    ).stdout
    shown_part, document = printed.split(b"{", 1)
    assert shown_part.count(b"\\u72ac") == 4
    assert json.loads(b"{" + document) == {"犬é🙂\udcff": "犬é🙂\udcff"}
    assert document.isascii()


def test_a_reader_that_leaves_is_no_error_to_talk_of() -> None:
    done = shell("| true", "--help")
    assert done.stderr == b""


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
def test_ctrl_c_during_imports_is_one_line() -> None:
    # stops inside an import, as a signal that comes at that moment would
    code = (
        "import os, signal, sys\n"
        "class Finder:\n"
        "    def find_spec(self, name, *rest):\n"
        "        if name == 'typer':\n"
        "            os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.meta_path.insert(0, Finder())\n"
        "sys.argv = ['gformer', '--version']\n"
        "from gformer_cli.__main__ import main\n"
        "main()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "error: interrupted\n")


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
@pytest.mark.parametrize("wait", [0.2, 0.5, 1.0, 2.0, 3.0])
def test_ctrl_c_at_any_moment_shows_no_traceback(wait: float) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "gformer_cli", "doctor"], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as process:
        time.sleep(wait)
        process.send_signal(signal.SIGINT)
        _, error = process.communicate()
    assert "Traceback" not in error and "ignored" not in error
    # Python itself is taken down by the signal when all is done
    assert process.returncode in (0, 130, -signal.SIGINT)


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
def test_processes_that_start_while_ctrl_c_is_held_back_never_hear_of_it() -> None:
    code = "import signal; print(signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, []))"
    with interrupts.held_back():
        within = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    after = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (within.stdout, after.stdout) == ("True\n", "False\n")
