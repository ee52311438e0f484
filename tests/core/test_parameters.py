from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from gformer_cli.core.backbone import Backbone
from gformer_cli.core.parameters import Parameters
from gformer_cli.core.probe import Probe


@pytest.fixture
def parameters(make_probe: Callable[..., Probe]) -> Parameters:
    return make_probe().source


def test_trainable_lists_gammas_betas_weight_bias(parameters: Parameters) -> None:
    expected = [*parameters.gammas, *parameters.betas, parameters.weight, parameters.bias]
    assert [id(tensor) for tensor in parameters.trainable()] == [id(tensor) for tensor in expected]


def test_with_trainable_puts_tensors_back_in_order_and_keeps_mixing(parameters: Parameters) -> None:
    rebuilt = parameters.with_trainable([tensor + 1.0 for tensor in parameters.trainable()])
    assert torch.equal(rebuilt.gammas[1], parameters.gammas[1] + 1.0)
    assert torch.equal(rebuilt.betas[0], parameters.betas[0] + 1.0)
    assert torch.equal(rebuilt.weight, parameters.weight + 1.0)
    assert torch.equal(rebuilt.bias, parameters.bias + 1.0)
    assert rebuilt.mix is parameters.mix


def test_with_trainable_refuses_another_number_of_tensors(parameters: Parameters) -> None:
    with pytest.raises(ValueError, match="expected 6 tensors for 2 layers, got 5"):
        parameters.with_trainable(parameters.trainable()[:-1])


@pytest.mark.parametrize("requires_grad", [True, False])
def test_detached_gives_leaves_of_the_same_memory(parameters: Parameters, requires_grad: bool) -> None:
    graph = parameters.with_trainable([t.clone().requires_grad_() * 1.0 for t in parameters.trainable()])
    leaves = graph.detached(requires_grad=requires_grad)
    for leaf, tensor in zip(leaves.trainable(), graph.trainable(), strict=True):
        assert leaf.is_leaf and leaf.requires_grad is requires_grad
        assert leaf.data_ptr() == tensor.data_ptr()


def test_with_mix_changes_the_mixing_alone(parameters: Parameters) -> None:
    changed = parameters.with_mix(None)
    assert changed.mix is None and parameters.mix is not None
    assert changed.gammas is parameters.gammas and changed.bias is parameters.bias


def test_towards_moves_every_tensor_by_the_share_and_counts_no_mixing_as_zero(
    make_backbone: Callable[..., Backbone],
) -> None:
    start = make_backbone(seed=0).source_parameters()
    end = make_backbone(seed=1).source_parameters().with_mix(torch.tensor([0.4, 0.8], dtype=torch.float64))
    found = start.towards(end, 0.25)
    for a, b, c in zip(start.trainable(), end.trainable(), found.trainable(), strict=True):
        torch.testing.assert_close(c, a + 0.25 * (b - a))
    assert found.mix is not None and found.mix.tolist() == pytest.approx([0.1, 0.2])
    both = found.towards(end, 0.5)
    assert both.mix is not None and both.mix.tolist() == pytest.approx([0.25, 0.5])
