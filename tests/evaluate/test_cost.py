from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import nn

from gformer_cli.core.backbone import Backbone
from gformer_cli.core.probe import probe_source
from gformer_cli.evaluate.cost import counting, peak_memory

CPU = torch.device("cpu")
MIB = 2**20


def test_images_forward_and_backward_are_counted(make_network: Callable[..., nn.Module], images: torch.Tensor) -> None:
    network = make_network()
    with counting(network) as passes:
        network(images)
        network(images[:2])
        assert passes.take() == (8, 0)
        network(images).sum().backward()
        assert passes.take() == (6, 6)
        assert passes.take() == (0, 0)
        with torch.no_grad():
            network(images)
        assert passes.take() == (6, 0)
    network(images)
    assert passes.take() == (0, 0)


def test_copies_made_meanwhile_count_too(make_network: Callable[..., nn.Module], images: torch.Tensor) -> None:
    network = make_network()
    with counting(network) as passes:
        twin = copy.deepcopy(network)
        twin(images).sum().backward()
        assert passes.take() == (6, 6)


def test_functional_passes_of_a_backbone_count(backbone: Backbone, images: torch.Tensor) -> None:
    with counting(backbone.network) as passes:
        probe_source(backbone, images, prior_count=16.0, gradients=True)
        assert passes.take() == (6, 6)
        probe_source(backbone, images, prior_count=16.0, gradients=False)
        assert passes.take() == (6, 0)


def test_peak_memory_is_the_most_that_is_held_at_once() -> None:
    def work() -> None:
        first = torch.zeros(MIB, dtype=torch.uint8)
        second = first + 1  # two are held
        del first
        third = second.view(-1)[: MIB // 2]  # a view holds nothing more
        third.add_(1)

    assert peak_memory(work, CPU) == 2 * MIB


def test_peak_memory_counts_neither_what_was_there_nor_what_is_let_go() -> None:
    there = torch.zeros(4 * MIB, dtype=torch.uint8)

    def work() -> None:
        there.add_(1)
        for _ in range(5):
            torch.ones(MIB, dtype=torch.uint8)

    assert peak_memory(work, CPU) == MIB


def test_peak_memory_holds_what_backward_needs(make_network: Callable[..., nn.Module], images: torch.Tensor) -> None:
    network = make_network()
    with torch.no_grad():
        plain = peak_memory(lambda: network(images), CPU)
    assert peak_memory(lambda: network(images).sum().backward(), CPU) > 1.5 * plain
