"""Each method against a hand computation."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import nn

from gformer_cli.methods import METHODS
from gformer_cli.methods.base import Parts

Plain = Callable[[], nn.Module]


def test_source_is_the_network_in_eval_mode(parts: Parts, batches: list[torch.Tensor], plain: Plain) -> None:
    assert torch.equal(METHODS["source"].from_parts(parts).predict(batches[0]), plain().eval()(batches[0]))


def test_bn_is_the_network_in_training_mode(parts: Parts, batches: list[torch.Tensor], plain: Plain) -> None:
    torch.testing.assert_close(METHODS["bn"].from_parts(parts).predict(batches[0]), plain().train()(batches[0]))


def test_tent_is_adam_on_the_entropy_and_predicts_before_its_step(
    parts: Parts, batches: list[torch.Tensor], plain: Plain
) -> None:
    network = plain().train()
    affine = [p for m in network.modules() if isinstance(m, nn.BatchNorm2d) for p in (m.weight, m.bias)]
    optimizer = torch.optim.Adam(affine, lr=1e-3, betas=(0.9, 0.999))
    tent = METHODS["tent"].from_parts(parts)
    for batch in batches:
        wanted = network(batch)
        torch.testing.assert_close(tent.predict(batch), wanted.detach())
        probabilities = wanted.softmax(dim=1)
        loss = -(probabilities * probabilities.log()).sum(dim=1).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def test_tent_forgets_when_reset(parts: Parts, batches: list[torch.Tensor]) -> None:
    tent = METHODS["tent"].from_parts(parts)
    first = tent.predict(batches[0])
    assert not torch.equal(tent.predict(batches[0]), first)
    tent.reset()
    assert torch.equal(tent.predict(batches[0]), first)


def test_gformer_has_no_state(parts: Parts, batches: list[torch.Tensor]) -> None:
    alone = METHODS["gformer"].from_parts(parts).predict(batches[0])
    method = METHODS["gformer"].from_parts(parts)
    for before in (batches[1], torch.randn_like(batches[0]) * 5):
        method.predict(before)
        assert torch.equal(method.predict(batches[0]), alone)


def test_constant_is_the_constant_generator_with_the_same_residuals_whatever_it_sees(
    parts: Parts, batches: list[torch.Tensor]
) -> None:
    assert parts.constant is not None
    method = METHODS["constant"].from_parts(parts)
    for batch in batches:
        wanted = parts.constant(parts.backbone, batch)
        assert torch.equal(method.predict(batch), wanted.logits)
        assert not torch.equal(wanted.logits, parts.model(parts.backbone, batch).logits)
    one, two = (parts.constant(parts.backbone, batch).parameters for batch in batches[:2])
    assert torch.equal(one.weight, two.weight) and torch.equal(one.gammas[0], two.gammas[0])


def test_constant_needs_a_constant_generator(parts: Parts) -> None:
    with pytest.raises(ValueError, match="no constant generator"):
        METHODS["constant"].from_parts(replace(parts, constant=None))


ON_RESNETS = [name for name in METHODS if name != "foa"]
"""`foa` takes vision transformers alone."""
NEEDS_MORE = (
    "cotta",
    "rotta",
    "roid",
    "cmf",
    "rmt",
    "petta",
    "pea",
    "memo",
    "constant",
    "gformer",
    "gformer-context",
    "gformer-guard",
)


@pytest.mark.parametrize("name", [name for name in ON_RESNETS if name not in NEEDS_MORE])
def test_a_backbone_is_enough_for_methods_that_need_nothing_else(
    parts: Parts, batches: list[torch.Tensor], name: str
) -> None:
    found = METHODS[name](parts.backbone).predict(batches[0])
    assert torch.equal(found, METHODS[name].from_parts(parts).predict(batches[0]))


@pytest.mark.parametrize("name", ON_RESNETS)
def test_no_method_writes_to_the_source_model(parts: Parts, batches: list[torch.Tensor], name: str) -> None:
    before = {key: value.clone() for key, value in parts.backbone.state_dict().items()}
    method = METHODS[name].from_parts(parts)
    for batch in batches:
        assert method.predict(batch).shape == (6, 4)
    after = parts.backbone.state_dict()
    assert all(torch.equal(after[key], value) for key, value in before.items())


@pytest.mark.parametrize("name", ON_RESNETS)
def test_every_method_takes_a_batch_of_one(parts: Parts, batches: list[torch.Tensor], name: str) -> None:
    assert METHODS[name].from_parts(parts).predict(batches[0][:1]).isfinite().all()


@pytest.mark.slow
def test_methods_need_no_bundle() -> None:
    seen = "print(*[name for name in sys.modules if name.startswith('gformer_cli.bundle')])"
    code = f"import sys, gformer_cli.methods; {seen}"
    assert subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout == "\n"
