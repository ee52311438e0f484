from __future__ import annotations

import copy

import pytest
import torch
from torch.nn import functional as F

from gformer_cli.bundle import Bundle
from gformer_cli.core.estimators import watched
from gformer_cli.evaluate.parts import parts_of
from gformer_cli.methods import METHODS

IMAGES = torch.rand(5, 3, 8, 8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    "name", ["source", "bn", "tent", "rotta", "eata", "gformer", "gformer-context", "gformer-guard"]
)
def test_what_a_head_was_given_is_told_where_it_makes_the_answer(shallow_bundle: Bundle, name: str) -> None:
    with watched(shallow_bundle.backbone.classifier) as head:
        method = METHODS[name].from_parts(parts_of(shallow_bundle))
        for _ in range(2):
            with head.watching():
                logits = method.predict(IMAGES)
            found = head.behind(logits)
            assert found is not None
            torch.testing.assert_close(F.linear(found.features, found.weight, found.bias), logits)


@pytest.mark.parametrize("name", ["t3a", "lame", "memo", "roid"])
def test_nothing_is_told_of_answers_that_no_head_made(shallow_bundle: Bundle, name: str) -> None:
    with watched(shallow_bundle.backbone.classifier) as head:
        method = METHODS[name].from_parts(parts_of(shallow_bundle))
        with head.watching():
            logits = method.predict(IMAGES)
        assert head.behind(logits) is None


def test_weights_are_those_of_the_answer_and_passes_of_before_do_not_count(shallow_bundle: Bundle) -> None:
    backbone = shallow_bundle.backbone
    with watched(backbone.classifier) as head:
        other = copy.deepcopy(backbone)
        with head.watching():
            logits = other(IMAGES)
        with torch.no_grad():
            other.classifier.weight.zero_()
        found = head.behind(logits)
        assert found is not None and found.weight.equal(backbone.classifier.matrix)
        with head.watching():
            pass
        assert head.behind(logits) is None
        backbone(IMAGES)
        assert head.behind(backbone(IMAGES)) is None, "nobody was watching"
    assert not backbone.classifier._forward_hooks
