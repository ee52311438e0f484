from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from gformer_cli.weights.class_names import as_class_names, class_names_in
from gformer_cli.weights.file import read_weights

NAMES = ["dog", "ant", "cow"]
FORMS: dict[str, Any] = {
    "list": NAMES,
    "tuple": tuple(NAMES),
    "class_to_idx": {"ant": 1, "cow": 2, "dog": 0},
    "id2label": {2: "cow", 0: "dog", 1: "ant"},
    "id2label-of-json": {"1": "ant", "0": "dog", "2": "cow"},
    "label2id-of-json": {"ant": "1", "dog": "0", "cow": "2"},
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_in_the_order_of_the_head(form: str) -> None:
    assert as_class_names(FORMS[form]) == NAMES


def test_names_that_are_digits_are_kept() -> None:
    assert as_class_names({"0": "7", "1": "3"}) == ["7", "3"]
    assert as_class_names({"0": 1, "1": 0}) == ["1", "0"]  # class_to_idx of folders that are called so


@pytest.mark.parametrize(
    "value",
    [
        *[None, 3, "dog", [], {}, ["dog", 1], ["dog", ""], {"dog": 0, "ant": 2}, {"dog": 1, "ant": 2}],
        *[{"dog": 0, "ant": 0}, {"dog": True, "ant": False}, {0: "dog", 1: 2}, {0: "dog", "0": "ant"}, {"dog": "ant"}],
    ],
    ids=str,
)
def test_what_is_no_list_of_classes(value: Any) -> None:
    assert as_class_names(value) is None


@pytest.mark.parametrize(
    "beside",
    [
        *[{"classes": NAMES}, {"class_names": NAMES}, {"names": {0: "dog", 1: "ant", 2: "cow"}}],
        *[{"class_to_idx": FORMS["class_to_idx"]}, {"id2label": FORMS["id2label"]}, {"label_names": NAMES}],
        *[{"meta": {"CLASSES": NAMES, "epoch": 3}}, {"meta": {"dataset_meta": {"classes": tuple(NAMES)}}}],
        *[{"dataset_meta": {"classes": NAMES}}, {"hyper_parameters": {"class_names": NAMES}}],
    ],
    ids=str,
)
def test_a_checkpoint_may_hold_them(tmp_path: Path, beside: dict[str, Any]) -> None:
    torch.save({"state_dict": {"w": torch.ones(3, 3)}, "epoch": 3} | beside, tmp_path / "w.pth")
    assert read_weights(tmp_path / "w.pth").classes == NAMES


@pytest.mark.parametrize("content", [{"epoch": 3}, {"classes": 3}, {"names": ["one"]}, {"classes": torch.ones(3)}, 3])
def test_others_hold_none(content: Any) -> None:
    assert class_names_in(content) is None
