"""Pillow images of any mode to 8-bit RGB: levels, profile, transparency. No torch here."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageCms

from gformer_cli.images.depth import Levels, choose
from gformer_cli.images.profiles import SPACES, to_srgb
from gformer_cli.images.samples import STRIP, Deep, of_mode, reach_of, scaled, strips

_INVISIBLE = "wholly transparent"
_GREY = ("1", "L", "LA", "La")


class Refused(ValueError):
    """An image that is whole, and not used all the same."""


def to_rgb(
    image: Image.Image,
    *,
    deep: Deep | None = None,
    low: Image.Image | None = None,
    levels: Levels | None = None,
    plain: bool = False,
) -> Image.Image:
    """A loaded image in 8-bit RGB and, where it has a profile, in the colours of sRGB; transparent parts become white.

    With `plain` profile and transparency are passed over.

    `deep` tells of samples beyond 8 bits, `low` holds the lower bytes of 16-bit colours, and `levels` says what is
    black and white in them; without, the whole range of 16 bits, and what 32 bits and floats seem to use.
    """
    deep = deep or of_mode(image.mode)
    if deep is not None and levels is None:
        levels = _levels_of_one(image, deep, low)
    shade = None if plain else _profile(image, deep)
    whole = deep is None or (low is None and deep.raw != "")
    see_through = image.has_transparency_data and not plain
    if image.mode == "RGB" and whole and not see_through:
        return image if shade is None else _shaded(image, shade)
    made = image if image.mode == "RGB" else Image.new("RGB", image.size)  # in place: it may be a gigabyte
    visible = not see_through
    values = None if whole or deep is None else strips(image, deep, low, range(0, image.height, STRIP))
    for y in range(0, image.height, STRIP):
        strip = image.crop((0, y, image.width, min(y + STRIP, image.height)))
        if values is None:
            alpha = _alpha(strip) if see_through else None
        else:
            assert deep is not None and levels is not None
            samples = next(values)
            alpha = _deep_alpha(strip, samples) if see_through else None
            strip = Image.fromarray(scaled(samples, deep, levels))
        strip = _opaque(strip, shade)
        if alpha is not None:
            visible = visible or alpha.getextrema()[1] != 0
            strip.putalpha(alpha)
            strip = Image.alpha_composite(Image.new("RGBA", strip.size, "white"), strip).convert("RGB")
        made.paste(strip, (0, y))
    made.info.pop("transparency", None)
    if not visible:
        made.info[_INVISIBLE] = True
    return made


def require_visible(image: Image.Image) -> Image.Image:
    """The image from `to_rgb` itself; raises `Refused` where it is white because nothing of it can be seen."""
    if image.info.get(_INVISIBLE):
        raise Refused("wholly transparent: no pixel of it is visible")
    return image


def _levels_of_one(image: Image.Image, deep: Deep, low: Image.Image | None) -> Levels:
    """Those of an image that nothing else is known of. One of 16 bits stays as dark as it is."""
    if deep.own is not None:
        return deep.own
    if deep.full == 65535.0:
        return Levels(0.0, deep.full)
    return choose(deep.kind, [reach_of(image, deep, low)]) or Levels(0.0, min(deep.full, 65535.0))


def _profile(image: Image.Image, deep: Deep | None) -> ImageCms.ImageCmsTransform | None:
    profile = image.info.get("icc_profile")
    if not isinstance(profile, bytes) or not profile:
        return None
    grey = image.mode in _GREY or (deep is not None and (not deep.raw or deep.raw.startswith("LA")))
    mode = "L" if grey else "CMYK" if image.mode == "CMYK" else "RGB"
    return to_srgb(profile, mode) if mode in SPACES else None


def _shaded(image: Image.Image, shade: ImageCms.ImageCmsTransform) -> Image.Image:
    """In place, a strip at a time: the image may be a gigabyte."""
    for y in range(0, image.height, STRIP):
        box = (0, y, image.width, min(y + STRIP, image.height))
        image.paste(shade.apply(image.crop(box)), box)
    return image


def _alpha(strip: Image.Image) -> Image.Image:
    if strip.mode == "La":  # Pillow turns it into nothing but LA
        strip = strip.convert("LA")
    return strip.convert("RGBA").getchannel("A")


def _deep_alpha(strip: Image.Image, samples: np.ndarray) -> Image.Image:
    if strip.mode in ("RGBA", "LA"):
        return strip.getchannel("A")
    # one sample, or colour, stands for "transparent"
    same = samples == np.asarray(strip.info["transparency"])
    same = same.all(axis=-1) if same.ndim == 3 else same
    return Image.fromarray(np.where(same, 0, 255).astype(np.uint8))


def _opaque(strip: Image.Image, shade: ImageCms.ImageCmsTransform | None) -> Image.Image:
    if strip.mode == "La":
        strip = strip.convert("LA")
    strip.info.pop("transparency", None)
    if shade is not None:
        strip = strip.convert(shade.input_mode)
        strip = shade.apply(strip)
    return strip.convert("RGB")
