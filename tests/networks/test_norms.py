from __future__ import annotations

import pytest
import torch
from torch import nn

from gformer_cli.networks.norms import MixedBatchNorm2d, batch_statistics


def make_plain(dtype: torch.dtype = torch.float64) -> nn.BatchNorm2d:
    torch.manual_seed(0)
    plain = nn.BatchNorm2d(4, eps=1e-3, momentum=0.3).to(dtype)
    with torch.no_grad():
        plain.weight.uniform_(0.5, 1.5)
        plain.bias.normal_()
        assert plain.running_mean is not None and plain.running_var is not None
        plain.running_mean.normal_()
        plain.running_var.uniform_(0.5, 2.0)
    return plain


def make_mixed(mix: float | None, dtype: torch.dtype = torch.float64) -> MixedBatchNorm2d:
    mixed = MixedBatchNorm2d.from_batchnorm(make_plain(dtype)).eval()
    mixed.mix = None if mix is None else torch.tensor(mix, dtype=dtype)
    return mixed


def make_input(dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.randn(5, 4, 3, 2, generator=torch.Generator().manual_seed(1), dtype=dtype) * 2.0 + 1.0


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_without_mixing_eval_is_bit_equal_to_batchnorm(dtype: torch.dtype) -> None:
    x = make_input(dtype)
    assert torch.equal(make_mixed(None, dtype)(x), make_plain(dtype).eval()(x))


def test_full_mixing_normalises_as_batchnorm_does_in_training() -> None:
    x = make_input()
    torch.testing.assert_close(make_mixed(1.0)(x), make_plain().train()(x), rtol=1e-12, atol=1e-12)


def test_zero_mixing_normalises_with_source_statistics() -> None:
    x = make_input()
    torch.testing.assert_close(make_mixed(0.0)(x), make_plain().eval()(x), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("mix", [0.1, 0.5, 0.8])
def test_partial_mixing_follows_the_formula(mix: float) -> None:
    layer, x = make_mixed(mix), make_input()
    batch_mean = x.mean(dim=(0, 2, 3))
    batch_var = (x - batch_mean.view(1, -1, 1, 1)).square().mean(dim=(0, 2, 3))
    mean = (1 - mix) * layer.running_mean + mix * batch_mean
    var = (1 - mix) * layer.running_var + mix * batch_var
    normalised = (x - mean.view(1, -1, 1, 1)) / (var.view(1, -1, 1, 1) + 1e-3).sqrt()
    expected = normalised * layer.weight.view(1, -1, 1, 1) + layer.bias.view(1, -1, 1, 1)
    torch.testing.assert_close(layer(x), expected, rtol=1e-12, atol=1e-12)


def test_eval_leaves_the_running_statistics_alone() -> None:
    layer = make_mixed(0.5)
    before = {name: tensor.clone() for name, tensor in layer.state_dict().items()}
    layer(make_input())
    assert all(torch.equal(tensor, before[name]) for name, tensor in layer.state_dict().items())


@pytest.mark.parametrize("mix", [None, 0.5])
def test_training_mode_is_batchnorm_whatever_the_mixing(mix: float | None) -> None:
    plain, mixed, x = make_plain().train(), make_mixed(mix).train(), make_input()
    assert torch.equal(mixed(x), plain(x))
    start = make_plain().running_mean
    assert start is not None and not torch.equal(mixed.running_mean, start)
    assert all(torch.equal(tensor, plain.state_dict()[name]) for name, tensor in mixed.state_dict().items())


def test_state_dict_keys_are_those_of_batchnorm() -> None:
    assert list(make_mixed(0.5).state_dict()) == list(make_plain().state_dict())


def test_conversion_shares_tensors_and_keeps_mode_and_constants() -> None:
    plain = make_plain().train()
    mixed = MixedBatchNorm2d.from_batchnorm(plain)
    assert mixed.weight is plain.weight and mixed.bias is plain.bias
    assert mixed.running_mean is plain.running_mean and mixed.running_var is plain.running_var
    assert (mixed.training, mixed.eps, mixed.momentum) == (True, 1e-3, 0.3)
    assert not MixedBatchNorm2d.from_batchnorm(plain.eval()).training


@pytest.mark.parametrize("mix", [0.0, 0.5, 1.0])
def test_one_image_of_one_pixel_gives_finite_output_and_gradients(mix: float) -> None:
    layer = make_mixed(mix, torch.float32)
    x = torch.randn(1, 4, 1, 1, requires_grad=True)
    output = layer(x)
    output.square().sum().backward()
    assert torch.isfinite(output).all()
    assert x.grad is not None and torch.isfinite(x.grad).all()


def test_gradients_match_finite_differences() -> None:
    layer = make_mixed(None)

    def run(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, mix: torch.Tensor) -> torch.Tensor:
        output = torch.func.functional_call(layer, {"weight": weight, "bias": bias, "mix": mix}, (x,))
        assert isinstance(output, torch.Tensor)
        return output

    inputs = (
        make_input().requires_grad_(),
        layer.weight.detach().clone().requires_grad_(),
        layer.bias.detach().clone().requires_grad_(),
        torch.tensor(0.4, dtype=torch.float64, requires_grad=True),
    )
    assert torch.autograd.gradcheck(run, inputs)


def test_observer_sees_detached_batch_statistics_in_eval_mode_only() -> None:
    seen: list[tuple[torch.Tensor, torch.Tensor]] = []
    layer, x = make_mixed(0.5), make_input().requires_grad_()
    layer.observer = lambda mean, var: seen.append((mean, var))
    layer.train()(x)
    assert seen == []
    layer.eval()(x)
    ((mean, var),) = seen
    expected_var, expected_mean = torch.var_mean(x.detach(), dim=(0, 2, 3), correction=0)
    torch.testing.assert_close((mean, var), (expected_mean, expected_var), rtol=1e-12, atol=1e-12)
    assert not mean.requires_grad and not var.requires_grad


def test_observing_without_mixing_does_not_change_the_output() -> None:
    layer, x = make_mixed(None), make_input()
    expected = layer(x)
    layer.observer = lambda mean, var: None
    torch.testing.assert_close(layer(x), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("shape", [(5, 4, 3, 2), (1, 4, 3, 2), (7, 4, 1, 1)])
def test_batch_statistics_are_mean_and_biased_variance(shape: tuple[int, ...]) -> None:
    x = torch.randn(shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64) * 3.0 - 1.0
    var, mean = torch.var_mean(x, dim=(0, 2, 3), correction=0)
    torch.testing.assert_close(batch_statistics(x), (mean, var), rtol=1e-12, atol=1e-12)


FORMATS = pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=str)


@FORMATS
def test_batch_statistics_are_those_of_either_memory_format(layout: torch.memory_format) -> None:
    x = torch.randn(5, 6, 7, 3, generator=torch.Generator().manual_seed(2), dtype=torch.float64) * 3.0 - 1.0
    var, mean = torch.var_mean(x, dim=(0, 2, 3), correction=0)
    found = batch_statistics(x.contiguous(memory_format=layout))
    torch.testing.assert_close(found, (mean, var), rtol=1e-12, atol=1e-12)


@FORMATS
def test_gradients_of_batch_statistics_match_finite_differences(layout: torch.memory_format) -> None:
    x = torch.randn(3, 4, 2, 5, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    x = x.contiguous(memory_format=layout).requires_grad_()
    assert torch.autograd.gradcheck(batch_statistics, (x,))


def test_batch_statistics_under_vmap_and_grad_are_those_image_by_image() -> None:
    x = torch.randn(4, 2, 3, 5, 5, generator=torch.Generator().manual_seed(4), dtype=torch.float64)

    def score(images: torch.Tensor) -> torch.Tensor:
        mean, var = batch_statistics(images)
        return (mean * var).sum() + var.square().sum()

    together = torch.func.vmap(torch.func.grad(score))(x)
    alone = torch.stack([torch.func.grad(score)(images) for images in x])
    torch.testing.assert_close(together, alone, rtol=1e-12, atol=1e-12)
    by_autograd = x[0].clone().requires_grad_()
    score(by_autograd).backward()  # type: ignore[no-untyped-call]
    torch.testing.assert_close(together[0], by_autograd.grad, rtol=1e-12, atol=1e-12)


def test_variance_of_constant_channels_is_zero_and_never_negative() -> None:
    values = torch.linspace(0.1, 3.0, 200)
    for shape in ((1, 1), (7, 9)):  # rounding in the second moment alone falls below zero for some
        mean, var = batch_statistics(values.view(1, -1, 1, 1).expand(2, -1, *shape))
        torch.testing.assert_close(mean, values)
        assert (var >= 0.0).all() and (var < 1e-4).all()


def test_float32_variance_survives_a_mean_of_a_hundred_standard_deviations() -> None:
    x = torch.randn(16, 3, 8, 8, generator=torch.Generator().manual_seed(3)) + 100.0
    var, mean = torch.var_mean(x.double(), dim=(0, 2, 3), correction=0)
    found_mean, found_var = batch_statistics(x)
    torch.testing.assert_close(found_mean.double(), mean, rtol=1e-6, atol=0.0)
    torch.testing.assert_close(found_var.double(), var, rtol=1e-2, atol=0.0)


def test_half_precision_input_has_the_statistics_of_its_values_in_full_precision() -> None:
    input = (3.0 + 0.1 * torch.randn(16, 4, 8, 8, generator=torch.Generator().manual_seed(0))).bfloat16()
    mean, var = batch_statistics(input)
    torch.testing.assert_close(mean, input.double().mean(dim=(0, 2, 3)).float())
    torch.testing.assert_close(var, input.double().var(dim=(0, 2, 3), correction=0).float(), rtol=1e-3, atol=0.0)


def test_a_mixed_layer_keeps_half_precision() -> None:
    layer = MixedBatchNorm2d(4).eval()
    layer.mix = torch.tensor(0.5)
    input = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    output = layer(input.bfloat16())
    assert output.dtype == torch.bfloat16
    torch.testing.assert_close(output.float(), layer(input), rtol=0.0, atol=0.05)
