"""When images arrived, as a table says it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from gformer_cli.console import amount
from gformer_cli.data.inventory import within
from gformer_cli.data.orders import Item
from gformer_cli.errors import InputError
from gformer_cli.folders.domains import Domain
from gformer_cli.folders.tables import TABLES, check_column, header_of, read_rows

COLUMNS = ("path", "time")


@dataclass(frozen=True)
class Arrivals:
    """The time of each image, by its target and its path there."""

    times: Mapping[tuple[str, str], float]

    def __call__(self, item: Item) -> float:
        return self.times[item.target, item.file.relative]


def read_arrivals(path: Path, domains: Iterable[Domain]) -> Arrivals:
    """The times of all images of `domains` in the CSV or Parquet file `path`.

    Its columns are `path`, below the named folder or the target's own, and `time`: numbers, or dates and times as ISO
    8601 has them. Without `time` the order of the rows counts. Raises `InputError` for what is wrong there, and for
    images that it does not name.
    """
    if path.suffix.lower() not in TABLES or not path.is_file():
        raise InputError(f"no such table: {path}", "It must be a .csv or .parquet file with the columns path and time.")
    check_column(path, "path", header_of(path), "Columns that are read: path and time.")
    told: dict[str, float] = {}
    for number, (place, row) in enumerate(read_rows(path, COLUMNS)):
        if row["path"] in told:
            raise InputError(f"{place}: {row['path']} was named before", "Name each image once.")
        told[row["path"]] = _time(row["time"], place) if "time" in row else float(number)
    found: dict[tuple[str, str], float] = {}
    missing: list[Path] = []
    for domain in domains:
        for file in domain.files:
            inner = within(domain.root, file)
            time = next((told[name] for name in (file.relative, inner, f"{domain.name}/{inner}") if name in told), None)
            if time is None:
                missing.append(file.path)
            else:
                found[domain.name, file.relative] = time
    if missing:
        raise InputError(
            f"{path} does not name {amount(len(missing), 'image', 'images')}, such as {missing[0]}",
            "Each image of the targets needs a row: its path below the folder that you named, or below its target.",
        )
    return Arrivals(found)


def _time(text: str, place: str) -> float:
    try:
        return float(text)
    except ValueError:
        pass
    try:
        when = datetime.fromisoformat(text.strip())
    except ValueError:
        raise InputError(
            f"{place}: {text!r} is no time", "It is a number, or as ISO 8601 has it: 2025-03-01T07:30:00."
        ) from None
    return (when if when.tzinfo else when.replace(tzinfo=timezone.utc)).timestamp()
