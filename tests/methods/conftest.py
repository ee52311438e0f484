"""A small float64 network, a generator off its zeros, and three batches, for every method."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import nn

from gformer_cli.bundle import (
    Bundle,
    BundleHeader,
    DataHeader,
    GeneratorHeader,
    GuardHeader,
    build_generator,
    control_settings,
)
from gformer_cli.config import Settings, validate
from gformer_cli.core.backbone import Backbone
from gformer_cli.core.generalizeformer import GeneralizeFormer
from gformer_cli.core.generators import ChannelGenerator, Generator
from gformer_cli.guard.rule import Guard, Score
from gformer_cli.guard.signals import WEIGHED
from gformer_cli.networks.build import build_network


def _header(settings: Settings) -> BundleHeader:
    return BundleHeader(
        format_version=1,
        classes=["a", "b", "c", "d"],
        preprocessing=settings.data,
        backbone=settings.backbone,
        generator=GeneratorHeader(settings=settings.generator, parameters=0),
        data=DataHeader(domains={}, fingerprint=""),
        validation={},
        versions={},
        settings=settings,
        guard=GuardHeader(rule=_half_way(), figures={}),
    )


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
def bundle() -> Bundle:
    """A narrow resnet18 of four classes with statistics of its own, inputs of 16 pixels, in float64."""
    torch.manual_seed(0)
    network = build_network("resnet18", 4, stem="small", width=0.125)
    network.train()
    for _ in range(3):
        network(torch.rand(8, 3, 16, 16))
    backbone = Backbone(network.double()).freeze()
    settings = validate({"data": {"image_size": 16, "mean": [0.0, 0.0, 0.0], "std": [1.0, 1.0, 1.0]}})
    generator = ChannelGenerator(width=8, depth=1, heads=2, channel_width=4)
    control = build_generator(control_settings(settings.generator), backbone)
    return Bundle(_header(settings), backbone, _moved(generator), _moved(control))


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
def plain(bundle: Bundle) -> Callable[[], nn.Module]:
    """Makes copies of the bundle's network whose parameters can be trained, for computations by hand."""
    return lambda: copy.deepcopy(bundle.backbone.network).requires_grad_(True)


@pytest.fixture
def confident(bundle: Bundle) -> Bundle:
    """The bundle with a classifier so steep that some samples are confident and some are not."""
    with torch.no_grad():
        bundle.backbone.classifier.weight.mul_(12.0)
    return bundle
