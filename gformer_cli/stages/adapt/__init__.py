"""Predict unlabelled target images, generating parameters for each batch.

`folder.py` is where it starts for folders that are complete, `watch.py` for those that fill.
"""

from gformer_cli.stages.adapt.appending import held
from gformer_cli.stages.adapt.folder import AdaptResult, adapt
from gformer_cli.stages.adapt.guarding import choose_guard
from gformer_cli.stages.adapt.output import Row, check_output, write_csv, write_rows
from gformer_cli.stages.adapt.parameters import ParameterFolder
from gformer_cli.stages.adapt.predictor import OVERFLOW, Outcome, Predictor, Sink
from gformer_cli.stages.adapt.sample import Sample

__all__ = [
    "OVERFLOW",
    "AdaptResult",
    "Outcome",
    "ParameterFolder",
    "Predictor",
    "Row",
    "Sample",
    "Sink",
    "adapt",
    "check_output",
    "choose_guard",
    "held",
    "write_csv",
    "write_rows",
]
