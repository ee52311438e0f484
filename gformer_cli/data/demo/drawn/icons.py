"""Icons of npm's `@iconify/json`: which of its families may be used, and how one of them is drawn."""

from __future__ import annotations

from typing import Any

from PIL import Image

from gformer_cli.data.demo.drawn.svg import SIDE, rasterised

PACKAGE = "@iconify/json"
EMOJI_FAMILIES = ("openmoji", "twemoji", "noto", "noto-v1", "fluent-emoji", "emojione", "fxemoji", "streamline-emojis")
LICENCES = (
    "MIT", "Apache-2.0", "ISC", "OFL-1.1", "CC-BY-4.0", "CC-BY-3.0", "CC0-1.0", "MPL-2.0", "BSD-3-Clause", "Unlicense",
)  # fmt: skip
_STYLE = (
    "outline outlined solid fill filled line linear bold regular light thin duotone sharp rounded round broken twotone "
    "two tone fine o alt baseline ios md simple color flat block free remix 1 2 3 4 01 02 16 20 24 28 32 48 stroke "
    "standard classic variant icon"
)
STYLE_WORDS = frozenset(_STYLE.split())
"""Words of an icon's name that tell how it is drawn, not what."""


def admitted(family: str, about: dict[str, Any]) -> bool:
    """Whether a family may be used at all: no emoji by name, title or category, and an open licence."""
    told = f"{family} {about.get('name', '')} {about.get('category', '')}".lower()
    emoji = "emoji" in told or any(family.startswith(name) for name in EMOJI_FAMILIES)
    return not emoji and about.get("license", {}).get("spdx") in LICENCES


def drawn(icon: dict[str, Any], content: dict[str, Any], *, coloured: bool, side: int = SIDE) -> Image.Image | None:
    """An icon of a family's file: mode L unless `coloured`, then RGBA; None if it cannot be drawn or is empty."""
    left, top = icon.get("left", content.get("left", 0)), icon.get("top", content.get("top", 0))
    width, height = icon.get("width", content.get("width", 16)), icon.get("height", content.get("height", 16))
    body = icon["body"].replace("currentColor", "#000")
    picture = rasterised(
        f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        f'viewBox="{left} {top} {width} {height}" width="{width}" height="{height}">{body}</svg>',
        side,
    )
    return picture if picture is None or coloured else picture.getchannel("A")
