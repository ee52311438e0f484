"""What is known of how well a source model was trained: what adapting gains is worth as much as that."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from gformer_cli.console import percent


def with_validation(caption: str, bundle: Mapping[str, Any]) -> str:
    """A table's caption with the source model's accuracy on validation images, where results know it of a bundle."""
    accuracy = bundle.get("validation_accuracy")
    if not isinstance(accuracy, float) or not math.isfinite(accuracy):  # of a file of results it may be anything
        return caption
    return f"{caption} (source model: {percent(accuracy)} % on validation images)"


def doubts(bundle: Mapping[str, Any]) -> list[str]:
    """What must be known of a source model that more training would have made better; as a sentence."""
    if bundle.get("still_rising") is not True:
        return []
    return [
        "The source model's validation was still rising when training ended: "
        "a weak source model makes adapting look good."
    ]
