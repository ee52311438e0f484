from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from gformer_cli.core.backbone import Backbone
from gformer_cli.core.context import Context
from gformer_cli.core.generalizeformer import GeneralizeFormer
from gformer_cli.core.generators import ChannelGenerator
from gformer_cli.guard.prediction import Candidates, predict_both
from gformer_cli.guard.rule import Verdict
from gformer_cli.guard.signals import batch_signals


@pytest.fixture
def model(perturb: Callable[..., None]) -> GeneralizeFormer:
    generator = ChannelGenerator(width=8, depth=1, heads=2, channel_width=4).double()
    perturb(generator, 0.3)
    return GeneralizeFormer(generator, prior_count=4.0).requires_grad_(False)


@pytest.fixture
def both(backbone: Backbone, images: torch.Tensor, model: GeneralizeFormer) -> Candidates:
    return predict_both(backbone, model, images)


def test_both_answer_as_they_do_alone(
    both: Candidates, backbone: Backbone, images: torch.Tensor, model: GeneralizeFormer
) -> None:
    assert torch.equal(both.source, backbone(images))
    assert torch.equal(both.prediction.logits, model(backbone, images).logits)
    assert both.signals == batch_signals(images, both.source, both.prediction)


def test_each_decision_predicts_with_its_parameters(both: Candidates, backbone: Backbone, images: torch.Tensor) -> None:
    generated, parameters = both.under(Verdict())
    assert generated is both.prediction.logits and parameters is both.prediction.parameters
    source, parameters = both.under(Verdict("source", 0.0))
    assert source is both.source and torch.equal(parameters.weight, backbone.classifier.weight)
    half, parameters = both.under(Verdict("blended", 0.5))
    blend = backbone.source_parameters().towards(both.prediction.parameters, 0.5)
    assert torch.equal(half, backbone(images, blend)) and torch.equal(parameters.weight, blend.weight)
    assert not torch.allclose(half, source) and not torch.allclose(half, generated)


def test_a_small_share_is_nearly_the_source_model_with_its_own_statistics(
    both: Candidates, backbone: Backbone, images: torch.Tensor
) -> None:
    found, parameters = both.under(Verdict("blended", 1e-9))
    assert torch.equal(found, backbone(images, parameters))
    torch.testing.assert_close(found, backbone(images), atol=1e-6, rtol=0)


def test_a_blend_pools_its_statistics_with_earlier_ones_too(
    backbone: Backbone, model: GeneralizeFormer, make_images: Callable[..., torch.Tensor]
) -> None:
    context = Context(20)
    images = make_images(3, seed=1)
    predict_both(backbone, model, make_images(3, seed=2), context)
    both = predict_both(backbone, model, images, context)
    assert both.prediction.earlier is not None
    found, parameters = both.under(Verdict("blended", 0.5))
    assert torch.equal(found, backbone(images, parameters, both.prediction.earlier))
    assert not torch.allclose(found, backbone(images, parameters))


def test_answers_in_few_bits_are_decided_on_in_float32(
    make_backbone: Callable[..., Backbone], model: GeneralizeFormer, images: torch.Tensor
) -> None:
    backbone, images = make_backbone().float(), images.float()
    with torch.autocast("cpu", torch.bfloat16):
        assert backbone(images).dtype == torch.bfloat16
        both = predict_both(backbone, model.float(), images)
        found = both.source, both.prediction.logits, both.under(Verdict("blended", 0.5))[0]
    assert [logits.dtype for logits in found] == [torch.float32] * 3
