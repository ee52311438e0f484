"""Batches that are read ahead: the same ones, in the same order, whoever reads them."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable

import pytest
import torch

from gformer_cli.data.loader import Reader, Tensors
from gformer_cli.errors import InputError

MakeReader = Callable[[int], Reader[int]]


def read(key: int) -> Tensors:
    if key == 4:
        raise InputError("four is damaged", "Take another one.")
    return torch.full((3, 2), key, dtype=torch.uint8), torch.tensor([key, os.getpid()])


@pytest.fixture
def make() -> MakeReader:
    return lambda workers: Reader(read, lambda key: range(key, 6, 2), workers=workers)


@pytest.mark.parametrize("workers", [0, 2])
def test_what_is_read_is_what_was_asked_for_wherever_it_goes_on(make: MakeReader, workers: int) -> None:
    reader = make(workers)
    for key in (1, 3, 5, 0, 2, 1, 1):  # on, elsewhere, back, and the same again
        pixels, (number, process) = reader.get(key)
        assert torch.equal(pixels, torch.full((3, 2), key, dtype=torch.uint8)) and number == key
        assert (process != os.getpid()) == (workers > 0)


@pytest.mark.parametrize("workers", [0, 1])
def test_an_error_keeps_its_kind_and_its_hint(make: MakeReader, workers: int) -> None:
    reader = make(workers)
    assert reader.get(2)[1][0] == 2
    with pytest.raises(InputError, match="four is damaged") as caught:
        reader.get(4)
    assert caught.value.hint == "Take another one."


def test_processes_end_with_the_reader(make: MakeReader) -> None:
    before = {*multiprocessing.active_children()}
    reader = make(2)
    reader.get(1)
    own = {*multiprocessing.active_children()} - before
    reader.get(0)  # the same ones go on elsewhere
    assert len(own) == 2 and {*multiprocessing.active_children()} - before == own
    reader.close()
    assert not {*multiprocessing.active_children()} & own
    assert reader.get(3)[1][0] == 3
