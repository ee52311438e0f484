from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from gformer_cli.core.backbone import Backbone
from gformer_cli.core.generalizeformer import GeneralizeFormer, Prediction
from gformer_cli.core.generators import ChannelGenerator, Generator, Observed, Reads, Residuals
from gformer_cli.core.generators.base import Step
from gformer_cli.core.parameters import Parameters
from gformer_cli.core.probe import prior_mix

MakeImages = Callable[..., torch.Tensor]


@pytest.fixture(params=[False, True], ids=["probe", "single pass"])
def model(perturb: Callable[..., None], request: pytest.FixtureRequest) -> GeneralizeFormer:
    """As if trained: every weight moved off its start."""
    torch.manual_seed(0)
    reads = Reads(gradients=not request.param)
    generator = ChannelGenerator(width=16, depth=2, heads=2, channel_width=8, reads=reads).double()
    perturb(generator, 0.2)
    return GeneralizeFormer(generator, prior_count=16.0, single_pass=request.param).eval()


class Recorder(Generator):
    """Keeps what it is shown and generates the source."""

    def __init__(self, reads_gradients: bool) -> None:
        super().__init__()
        self.reads_gradients = reads_gradients
        self.seen: list[tuple[Parameters, Observed]] = []

    def begin(self, source: Parameters, batch_size: int) -> Step:
        def step(observed: Observed) -> Residuals:
            self.seen.append((source, observed))
            assert source.mix is not None
            return Residuals(
                tuple(0 * g for g in source.gammas),
                tuple(0 * b for b in source.betas),
                0 * source.mix,
                0 * source.weight,
                0 * source.bias,
            )

        return step


def assert_same(a: Prediction, b: Prediction) -> None:
    assert torch.equal(a.logits, b.logits)
    assert all(torch.equal(x, y) for x, y in zip(a.parameters.trainable(), b.parameters.trainable(), strict=True))
    assert a.parameters.mix is not None and b.parameters.mix is not None
    assert torch.equal(a.parameters.mix, b.parameters.mix)


def test_logits_are_those_of_the_generated_parameters(
    model: GeneralizeFormer, backbone: Backbone, images: torch.Tensor
) -> None:
    prediction = model(backbone, images)
    assert torch.equal(prediction.logits, backbone(images, prediction.parameters))
    assert not torch.allclose(prediction.logits, backbone(images))


@pytest.mark.parametrize("single_pass", [False, True])
def test_untrained_method_is_the_source_model_under_the_probes_mixing(
    narrow_resnet: Backbone, images: torch.Tensor, single_pass: bool
) -> None:
    generator = ChannelGenerator(reads=Reads(gradients=not single_pass)).double()
    model = GeneralizeFormer(generator, prior_count=16.0, single_pass=single_pass)
    source = narrow_resnet.source_parameters()
    mixed = source.with_mix(prior_mix(narrow_resnet.source_parameters(), len(images), 16.0))
    assert torch.equal(model(narrow_resnet, images).logits, narrow_resnet(images, mixed))


@pytest.mark.parametrize("reads_gradients", [True, False])
def test_probe_takes_gradients_only_if_the_generator_reads_them(
    backbone: Backbone, images: torch.Tensor, reads_gradients: bool
) -> None:
    recorder = Recorder(reads_gradients)
    GeneralizeFormer(recorder, prior_count=16.0)(backbone, images)
    assert [observed.gradients is not None for _, observed in recorder.seen] == [reads_gradients]


def test_prior_count_sets_the_probes_mixing(backbone: Backbone, images: torch.Tensor) -> None:
    recorder = Recorder(reads_gradients=False)
    GeneralizeFormer(recorder, prior_count=2.0)(backbone, images)
    mix = recorder.seen[0][0].mix
    assert mix is not None and torch.equal(mix, torch.full((2,), 6 / 8, dtype=torch.float64))


def test_permuting_the_images_permutes_the_predictions(
    model: GeneralizeFormer, narrow_resnet: Backbone, make_images: MakeImages
) -> None:
    images = make_images(9)
    order = torch.randperm(9, generator=torch.Generator().manual_seed(1))
    straight, shuffled = model(narrow_resnet, images), model(narrow_resnet, images[order])
    torch.testing.assert_close(shuffled.logits, straight.logits[order], rtol=1e-9, atol=1e-9)
    for a, b in zip(shuffled.parameters.trainable(), straight.parameters.trainable(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("batch", [1, 2, 65])
def test_any_batch_size_gives_finite_logits(
    model: GeneralizeFormer, backbone: Backbone, make_images: MakeImages, batch: int
) -> None:
    logits = model(backbone, make_images(batch)).logits
    assert logits.shape == (batch, 3) and torch.isfinite(logits).all()


def test_prediction_is_bit_equal_alone_after_another_batch_and_after_noise(
    model: GeneralizeFormer, narrow_resnet: Backbone, make_images: MakeImages
) -> None:
    images = make_images(4)
    with torch.no_grad():
        alone = model(narrow_resnet, images)
        model(narrow_resnet, make_images(7, seed=1))
        after_another = model(narrow_resnet, images)
        model(narrow_resnet, 1e3 * make_images(2, seed=2))
        after_noise = model(narrow_resnet, images)
    assert_same(after_another, alone)
    assert_same(after_noise, alone)


def test_different_batches_get_different_parameters(
    model: GeneralizeFormer, backbone: Backbone, make_images: MakeImages
) -> None:
    first, second = (model(backbone, make_images(4, seed=seed)).parameters for seed in (0, 1))
    assert not torch.allclose(first.gammas[0], second.gammas[0])
    assert not torch.allclose(first.weight, second.weight)


def test_source_model_is_bit_identical_after_prediction_and_backward(
    model: GeneralizeFormer, narrow_resnet: Backbone, images: torch.Tensor
) -> None:
    before = {name: tensor.clone() for name, tensor in narrow_resnet.state_dict().items()}
    model(narrow_resnet, images).logits.sum().backward()
    assert all(torch.equal(tensor, before[name]) for name, tensor in narrow_resnet.state_dict().items())
    assert all(p.grad is None and not p.requires_grad for p in narrow_resnet.parameters())


def test_the_method_holds_the_generator_and_no_source_model(
    model: GeneralizeFormer, backbone: Backbone, images: torch.Tensor
) -> None:
    model(backbone, images)
    assert all(name.startswith("generator.") for name in model.state_dict())
    assert not any(isinstance(module, Backbone) for module in model.modules())


def test_prediction_works_under_no_grad_and_records_nothing(
    model: GeneralizeFormer, backbone: Backbone, images: torch.Tensor
) -> None:
    expected = model(backbone, images)
    with torch.no_grad():
        found = model(backbone, images)
    assert expected.logits.requires_grad and not found.logits.requires_grad
    torch.testing.assert_close(found.logits, expected.logits.detach(), rtol=1e-10, atol=1e-10)
