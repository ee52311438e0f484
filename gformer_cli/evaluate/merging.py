"""Results of shards put together, as one evaluation of all streams gives them. Nothing but their folders is needed."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain, groupby, zip_longest
from pathlib import Path

from gformer_cli.errors import InputError
from gformer_cli.evaluate.output import Output
from gformer_cli.evaluate.reading import Document, read_results
from gformer_cli.evaluate.results import Cell, Choice, Results
from gformer_cli.images.preprocessing import Skipped


def merged(folders: Sequence[Path]) -> Results:
    """The results of all shards of an evaluation, each in one of `folders`.

    Raises `InputError` where one is missing, comes twice, or is of another evaluation.
    """
    parts: dict[int, Document] = {}
    of: dict[int, Path] = {}
    for folder in folders:
        number, document = _shard(folder)
        if number in parts:
            raise InputError(f"{of[number]} and {folder} hold the same shard, {number}", "Name each shard once.")
        parts[number], of[number] = document, folder
    first = next(iter(of))
    for number, document in parts.items():
        if _evaluation(document) != _evaluation(parts[first]):
            raise InputError(
                f"{of[number]} is of another evaluation than {of[first]}",
                "Shards have the same model, images and options, and the same N in --shard I/N.",
            )
    count = parts[first].run["shard"][1]
    missing = [str(number) for number in range(1, count + 1) if number not in parts]
    if missing:
        raise InputError(
            f"{len(missing)} of {count} shards are missing: {', '.join(missing[:10])}{' ...' if missing[10:] else ''}",
            "Name the --out folders of all of them.",
        )
    return _together([parts[number] for number in range(1, count + 1)])


def _shard(folder: Path) -> tuple[int, Document]:
    path = Output(folder).results
    if not path.is_file():
        cells = Output(folder).cells.is_file()
        raise InputError(
            f"{folder} holds no results" + (" yet: its evaluation is not finished" if cells else ""),
            "Finish it with --resume." if cells else "Name folders that gformer evaluate --shard wrote with --out.",
        )
    document = read_results(path)
    shard = document.run.get("shard")
    if not (isinstance(shard, list) and len(shard) == 2 and all(isinstance(one, int) for one in shard)):
        raise InputError(f"{path} is no shard: it is a whole evaluation", "It needs no merging.")
    return shard[0], document


def _evaluation(document: Document) -> object:
    return document.run.get("evaluation"), document.run["shard"][1]


def _together(documents: Sequence[Document]) -> Results:
    """Shards have their streams in turn, so they are dealt back in turn."""
    streams = [[list(cells) for _, cells in groupby(document.cells, key=_stream)] for document in documents]
    rounds = zip_longest(*streams, fillvalue=())
    cells: list[Cell] = [cell for stream in chain.from_iterable(rounds) for cell in stream]
    skipped = {item["path"]: Skipped(**item) for document in documents for item in document.skipped}
    one = documents[0]
    run = {name: value for name, value in one.run.items() if name not in ("shard", "evaluation")}
    methods = list(one.run.get("methods") or dict.fromkeys(summary.method for summary in one.summaries))
    tuned = {name: Choice(**choice) for name, choice in one.tuned.items()}
    return Results(one.bundle, methods, cells, list(skipped.values()), tuned, {**run, "merged": len(documents)})


def _stream(cell: Cell) -> tuple[object, ...]:
    return cell.seed, cell.stream, cell.part, cell.batch_size, cell.severity
