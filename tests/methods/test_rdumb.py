"""`rdumb` is `eata` without a penalty that begins again after so many batches."""

from __future__ import annotations

import pytest
import torch

from gformer_cli.methods.base import Parts
from gformer_cli.methods.eata import Eata
from gformer_cli.methods.rdumb import RDumb


def test_it_is_eta_until_it_begins_again(confident: Parts, batches: list[torch.Tensor]) -> None:
    common = {"learning_rate": 1e-2, "similarity": 0.6}
    method, eta = RDumb(confident.backbone, reset_every=3, **common), Eata(confident.backbone, **common)
    wanted = [eta.predict(batch) for batch in batches]
    for _ in range(2):
        assert torch.equal(torch.stack([method.predict(batch) for batch in batches]), torch.stack(wanted))
    assert not torch.equal(eta.predict(batches[0]), wanted[0])  # which would not begin again


def test_a_reset_begins_the_count_again(confident: Parts, batches: list[torch.Tensor]) -> None:
    method = RDumb(confident.backbone, learning_rate=1e-2, reset_every=3)
    method.predict(batches[0])
    method.reset()
    before = [method.predict(batch) for batch in batches]
    assert method.since_reset == 3 and torch.equal(method.predict(batches[0]), before[0])


def test_source_images_change_nothing(confident: Parts, batches: list[torch.Tensor]) -> None:
    plain, prepared = RDumb(confident.backbone), RDumb(confident.backbone)
    prepared.prepare(batches)
    assert not RDumb.reads_source
    for batch in batches:
        assert torch.equal(plain.predict(batch), prepared.predict(batch))


@pytest.mark.parametrize(
    "setting",
    [{"learning_rate": 1e-2}, {"momentum": 0.0}, {"entropy_margin": 0.9}, {"similarity": 0.7}, {"reset_every": 1}],
    ids=lambda setting: next(iter(setting)),
)
def test_each_keyword_has_an_effect(confident: Parts, batches: list[torch.Tensor], setting: dict[str, float]) -> None:
    usual, changed = RDumb(confident.backbone), RDumb(confident.backbone, **setting)  # type: ignore[arg-type]
    one, two = ([method.predict(batch) for batch in batches * 2] for method in (usual, changed))
    assert not torch.equal(torch.stack(one), torch.stack(two))
