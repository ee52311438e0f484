from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from gformer_cli.data.corruptions import CORRUPTIONS
from gformer_cli.data.shifts import FAMILIES
from gformer_cli.errors import WorkError
from gformer_cli.folders.domains import Domain, ImageFile, find_domains
from gformer_cli.folders.image_files import ImageFiles
from gformer_cli.images.decoding import Skipped
from gformer_cli.images.depth import Depth
from gformer_cli.images.preprocessing import Decoded, Preprocessing, read_image
from gformer_cli.report import sheets
from gformer_cli.report.sheets import ACROSS, LISTED, ROWS, folder_rows, unreadable_notes
from gformer_cli.report.shift_sheets import preprocessing_rows, shift_rows


def test_each_class_of_each_domain_has_a_row_of_readable_images(make_folder: Callable[..., Path]) -> None:
    found = find_domains([make_folder("north", {"cat": 3, "dog": ACROSS + 5}), make_folder("south", {"cat": 1})])
    for number in range(2):
        (found[0].root / "cat" / f"{number:02d}.png").write_bytes(b"\x89PNG\r\n\x1a\n and nothing more")
    (found[1].root / "cat" / "00.png").write_bytes(b"")
    rows = folder_rows(found, Depth(), seed=0)
    assert [(*row.words[:2], len(row.pictures)) for row in rows] == [
        ("north", "cat", 1),
        ("north", "dog", ACROSS),
        ("south", "cat", 1),
    ]
    assert rows[2].pictures[0].caption == "none readable"
    again, other = (folder_rows(found, Depth(), seed)[1].pictures for seed in (0, 1))
    same = [one.image.tobytes() == two.image.tobytes() for one, two in zip(rows[1].pictures, again, strict=True)]
    assert all(same) and [one.image.tobytes() for one in other] != [one.image.tobytes() for one in again]


def test_of_many_images_only_those_are_decoded_that_are_shown(
    make_folder: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    (domain,) = find_domains([make_folder("north", {"cat": 1})])
    path = domain.files[0].path
    same = ["./" * number + path.name for number in range(100)]  # names of one file
    many = ImageFiles(ImageFile(path.parent, name, f"class-{label:03d}") for label in range(200) for name in same)
    names = tuple(f"class-{label:03d}" for label in range(200))
    decoded: list[ImageFile] = []
    real = sheets.attempt
    monkeypatch.setattr(sheets, "attempt", lambda one, work: (decoded.append(one), real(one, work))[1])
    rows = folder_rows([replace(domain, files=many, classes=names)], Depth(), seed=0)
    assert rows[0].words == [f"{ROWS} of 200 classes, evenly spaced"] and len(rows) == ROWS + 1
    assert len(decoded) == ROWS * ACROSS and (rows[1].words[1], rows[-1].words[1]) == ("class-000", "class-198")


def test_unreadable_images_are_listed_and_counted() -> None:
    notes = unreadable_notes([Skipped(f"{number}.png", "broken") for number in range(LISTED + 2)])
    assert notes[0] == "42 unreadable images:" and notes[1].strip() == "0.png: broken"
    assert notes[-1].strip() == "... and 2 more" and unreadable_notes([]) == []


def test_every_family_and_every_corruption_has_a_row_that_differs_from_the_image(
    domains: list[Domain], preprocessing: Preprocessing
) -> None:
    preprocessing = replace(preprocessing, image_size=32)
    rows = [row for row in shift_rows(domains, preprocessing, 1.0, seed=0) if row.pictures]
    assert [row.words[0] for row in rows] == [*FAMILIES, *CORRUPTIONS]
    for row in rows:
        plain, *shifted = [shown.image.tobytes() for shown in row.pictures]
        assert len(shifted) == 5 and any(one != plain for one in shifted), row.words
    stronger = [row for row in shift_rows(domains, preprocessing, 2.0, seed=0) if row.pictures]
    assert stronger[0].pictures[1].image.tobytes() != rows[0].pictures[1].image.tobytes()


def test_pairs_show_the_file_and_what_the_network_gets(domains: list[Domain], preprocessing: Preprocessing) -> None:
    grey = Preprocessing(8, "crop", preprocessing.mean, preprocessing.std, channels="grey")
    rows = preprocessing_rows(domains, grey, seed=0)
    assert sum(len(row.words) for row in rows) == 24 and len(rows[0].pictures) == 8
    before, after = rows[0].pictures[:2]
    assert (before.caption, after.caption) == ("8 x 8", "to 8 x 8")
    file = next(file for domain in domains for file in domain.files if file.relative == rows[0].words[0])
    item = read_image(file, grey)
    assert isinstance(item, Decoded)
    seen = grey.pixels(grey.network_input(item.pixels[None], torch.device("cpu")))[0].permute(1, 2, 0).numpy()
    assert np.array_equal(np.array(after.image)[:: 96 // 8, :: 96 // 8], seen)
    assert np.ptp(np.array(after.image), axis=2).max() == 0 < np.ptp(np.array(before.image), axis=2).max()


def test_nothing_readable_is_an_error(make_folder: Callable[..., Path], preprocessing: Preprocessing) -> None:
    (domain,) = find_domains([make_folder("north", {"cat": 1})])
    domain.files[0].path.write_bytes(b"")
    with pytest.raises(WorkError, match="no readable image"):
        shift_rows([domain], preprocessing, 1.0, 0)
    with pytest.raises(WorkError, match="no readable image"):
        preprocessing_rows([domain], preprocessing, 0)
