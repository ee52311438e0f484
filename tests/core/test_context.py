from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from gformer_cli.core.backbone import Backbone
from gformer_cli.core.context import ENOUGH, Context
from gformer_cli.core.generalizeformer import GeneralizeFormer
from gformer_cli.core.generators import ChannelGenerator, Reads
from gformer_cli.core.probe import probe_source
from gformer_cli.core.statistics import Statistics, pool
from gformer_cli.networks.norms import batch_statistics

Images = Callable[..., torch.Tensor]


@pytest.fixture(params=[False, True], ids=["probe", "single pass"])
def model(request: pytest.FixtureRequest) -> GeneralizeFormer:
    """Untrained, with gradients where there is a probe; the source counts as nothing, so that every layer uses batch
    statistics alone."""
    torch.manual_seed(0)
    reads = Reads(gradients=not request.param)
    generator = ChannelGenerator(width=8, depth=1, heads=2, feed_forward=16, channel_width=4, reads=reads).double()
    return GeneralizeFormer(generator, prior_count=0.0, single_pass=request.param).eval()


def statistics(images: torch.Tensor) -> Statistics:
    return Statistics(len(images), *batch_statistics(images))


def near(seed: int, make_images: Images, count: int = 1) -> torch.Tensor:
    return make_images(count, seed=seed)


def test_pooling_is_exact(make_images: Images) -> None:
    parts = [make_images(count, seed=count) for count in (1, 4, 2)]
    together, whole = pool([statistics(part) for part in parts]), statistics(torch.cat(parts))
    assert together.count == 7
    torch.testing.assert_close(together.mean, whole.mean)
    torch.testing.assert_close(together.variance, whole.variance)


def test_a_batch_with_earlier_statistics_is_normalised_as_within_the_larger_batch(
    backbone: Backbone, make_images: Images
) -> None:
    before, now = make_images(5, seed=1), make_images(2, seed=2)
    parameters = backbone.source_parameters().with_mix(torch.full((2,), 0.7, dtype=torch.float64))
    whole = backbone(torch.cat([before, now]), parameters)[5:]
    # layer by layer, so that the earlier statistics of the second layer are those within the larger batch as well
    seen: list[Statistics] = []
    for index, layer in enumerate(backbone.layers):
        layer.register_forward_pre_hook(
            lambda _, inputs, index=index: seen.append(statistics(inputs[0][:5])) if len(inputs[0]) == 7 else None
        )
    backbone(torch.cat([before, now]), parameters)
    torch.testing.assert_close(backbone(now, parameters, seen), whole)
    assert not torch.allclose(backbone(now, parameters), whole)


def test_earlier_statistics_change_nothing_under_source_statistics(backbone: Backbone, images: torch.Tensor) -> None:
    earlier = [Statistics(9, torch.full((count,), 5.0).double(), torch.ones(count).double()) for count in (4, 6)]
    assert torch.equal(backbone(images, backbone.source_parameters(), earlier), backbone(images))


def test_the_first_batch_is_predicted_as_without_context(
    model: GeneralizeFormer, backbone: Backbone, images: torch.Tensor
) -> None:
    alone, first = model(backbone, images), model(backbone, images, Context(3))
    assert torch.equal(alone.logits, first.logits) and first.earlier is None


def test_a_batch_that_comes_twice_is_predicted_as_one_of_twice_the_size(
    model: GeneralizeFormer, backbone: Backbone, images: torch.Tensor
) -> None:
    context = Context(2)
    model(backbone, images, context)
    second, doubled = model(backbone, images, context), model(backbone, torch.cat([images, images]))
    torch.testing.assert_close(second.logits, doubled.logits[: len(images)])
    # and the generator reads the same of both
    for name in ("means", "variances", "logits", "features"):
        torch.testing.assert_close(getattr(second.probe, name), getattr(doubled.probe, name))
    if model.single_pass:
        return
    assert second.probe.gradients is not None and doubled.probe.gradients is not None
    # nearer to the input, gradients that flow through batch statistics see those of earlier batches as constant
    torch.testing.assert_close(second.probe.gradients.gammas[-1], doubled.probe.gradients.gammas[-1])
    torch.testing.assert_close(second.probe.gradients.betas[-1], doubled.probe.gradients.betas[-1])
    torch.testing.assert_close(second.probe.gradients.weight, doubled.probe.gradients.weight)


