from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from gformer_cli.networks.norms import (
    AdaptiveBatchNorm2d,
    AdaptiveNorm,
    Affine,
    Moments,
    batch_statistics,
    current_pass,
    make_adaptive,
    within,
)


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


class Mixing:
    """A pass that mixes the batch's statistics in by a share; None leaves the layer's own."""

    def __init__(self, mix: float | torch.Tensor | None) -> None:
        self.mix = mix
        self.shown: list[Moments] = []

    def normalise(self, layer: AdaptiveNorm, measure: Callable[[], Moments]) -> Affine:
        if self.mix is None:
            return Affine(layer.weight, layer.bias, None)
        self.shown.append(measure())
        mix = torch.as_tensor(self.mix, dtype=layer.weight.dtype)
        return Affine(layer.weight, layer.bias, layer.mixed(self.shown[-1], mix))

    def classify(self, features: torch.Tensor) -> torch.Tensor:
        raise AssertionError("there is no head here")


def adaptive(layer: nn.Module) -> AdaptiveNorm:
    layers, left = make_adaptive(nn.Sequential(layer))
    assert not left
    return layers["0"]


class Mixed(nn.Module):
    """An adaptive layer in a pass of a given mixing."""

    def __init__(self, layer: nn.Module, mix: float | None) -> None:
        super().__init__()
        self.layer, self.mix = adaptive(layer), mix

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        with within(Mixing(self.mix)):
            return self.layer(x)  # type: ignore[no-any-return]


def make_mixed(mix: float | None, dtype: torch.dtype = torch.float64) -> Mixed:
    return Mixed(make_plain(dtype), mix).eval()


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
    mixed, x = make_mixed(mix), make_input()
    layer = mixed.layer
    batch_mean = x.mean(dim=(0, 2, 3))
    batch_var = (x - batch_mean.view(1, -1, 1, 1)).square().mean(dim=(0, 2, 3))
    mean = (1 - mix) * layer.running_mean + mix * batch_mean
    var = (1 - mix) * layer.running_var + mix * batch_var
    normalised = (x - mean.view(1, -1, 1, 1)) / (var.view(1, -1, 1, 1) + 1e-3).sqrt()
    expected = normalised * layer.weight.view(1, -1, 1, 1) + layer.bias.view(1, -1, 1, 1)
    torch.testing.assert_close(mixed(x), expected, rtol=1e-12, atol=1e-12)


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
    assert start is not None and not torch.equal(mixed.layer.running_mean, start)
    assert all(torch.equal(tensor, plain.state_dict()[name]) for name, tensor in mixed.layer.state_dict().items())


def test_state_dict_keys_are_those_of_batchnorm() -> None:
    assert list(make_mixed(0.5).layer.state_dict()) == list(make_plain().state_dict())


def test_a_layer_becomes_adaptive_in_place_and_keeps_all_that_it_holds() -> None:
    plain = make_plain().train()
    held = dict(plain.state_dict(keep_vars=True))
    layer = adaptive(plain)
    assert layer is plain and isinstance(layer, AdaptiveBatchNorm2d) and isinstance(layer, nn.BatchNorm2d)
    assert all(layer.state_dict(keep_vars=True)[name] is tensor for name, tensor in held.items())
    assert (layer.training, layer.eps, layer.momentum) == (True, 1e-3, 0.3)
    assert adaptive(layer) is layer


@pytest.mark.parametrize("mix", [0.0, 0.5, 1.0])
def test_one_image_of_one_pixel_gives_finite_output_and_gradients(mix: float) -> None:
    layer = make_mixed(mix, torch.float32)
    x = torch.randn(1, 4, 1, 1, requires_grad=True)
    output = layer(x)
    output.square().sum().backward()
    assert torch.isfinite(output).all()
    assert x.grad is not None and torch.isfinite(x.grad).all()


def test_gradients_match_finite_differences() -> None:
    layer = adaptive(make_plain().eval())

    def run(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, mix: torch.Tensor) -> torch.Tensor:
        with within(Mixing(mix)):
            output = torch.func.functional_call(layer, {"weight": weight, "bias": bias}, (x,))
        assert isinstance(output, torch.Tensor)
        return output

    inputs = (
        make_input().requires_grad_(),
        layer.weight.detach().clone().requires_grad_(),
        layer.bias.detach().clone().requires_grad_(),
        torch.tensor(0.4, dtype=torch.float64, requires_grad=True),
    )
    assert torch.autograd.gradcheck(run, inputs)


