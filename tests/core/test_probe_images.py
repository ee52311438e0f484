"""A probe of a part of the batch."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from gformer_cli.bundle import build_generator, build_model
from gformer_cli.config import resolve
from gformer_cli.core.backbone import Backbone
from gformer_cli.core.generalizeformer import GeneralizeFormer
from gformer_cli.core.generators import ChannelGenerator, Reads
from gformer_cli.core.probe import part_of, prior_mix
from gformer_cli.errors import InputError
from gformer_cli.settings import GeneratorSettings


@pytest.mark.parametrize(("share", "taken"), [(1.0, [0, 1, 2, 3, 4, 5]), (0.5, [0, 2, 4]), (0.34, [0, 3]), (0.01, [0])])
def test_the_part_is_spread_over_the_batch(images: torch.Tensor, share: float, taken: list[int]) -> None:
    assert torch.equal(part_of(images, share), images[taken])


@pytest.mark.parametrize("share", [0.0, -0.5, 1.5])
def test_a_share_is_above_0_and_at_most_1(share: float) -> None:
    with pytest.raises(ValueError, match=r"must be in \(0, 1\]"):
        GeneralizeFormer(ChannelGenerator(), prior_count=16.0, probe_images=share)


def test_a_part_changes_what_is_generated_and_the_whole_batch_is_predicted(
    perturb: Callable[..., None], narrow_resnet: Backbone, images: torch.Tensor
) -> None:
    torch.manual_seed(0)
    generator = ChannelGenerator(width=16, depth=1, heads=2, channel_width=8).double()
    perturb(generator, 0.2)
    full = GeneralizeFormer(generator, prior_count=16.0)(narrow_resnet, images)
    cheap = GeneralizeFormer(generator, prior_count=16.0, probe_images=0.5)(narrow_resnet, images)
    assert cheap.logits.shape == full.logits.shape
    assert not torch.allclose(cheap.logits, full.logits)
    assert torch.equal(cheap.logits, narrow_resnet(images, cheap.parameters))


def test_untrained_it_is_the_source_model_under_the_mixing_of_the_whole_batch(
    narrow_resnet: Backbone, images: torch.Tensor
) -> None:
    generator = ChannelGenerator(reads=Reads(gradients=False)).double()
    model = GeneralizeFormer(generator, prior_count=16.0, probe_images=0.5)
    source = narrow_resnet.source_parameters()
    mixed = source.with_mix(prior_mix(source, len(images), 16.0))
    assert torch.equal(model(narrow_resnet, images).logits, narrow_resnet(images, mixed))


def test_the_setting_reaches_the_model(narrow_resnet: Backbone) -> None:
    settings = GeneratorSettings(probe="backward", probe_images=0.5)
    assert build_model(settings, build_generator(settings, narrow_resnet)).probe_images == 0.5


@pytest.mark.parametrize(
    "assignments", [["probe=none", "probe_images=0.5"], ["probe=forward", "probe_images=0"]], ids=lambda v: v[1]
)
def test_a_share_without_effect_is_refused(assignments: list[str]) -> None:
    with pytest.raises(InputError, match=r"generator"):
        resolve(assignments=[f"generator.{text}" for text in assignments])
