"""Labelled domains: decoded once, split by file name, fingerprinted by content."""

from __future__ import annotations

import os
import sys
import unicodedata
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from gformer_cli.data import labelled
from gformer_cli.data.labelled import LabelledDomain, fingerprint, load_labelled, unreadable
from gformer_cli.data.splitting import split
from gformer_cli.errors import InputError, WorkError
from gformer_cli.folders.domains import Domain, ImageFile, ImageFiles, class_names, find_domains
from gformer_cli.images.preprocessing import Preprocessing, Skipped


def _domain(name: str, counts: dict[str, int], start: int = 0) -> Domain:
    """A domain whose files are only names."""
    files = ImageFiles(
        ImageFile(Path(name), f"{label}/{number:03d}.png", label)
        for label, count in counts.items()
        for number in range(start, start + count)
    )
    return Domain(name, Path(name), files, tuple(sorted(counts)))


def _held(domain: Domain, fraction: float = 0.2, seed: int = 0) -> set[str]:
    """Relative paths on the validation side."""
    ((train, validation),) = split([domain.files], fraction, seed)
    assert sorted(train + validation) == list(range(len(domain.files)))
    return {domain.files[position].relative for position in validation}


def _load(
    folders: list[Path], preprocessing: Preprocessing, **options: Any
) -> tuple[list[LabelledDomain], list[Skipped]]:
    domains = find_domains(folders)
    arguments: dict[str, Any] = {"validation_fraction": 0.25, "seed": 0, "workers": 0} | options
    return load_labelled(domains, class_names(domains), preprocessing, **arguments)


def test_a_split_holds_the_fraction_of_each_class() -> None:
    held = _held(_domain("site", {"cat": 10, "dog": 50}))
    assert Counter(name.split("/")[0] for name in held) == {"cat": 2, "dog": 10}


def test_a_larger_fraction_holds_more_and_keeps_what_was_held() -> None:
    domain = _domain("site", {"cat": 20})
    assert len(_held(domain, 0.5)) == 10
    assert _held(domain, 0.2) < _held(domain, 0.5)


def test_a_split_is_fixed_by_the_seed() -> None:
    domain = _domain("site", {"cat": 30})
    assert _held(domain, seed=1) == _held(domain, seed=1)
    assert _held(domain, seed=1) != _held(domain, seed=2)


def test_one_name_goes_the_same_way_in_every_domain() -> None:
    assert _held(_domain("east", {"cat": 30, "dog": 9})) == _held(_domain("west", {"cat": 30, "dog": 9}))


def test_one_name_goes_the_same_way_where_domains_hold_different_files() -> None:
    east, west = _domain("east", {"cat": 40}), _domain("west", {"cat": 40}, start=20)
    common = {file.relative for file in east.files} & {file.relative for file in west.files}
    assert len(common) == 20
    (_, in_east), (_, in_west) = split([east.files, west.files], 0.2, 0)
    held_east = {east.files[position].relative for position in in_east}
    held_west = {west.files[position].relative for position in in_west}
    assert held_east & common == held_west & common
    assert len(held_east) == len(held_west) == 8


def test_the_order_of_the_files_does_not_matter() -> None:
    domain = _domain("site", {"cat": 20})
    reversed_files = Domain("site", domain.root, domain.files[::-1], domain.classes)
    assert _held(domain) == _held(reversed_files)


@pytest.mark.parametrize(("count", "held"), [(1, 0), (2, 1), (3, 1)])
@pytest.mark.parametrize("fraction", [0.01, 0.2])
def test_small_classes_are_trained_on_first(count: int, held: int, fraction: float) -> None:
    assert len(_held(_domain("site", {"cat": count}), fraction)) == held


def test_a_class_is_never_held_out_whole() -> None:
    assert len(_held(_domain("site", {"cat": 4}), 0.99)) == 3


def test_labels_are_positions_among_all_classes(make_folder: Any, preprocessing: Preprocessing) -> None:
    loaded, _ = _load([make_folder("a", {"cat": 1, "dog": 1}), make_folder("b", {"ant": 2, "dog": 1})], preprocessing)
    assert [domain.labels.tolist() for domain in loaded] == [[1, 2], [0, 0, 2]]


def test_pixels_are_those_of_the_files(make_folder: Any, preprocessing: Preprocessing) -> None:
    ((domain,), _) = _load([make_folder("site", {"cat": 4})], preprocessing)
    pixels = domain.pixels([2, 0])
    assert pixels.dtype == torch.uint8
    for image, position in zip(pixels, [2, 0], strict=True):
        expected = np.asarray(Image.open(domain.files[position].path))
        assert np.array_equal(image.permute(1, 2, 0).numpy(), expected)


