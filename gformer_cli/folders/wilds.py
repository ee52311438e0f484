"""Data sets as WILDS hands them out (Koh et al. 2021, arXiv 2012.07421), known by the header of their table.

Each table is given the columns `path`, `class`, `domain` and `split`, and keeps its own. Splits have the names of
WILDS: `train`, `id_val` and `test` count as training, validation and test; `val` (other domains) and `id_test` are
taken where they are chosen by name. The rules are those of `wilds` 2.0, https://github.com/p-lambda/wilds.
No torch here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from gformer_cli.errors import InputError
from gformer_cli.folders.columns import ROLES
from gformer_cli.folders.gathering import OTHER, TEST, TRAIN, VALIDATION
from gformer_cli.folders.tables import Row, check_column, header_of, read_rows

SPLITS = {
    "train": TRAIN,
    "id_val": VALIDATION,
    "test": TEST,
    **dict.fromkeys(("val", "id_test", "seq", "unused"), OTHER),
}
"""What splits of these names count as."""


def camelyon17(rows: Iterable[Row], folder: Path) -> Iterator[Row]:
    """Tumours in tissue; domains are hospitals. Hospital 1 is `val`, and 2 is `test`, whatever the table says."""
    splits = {"1": "val", "2": "test"}
    classes = {"0": "normal", "1": "tumor"}
    for place, row in rows:
        slide = f"patient_{row['patient']}_node_{row['node']}"
        path = f"patches/{slide}/patch_{slide}_x_{row['x_coord']}_y_{row['y_coord']}.png"
        split = splits.get(row["center"]) or _known(place, row, "split", {"0": "train", "1": "id_val"})
        yield _told(place, row, path, _known(place, row, "tumor", classes), f"center-{row['center']}", split)


def iwildcam(rows: Iterable[Row], folder: Path) -> Iterator[Row]:
    """Animals before camera traps; domains are their places."""
    names = _lookup(folder / "categories.csv", "y", "name")
    for place, row in rows:
        label = _known(place, row, "y", names, "categories.csv")
        domain = f"location-{row['location_remapped']}"
        yield _told(place, row, f"train/{row['filename']}", label, domain, row["split"])


def fmow(rows: Iterable[Row], folder: Path) -> Iterator[Row]:
    """Use of land, from satellites; domains are regions. Years from 2013 on are `val`, those from 2016 on `test`."""
    regions = _lookup(folder / "country_code_mapping.csv", "alpha-3", "region")
    for number, (place, row) in enumerate(rows):
        split, year = row["split"], row["timestamp"][:4]
        if year < "2013":
            split = {"val": "id_val", "test": "id_test"}.get(split, split)
        elif (split, year < "2016") not in (("val", True), ("test", False)):
            split = "unused"
        region = regions.get(row["country_code"]) or "Other"
        yield _told(place, row, f"images/rgb_img_{number}.png", row["category"], region, split)


def rxrx1(rows: Iterable[Row], folder: Path) -> Iterator[Row]:
    """Genetic treatments of cells; domains are batches of experiments."""
    for place, row in rows:
        path = f"images/{row['experiment']}/Plate{row['plate']}/{row['well']}_s{row['site']}.png"
        split = "id_test" if (row["dataset"], row["site"]) == ("train", "2") else row["dataset"]
        yield _told(place, row, path, row["sirna_id"], row["experiment"], split)


def domainnet(rows: Iterable[Row], folder: Path) -> Iterator[Row]:
    """Objects in six styles. WILDS takes one style as source and one as target: `domain==sketch` chooses one."""
    for place, row in rows:
        yield _told(place, row, row["image_path"], row["category"], row["domain"], row["split"])


@dataclass(frozen=True)
class Known:
    """A table that is known."""

    table: str
    """Its name."""
    columns: frozenset[str]
    """By which it is told from others."""
    rows: Callable[[Iterable[Row], Path], Iterator[Row]]
    """Its rows, with a column for each of `ROLES`; the folder holds the table."""


DATA_SETS = {
    "camelyon17": Known(
        "metadata.csv",
        frozenset({"patient", "node", "x_coord", "y_coord", "tumor", "slide", "center", "split"}),
        camelyon17,
    ),
    "iwildcam": Known(
        "metadata.csv",
        frozenset({"split", "location_remapped", "sequence_remapped", "y", "category_id", "datetime", "filename"}),
        iwildcam,
    ),
    "fmow": Known(
        "rgb_metadata.csv", frozenset({"split", "img_filename", "category", "country_code", "timestamp"}), fmow
    ),
    "rxrx1": Known(
        "metadata.csv", frozenset({"dataset", "experiment", "plate", "well", "site", "sirna", "sirna_id"}), rxrx1
    ),
    "domainnet": Known("metadata.csv", frozenset({"image_path", "domain", "split", "category", "y"}), domainnet),
}


def table_of(folder: Path) -> Path | None:
    """The table of a folder that is one of `DATA_SETS`; None for any other."""
    for name in dict.fromkeys(known.table for known in DATA_SETS.values()):
        path = folder / name
        if path.is_file() and known_table(path) is not None:
            return path
    return None


def known_table(path: Path) -> Known | None:
    """Which table it is. None also for what is no CSV: who reads it then tells why."""
    if path.suffix.lower() != ".csv":
        return None
    try:
        header = {*header_of(path)}
    except InputError:
        return None
    return next((known for known in DATA_SETS.values() if known.columns <= header and "path" not in header), None)


def _known(place: str, row: Mapping[str, str], column: str, meanings: Mapping[str, str], table: str = "") -> str:
    """What the value of a column means. Raises `InputError`, with the row, for a value that the data set has not."""
    if row[column] not in meanings:
        there = f"{table} has no such {column}" if table else f"the data set has {' and '.join(meanings)}"
        raise InputError(
            f"{place}: {column} is {row[column]!r}, and {there}",
            "It comes with the data set: copy it again.",
        )
    return meanings[row[column]]


def _told(place: str, row: Mapping[str, str], *told: str) -> Row:
    return place, {**row, **dict(zip(ROLES, told, strict=True))}


def _lookup(path: Path, key: str, value: str) -> dict[str, str]:
    """A column of a table by another."""
    header = header_of(path)
    for column in (key, value):
        check_column(path, column, header, "It comes with the data set: copy it again.")
    return {row[key]: row[value] for _, row in read_rows(path, (key, value))}
