"""Tables of docs/results.md are what the command below them prints."""

from __future__ import annotations

import re
import shlex

import pytest

from benchmarks.universal import table
from tests.docs.reading import ROOT

COLUMNS = {"all": "stationary", "waves": "label-shift"}
TABLES = re.findall(
    r"((?:^\|.*\n)+)\n    python -m benchmarks\.universal\.table (.*)\n",
    (ROOT / "docs" / "results.md").read_text(encoding="utf-8"),
    re.MULTILINE,
)


def rows_of(text: str) -> dict[tuple[str, str], str]:
    """The cells of a table of Markdown by row and column, of the first one in `text`."""
    lines = [
        [cell.strip().strip("*") for cell in line.strip("|").split("|")]
        for line in text.splitlines()
        if line[:1] == "|"
    ]
    ends = [number for number, line in enumerate(lines) if line[0] == "" and number]
    heads, body = lines[0], lines[2 : ends[0] if ends else None]
    return {
        (row[0], head): re.sub(r"\*", "", cell) for row in body for head, cell in zip(heads[1:], row[1:], strict=True)
    }


@pytest.mark.parametrize(("shown", "command"), TABLES)
def test_the_figures_are_those_of_the_command(
    shown: str, command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr("sys.argv", ["table", *shlex.split(command)])
    table.main()
    printed = rows_of(capsys.readouterr().out)
    for (method, head), figure in rows_of(shown).items():
        stream, _, size = head.partition(", ")
        column = f"{COLUMNS[stream]}, {size}" if size else {"worst": "worst loss", "unharmed": "within 1"}[head]
        assert printed[method, column] == figure.replace("**", ""), (method, head)


def test_there_are_three_such_tables() -> None:
    assert len(TABLES) == 3