def test_without_room_in_the_cache_pixels_are_the_same(
    make_folder: Any, preprocessing: Preprocessing, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_folder("site", {"cat": 4})
    ((cached,), _) = _load([folder], preprocessing)
    monkeypatch.setattr(labelled, "CACHE_BYTES", 0)
    ((uncached,), _) = _load([folder], preprocessing)
    assert all(kept is not None for kept in cached.cached)
    assert uncached.cached == [None] * 4
    assert torch.equal(cached.pixels(range(4)), uncached.pixels(range(4)))


def test_images_are_kept_in_memory_all_or_none(
    make_folder: Any, preprocessing: Preprocessing, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = [make_folder("a", {"cat": 3}), make_folder("b", {"cat": 3})]
    for images, kept in ((5, False), (6, True)):
        monkeypatch.setattr(labelled, "CACHE_BYTES", images * 3 * 8 * 8)
        loaded, _ = _load(folders, preprocessing)
        assert [domain.in_memory for domain in loaded] == [kept, kept]


def test_a_file_that_became_unreadable_is_an_error(
    make_folder: Any, preprocessing: Preprocessing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(labelled, "CACHE_BYTES", 0)
    ((domain,), _) = _load([make_folder("site", {"cat": 2})], preprocessing)
    domain.files[1].path.write_bytes(b"")
    with pytest.raises(WorkError, match=r"01\.png was readable at the start and is not now: the file is empty"):
        domain.pixels([0, 1])


@pytest.mark.parametrize("workers", [0, 2])
def test_unreadable_images_are_skipped_and_listed(
    make_folder: Any, add_image: Any, preprocessing: Preprocessing, workers: int
) -> None:
    folder = make_folder("site", {"cat": 4, "dog": 2})
    broken = add_image(folder / "cat" / "01.png", b"")
    ((domain,), skipped) = _load([folder], preprocessing, workers=workers)
    assert skipped == [Skipped(str(broken), "the file is empty")]
    names = [file.relative for file in domain.files]
    assert names == ["cat/00.png", "cat/02.png", "cat/03.png", "dog/00.png", "dog/01.png"]
    assert domain.labels.tolist() == [0, 0, 0, 1, 1]
    assert len(domain.facts) == len(domain.cached) == 5
    assert sorted([*domain.train, *domain.validation]) == list(range(5))


def test_strict_makes_an_unreadable_image_an_error(
    make_folder: Any, add_image: Any, preprocessing: Preprocessing
) -> None:
    folder = make_folder("site", {"cat": 4})
    broken = add_image(folder / "cat" / "01.png", b"")
    with pytest.raises(InputError) as caught:
        _load([folder], preprocessing, strict=True)
    assert caught.value.message == f"unreadable image: {broken} (the file is empty)"


def test_the_strict_error_names_the_first_of_several() -> None:
    error = unreadable([Skipped("a.png", "cut"), Skipped("b.png", "odd")])
    assert error.message == "unreadable image: a.png (cut)"
    assert "--strict" in error.hint


def test_a_class_without_a_readable_image_is_an_error(
    make_folder: Any, add_image: Any, preprocessing: Preprocessing
) -> None:
    folder = make_folder("site", {"cat": 4})
    add_image(folder / "dog" / "a.png", b"")
    with pytest.raises(InputError, match="no readable image of class 'dog' in domain 'site'") as caught:
        _load([folder], preprocessing)
    assert "unreadable" in caught.value.hint


def test_an_empty_class_folder_is_told_from_unreadable_images(
    make_folder: Any, add_image: Any, preprocessing: Preprocessing
) -> None:
    folder = make_folder("site", {"cat": 4, "dog": 0})
    add_image(folder / "cat" / "00.png", b"")
    with pytest.raises(InputError, match="no readable image of class 'dog'") as caught:
        _load([folder], preprocessing)
    assert "remove the empty class folder" in caught.value.hint


def test_advance_is_called_once_a_file(make_folder: Any, add_image: Any, preprocessing: Preprocessing) -> None:
    folder = make_folder("site", {"cat": 4})
    add_image(folder / "cat" / "01.png", b"")
    calls: list[int] = []
    _load([folder], preprocessing, advance=lambda: calls.append(1))
    assert len(calls) == 4


def test_a_fingerprint_covers_file_names_because_they_decide_the_split(
    make_folder: Any, preprocessing: Preprocessing
) -> None:
    folder = make_folder("site", {"cat": 3})
    before = fingerprint(_load([folder], preprocessing)[0])
    (folder / "cat" / "00.png").rename(folder / "cat" / "zz.png")
    assert fingerprint(_load([folder], preprocessing)[0]) != before


def test_a_fingerprint_does_not_depend_on_the_order_of_domains(make_folder: Any, preprocessing: Preprocessing) -> None:
    folders = [make_folder("a", {"cat": 2}), make_folder("b", {"cat": 2})]
    assert fingerprint(_load(folders, preprocessing)[0]) == fingerprint(_load(folders[::-1], preprocessing)[0])


@pytest.mark.parametrize("change", ["content", "class", "domain", "one image less"])
def test_a_fingerprint_changes_with(make_folder: Any, preprocessing: Preprocessing, change: str) -> None:
    folder = make_folder("site", {"cat": 3, "dog": 3})
    before = fingerprint(_load([folder], preprocessing)[0])
    first = folder / "cat" / "00.png"
    if change == "content":
        Image.new("RGB", (8, 8), "red").save(first)
    elif change == "class":
        first.rename(folder / "dog" / "moved.png")
    elif change == "domain":
        folder = folder.rename(folder.with_name("other"))
    else:
        first.unlink()
    assert fingerprint(_load([folder], preprocessing)[0]) != before


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names")
def test_a_file_name_that_is_not_utf_8_is_like_any_other(
    make_folder: Any, add_image: Any, preprocessing: Preprocessing
) -> None:
    folder = make_folder("site", {"cat": 2})
    add_image(folder / os.fsdecode(b"caf\xe9") / os.fsdecode(b"cr\xe8me.png"))
    loaded, skipped = _load([folder], preprocessing)
    assert len(loaded[0].files) == 3
    assert skipped == []
    assert len(fingerprint(loaded)) == 64


def test_one_object_goes_one_way_however_its_name_is_spelled() -> None:
    names = [f"pie\u0300ce {number}.png" for number in range(20)]
    files = [
        [ImageFile(Path(), spelled, "ok") for spelled in (unicodedata.normalize(form, name) for name in names)]
        for form in ("NFC", "NFD")
    ]
    composed, decomposed = split(files, 0.25, 0)
    assert composed == decomposed and composed[1]
