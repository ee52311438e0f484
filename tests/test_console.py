from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable
from typing import Any

import pytest
from rich.console import Console
from rich.text import Text

from gformer_cli.console import Terminal, amount, differing, one_line, percent, table

Captured = pytest.CaptureFixture[str]
FILES = [(f"{number}.png", "broken") for number in range(7)]


@pytest.fixture(autouse=True)
def no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_COLOR", "1")


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def on_terminal(monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[Terminal, io.StringIO]]:
    """A terminal whose stderr is one, and what it shows."""

    def make(**options: bool) -> tuple[Terminal, io.StringIO]:
        monkeypatch.setenv("TERM", "xterm")
        terminal, shown = Terminal(**options), Screen()
        terminal.err = Console(file=shown, force_terminal=True, width=100, highlight=False)
        return terminal, shown

    return make


def test_a_result_is_shown_or_printed_as_json_but_never_both(capsys: Captured) -> None:
    Terminal().result({"a": 1}, "shown", table("", ["x"], [["y"]]))
    assert [line.strip() for line in capsys.readouterr().out.split("\n")] == ["shown", "x", "y", ""]
    Terminal(as_json=True).result({"a": "犬"}, "shown")
    out = capsys.readouterr().out
    assert json.loads(out) == {"a": "犬"} and "犬" in out


def test_json_of_a_file_name_that_is_not_utf_8(capsys: Captured) -> None:
    Terminal(as_json=True).result(["\udcff.png"])
    assert json.loads(capsys.readouterr().out) == ["\udcff.png"]


def test_messages_go_to_stderr_and_quiet_silences_all_but_warnings(capsys: Captured) -> None:
    for quiet, expected in ((False, "hello\nwarning: careful\n"), (True, "warning: careful\n")):
        terminal = Terminal(quiet=quiet)
        terminal.message("hello")
        terminal.detail("only when verbose")
        terminal.warning("careful")
        assert capsys.readouterr() == ("", expected)


def test_details_are_for_verbose(capsys: Captured) -> None:
    Terminal(verbose=True).detail("fine print")
    assert capsys.readouterr().err == "fine print\n"


def test_text_is_never_read_as_markup(capsys: Captured) -> None:
    terminal = Terminal()
    terminal.message("[red]a[/red]")
    terminal.warning("[b]")
    terminal.result({}, "[i]c", table("[u]", ["[head]"], [["[cell]"]]))
    out, err = capsys.readouterr()
    assert err == "[red]a[/red]\nwarning: [b]\n"
    for text in ("[i]c", "[u]", "[head]", "[cell]"):
        assert text in out


def test_long_lines_are_not_broken_outside_a_terminal(capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    Terminal().result({}, "word " * 60, table("", ["a"], [["b" * 300]]))
    assert [len(line.rstrip()) for line in capsys.readouterr().out.splitlines()] == [299, 1, 300]


def test_skipped_files_are_counted_and_the_first_named(capsys: Captured) -> None:
    Terminal(quiet=True).skipped(FILES)
    assert capsys.readouterr().err.splitlines() == [
        "warning: 7 unreadable images skipped",
        *[f"  {number}.png: broken" for number in range(5)],
        "  ... and 2 more: --verbose lists all",
    ]


def test_verbose_names_every_skipped_file(capsys: Captured) -> None:
    Terminal(verbose=True).skipped(FILES)
    assert len(capsys.readouterr().err.splitlines()) == 8


def test_one_skipped_file_is_singular_and_none_is_silent(capsys: Captured) -> None:
    Terminal().skipped([("a\n[b].png", "empty")])
    assert capsys.readouterr().err == "warning: 1 unreadable image skipped\n  a\\n[b].png: empty\n"
    Terminal().skipped([])
    assert capsys.readouterr().err == ""


def test_progress_is_one_line_a_task_outside_a_terminal(capsys: Captured) -> None:
    with Terminal().progress() as progress:
        progress.begin("training", 2)
        progress.advance("loss 2")
        progress.advance("loss 1")
        assert capsys.readouterr().err == ""
        progress.end()
    err = capsys.readouterr().err
    assert err.startswith("training: 2 in 0.") and err.endswith(" s, loss 1\n")


def test_a_new_task_forgets_the_note_of_the_last(capsys: Captured) -> None:
    with Terminal().progress() as progress:
        progress.begin("a", 1)
        progress.advance("old")
        progress.end()
        progress.begin("b", 1)
        progress.end()
    assert "old" not in capsys.readouterr().err.splitlines()[1]


def test_quiet_progress_says_nothing_but_warnings(capsys: Captured) -> None:
    with Terminal(quiet=True).progress() as progress:
        progress.begin("a", 1)
        progress.advance()
        progress.message("by the way")
        progress.warning("careful")
        progress.end()
    assert capsys.readouterr() == ("", "warning: careful\n")


def test_a_terminal_gets_a_bar_with_figures(on_terminal: Callable[..., tuple[Terminal, io.StringIO]]) -> None:
    terminal, shown = on_terminal()
    with terminal.progress() as progress:
        progress.begin("[training]", 4, done=2)
        progress.advance("loss [1]")
        assert progress._bar is not None
        progress._bar.refresh()
        assert "[training]" in shown.getvalue() and "3/4" in shown.getvalue() and "loss [1]" in shown.getvalue()
        progress.end()
        assert progress._bar is None


def test_an_error_stops_the_bar(on_terminal: Callable[..., tuple[Terminal, io.StringIO]]) -> None:
    terminal, _ = on_terminal()
    progress = terminal.progress()
    with pytest.raises(KeyboardInterrupt), progress:
        progress.begin("a", 1)
        bar = progress._bar
        raise KeyboardInterrupt
    assert bar is not None and not bar.live.is_started


def test_a_quiet_terminal_gets_no_bar(on_terminal: Callable[..., tuple[Terminal, io.StringIO]]) -> None:
    terminal, shown = on_terminal(quiet=True)
    with terminal.progress() as progress:
        progress.begin("a", 1)
        progress.advance()
        progress.end()
    assert shown.getvalue() == ""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain 犬 é", "plain 犬 é"),
        ("a\nb\tc", "a\\nb\\tc"),
        ("\x1b[31m", "\\x1b[31m"),
        ("\udcff", "\\udcff"),
        ("\u202egnp", "\\u202egnp"),
    ],
)
def test_one_line_spells_out_what_could_break_a_line(text: str, expected: str) -> None:
    assert one_line(text) == expected


