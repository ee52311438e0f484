"""Predict unlabelled target images, generating parameters for each batch.

`folder.py` is where it starts. Folders that fill are followed by `gformer_cli.watch`.
"""

from gformer_cli.adapt.answering import OVERFLOW, Answer, answer
from gformer_cli.adapt.estimates import Estimate, Estimates, choose
from gformer_cli.adapt.folder import AdaptResult, adapt
from gformer_cli.adapt.guarding import choose_guard
from gformer_cli.adapt.output import check_output, reserved, write_csv, write_rows
from gformer_cli.adapt.parameters import ParameterFolder
from gformer_cli.adapt.picking import Pick, Picker, pick, picked_row, write_picks
from gformer_cli.adapt.predictor import Outcome, Predictor, Sink
from gformer_cli.adapt.rows import Row, Rows
from gformer_cli.adapt.sample import Sample

__all__ = [
    "OVERFLOW",
    "AdaptResult",
    "Answer",
    "Estimate",
    "Estimates",
    "Outcome",
    "ParameterFolder",
    "Pick",
    "Picker",
    "Predictor",
    "Row",
    "Rows",
    "Sample",
    "Sink",
    "adapt",
    "answer",
    "check_output",
    "choose",
    "choose_guard",
    "pick",
    "picked_row",
    "reserved",
    "write_csv",
    "write_picks",
    "write_rows",
]
