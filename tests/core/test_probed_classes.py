"""A probe's classes first, then each layer as it is reached, the classifier last; class shares, and trust."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from gformer_cli.core.backbone import Backbone
from gformer_cli.core.context import Context
from gformer_cli.core.generalizeformer import GeneralizeFormer
from gformer_cli.core.generators import ChannelGenerator, Generation, Observed, Reads, generation_of
from gformer_cli.core.generators.channel import log_shares
from gformer_cli.core.probe import probe_source

Make = Callable[..., GeneralizeFormer]


@pytest.fixture
def make_model(perturb: Callable[..., None]) -> Make:
    def make(*, moved: float = 0.2, single_pass: bool = False, **options: Any) -> GeneralizeFormer:
        torch.manual_seed(0)
        options = {"trusts": True, "probed_classes": True, **options}
        reads = Reads(gradients=False, class_shares=options.pop("class_shares", True))
        sizes = {"width": 16, "depth": 2, "heads": 2, "channel_width": 8}
        generator = ChannelGenerator(**sizes, reads=reads, **options).double()
        perturb(generator, moved)
        return GeneralizeFormer(generator, prior_count=4.0, single_pass=single_pass, probes_source=True).eval()

    return make


def distrust(model: GeneralizeFormer, caution: float) -> None:
    caution_of = model.generator.get_buffer("caution")
    caution_of.fill_(caution)


def test_the_probe_is_the_source_model_and_its_logits_come_along(
    make_model: Make, backbone: Backbone, images: torch.Tensor
) -> None:
    prediction = make_model()(backbone, images)
    assert prediction.source is not None and torch.equal(prediction.source, backbone(images))
    assert not torch.equal(prediction.logits, prediction.source)


def test_without_trust_the_source_model_answers(make_model: Make, backbone: Backbone, images: torch.Tensor) -> None:
    model = make_model()
    distrust(model, 1e3)
    prediction = model(backbone, images)
    torch.testing.assert_close(prediction.logits, backbone(images), rtol=1e-12, atol=1e-12)
    assert prediction.parameters.mix is not None and not prediction.parameters.mix.any()
    assert prediction.trust is not None and prediction.trust.item() == 0.0


def test_at_once_trust_scales_every_residual_and_the_mixing(
    make_model: Make, backbone: Backbone, images: torch.Tensor
) -> None:
    whole, less = (make_model(probed_classes=False) for _ in range(2))
    distrust(whole, -1e3)
    distrust(less, 2.0)
    probe = probe_source(backbone, images, prior_count=4.0, gradients=False, plain=True)
    full, part = (generation_of(model.generator, probe) for model in (whole, less))
    assert full.trust is not None and full.trust.item() == 1.0
    assert part.trust is not None and 0.0 < part.trust.item() < 1.0
    source = probe.source
    for ours, theirs, start in zip(
        part.parameters().trainable(), full.parameters().trainable(), source.trainable(), strict=True
    ):
        assert not torch.allclose(theirs, start)
        torch.testing.assert_close(ours - start, part.trust * (theirs - start))
    full_mix, part_mix = full.parameters().mix, part.parameters().mix
    assert full_mix is not None and part_mix is not None
    torch.testing.assert_close(part_mix, part.trust * full_mix)


def test_on_the_way_trust_is_known_before_the_first_layer_and_scales_it(
    make_model: Make, backbone: Backbone, images: torch.Tensor
) -> None:
    whole, less = make_model(), make_model()
    distrust(whole, -1e3)
    distrust(less, 2.0)
    full, part = whole(backbone, images), less(backbone, images)
    assert full.trust is not None and full.trust.item() == 1.0
    assert part.trust is not None and 0.0 < part.trust.item() < 1.0
    # of the first layer alone both generators have seen the same
    gamma = backbone.layers[0].weight
    moved = full.parameters.gammas[0] - gamma
    assert moved.abs().max() > 0.0
    torch.testing.assert_close(part.parameters.gammas[0] - gamma, part.trust * moved)
    assert full.parameters.mix is not None and part.parameters.mix is not None
    torch.testing.assert_close(part.parameters.mix[0], part.trust * full.parameters.mix[0])


def test_trust_is_learned_with_the_rest(make_model: Make, backbone: Backbone, images: torch.Tensor) -> None:
    model = make_model()
    labels = torch.arange(len(images)) % backbone.num_classes
    F.cross_entropy(model(backbone, images).logits, labels).backward()
    head = model.generator.trust_head
    assert isinstance(head, torch.nn.Linear) and head.bias.grad is not None and float(head.bias.grad.abs()) > 0.0


def test_a_single_pass_of_the_same_generator_gives_no_trust(
    make_model: Make, backbone: Backbone, images: torch.Tensor
) -> None:
    single = make_model(single_pass=True)(backbone, images)
    assert single.trust is None and single.source is None
    overridden = make_model()(backbone, images, single_pass=True)
    assert torch.equal(overridden.logits, single.logits)


def test_the_probes_classes_come_before_the_layers_and_the_classifier_after_them(
    make_model: Make, backbone: Backbone, images: torch.Tensor
) -> None:
    """By hand: the classes of the source model, each layer as it is reached, the classes of the adapted pass."""
    model = make_model()
    prediction = model(backbone, images)
    probe = probe_source(backbone, images, prior_count=4.0, gradients=False, plain=True)
    by_hand = Generation(model.generator, probe.source, len(images))
    nothing = range(0)
    by_hand.take(Observed(nothing, (), (), logits=probe.logits, features=probe.features))
    _, session = backbone.observe(images, prediction.parameters)
    for index, layer in enumerate(backbone.layers):
        source, batch = (layer.running_mean, layer.running_var), (session.means[index], session.variances[index])
        by_hand.take(Observed(range(index, index + 1), (source,), (batch,)))
    assert session.features is not None
    own = F.linear(session.features, backbone.classifier.matrix, backbone.classifier.bias)
    by_hand.take(Observed(nothing, (), (), logits=own, features=session.features, last=True))
    expected = by_hand.parameters()
    for ours, theirs in zip(prediction.parameters.trainable(), expected.trainable(), strict=True):
        torch.testing.assert_close(ours, theirs)
    assert prediction.parameters.mix is not None and expected.mix is not None
    torch.testing.assert_close(prediction.parameters.mix, expected.mix)


def test_the_layers_depend_on_the_probes_classes(make_model: Make, backbone: Backbone, images: torch.Tensor) -> None:
    model = make_model(trusts=False)
    with_probe, without = model(backbone, images), model(backbone, images, single_pass=True)
    assert not torch.allclose(with_probe.parameters.gammas[0], without.parameters.gammas[0])


def test_shares_of_classes_by_hand() -> None:
    logits = torch.tensor([[0.0, 0.0], [0.0, 100.0], [0.0, 100.0]], dtype=torch.float64)
    # (1/6, 5/6) of all images, (0, 1) of the last two
    expected = torch.log(torch.tensor([1.0 / 3.0, 5.0 / 3.0], dtype=torch.float64) + 1e-3)
    torch.testing.assert_close(log_shares(logits, None), expected - expected.mean())
    alone = torch.log(torch.tensor([0.0, 2.0], dtype=torch.float64) + 1e-3)
    torch.testing.assert_close(log_shares(logits, 2), alone - alone.mean())


def test_the_bias_can_follow_the_shares_of_the_classes(
    make_model: Make, backbone: Backbone, images: torch.Tensor
) -> None:
    model = make_model(moved=0.0, trusts=False)
    plain = model(backbone, images)
    head = model.generator.share_head
    assert isinstance(head, torch.nn.Linear)
    with torch.no_grad():
        head.bias.copy_(torch.tensor([0.7, 0.2]))
    followed = model(backbone, images)
    expected = plain.logits + 0.9 * log_shares(plain.logits, None)
    torch.testing.assert_close(followed.logits, expected)


def test_the_batch_and_its_context_are_told_apart(
    make_model: Make, backbone: Backbone, make_images: Callable[..., torch.Tensor]
) -> None:
    model = make_model(moved=0.0, trusts=False)
    head = model.generator.share_head
    assert isinstance(head, torch.nn.Linear)
    before, now = make_images(6, seed=1), make_images(3, seed=2)

    def logits(*follows: float) -> tuple[torch.Tensor, torch.Tensor]:
        """Of the batch before, which follows no shares, and of the batch behind it."""
        context, bias = Context(2), head.bias.data
        first = model(backbone, before, context).logits
        bias.copy_(torch.tensor(follows))
        second = model(backbone, now, context).logits
        bias.zero_()
        return first, second

    first, plain = logits(0.0, 0.0)
    own, window = log_shares(plain, None), log_shares(torch.cat([first, plain]), None)
    torch.testing.assert_close(logits(0.5, 0.0)[1], plain + 0.5 * own)
    torch.testing.assert_close(logits(0.0, 0.5)[1], plain + 0.5 * window)


def test_generators_of_before_have_none_of_it(backbone: Backbone) -> None:
    names = set(ChannelGenerator(reads=Reads(gradients=False)).state_dict())
    assert not [name for name in names if name.startswith(("trust", "share", "caution"))]
