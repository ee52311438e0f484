"""A probe that leaves things out: what it sees, what it does not, and that a method follows it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from gformer_cli.bundle import build_generator, build_method
from gformer_cli.config import GeneratorSettings, resolve
from gformer_cli.core.backbone import Backbone
from gformer_cli.core.generalizeformer import GeneralizeFormer
from gformer_cli.core.generators import ChannelGenerator, Reads
from gformer_cli.core.probe import Economy, prior_mix, probe
from gformer_cli.errors import InputError

MakeImages = Callable[..., torch.Tensor]


@pytest.mark.parametrize(
    ("share", "size", "taken"), [(0.5, 8, [0, 2, 4, 6]), (0.25, 9, [0, 4]), (0.01, 5, [0]), (1.0, 3, [0, 1, 2])]
)
def test_a_share_of_the_images_is_spaced_evenly(
    make_images: MakeImages, share: float, size: int, taken: list[int]
) -> None:
    images = make_images(size)
    assert torch.equal(Economy(images=share).part_of(images), images[taken])


def test_scale_shrinks_the_sides_and_keeps_the_mean(make_images: MakeImages) -> None:
    images = make_images(3)
    small = Economy(scale=0.5).part_of(images)
    assert small.shape == (3, 3, images.shape[2] // 2, images.shape[3] // 2)
    torch.testing.assert_close(small.mean(dim=(2, 3)), images.mean(dim=(2, 3)), rtol=0.0, atol=0.2)
    assert Economy(scale=0.001).part_of(images).shape[2:] == (1, 1)


@pytest.mark.parametrize("wrong", [{"images": 0.0}, {"images": 1.5}, {"scale": 0.0}, {"scale": -1.0}])
def test_shares_outside_of_zero_to_one_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="shares of a probe"):
        Economy(**wrong)


@pytest.mark.parametrize("layers", [1, 3, 100])
def test_gradients_of_the_last_layers_are_the_full_ones_and_the_rest_is_zero(
    narrow_resnet: Backbone, images: torch.Tensor, layers: int
) -> None:
    full = probe(narrow_resnet, images, prior_count=16.0, gradients=True).gradients
    part = probe(narrow_resnet, images, prior_count=16.0, gradients=True, gradient_layers=layers).gradients
    assert full is not None and part is not None
    first = max(0, len(full.gammas) - layers)
    for index, (a, b) in enumerate(zip([*full.gammas, *full.betas], [*part.gammas, *part.betas], strict=True)):
        if index % len(full.gammas) >= first:
            assert torch.equal(a, b) and a.any()
        else:
            assert not b.any() and b.shape == a.shape
    assert torch.equal(full.weight, part.weight)


def test_the_backward_pass_ends_at_the_first_layer_that_is_asked(narrow_resnet: Backbone, images: torch.Tensor) -> None:
    recorded = []
    for layer in narrow_resnet.layers:
        layer.register_forward_hook(lambda _module, _inputs, output: recorded.append(output.requires_grad))
    probe(narrow_resnet, images, prior_count=16.0, gradients=True, gradient_layers=2)
    assert recorded.index(True) == len(recorded) - 2


@pytest.mark.parametrize(
    "economy", [Economy(images=0.5), Economy(scale=0.5), Economy(gradient_layers=1)], ids=["images", "scale", "layers"]
)
def test_an_economy_changes_what_is_generated_and_the_whole_batch_is_predicted(
    perturb: Callable[..., None], narrow_resnet: Backbone, images: torch.Tensor, economy: Economy
) -> None:
    generator = ChannelGenerator(width=16, depth=1, heads=2, channel_width=8, reads=Reads(gradients=True)).double()
    perturb(generator, 0.2)
    full = GeneralizeFormer(generator, prior_count=16.0)(narrow_resnet, images)
    cheap = GeneralizeFormer(generator, prior_count=16.0, economy=economy)(narrow_resnet, images)
    assert cheap.logits.shape == full.logits.shape
    assert not torch.allclose(cheap.logits, full.logits)
    assert torch.equal(cheap.logits, narrow_resnet(images, cheap.parameters))


def test_untrained_it_is_the_source_model_under_the_mixing_of_the_whole_batch(
    narrow_resnet: Backbone, images: torch.Tensor
) -> None:
    generator = ChannelGenerator(reads=Reads(gradients=False)).double()
    method = GeneralizeFormer(generator, prior_count=16.0, economy=Economy(images=0.5, scale=0.5))
    mixed = narrow_resnet.source_parameters().with_mix(prior_mix(narrow_resnet, len(images), 16.0))
    assert torch.equal(method(narrow_resnet, images).logits, narrow_resnet(images, mixed))


def test_settings_reach_the_method(narrow_resnet: Backbone) -> None:
    settings = GeneratorSettings(probe="backward", probe_images=0.5, probe_scale=0.25, gradient_layers=3)
    method = build_method(settings, build_generator(settings, narrow_resnet))
    assert method.economy == Economy(0.5, 0.25, 3)


@pytest.mark.parametrize(
    "assignments",
    [
        {"probe": "none", "probe_images": 0.5},
        {"probe": "none", "probe_scale": 0.5},
        {"probe": "forward", "gradient_layers": 2},
        {"probe": "forward", "probe_images": 0},
    ],
)
def test_settings_without_effect_are_refused(assignments: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=r"generator"):
        resolve(assignments=[f"generator.{key}={value}" for key, value in assignments.items()])
