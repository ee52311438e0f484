"""Small pictures that need no file of their own."""

from __future__ import annotations

import base64
import io

import torch
from PIL import Image

SIDE = 64
"""Largest side, in pixels."""


def thumbnail(pixels: torch.Tensor) -> str:
    """An image, uint8 (3, S, S) on the CPU, as a data URI: all of it is in its address."""
    image = Image.fromarray(pixels.permute(1, 2, 0).contiguous().numpy())
    image.thumbnail((SIDE, SIDE))
    file = io.BytesIO()
    image.save(file, "JPEG", quality=80)
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"
