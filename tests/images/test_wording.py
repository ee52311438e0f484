"""The input in words."""

from __future__ import annotations

from typing import Any

import pytest

from gformer_cli.images.wording import describe_input
from gformer_cli.settings import DataSettings


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({}, "square of the centre resized, bilinear; read upright"),
        ({"resize": "stretch"}, "both sides resized, bilinear; read upright"),
        ({"resize": "pad"}, "longer side to 224, padded, bilinear; read upright"),
        ({"resize_size": 256, "reading": "plain"}, "shorter side to 256, centre cropped, bilinear; read plain"),
        ({"resize_size": 200}, "shorter side to 200, padded, bilinear; read upright"),
        ({"resize": "stretch", "resize_size": 256}, "both sides to 256, centre cropped, bilinear; read upright"),
        ({"resize": "pad", "resize_size": 256}, "longer side to 256, centre cropped or padded, bilinear; read upright"),
        ({"interpolation": "bicubic"}, "square of the centre resized, bicubic; read upright"),
        ({"antialias": False}, "square of the centre resized, bilinear without antialias; read upright"),
        ({"channels": "bgr"}, "square of the centre resized, bilinear; blue, green, red; read upright"),
        ({"channels": "grey"}, "square of the centre resized, bilinear; grey in three channels; read upright"),
    ],
)
def test_the_input_in_words(settings: dict[str, Any], words: str) -> None:
    assert describe_input(DataSettings(**settings)) == f"224 x 224: {words}"
