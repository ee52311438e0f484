"""Predict unlabelled target images, generating parameters for each batch.

`folder.py` is where it starts for folders that are complete, `watch.py` for those that fill.
"""

from gformer_cli.stages.adapt.folder import AdaptResult, adapt
from gformer_cli.stages.adapt.output import Row, check_output, write_rows
from gformer_cli.stages.adapt.predictor import Outcome, Predictor

__all__ = ["AdaptResult", "Outcome", "Predictor", "Row", "adapt", "check_output", "write_rows"]
