"""Which settings change what is generated, by the kind of the generator."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from gformer_cli.bundle import build_generator, build_model
from gformer_cli.core.backbone import Backbone
from gformer_cli.settings import IDLE, GeneratorSettings

SMALL = {"width": 8, "heads": 2, "depth": 1, "feed_forward": 8, "channel_width": 4, "probe": "forward"}
OTHER = {
    "width": 12,
    "depth": 2,
    "heads": 4,
    "feed_forward": 12,
    "channel_width": 6,
    "on_constant": True,
    "statistics": False,
    "features": False,
    "probe_images": 0.5,
    "class_shares": True,
    "probed_classes": True,
    "trust": True,
}


@pytest.mark.parametrize("name", OTHER)
@pytest.mark.parametrize("kind", IDLE)
def test_a_setting_changes_what_is_generated_unless_it_is_idle(
    narrow_resnet: Backbone, images: torch.Tensor, kind: str, name: str
) -> None:
    def logits(**changes: Any) -> torch.Tensor:
        settings = GeneratorSettings.model_validate({**SMALL, "kind": kind, **changes})
        torch.manual_seed(0)
        model = build_model(settings, build_generator(settings, narrow_resnet))
        draws = torch.Generator().manual_seed(1)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.1 * torch.randn(parameter.shape, generator=draws))
            made: torch.Tensor = model.to(images)(narrow_resnet, images).logits
        return made

    assert torch.equal(logits(), logits(**{name: OTHER[name]})) is (name in IDLE[kind])


@pytest.mark.parametrize("name", ["probed_classes", "trust"])
def test_what_is_read_of_a_probe_needs_one(name: str) -> None:
    with pytest.raises(ValueError, match=f"generator.{name} needs a generator.probe"):
        GeneratorSettings.model_validate({name: True})
    assert getattr(GeneratorSettings.model_validate({name: True, "probe": "source"}), name) is True


def test_a_probe_of_the_source_model_is_another_than_one_under_mixed_statistics(
    narrow_resnet: Backbone, images: torch.Tensor
) -> None:
    found = {}
    for probe in ("forward", "source"):
        settings = GeneratorSettings.model_validate({**SMALL, "probe": probe})
        torch.manual_seed(0)
        model = build_model(settings, build_generator(settings, narrow_resnet)).to(images)
        found[probe] = model(narrow_resnet, images)
    assert found["forward"].source is None and torch.equal(found["source"].source, narrow_resnet(images))
    assert not torch.equal(found["forward"].probe.logits, found["source"].probe.logits)
