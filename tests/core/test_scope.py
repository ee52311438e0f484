from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from gformer_cli.core.backbone import Backbone
from gformer_cli.core.generators import ConstantGenerator, Scope, generate
from gformer_cli.core.parameters import Parameters
from gformer_cli.core.probe import Probe, probe_source


def moved_parts(scope: Scope, backbone: Backbone, images: torch.Tensor) -> set[str]:
    """Which parts of θ a generator that would move everything moves within `scope`."""
    generator = ConstantGenerator(backbone, scope=scope).double()
    with torch.no_grad():
        for parameter in generator.parameters():
            parameter.fill_(0.5)
    probe: Probe = probe_source(backbone, images, prior_count=16.0, gradients=False)
    theta: Parameters = generate(generator, probe)
    assert theta.mix is not None and probe.source.mix is not None
    pairs = {"weight": (theta.weight, probe.source.weight), "bias": (theta.bias, probe.source.bias)}
    pairs |= {"mix": (theta.mix, probe.source.mix)}
    for index in range(len(theta.gammas)):
        pairs[f"gamma{index}"] = (theta.gammas[index], probe.source.gammas[index])
        pairs[f"beta{index}"] = (theta.betas[index], probe.source.betas[index])
    for before, after in pairs.values():
        assert torch.equal(before, after) or (before != after).all()
    return {name for name, (before, after) in pairs.items() if not torch.equal(before, after)}


BN = {"gamma0", "beta0", "gamma1", "beta1", "gamma2", "beta2"}
HEAD = {"weight", "bias"}


@pytest.mark.parametrize(
    ("scope", "expected"),
    [
        (Scope(), BN | HEAD | {"mix"}),
        (Scope(bn=False), HEAD | {"mix"}),
        (Scope(classifier=False), BN | {"mix"}),
        (Scope(bias=False), BN | {"weight", "mix"}),
        (Scope(mixing=False), BN | HEAD),
        (Scope(last_layers=1), {"gamma2", "beta2", "mix"} | HEAD),
        (Scope(last_layers=2), BN - {"gamma0", "beta0"} | HEAD | {"mix"}),
        (Scope(last_layers=9), BN | HEAD | {"mix"}),
        (Scope(bn=False, last_layers=2), HEAD | {"mix"}),
    ],
    # a set prints in another order in every process, and names of tests must not
    ids=lambda value: " ".join(sorted(value)) if isinstance(value, set) else str(value),
)
def test_only_what_is_in_scope_is_generated(
    make_backbone: Callable[..., Backbone], images: torch.Tensor, scope: Scope, expected: set[str]
) -> None:
    assert moved_parts(scope, make_backbone((4, 6, 5)), images) == expected
