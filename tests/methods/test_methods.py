"""Each method against a hand computation."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from gformer_cli.bundle import Bundle
from gformer_cli.methods import METHODS

Plain = Callable[[], nn.Module]


def test_source_is_the_network_in_eval_mode(bundle: Bundle, batches: list[torch.Tensor], plain: Plain) -> None:
    assert torch.equal(METHODS["source"](bundle).predict(batches[0]), plain().eval()(batches[0]))


def test_bn_is_the_network_in_training_mode(bundle: Bundle, batches: list[torch.Tensor], plain: Plain) -> None:
    torch.testing.assert_close(METHODS["bn"](bundle).predict(batches[0]), plain().train()(batches[0]))


def test_tent_is_adam_on_the_entropy_and_predicts_before_its_step(
    bundle: Bundle, batches: list[torch.Tensor], plain: Plain
) -> None:
    network = plain().train()
    affine = [p for m in network.modules() if isinstance(m, nn.BatchNorm2d) for p in (m.weight, m.bias)]
    optimizer = torch.optim.Adam(affine, lr=1e-3, betas=(0.9, 0.999))
    tent = METHODS["tent"](bundle)
    for batch in batches:
        wanted = network(batch)
        torch.testing.assert_close(tent.predict(batch), wanted.detach())
        probabilities = wanted.softmax(dim=1)
        loss = -(probabilities * probabilities.log()).sum(dim=1).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def test_tent_forgets_when_reset(bundle: Bundle, batches: list[torch.Tensor]) -> None:
    tent = METHODS["tent"](bundle)
    first = tent.predict(batches[0])
    assert not torch.equal(tent.predict(batches[0]), first)
    tent.reset()
    assert torch.equal(tent.predict(batches[0]), first)


def test_gformer_has_no_state(bundle: Bundle, batches: list[torch.Tensor]) -> None:
    alone = METHODS["gformer"](bundle).predict(batches[0])
    method = METHODS["gformer"](bundle)
    for before in (batches[1], torch.randn_like(batches[0]) * 5):
        method.predict(before)
        assert torch.equal(method.predict(batches[0]), alone)


def test_constant_is_the_control_with_the_same_residuals_whatever_it_sees(
    bundle: Bundle, batches: list[torch.Tensor]
) -> None:
    assert bundle.control is not None
    method = METHODS["constant"](bundle)
    for batch in batches:
        wanted = bundle.control(bundle.backbone, batch)
        assert torch.equal(method.predict(batch), wanted.logits)
        assert not torch.equal(wanted.logits, bundle.method(bundle.backbone, batch).logits)
    one, two = (bundle.control(bundle.backbone, batch).parameters for batch in batches[:2])
    assert torch.equal(one.weight, two.weight) and torch.equal(one.gammas[0], two.gammas[0])


def test_constant_needs_a_bundle_with_a_control(bundle: Bundle) -> None:
    bundle.control = None
    with pytest.raises(ValueError, match="no control"):
        METHODS["constant"](bundle)


@pytest.mark.parametrize("name", METHODS)
def test_no_method_writes_to_the_bundle(bundle: Bundle, batches: list[torch.Tensor], name: str) -> None:
    before = {key: value.clone() for key, value in bundle.backbone.state_dict().items()}
    method = METHODS[name](bundle)
    for batch in batches:
        assert method.predict(batch).shape == (6, 4)
    after = bundle.backbone.state_dict()
    assert all(torch.equal(after[key], value) for key, value in before.items())


@pytest.mark.parametrize("name", METHODS)
def test_every_method_takes_a_batch_of_one(bundle: Bundle, batches: list[torch.Tensor], name: str) -> None:
    assert METHODS[name](bundle).predict(batches[0][:1]).isfinite().all()
