from __future__ import annotations

import os
import pickle
from pathlib import Path

import pytest

from gformer_cli.folders.image_files import ImageFile, ImageFiles, Part, Texts

FILES = [
    ImageFile(Path("/data"), "site/cat/a.png", "cat"),
    ImageFile(Path("/data"), os.fsdecode(b"site/dog/caf\xe9.png"), "dog", "validation"),
    ImageFile(Path("/other"), "b.png"),
]
PART = ImageFile(Path("/data"), "shard.tar/c.png", "cat", part=Part(Path("/data/shard.tar"), 512, 99))


@pytest.mark.parametrize("files", [[], FILES, [PART], [*FILES, PART], [PART, *FILES, PART]])
def test_many_files_are_the_files_that_they_were_made_of(files: list[ImageFile]) -> None:
    kept = ImageFiles(files)
    assert [*kept] == files == [kept[position] for position in range(len(kept))]
    assert kept == files and kept != [*files, FILES[0]]
    assert [*kept.labels()] == [file.label for file in files]
    assert [*pickle.loads(pickle.dumps(kept))] == files


def test_some_of_many_in_another_order() -> None:
    kept = ImageFiles([*FILES, PART])
    assert [*kept.at([3, 0])] == [PART, FILES[0]]
    assert [*kept[1:3]] == FILES[1:] and kept[-1] == PART and FILES[1] in kept
    for beyond in (4, -5):
        with pytest.raises(IndexError):
            kept[beyond]


def test_a_file_lies_in_its_folder_unless_its_path_is_absolute() -> None:
    for file in (*FILES, ImageFile(Path(), "c.png"), ImageFile(Path("/data"), "/elsewhere/d.png")):
        assert file.place == str(file.path) == str(file.folder / file.relative)
        assert file.name == file.path.name


def test_texts_are_kept_as_they_are() -> None:
    texts = ["", "a", "\u00e9\n", os.fsdecode(b"\xff"), ""]
    kept = Texts(texts)
    assert [*kept] == [kept[position] for position in range(5)] == texts and kept[-3] == texts[2]
    assert [*kept[1:4]] == texts[1:4]
