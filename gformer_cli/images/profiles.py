"""ICC profiles: from the colours of an image to those of sRGB. No torch here."""

from __future__ import annotations

import io
from functools import lru_cache

import numpy as np
from PIL import Image, ImageCms

SPACES = {"RGB": "RGB", "L": "GRAY", "CMYK": "CMYK"}
"""Modes that a profile can be of, by the name that it has for them."""
_LIMIT = 16 << 20
"""Bytes of the largest profile that is looked at."""
_NEAR = 2
"""Of 255: a profile that changes no colour by more is sRGB by another name, and costs nothing."""


@lru_cache(maxsize=32)
def to_srgb(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """What turns images of `mode` (of `SPACES`) into sRGB, mode RGB.

    None where nothing is to be done: the profile is sRGB, or another grey that looks the same, is damaged, or belongs
    to another kind of image. The pixels are whole, whatever the profile is.
    """
    if len(profile) > _LIMIT:
        return None
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if source.profile.xcolor_space.strip() != SPACES[mode]:
            return None
        transform = ImageCms.buildTransform(source, ImageCms.createProfile("sRGB"), mode, "RGB")
        changed = transform.apply(_samples(mode))
    except MemoryError:
        raise
    except Exception:  # the library's own kinds, and what its parser makes of nonsense
        return None
    before = np.asarray(_samples(mode).convert("RGB"), dtype=np.int16)
    same = np.abs(np.asarray(changed, dtype=np.int16) - before).max() <= _NEAR
    return None if same and mode != "CMYK" else transform


def _samples(mode: str) -> Image.Image:
    """Colours from all over the space, one a pixel."""
    if mode == "L":
        return Image.fromarray(np.arange(256, dtype=np.uint8)[None])
    steps = np.linspace(0, 255, 6).astype(np.uint8)
    bands = np.stack(np.meshgrid(*[steps] * len(mode)), axis=-1).reshape(1, -1, len(mode))
    return Image.fromarray(bands, mode)
