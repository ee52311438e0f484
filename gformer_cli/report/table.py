"""The results as a terminal table."""

from __future__ import annotations

from rich.table import Table

from gformer_cli.console import percent, table
from gformer_cli.metrics import mean
from gformer_cli.stages.evaluate import Results


def accuracy_table(results: Results) -> Table:
    """Methods down, targets across: accuracy in %, its average, time per image, time relative to a plain forward."""
    targets = list(dict.fromkeys(cell.target for cell in results.cells))
    rows = []
    for method in results.methods:
        cells = [cell for cell in results.cells if cell.method == method]
        per_target = [mean(cell.accuracy for cell in cells if cell.target == target) for target in targets]
        rows.append(
            [
                method,
                *[percent(value) for value in per_target],
                percent(results.average(method)),
                f"{1000 * mean(cell.seconds_per_image for cell in cells):.2f}",
                f"{mean(cell.cost_ratio for cell in cells):.2f}",
            ]
        )
    return table(
        "Accuracy on targets, in %",
        ["method", *targets, "average", "ms per image", "x plain forward"],
        rows,
    )
