"""Accuracy without labels: how right predictions probably are, guessed from the predictions themselves.

None sees a label of what it judges. What they go by beforehand (`Fitted`) is fitted on labelled source images.
"""

from gformer_cli.core.estimators.aetta import (
    RATES,
    Classified,
    Dropout,
    Inferences,
    error_at,
    errors_by_rate,
    expected_error,
    fit_rate,
    infer,
)
from gformer_cli.core.estimators.atc import SCORES, fit_thresholds, right
from gformer_cli.core.estimators.confidence import confidences
from gformer_cli.core.estimators.fitted import Fitted, missed
from gformer_cli.core.estimators.guesses import (
    AETTA,
    ATC_CONFIDENCE,
    ATC_ENTROPY,
    CONFIDENCE,
    ESTIMATORS,
    Guesses,
    chances,
    inferred,
)
from gformer_cli.core.estimators.heads import HeadWatch, watched

__all__ = [
    "AETTA",
    "ATC_CONFIDENCE",
    "ATC_ENTROPY",
    "CONFIDENCE",
    "ESTIMATORS",
    "RATES",
    "SCORES",
    "Classified",
    "Dropout",
    "Fitted",
    "Guesses",
    "HeadWatch",
    "Inferences",
    "chances",
    "confidences",
    "error_at",
    "errors_by_rate",
    "expected_error",
    "fit_rate",
    "fit_thresholds",
    "infer",
    "inferred",
    "missed",
    "right",
    "watched",
]
