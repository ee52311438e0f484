"""Which columns of a table are meant, behind its name: `plant.csv:path=images/{file},class=label,site==north`.

`ROLE=COLUMN` says which column is the path, class, domain or split. A text with columns in braces is filled in for each
row. `COLUMN==VALUE` chooses rows; several values of one column are alternatives. Blanks around names count for nothing.
No torch here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from gformer_cli.errors import InputError, nearest
from gformer_cli.folders.lists import LISTS
from gformer_cli.folders.tables import TABLES, check_column

ROLES = ("path", "class", "domain", "split")
"""What columns may say of an image, and what they are called where nothing else is said."""
_WITH_COLUMNS = re.compile(
    rf"(?P<file>.+({'|'.join(map(re.escape, (*TABLES, *LISTS)))})):(?P<columns>.*)", re.IGNORECASE | re.DOTALL
)
_IN_BRACES = re.compile(r"\{([^{}]+)\}")
_OTHER_COMPARISON = re.compile(r"(?P<column>[^=<>!~]+)(?P<sign>[<>!~]=?)(?P<value>.*)", re.DOTALL)


@dataclass(frozen=True)
class Columns:
    """What the columns of a table say, and which of its rows are meant."""

    named: Mapping[str, str] = field(default_factory=dict)
    """By role: a column, or a text with columns in braces."""
    chosen: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """By column: the values that are wanted."""

    def used(self) -> list[str]:
        """The columns that are named, each once."""
        told = [_IN_BRACES.findall(text) or [text] for text in self.named.values()]
        return list(dict.fromkeys([*(name for names in told for name in names), *self.chosen]))

    def choose(self, row: Mapping[str, str]) -> bool:
        """Whether a row is meant."""
        return all(row[column].strip() in values for column, values in self.chosen.items())

    def tell(self, row: Mapping[str, str]) -> dict[str, str]:
        """What a row says, by role; empty for what it does not. Rows that were chosen by their split have none."""
        told = {role: self._filled(role, row) for role in ROLES}
        return told | {"split": ""} if self.named.get("split", "split") in self.chosen else told

    def _filled(self, role: str, row: Mapping[str, str]) -> str:
        text = self.named.get(role)
        if text is None:
            return row.get(role, "")
        return _IN_BRACES.sub(lambda found: row[found[1]], text) if _IN_BRACES.search(text) else row[text]

    @property
    def path(self) -> str:
        """How a path is named behind its folder, with columns in braces."""
        text = self.named.get("path", "path")
        return text[text.index("{") :] if _IN_BRACES.search(text) else f"{{{text}}}"

    def check(self, path: Path, header: Sequence[str], *, labelled: bool) -> None:
        """Raises `InputError` for a column that is named and not there, or not named and wanted."""
        wanted = [role for role in ("path", "class") if role not in self.named and (labelled or role == "path")]
        say = f"Say which is meant: {path}:path=COLUMN,class=COLUMN,domain=COLUMN,split=COLUMN"
        for column in (*self.used(), *wanted):
            near = nearest(column, filter(None, header))
            chooses = column in self.chosen
            check_column(path, column, header, near or ("Rows are chosen by COLUMN==VALUE." if chooses else say))


def split_columns(path: Path) -> tuple[Path, Columns]:
    """The table or list that `path` names, and what is said of its columns.

    Raises `InputError` for what names no column.
    """
    found = _WITH_COLUMNS.fullmatch(path.as_posix())
    return (path, Columns()) if found is None else (Path(found["file"]), _parse(found["columns"], found["file"]))


def _parse(text: str, file: str) -> Columns:
    named: dict[str, str] = {}
    chosen: dict[str, set[str]] = {}
    for item in map(str.strip, text.split(",")):
        key, value = map(str.strip, item.partition("=")[::2])
        if key and value.startswith("="):
            chosen.setdefault(key, set()).add(value[1:].strip())
            continue
        if (other := _OTHER_COMPARISON.fullmatch(item)) is not None:
            column, found = other["column"].strip(), other["value"].strip()
            raise InputError(
                f"{file}: rows are chosen by == alone, not by {other['sign']}: {item}",
                f"Name each value that is meant: {column}=={found},{column}==...",
            )
        if not key or not value:
            raise InputError(
                f"{file}: {item!r} names no column",
                f"Behind the colon stand ROLE=COLUMN ({', '.join(ROLES)}) and COLUMN==VALUE, with commas between them.",
            )
        if key not in ROLES:
            raise InputError(
                f"{file}: {key!r} is nothing that a column says of an image: {item}",
                f"It is {', '.join(ROLES[:-1])} or {ROLES[-1]}. To choose rows by a value: {key}=={value}",
            )
        if set("{}") & {*_IN_BRACES.sub("", value)}:
            raise InputError(
                f"{file}: braces do not stand around a column: {item}", f"For example: {key}=photos/{{COLUMN}}.jpg"
            )
        if key in named:
            raise InputError(f"{file}: two columns for the {key}: {named[key]} and {value}", "Leave out one of them.")
        named[key] = value
    return Columns(named, {column: frozenset(values) for column, values in chosen.items()})
