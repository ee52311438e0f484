"""Measure methods on streams of labelled images: every method sees the same batches in the same order.

`plan` says what is measured, `parts` what methods are made from, `source` finds held-out source images, `tune` chooses
settings on them, `loading` reads, `run` runs one stream, `measure` all of them, `parallel` in several processes, `cost`
counts what it took, `records` keeps what is finished, `results` sums up, `output` writes, `limits` judges; `stage` is
the whole.
"""

from gformer_cli.evaluate.measuring import measure
from gformer_cli.evaluate.plan import Plan
from gformer_cli.evaluate.results import Cell, Choice, Results
from gformer_cli.evaluate.stage import evaluate

__all__ = ["Cell", "Choice", "Plan", "Results", "evaluate", "measure"]
