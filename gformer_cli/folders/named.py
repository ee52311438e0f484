"""Images that are named one by one, in the place of a folder: a table or a list of them, or a pattern of shards."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

from gformer_cli.errors import InputError
from gformer_cli.folders import wilds
from gformer_cli.folders.columns import ROLES, Columns, split_columns
from gformer_cli.folders.gathering import Gathering, Named
from gformer_cli.folders.image_files import Aside, ImageFile
from gformer_cli.folders.lists import HEADER, LISTS, read_list
from gformer_cli.folders.nesting import Known
from gformer_cli.folders.shards import SHARDS, name_of, read_shards
from gformer_cli.folders.sniffing import kind_of
from gformer_cli.folders.tables import TABLES, Row, header_of, read_rows

_FEW = 8


def is_named_one_by_one(path: Path) -> bool:
    """Whether `path` is no folder of images, but by its name a table or list of them, or a pattern of shards."""
    file, _ = split_columns(path)
    return file.suffix.lower() in (*TABLES, *LISTS, *SHARDS) and not file.is_dir()


def check_named(path: Path, before: Sequence[Path]) -> None:
    file, _ = split_columns(path)
    if file.suffix.lower() in (*TABLES, *LISTS) and not file.exists():
        raise InputError(f"no such file: {file}", "Check the path; it must be a table or a list of images.")
    if path in before:
        raise InputError(f"{path} is given twice", "Leave out one of the two.")


def gather(path: Path, known: Known, splits: Collection[str], *, unlabelled: bool) -> Gathering:
    """What the table, the list or the shards `path` name. Raises `InputError` for what is wrong there."""
    file, columns = split_columns(path)
    are_shards = file.suffix.lower() in SHARDS
    default = name_of(path) if are_shards else file.stem
    gathering = Gathering(str(path), file.parent, default, known, splits, unlabelled)
    if are_shards:
        read_shards(path, gathering)
    elif file.suffix.lower() in LISTS:
        columns.check(file, HEADER, labelled=not unlabelled)
        _add_rows(file, read_list(file), columns, gathering, may_miss=True)
    else:
        _read_table(file, columns, gathering)
    return gathering


def _read_table(path: Path, columns: Columns, gathering: Gathering) -> None:
    header = header_of(path)
    data_set = None if "path" in columns.named else wilds.known_table(path)
    if data_set is not None:
        header = [*header, *ROLES]
    columns.check(path, header, labelled=not gathering.unlabelled)
    rows = read_rows(path, [*columns.used(), *ROLES])
    if data_set is None:
        _add_rows(path, rows, columns, gathering)
    else:
        splits = {} if "split" in columns.named else wilds.SPLITS
        _add_rows(path, data_set.rows(rows, path.parent), columns, gathering, splits=splits)


def _add_rows(
    path: Path,
    rows: Iterable[Row],
    columns: Columns,
    gathering: Gathering,
    *,
    splits: Mapping[str, str] | None = None,
    may_miss: bool = False,
) -> None:
    """Add the images that are named in `rows` of the file `path`. `splits` are what splits of other names stand for, in
    a known data set alone.

    With `may_miss`, files that are not there are noted, unless none is there. Raises `InputError`, with the row, for
    what is wrong in it.
    """
    from_column = columns.path if splits is None else ""
    splits = splits or {}
    seen: dict[str, str] = {}
    values: dict[str, set[str]] = {column: set() for column in columns.chosen}
    for place, row in rows:
        if not columns.choose(row):
            for column, found in values.items():
                found.add(row[column])
            continue
        name, label, domain, split = columns.tell(row).values()
        if not name:
            raise InputError(f"{place}: the path is empty", "Remove the row, or name the image.")
        if name in seen:
            raise InputError(f"{place}: {name} was named before, in {seen[name]}", "Name each image once.")
        seen[name] = place.rsplit(", ", 1)[-1]
        file = path.parent / name
        if not file.exists():
            if may_miss:
                gathering.missing.append(file)
                continue
            raise _no_such_file(place, file, path, from_column)
        kind = kind_of(file)
        if not kind.is_read:
            gathering.aside.append(Aside(file, kind.unread))
            continue
        gathering.add(Named(place, ImageFile(path.parent, name), label, domain, splits.get(split, split)))
    if not seen and columns.chosen:
        raise _none_chosen(path, columns, values)
    if gathering.missing and len(gathering.missing) == len(seen):
        raise _no_such_file(str(path), gathering.missing[0], path, from_column)


def _no_such_file(place: str, file: Path, path: Path, from_column: str) -> InputError:
    """`from_column` is what names the file, with columns in braces; empty where no column does."""
    other = f" From another: {path}:path=FOLDER/{from_column}" if from_column else ""
    return InputError(
        f"{place}: no such file: {file}", f"Paths are taken from the folder {path.parent.resolve()}.{other}"
    )


def _none_chosen(path: Path, columns: Columns, values: dict[str, set[str]]) -> InputError:
    wanted = ",".join(f"{column}=={value}" for column, chosen in columns.chosen.items() for value in sorted(chosen))
    there = "; ".join(
        f"{column} is {', '.join(sorted(found)[:_FEW])}{', ...' if len(found) > _FEW else ''}"
        for column, found in values.items()
    )
    return InputError(f"no row of {path} has {wanted}", f"There, {there}.")
