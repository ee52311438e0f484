"""A small float64 network, a generator off its zeros, and three batches, for every method."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import nn

from gformer_cli.core.backbone import Backbone
from gformer_cli.core.generalizeformer import GeneralizeFormer
from gformer_cli.core.generators import ChannelGenerator, ConstantGenerator, Generator
from gformer_cli.guard.rule import Guard, Score
from gformer_cli.guard.signals import WEIGHED
from gformer_cli.images.preprocessing import Preprocessing
from gformer_cli.methods.base import Parts
from gformer_cli.networks.build import build_network


def _half_way() -> Guard:
    """A guard that blends every batch: its strangeness is half-way between its limits whatever it sees."""
    return Guard(
        sizes=(1,),
        typical=dict.fromkeys(WEIGHED, (0.0,)),
        spread=dict.fromkeys(WEIGHED, (1.0,)),
        strangeness=Score({}, 0.5, 0.0, 1.0),
        expected_loss=Score({}, 0.0, 0.0, 0.0),
        smallest_batch=1.0,
    )


@pytest.fixture
def parts() -> Parts:
    """A narrow resnet18 of four classes with statistics of its own, inputs of 16 pixels, in float64."""
    torch.manual_seed(0)
    network = build_network("resnet18", 4, stem="small", width=0.125)
    network.train()
    for _ in range(3):
        network(torch.rand(8, 3, 16, 16))
    backbone = Backbone(network.double()).freeze()
    generator = ChannelGenerator(width=8, depth=1, heads=2, channel_width=4)
    return Parts(
        backbone=backbone,
        preprocessing=Preprocessing(16, "crop", (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
        mirrored=True,
        model=_moved(generator),
        constant=_moved(ConstantGenerator(backbone)),
        guard=_half_way(),
    )


def _moved(generator: Generator) -> GeneralizeFormer:
    """Off the zeros that training starts from."""
    with torch.no_grad():
        for parameter in generator.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return GeneralizeFormer(generator.double(), prior_count=16.0).eval().requires_grad_(False)


@pytest.fixture
def batches() -> list[torch.Tensor]:
    """Three batches of six images: (6, 3, 16, 16) each."""
    return list(torch.rand(3, 6, 3, 16, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(1)))


@pytest.fixture
def plain(parts: Parts) -> Callable[[], nn.Module]:
    """Makes copies of the backbone's network whose parameters can be trained, for computations by hand."""
    return lambda: copy.deepcopy(parts.backbone.network).requires_grad_(True)


@pytest.fixture
def confident(parts: Parts) -> Parts:
    """The parts with a classifier so steep that some samples are confident and some are not."""
    with torch.no_grad():
        parts.backbone.classifier.weight.mul_(12.0)
    return parts