def test_the_source_counts_less_the_more_images_are_remembered(backbone: Backbone, make_images: Images) -> None:
    earlier = [Statistics(12, torch.zeros(count).double(), torch.ones(count).double()) for count in (4, 6)]
    probe = probe_source(backbone, make_images(4), prior_count=16.0, gradients=False, earlier=earlier)
    assert probe.source.mix is not None and probe.source.mix.tolist() == [0.5, 0.5]


def test_only_so_many_batches_are_remembered(model: GeneralizeFormer, backbone: Backbone, make_images: Images) -> None:
    predictions = {}
    for history in ((1, 2, 3), (9, 2, 3), (2, 3)):
        context = Context(2)
        for seed in history:
            model(backbone, make_images(4, seed=seed), context)
        # what the window's batches were normalised with reaches further back: compare the layer that does not see it
        assert len(context) == 2 and context.probed is not None
        predictions[history] = context.probed[0].mean
    assert torch.equal(predictions[1, 2, 3], predictions[9, 2, 3])
    assert torch.equal(predictions[1, 2, 3], predictions[2, 3])


def test_nothing_in_a_context_requires_grad(model: GeneralizeFormer, backbone: Backbone, images: torch.Tensor) -> None:
    context = Context(1)
    model(backbone, images, context)
    assert context.adapted is not None and context.probed is not None
    assert not any(layer.mean.requires_grad for layer in (*context.adapted, *context.probed))


def remembered(model: GeneralizeFormer, backbone: Backbone, make_images: Images, sizes: list[int]) -> Context:
    context = Context(8)
    for seed, size in enumerate(sizes):
        model(backbone, make_images(size, seed=seed), context)
    return context


@pytest.mark.parametrize("sizes", [[1, 1, 1, 1, 1, 1], [4, 4, 4, 4], [16, 1, 8, 1, 2]])
def test_a_jump_of_the_statistics_is_forgotten_across_and_ordinary_variation_is_not(
    model: GeneralizeFormer, backbone: Backbone, make_images: Images, sizes: list[int]
) -> None:
    context = remembered(model, backbone, make_images, sizes)
    assert len(context) == len(sizes)
    for size in (1, 4):
        same = make_images(size, seed=100)
        assert not context.jumps_to(probe_source(backbone, same, prior_count=0.0, gradients=False))
        assert context.jumps_to(probe_source(backbone, 0.2 * same - 3.0, prior_count=0.0, gradients=False))
    dark = 0.2 * make_images(4, seed=100) - 3.0
    after = model(backbone, dark, context)
    assert len(context) == 1 and after.earlier is None
    assert torch.equal(after.logits, model(backbone, dark).logits)


def test_a_jump_is_not_told_from_too_few_batches(
    model: GeneralizeFormer, backbone: Backbone, make_images: Images
) -> None:
    context = remembered(model, backbone, make_images, [2] * (ENOUGH - 1))
    assert not context.jumps_to(probe_source(backbone, make_images(2) - 9.0, prior_count=0.0, gradients=False))


def test_what_hardly_moves_is_no_jump_even_after_batches_that_are_all_alike(
    model: GeneralizeFormer, backbone: Backbone, images: torch.Tensor
) -> None:
    context = Context(5)
    for _ in range(4):
        model(backbone, images, context)
    assert not context.jumps_to(probe_source(backbone, images + 0.01, prior_count=0.0, gradients=False))
    assert context.jumps_to(probe_source(backbone, images + 5.0, prior_count=0.0, gradients=False))
