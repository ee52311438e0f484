"""Trees of benchmarks, as DomainBed's script and the data sets' own archives leave them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gformer_cli.errors import InputError
from gformer_cli.folders.domains import find_images

TREES = {
    "PACS": (["art_painting", "cartoon", "photo", "sketch"], ["dog", "elephant", "giraffe", "guitar"]),
    "VLCS": (["Caltech101", "LabelMe", "SUN09", "VOC2007"], ["bird", "car", "chair", "dog", "person"]),
    "office_home": (["Art", "Clipart", "Product", "Real World"], ["Alarm_Clock", "Backpack", "TV"]),
    "terra_incognita": (["location_100", "location_38", "location_43", "location_46"], ["bird", "bobcat", "empty"]),
    "domain_net": (["clipart", "infograph", "painting", "quickdraw", "real", "sketch"], ["The_Eiffel_Tower", "mouth"]),
}


@pytest.fixture
def make_tree(tmp_path: Path, add_image: Any) -> Callable[..., Path]:
    """`make_tree("PACS")`: two images of each class of each domain, below folders of `above`."""

    def make(name: str, above: str = "", below: str = "") -> Path:
        domains, classes = TREES[name]
        for domain in domains:
            for label in classes:
                for number in range(2):
                    add_image(tmp_path / name / above / domain / below / label / f"{domain}_{number:06d}.png")
        return tmp_path / name

    return make


@pytest.mark.parametrize("name", TREES)
@pytest.mark.parametrize("unlabelled", [False, True])
def test_what_domainbed_leaves_is_a_root_of_domains(
    make_tree: Callable[..., Path], name: str, unlabelled: bool
) -> None:
    root = make_tree(name)
    for odd in ("ImageInfo.csv", "imagelist.txt", "clipart_train.txt", ".DS_Store"):
        (root / odd).write_text("clipart/mouth/clipart_000000.png 1\n")
    found = find_images([root], unlabelled=unlabelled)
    domains, classes = TREES[name]
    assert [(domain.name, domain.counts) for domain in found.domains] == [
        (domain, dict.fromkeys(classes, 2)) for domain in domains
    ]
    assert len(found.aside) == 3
    last = domains[-1]
    assert [domain.name for domain in find_images([root / last, root / domains[0]]).domains] == [last, domains[0]]


def test_a_class_that_a_place_lacks_is_no_obstacle(make_tree: Callable[..., Path]) -> None:
    root = make_tree("terra_incognita")
    for image in (root / "location_100" / "empty").iterdir():
        image.unlink()
    (root / "location_100" / "empty").rmdir()
    assert [domain.classes for domain in find_images([root]).domains][:2] == [
        ("bird", "bobcat"),
        ("bird", "bobcat", "empty"),
    ]


def test_the_folder_of_an_archive_is_named_where_it_lies_above(make_tree: Callable[..., Path]) -> None:
    root = make_tree("PACS", above="kfold")
    with pytest.raises(InputError, match="all of them in kfold") as caught:
        find_images([root])
    assert f"name it: {root / 'kfold'}." in caught.value.hint
    assert len(find_images([root / "kfold"]).domains) == 4


def test_parts_of_vlcs_as_it_was_first_handed_out_are_named_one_by_one(make_tree: Callable[..., Path]) -> None:
    for part in ("crossval", "full", "test", "train"):
        root = make_tree("VLCS", below=part)
    with pytest.raises(InputError, match=r"LabelMe|Caltech101 holds parts of one data set \(crossval, test, train\)"):
        find_images([root])
    found = find_images([root / site / "full" for site in ("SUN09", "LabelMe")])
    assert [domain.name for domain in found.domains] == ["SUN09-full", "LabelMe-full"]
    assert all(domain.counts["bird"] == 2 for domain in found.domains)
