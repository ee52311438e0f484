"""Which images share a batch, and when it is predicted."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from gformer_cli.guard.rule import Verdict
from gformer_cli.images.preprocessing import Batch
from gformer_cli.serve.batching import Answered, Batcher, Image, QueueFull
from gformer_cli.serve.options import ServeOptions

LONG = 60.0


class Served:
    """A batcher that predicts names, and what it was asked for."""

    def __init__(self, **options: Any) -> None:
        self.asked: list[tuple[str | None, list[str]]] = []
        self.error: Exception | None = None
        self.seconds = 0.0
        self.batcher = Batcher(self.predict, ["a"], ServeOptions(**{"max_wait": LONG, **options}))

    def predict(self, batch: Batch, target: str | None) -> Any:
        names = [file.relative for file in batch.files]
        self.asked.append((target, names))
        if self.error is not None and "bad" in names:
            raise self.error
        assert batch.pixels[:, 0, 0, 0].tolist() == [len(name) for name in names]
        told = {"number": len(self.asked), "verdict": Verdict(), "seconds": self.seconds}
        return SimpleNamespace(rows=lambda classes: names, **told)

    def submit(self, names: str, target: str | None = None) -> Future[Answered]:
        images = [Image(name, torch.full((3, 2, 2), len(name), dtype=torch.uint8), "") for name in names.split()]
        self.batcher.reserve(len(images))
        return self.batcher.submit(images, target)


@pytest.fixture
def served() -> Iterator[Callable[..., Served]]:
    """`served(batch_size=2)`: started by its first `start`, and stopped at the end."""
    made: list[Served] = []

    def make(**options: Any) -> Served:
        made.append(Served(**options))
        return made[-1]

    yield make
    for one in made:
        if one.batcher.alive:
            one.batcher.stop()


def rows(future: Future[Answered]) -> Any:
    return future.result(timeout=10).rows


def test_only_requests_of_one_target_share_a_batch(served: Callable[..., Served]) -> None:
    one = served(max_wait=0.0)
    wanted = [("a bb", "yard"), ("ccc", None), ("dddd", "hall"), ("eeeee", None), ("ffffff", "yard")]
    futures = [one.submit(names, target) for names, target in wanted]
    one.batcher.start()
    assert [rows(future) for future in futures] == [names.split() for names, _ in wanted]
    assert one.asked == [("yard", ["a", "bb", "ffffff"]), (None, ["ccc"]), ("hall", ["dddd"]), (None, ["eeeee"])]
    (told,) = futures[0].result().batches
    assert (told.number, told.images) == (1, 3)


def test_a_full_batch_and_a_request_without_a_target_do_not_wait(served: Callable[..., Served]) -> None:
    one = served(batch_size=2)
    one.batcher.start()
    assert rows(one.submit("a bb", "yard")) == ["a", "bb"]
    assert rows(one.submit("a")) == ["a"]


def test_a_smaller_batch_waits_so_long_and_no_longer(served: Callable[..., Served]) -> None:
    one = served(max_wait=0.3)
    one.batcher.start()
    began = time.monotonic()
    first = one.submit("a", "yard")
    time.sleep(0.1)
    second = one.submit("bb", "yard")
    assert rows(first) == ["a"] and rows(second) == ["bb"]
    assert 0.3 <= time.monotonic() - began < 5.0
    assert one.asked == [("yard", ["a", "bb"])]


def test_a_large_request_is_several_batches_and_its_rows_keep_their_order(served: Callable[..., Served]) -> None:
    one = served(batch_size=2)
    future = one.submit("a bb ccc dddd eeeee")
    one.batcher.start()
    assert rows(future) == ["a", "bb", "ccc", "dddd", "eeeee"]
    assert [told.images for told in future.result().batches] == [2, 2, 1]


def test_no_more_images_wait_than_may(served: Callable[..., Served]) -> None:
    one = served(queue=3, batch_size=2)
    one.seconds = 1.0
    first = one.submit("a bb", "yard")
    with pytest.raises(QueueFull, match="2 images wait already, and 3 may"):
        one.batcher.reserve(2)
    one.batcher.reserve(1)
    one.batcher.release(1)
    one.batcher.start()
    rows(first)
    assert one.batcher.waiting == 0
    one.batcher.reserve(3)
    with pytest.raises(QueueFull) as refused:
        one.batcher.reserve(1)
    assert refused.value.seconds == pytest.approx(1.5)  # three images at half a second each


def test_stopping_predicts_what_waits_at_once(served: Callable[..., Served]) -> None:
    one = served()
    one.batcher.start()
    futures = [one.submit("a", "yard"), one.submit("bb", "hall")]
    one.batcher.stop()
    assert [future.result(timeout=0).rows for future in futures] == [["a"], ["bb"]]
    assert not one.batcher.alive


def test_an_error_is_told_to_those_of_its_batch_and_the_others_go_on(served: Callable[..., Served]) -> None:
    one = served(batch_size=2, max_wait=0.0)
    one.error = RuntimeError("out of luck")
    broken, beside, other = one.submit("bad x x", "yard"), one.submit("y", "yard"), one.submit("z")
    one.batcher.start()
    with pytest.raises(RuntimeError, match="out of luck"):
        broken.result(timeout=10)
    assert rows(beside) == ["y"] and rows(other) == ["z"]
    assert ("yard", ["y"]) in one.asked, "what is left of a request that has failed is not predicted"


def test_nobody_predicts_for_a_client_that_has_gone(served: Callable[..., Served]) -> None:
    one = served()
    gone, there = one.submit("a", "yard"), one.submit("bb", "yard")
    gone.cancel()
    one.batcher.start()
    one.batcher.stop()
    assert rows(there) == ["bb"] and one.asked == [("yard", ["bb"])]