@pytest.mark.parametrize(
    "character", ["\u200b", "\u200d", "\u2066", "\ufeff", "\u034f", "\u3164", "\u2800", "\x9b", "\x7f"]
)
def test_one_line_spells_out_what_nobody_sees(character: str) -> None:
    shown = one_line(f"a{character}b")
    assert shown.isascii() and shown.isprintable() and shown.startswith("a\\")


HOSTILE = "\x1b[31m:b:[red]\x9b\u202e\u200bx\n\rerror: forged"
SPELLED = "\\x1b[31m:b:[red]\\x9b\\u202e\\u200bx\\n\\rerror: forged"


def test_nothing_that_is_shown_reaches_the_terminal_raw(capsys: Captured) -> None:
    terminal = Terminal(verbose=True)
    terminal.message(HOSTILE)
    terminal.detail(HOSTILE)
    terminal.warning(HOSTILE)
    terminal.skipped([(HOSTILE, HOSTILE)])
    styled = Text(HOSTILE.replace("\r", ""), "bold")
    terminal.result({}, f"\n{HOSTILE}\n", table(HOSTILE, [HOSTILE], [[HOSTILE], [styled]]))
    with terminal.progress() as progress:
        progress.begin(HOSTILE, 1)
        progress.advance(HOSTILE)
        progress.end()
    out, err = capsys.readouterr()
    assert out.count(SPELLED) == 4 and err.count(SPELLED) == 7
    assert len(out.splitlines()) == 7 and len(err.splitlines()) == 6
    for character in "\x1b\x9b\u202e\u200b":
        assert character not in out + err


def test_the_bar_spells_out_names_and_knows_no_emoji(on_terminal: Callable[..., tuple[Terminal, io.StringIO]]) -> None:
    terminal, shown = on_terminal()
    with terminal.progress() as progress:
        progress.begin(":b: \u202e", 2)
        progress.advance(":dog: \x9b")
        assert progress._bar is not None
        progress._bar.refresh()
        assert ":b: \\u202e" in shown.getvalue() and ":dog: \\x9b" in shown.getvalue()


def test_forced_colours_make_no_terminal_of_a_file(capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR")
    for name in ("FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.setenv(name, "1")
    terminal = Terminal()
    assert not terminal.draws
    with terminal.progress() as progress:
        progress.begin("training", 1)
        progress.advance()
        progress.end()
    terminal.warning("careful")
    err = capsys.readouterr().err
    assert err.startswith("training: 1 in ") and "\x1b[33mwarning:" in err  # colours, as asked for
    assert "\x1b[?25" not in err and "\x1b[2K" not in err and "\x1b[1A" not in err


def test_json_means_the_same_and_shows_nothing_that_steers(capsys: Captured) -> None:
    document = {"犬 é": "\u202e\x9b\x7f\u200b🙂\udcff\n"}
    Terminal(as_json=True).result(document)
    out = capsys.readouterr().out
    assert json.loads(out) == document and "犬 é" in out
    assert all(character.isprintable() for character in out.replace("\n", ""))


@pytest.mark.parametrize(("share", "expected"), [(0.0, "0.0"), (0.7249, "72.5"), (1.0, "100.0")])
def test_percent(share: float, expected: str) -> None:
    assert percent(share) == expected


def test_tables_align_numbers_right_and_names_left(capsys: Captured) -> None:
    Terminal().result({}, table("", ["name", "count"], [["a", "5"], ["longer", "12345"]]))
    assert [line.rstrip() for line in capsys.readouterr().out.splitlines()] == [
        "name    count",
        "a           5",
        "longer  12345",
    ]


def test_one_of_something_is_singular() -> None:
    assert [amount(count, "batch", "batches") for count in (0, 1, 2)] == ["0 batches", "1 batch", "2 batches"]
    assert differing(1) == "1 label differs from the source model's"
    assert differing(3) == "3 labels differ from the source model's"


def test_a_streamed_document_is_the_same_and_is_not_held(monkeypatch: pytest.MonkeyPatch) -> None:
    class Counting(io.RawIOBase):
        content, writes = b"", 0

        def writable(self) -> bool:
            return True

        def write(self, part: Any) -> int:
            self.writes += 1
            self.content += bytes(part)
            return len(part)

    raw = Counting()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BufferedWriter(raw, 64), encoding="ascii"))
    with Terminal().stream() as file:
        for number in range(1000):
            file.write(f"犬\udcff {number} is one line of many\r\n")
        assert raw.writes > 1
    Terminal().document("end")
    lines = [f"犬\\udcff {number} is one line of many\r\n" for number in range(1000)]
    assert raw.content.decode() == "".join(lines) + "end"
