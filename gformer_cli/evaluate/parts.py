"""What methods are made from, out of a bundle."""

from __future__ import annotations

from gformer_cli.bundle import Bundle
from gformer_cli.methods.base import Parts


def parts_of(bundle: Bundle) -> Parts:
    """What a bundle holds for methods; its own objects, not copies."""
    return Parts(
        backbone=bundle.backbone,
        preprocessing=bundle.preprocessing,
        mirrored=bundle.header.settings.pretrain.flip,
        model=bundle.model,
        constant=bundle.constant,
        guard=bundle.guard,
    )
