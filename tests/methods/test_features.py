"""Features of source images, by the class that the model predicts, and their moments."""

from __future__ import annotations

import torch

from gformer_cli.methods.base import Parts
from gformer_cli.methods.features import class_moments, labelled_features, logits_and_features


def test_moments_of_classes_by_hand() -> None:
    features = torch.tensor([[1.0, 0.0], [3.0, 4.0], [5.0, 5.0]])
    found = class_moments(features, torch.tensor([2, 2, 0]), 3)
    assert found.counts.tolist() == [1.0, 0.0, 2.0]
    assert found.means.tolist() == [[5.0, 5.0], [0.0, 0.0], [2.0, 2.0]]
    assert found.variances.tolist() == [[0.0, 0.0], [0.0, 0.0], [2.0, 8.0]]


def test_features_of_several_batches_are_one_after_another(parts: Parts, batches: list[torch.Tensor]) -> None:
    features, labels = labelled_features(parts.backbone, iter(batches))
    logits, wanted = logits_and_features(parts.backbone, torch.cat(batches))
    torch.testing.assert_close(features, wanted)
    assert torch.equal(labels, logits.argmax(dim=1))
    none, nobody = labelled_features(parts.backbone, [])
    assert none.shape == (0, features.shape[1]) and nobody.shape == (0,) and nobody.dtype == labels.dtype
