"""What `DIR/a/b/image` is taken for: by names that are known, and asked for where none is."""

from __future__ import annotations

from pathlib import Path

import pytest

from gformer_cli.errors import InputError
from gformer_cli.folders.nesting import Known, Layout, choose_layout

NOTHING = Known()
CLASSES = Known({"ok", "scratch", "de\u0301faut"}, {"site-a"})
SESSIONS = [f"{label}/{day}/1.png" for label in ("ok", "scratch") for day in ("mon", "tue")]
SITES = [f"{site}/{label}/1.png" for site in ("north", "south") for label in ("ok", "scratch")]


def choose(images: list[str], known: Known = NOTHING, *, unlabelled: bool = False) -> Layout:
    return choose_layout(Path("DIR"), images, known, unlabelled=unlabelled)


def asked(images: list[str], known: Known = NOTHING, *, unlabelled: bool = False) -> InputError:
    with pytest.raises(InputError) as caught:
        choose(images, known, unlabelled=unlabelled)
    assert "--layout domain" in caught.value.hint and "--layout domains" in caught.value.hint
    assert ("--layout flat" in caught.value.hint) == unlabelled
    return caught.value


@pytest.mark.parametrize("unlabelled", [False, True])
def test_the_ordinary_cases_need_no_question(unlabelled: bool) -> None:
    for known in (Known(), CLASSES):
        assert choose(["ok/1.png", "scratch/1.png"], known, unlabelled=unlabelled) is Layout.domain
        assert choose(SITES, known, unlabelled=unlabelled) is Layout.domains
        assert choose(["site-x/ok/1.png", "site-x/scratch/1.png"], known, unlabelled=unlabelled) is Layout.domains
    assert choose([f"cam{n}/{digit}/1.png" for n in range(3) for digit in range(10)]) is Layout.domains
    assert choose(["a/cat/1.png", "a/dog/1.png", "b/cat/1.png"], unlabelled=unlabelled) is Layout.domains


def test_known_classes_tell_sessions_from_classes() -> None:
    assert choose(SESSIONS, CLASSES) is Layout.domain
    assert choose([*SESSIONS, "ok/1.png"], CLASSES) is Layout.domain
    assert choose(["ok/mon/am/1.png", "scratch/1.png"], CLASSES) is Layout.domain
    assert choose([name.replace("/1", "/mon/1") for name in SITES], CLASSES) is Layout.domains
    assert choose(["north/d\u00e9faut/1.png", "south/other/1.png"], CLASSES) is Layout.domains
    assert choose(["d\u00e9faut/x/1.png", "other/y/1.png"], CLASSES) is Layout.domain


def test_known_domains_tell_domains() -> None:
    known = Known((), {"train", "test", "more"})
    assert choose(["train/a/1.png", "test/b/1.png"], known) is Layout.domains


def test_without_known_classes_sessions_are_asked_about() -> None:
    error = asked(SESSIONS)
    assert "ok, scratch" in error.message and "mon, tue" in error.message


@pytest.mark.parametrize(
    "below",
    [("session-1", "session-2"), ("2024-05-01", "2024-05-02"), ("20240501",), ("may", "june 2"), ("run1", "Run_02")],
)
def test_times_are_no_classes(below: tuple[str, ...]) -> None:
    asked([f"{label}/{name}/1.png" for label in ("ok", "scratch") for name in below])


def test_names_that_hardly_repeat_are_asked_about() -> None:
    images = [f"{label}/{number}{label[0]}/1.png" for label in ("cat", "dog") for number in range(3)]
    asked(images)
    asked(images, unlabelled=True)
    assert choose(images, CLASSES, unlabelled=True) is Layout.domains  # cat and dog are no classes there


def test_classes_at_both_depths_are_asked_about() -> None:
    for unlabelled in (False, True):
        asked(["ok/scratch/1.png", "scratch/ok/1.png"], CLASSES, unlabelled=unlabelled)


@pytest.mark.parametrize(
    "parts",
    [
        ("train", "test"),
        ("train", "val"),
        ("Training", "Validation"),
        ("train2017", "val2017"),
        ("fold1", "fold_2"),
        ("trainA", "testB"),
    ],
)
@pytest.mark.parametrize("below", ["", "ok/", "scratch/ok/"])
@pytest.mark.parametrize("unlabelled", [False, True])
def test_parts_of_a_data_set_are_neither_domains_nor_classes(
    parts: tuple[str, str], below: str, unlabelled: bool
) -> None:
    images = [f"{part}/{below}1.png" for part in parts]
    for known in (Known(), CLASSES):
        error = asked(images, known, unlabelled=unlabelled)
        assert f"parts of one data set ({', '.join(sorted(parts))})" in error.message
        assert str(Path("DIR") / sorted(parts)[0]) in error.hint


def test_parts_within_classes_or_domains_are_told_as_well() -> None:
    assert "DIR/ok holds parts" in asked(["ok/train/1.png", "ok/test/1.png"], CLASSES).message
    assert "DIR/images holds parts" in asked(["images/train/1.png", "images/val/1.png"]).message


@pytest.mark.parametrize(
    "names", [("train_images", "test-images"), ("trainset", "testset"), ("Train Set", "VAL"), ("img_train", "img_test")]
)
def test_parts_under_longer_names(names: tuple[str, str]) -> None:
    assert "parts of one data set" in asked([f"{name}/ok/1.png" for name in names]).message


def test_a_class_called_train_is_a_class() -> None:
    assert choose(["freight train/1.png", "test tube/1.png", "training shoe/1.png"]) is Layout.domain
    assert choose(["bus/1.png", "train/1.png"]) is Layout.domain
    assert choose(["test/1.png", "train/1.png"], Known({"test", "train"})) is Layout.domain


@pytest.mark.parametrize("masks", ["ground_truth", "Ground-Truth", "groundtruth", "masks", "SegmentationClass"])
@pytest.mark.parametrize("images", [["test/ok/1.png"], ["ok/1.png", "scratch/1.png"], ["north/ok/1.png"]])
@pytest.mark.parametrize("unlabelled", [False, True])
def test_masks_are_no_photographs(masks: str, images: list[str], unlabelled: bool) -> None:
    depth = images[0].count("/")
    mask = "/".join([masks, "scratch"][:depth]) + "/1_mask.png"
    for known in (Known(), CLASSES):
        error = asked(sorted([*images, mask]), known, unlabelled=unlabelled)
        assert f"DIR/{masks} seems to hold masks" in error.message


def test_masks_within_a_domain_are_told_as_well() -> None:
    images = [*SITES, "south/ground_truth/1.png"]
    assert "DIR/south/ground_truth" in asked(images).message


def test_a_class_called_mask_is_a_class_unless_images_lie_beside_it() -> None:
    assert choose(["mask/1.png", "no mask/1.png"]) is Layout.domain
    assert choose(["masks/1.png", "gloves/1.png"], Known({"masks", "gloves"})) is Layout.domain
    asked(["mask/1.png", "images/1.png"])
