"""What every method owes a stream: a true reset, values to tune that it takes, and a state that does not grow."""

from __future__ import annotations

import inspect
import pickle

import pytest
import torch

from gformer_cli.methods import METHODS, Method
from gformer_cli.methods.base import Parts

ON_RESNETS = [name for name in METHODS if name != "foa"]
"""`foa` takes vision transformers alone."""
ADAPTIVE = [
    "bn-mix",
    "tent",
    "tent-episodic",
    "shot-im",
    "eata",
    "rdumb",
    "sar",
    "roid",
    "cmf",
    "unmix-tns",
    "delta",
    "deyo",
    "come",
]
KEEPING = ["bn-mix", "tent", "tent-episodic", "shot-im", "eata", "sar", "roid", "unmix-tns", "delta"]
"""Of those that share how they keep their state, one."""


@pytest.mark.parametrize("name", ON_RESNETS)
def test_reset_restores_the_start_exactly(confident: Parts, batches: list[torch.Tensor], name: str) -> None:
    method = METHODS[name].from_parts(confident)
    first = [method.predict(batch) for batch in batches]
    method.predict(batches[0][:1])
    method.reset()
    assert all(torch.equal(method.predict(batch), logits) for batch, logits in zip(batches, first, strict=True))


@pytest.mark.parametrize("name", ON_RESNETS)
def test_values_to_tune_are_settings_of_the_constructor(parts: Parts, name: str) -> None:
    keywords = inspect.signature(METHODS[name]).parameters
    for key, values in METHODS[name].tunable.items():
        assert keywords[key].kind is inspect.Parameter.KEYWORD_ONLY
        assert keywords[key].default in values
        assert 2 <= len(values) <= 5
        for value in values:
            METHODS[name].from_parts(parts, **{key: value})


@pytest.mark.parametrize("name", KEEPING)
def test_state_does_not_grow_with_the_stream(confident: Parts, batches: list[torch.Tensor], name: str) -> None:
    def size(method: Method) -> int:
        return len(pickle.dumps({key: value for key, value in vars(method).items() if key != "backbone"}))

    method = METHODS[name].from_parts(confident)
    images = torch.cat(batches)
    for start in range(6):
        method.predict(images[start : start + 2])
    early = size(method)
    for start in range(30):
        logits = method.predict(images[start % 16 : start % 16 + 2])
        assert not logits.requires_grad
    assert size(method) <= early + 64  # a few bytes for the digits of numbers


@pytest.mark.parametrize("name", ADAPTIVE)
@pytest.mark.parametrize("grad", [True, False])
def test_single_precision_under_either_grad_mode(
    confident: Parts, batches: list[torch.Tensor], name: str, grad: bool
) -> None:
    confident.backbone.float()
    method = METHODS[name].from_parts(confident)
    with torch.set_grad_enabled(grad):
        for batch in [*batches, batches[0][:1]]:
            logits = method.predict(batch.float())
            assert logits.dtype == torch.float32 and logits.isfinite().all() and not logits.requires_grad
