from __future__ import annotations

import sys
from types import ModuleType

import pytest

from gformer_cli.data.catalogue import CATALOGUE, choose_corruptions, smallest_side
from gformer_cli.data.corruptions import CORRUPTIONS
from gformer_cli.data.imagenet_c import IMAGENET_C
from gformer_cli.errors import InputError


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "imagecorruptions", ModuleType("imagecorruptions"))


def test_every_corruption_has_its_name_and_a_group() -> None:
    assert list(CATALOGUE) == [*CORRUPTIONS, *IMAGENET_C] and len(IMAGENET_C) == 15
    assert all(corruption.name == name for name, corruption in CATALOGUE.items())
    groups = {corruption.group for corruption in CATALOGUE.values()}
    assert not groups & {*CATALOGUE} and {"blur", "imagenet-c:blur"} <= groups


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (["fog"], ["fog"]),
        (["fog, snow", "fog"], ["fog", "snow"]),
        (["blur"], ["defocus", "motion-blur", "zoom-blur"]),
        (["gaussian_noise,noise"], ["gaussian-noise", "shot-noise", "impulse-noise"]),
        (["all"], list(CORRUPTIONS)),
        (["fog", "all"], ["fog", *(name for name in CORRUPTIONS if name != "fog")]),
    ],
)
def test_words_are_names_groups_or_all(words: list[str], names: list[str]) -> None:
    assert choose_corruptions(words) == names
    assert smallest_side(names) == 1


@pytest.mark.usefixtures("library")
def test_those_of_imagenet_c_are_chosen_alike() -> None:
    assert choose_corruptions(["imagenet-c"]) == list(IMAGENET_C)
    assert choose_corruptions(["imagenet-c:fog,imagenet_c:digital"]) == [
        "imagenet-c:fog",
        "imagenet-c:contrast",
        "imagenet-c:elastic-transform",
        "imagenet-c:pixelate",
        "imagenet-c:jpeg-compression",
    ]
    assert smallest_side(["fog", "imagenet-c:fog"]) == 32


@pytest.mark.parametrize(("word", "nearest"), [("fogg", "fog"), ("imagenet-c:frosty", "imagenet-c:frost")])
def test_an_unknown_word_is_told(word: str, nearest: str) -> None:
    with pytest.raises(InputError, match=f"unknown corruption: '{word}'") as caught:
        choose_corruptions(["snow", word])
    assert nearest in caught.value.hint and "Groups: all, imagenet-c, noise, blur" in caught.value.hint


@pytest.mark.parametrize("words", [[""], [","], []])
def test_no_word_is_told(words: list[str]) -> None:
    with pytest.raises(InputError, match="no corruption named") as caught:
        choose_corruptions(words)
    assert "Groups: all, imagenet-c, noise, blur" in caught.value.hint
    assert choose_corruptions(["", "fog,"]) == ["fog"]


def test_a_library_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "imagecorruptions", None)
    with pytest.raises(InputError, match="imagenet-c needs the library imagecorruptions") as caught:
        choose_corruptions(["fog,imagenet-c:fog"])
    assert "gformer[corruptions]" in caught.value.hint
    assert choose_corruptions(["fog"]) == ["fog"]