def test_a_pass_is_shown_the_batchs_statistics_in_eval_mode_only() -> None:
    layer, x, one = adaptive(make_plain()), make_input(), Mixing(0.5)
    with within(one):
        layer.train()(x)
        assert one.shown == []
        layer.eval()(x)
    ((mean, var),) = one.shown
    expected_var, expected_mean = torch.var_mean(x, dim=(0, 2, 3), correction=0)
    torch.testing.assert_close((mean, var), (expected_mean, expected_var), rtol=1e-12, atol=1e-12)
    assert current_pass() is None


def test_a_pass_that_ends_in_an_error_is_over() -> None:
    with pytest.raises(RuntimeError), within(Mixing(0.5)):
        adaptive(make_plain().eval())(torch.zeros(1, 2, 3, 3))
    assert current_pass() is None


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
    layer = Mixed(nn.BatchNorm2d(4), 0.5).eval()
    input = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    output = layer(input.bfloat16())
    assert output.dtype == torch.bfloat16
    torch.testing.assert_close(output.float(), layer(input), rtol=0.0, atol=0.05)


# --- layers that normalise each image by itself


class ChannelsFirst(nn.LayerNorm):
    """As torchvision's for ConvNeXt."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x.permute(0, 2, 3, 1)
        return nn.functional.layer_norm(x, self.normalized_shape, self.weight, self.bias, self.eps).permute(0, 3, 1, 2)


def convnext_norm() -> nn.Module:
    from torchvision.models.convnext import LayerNorm2d

    return LayerNorm2d(6, eps=1e-6)  # type: ignore[no-any-return]


def timm_norm(name: str) -> nn.Module:
    import timm.layers

    kind = getattr(timm.layers, name)
    return kind(6) if name != "GroupNormAct" else kind(6, 3)  # type: ignore[no-any-return]


RECORDED: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], int]] = {
    "LayerNorm of tokens": (lambda: nn.LayerNorm(6), (5, 7, 6), -1),
    "LayerNorm of a map, channels last": (lambda: nn.LayerNorm(6), (5, 3, 4, 6), -1),
    "LayerNorm of features": (lambda: nn.LayerNorm(6), (5, 6), -1),
    "torchvision's LayerNorm2d": (convnext_norm, (5, 6, 3, 4), 1),
    "timm's LayerNorm": (lambda: timm_norm("LayerNorm"), (5, 7, 6), -1),
    "timm's LayerNorm2d": (lambda: timm_norm("LayerNorm2d"), (5, 6, 3, 4), 1),
    "GroupNorm": (lambda: nn.GroupNorm(3, 6), (5, 6, 3, 4), 1),
    "timm's GroupNorm1": (lambda: timm_norm("GroupNorm1"), (5, 6, 3, 4), 1),
    "timm's GroupNormAct": (lambda: timm_norm("GroupNormAct"), (5, 6, 3, 4), 1),
}


@pytest.fixture(params=RECORDED)
def recorded(request: pytest.FixtureRequest) -> tuple[nn.Module, torch.Tensor, int]:
    """A layer with weights of its own, an input of it, and the axis of the channels."""
    make, shape, axis = RECORDED[request.param]
    random = torch.Generator().manual_seed(0)
    layer = make().double().eval()
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.uniform_(0.5, 1.5, generator=random)
    return layer, 2.0 + 3.0 * torch.randn(shape, generator=random, dtype=torch.float64), axis


def test_a_plain_pass_is_bit_equal_to_the_layer_before(recorded: tuple[nn.Module, torch.Tensor, int]) -> None:
    layer, x, _ = recorded
    before = layer(x)
    changed = adaptive(layer)
    assert torch.equal(changed(x), before)
    assert torch.equal(Mixed(changed, None).eval()(x), before)


def test_no_mixing_is_the_layer_itself(recorded: tuple[nn.Module, torch.Tensor, int]) -> None:
    layer, x, _ = recorded
    before = layer(x)
    record(adaptive(layer), x)
    torch.testing.assert_close(Mixed(layer, 0.0).eval()(x), before, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("mix", [0.3, 1.0])
def test_mixing_moves_the_batchs_statistics_onto_the_recorded_ones(
    recorded: tuple[nn.Module, torch.Tensor, int], mix: float
) -> None:
    layer, x, axis = recorded
    changed = adaptive(layer)
    record(changed, x)
    other = 0.5 * x + torch.linspace(-2, 2, 6, dtype=torch.float64).view(
        [-1 if i == axis % x.dim() else 1 for i in range(x.dim())]
    )
    standard = standardised(changed, other, axis)
    others = [dim for dim in range(x.dim()) if dim != axis % x.dim()]
    var, mean = torch.var_mean(standard, dim=others, correction=0, keepdim=True)
    shape = mean.shape
    mean_s, var_s = changed.running_mean.view(shape), changed.running_var.view(shape)
    mixed_mean, mixed_var = mean_s.lerp(mean, mix), var_s.lerp(var, mix)
    moved = (standard - mixed_mean) * ((var_s + 1e-5) / (mixed_var + 1e-5)).sqrt() + mean_s
    expected = changed.weight.view(shape) * moved + changed.bias.view(shape)
    for name in ("drop", "act"):
        expected = getattr(changed, name, nn.Identity())(expected)
    torch.testing.assert_close(Mixed(changed, mix).eval()(other), expected, rtol=1e-10, atol=1e-10)


def standardised(layer: AdaptiveNorm, x: torch.Tensor, axis: int) -> torch.Tensor:
    """The layer's output before γ and β, by itself."""
    if isinstance(layer, nn.GroupNorm):
        return nn.functional.group_norm(x, layer.num_groups, eps=layer.eps)
    last = x.movedim(axis, -1)
    return nn.functional.layer_norm(last, (6,), eps=layer.eps).movedim(-1, axis)  # type: ignore[arg-type]


