"""Cells of the held-out runs as tables.

python -m benchmarks.universal.table benchmarks/universal/cells.csv --network resnet --size 64 8 --by task
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gformer_cli.metrics import mean, standard_error

Cell = Mapping[str, Any]
WITHIN = 1.0
"""Points that a cell may lose to `source` and still count as unharmed."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cells", type=Path, help="The CSV that benchmarks.universal.held_out wrote.")
    parser.add_argument("--by", choices=("network", "task", "target"), default="network")
    parser.add_argument("--network", help="Of this network alone.")
    parser.add_argument("--size", type=int, nargs="+", default=[64, 8, 1], help="Of batches of these sizes alone.")
    given = parser.parse_args()
    with given.cells.open(newline="", encoding="utf-8") as file:
        cells = [dict(row, seed=int(row["seed"]), size=int(row["size"])) for row in csv.DictReader(file)]
    shown = [cell for cell in cells if given.network in (None, cell["network"]) and cell["size"] in given.size]
    print_table(shown, by=given.by)


def print_table(cells: Sequence[Cell], *, by: str = "network") -> None:
    """Markdown: a row a method, a column a stream and batch size; then the same for each of `by` by itself."""
    _print(f"every {by}", cells)
    for part in dict.fromkeys(cell[by] for cell in cells):
        _print(part, [cell for cell in cells if cell[by] == part])


def _print(title: str, cells: Sequence[Cell]) -> None:
    columns = list(dict.fromkeys((cell["stream"], cell["size"]) for cell in cells))
    print(f"\n{title}: {len({_run(cell) for cell in cells})} runs\n")
    heads = [f"{stream}, {size}" for stream, size in columns]
    print(f"| | {' | '.join(heads)} | worst loss | within {WITHIN:g} |")
    print("| --- " * (len(columns) + 3) + "|")
    for method in dict.fromkeys(cell["method"] for cell in cells):
        own = [cell for cell in cells if cell["method"] == method]
        figures = [_mean([cell for cell in own if (cell["stream"], cell["size"]) == column]) for column in columns]
        lost = losses(cells, method)
        unharmed = mean([float(loss <= WITHIN) for loss in lost])
        print(f"| {method} | {' | '.join(figures)} | {max(lost):.1f} | {100.0 * unharmed:.0f} % |")


def losses(cells: Sequence[Cell], method: str) -> list[float]:
    """Points that `method` loses to `source` in each of its cells; below zero where it gains."""
    source = {_place(cell): float(cell["accuracy"]) for cell in cells if cell["method"] == "source"}
    return [100.0 * (source[_place(cell)] - float(cell["accuracy"])) for cell in cells if cell["method"] == method]


def _mean(cells: Sequence[Cell]) -> str:
    """Accuracy in % over all cells of a seed alike, mean ± standard error over seeds."""
    seeds: dict[int, list[float]] = {}
    for cell in cells:
        seeds.setdefault(cell["seed"], []).append(100.0 * float(cell["accuracy"]))
    if not seeds:
        return ""
    of_seeds = [mean(values) for values in seeds.values()]
    error = standard_error(of_seeds)
    return f"{mean(of_seeds):.1f}" + (f" ± {error:.1f}" if len(of_seeds) > 1 else "")


def _run(cell: Cell) -> tuple[Any, ...]:
    return cell["task"], cell["network"], cell["seed"]


def _place(cell: Cell) -> tuple[Any, ...]:
    return (*_run(cell), cell["target"], cell["stream"], cell["size"])


if __name__ == "__main__":
    main()