def record(layer: AdaptiveNorm, x: torch.Tensor) -> None:
    """Take what the layer shows of `x` for the source's statistics."""
    one = Mixing(0.0)
    with within(one):
        layer(x)
    layer.running_mean.copy_(one.shown[0][0])
    layer.running_var.copy_(one.shown[0][1])


def test_batchnorm_of_features_and_of_sequences_is_mixed() -> None:
    for x in (make_input()[:, :, 0, 0], make_input()[:, :, 0]):
        plain = nn.BatchNorm1d(4).double()
        expected = plain.train()(x)
        torch.testing.assert_close(Mixed(nn.BatchNorm1d(4).double(), 1.0).eval()(x), expected, rtol=1e-12, atol=1e-12)


def test_synchronised_batchnorm_is_batchnorm() -> None:
    x = make_input()
    expected = nn.BatchNorm2d(4).double().train()(x)
    torch.testing.assert_close(Mixed(nn.SyncBatchNorm(4).double(), 1.0).eval()(x), expected, rtol=1e-12, atol=1e-12)


class OwnNorm(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(4))


@pytest.mark.parametrize(
    ("layer", "reason"),
    [
        (nn.BatchNorm2d(4, affine=False), "BatchNorm2d has no scale and shift of its own"),
        (nn.BatchNorm2d(4, track_running_stats=False), "BatchNorm2d keeps no running statistics"),
        (nn.LayerNorm([4, 3]), "LayerNorm normalises over 2 axes"),
        (nn.LayerNorm(4, bias=False), "LayerNorm has no scale and shift of its own"),
        (nn.InstanceNorm2d(4, affine=True), "InstanceNorm2d is of no known kind"),
        (nn.LocalResponseNorm(2), "LocalResponseNorm is of no known kind"),
        (OwnNorm(), "OwnNorm is of no known kind"),
        (ChannelsFirst(4), "ChannelsFirst"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_cannot_be_adapted_is_named(layer: nn.Module, reason: str) -> None:
    layers, left = make_adaptive(nn.Sequential(layer))
    if reason == "ChannelsFirst":  # its name does not say what it does
        assert not layers and not left
    else:
        assert not layers and left == {"0": reason}


def test_torchs_own_transformer_layers_do_not_pass_their_norms_by() -> None:
    encoder = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True).eval()
    layers, _ = make_adaptive(encoder)
    one = Mixing(0.0)
    with torch.no_grad(), within(one):
        encoder(torch.randn(2, 3, 8))
    assert list(layers) == ["norm1", "norm2"] and len(one.shown) == 2
