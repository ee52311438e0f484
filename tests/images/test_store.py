"""Decoded images on disk: what comes back, what makes room, and who may share it."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from gformer_cli.errors import InputError
from gformer_cli.folders.domains import find_domains
from gformer_cli.images import preprocessing as reading
from gformer_cli.images.preprocessing import Decoded, Preprocessing, read_image
from gformer_cli.images.store import NAME, PixelStore, key_of

IMAGE = bytes(range(256)) * 400
"""100 kB."""


def key(number: int) -> bytes:
    return number.to_bytes(32, "big")


def fill(folder: Path, numbers: range) -> None:
    store = PixelStore(folder, 10**8)
    for number in numbers:
        store.put(key(number), IMAGE)


def test_pixels_come_back_also_after_a_fork_and_a_pickle(tmp_path: Path) -> None:
    store = PixelStore(tmp_path, 10**8)
    assert store.get(key(1)) is None
    store.put(key(1), IMAGE)
    context = multiprocessing.get_context("fork")
    children = [context.Process(target=store.put, args=[key(number), IMAGE]) for number in range(2, 5)]
    for child in children:
        child.start()
    for child in children:
        child.join()
        assert child.exitcode == 0
    again = pickle.loads(pickle.dumps(store))
    assert [again.get(key(number)) == IMAGE for number in range(6)] == [False, True, True, True, True, False]


def test_a_full_store_takes_no_more_and_what_nobody_used_makes_room(tmp_path: Path) -> None:
    limit = 3_000_000
    store = PixelStore(tmp_path, limit)
    for number in range(60):
        store.put(key(number), IMAGE)
    kept = [number for number in range(60) if store.get(key(number))]
    assert 20 <= len(kept) < 30 and kept == list(range(len(kept)))  # all of this command's: none had to go
    later = PixelStore(tmp_path, limit)
    assert later.get(key(0)) == IMAGE
    for number in range(100, 110):
        later.put(key(number), IMAGE)
    assert all(later.get(key(number)) for number in (0, *range(100, 110)))
    assert (tmp_path / NAME).stat().st_size <= limit


def test_a_smaller_limit_makes_a_smaller_file(tmp_path: Path) -> None:
    fill(tmp_path, range(40))
    store = PixelStore(tmp_path, 1_000_000)
    assert (tmp_path / NAME).stat().st_size <= 1_000_000 + 100_000
    store.put(key(1000), IMAGE)
    assert store.get(key(1000)) == IMAGE


def test_a_process_may_be_killed_at_any_time(tmp_path: Path) -> None:
    store = PixelStore(tmp_path, 10**9)
    child = multiprocessing.get_context("fork").Process(target=fill, args=[tmp_path, range(10**6)])
    child.start()
    while store.get(key(3)) is None:
        time.sleep(0.01)
    os.kill(child.pid or 0, signal.SIGKILL)
    child.join()
    whole = [store.get(key(number)) for number in range(200)]
    assert set(whole) <= {None, IMAGE} and IMAGE in whole
    store.put(key(10**7), IMAGE)
    assert store.get(key(10**7)) == IMAGE


def test_what_is_no_store_is_told(tmp_path: Path) -> None:
    (tmp_path / NAME).write_bytes(b"not a database at all" * 1000)
    with pytest.raises(InputError, match=r"cannot use .*pixels\.sqlite as a cache") as caught:
        PixelStore(tmp_path, 10**8)
    assert "--cache" in caught.value.hint


def test_an_image_is_decoded_once_a_content_and_a_preprocessing(
    make_folder: Any, preprocessing: Preprocessing, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ((domain,),) = (find_domains([make_folder("site", {"cat": 2})]),)
    first, other = domain.files
    decoded: list[str] = []
    original = reading.pixels_of

    def note(data: bytes, path: Path, how: Preprocessing) -> torch.Tensor:
        decoded.append(path.name)
        return original(data, path, how)

    monkeypatch.setattr(reading, "pixels_of", note)
    store = PixelStore(tmp_path / "store", 10**8)
    plain = read_image(first, preprocessing)
    assert isinstance(plain, Decoded)
    for _ in range(2):
        found = read_image(first, preprocessing, store)
        assert isinstance(found, Decoded) and torch.equal(found.pixels, plain.pixels) and found.digest == plain.digest
    other.path.write_bytes(first.path.read_bytes())  # the same content elsewhere
    read_image(other, preprocessing, store)
    assert decoded == [first.path.name] * 2
    read_image(first, replace(preprocessing, mean=(0.1, 0.1, 0.1)), store)
    assert len(decoded) == 2
    for change in ({"image_size": 16}, {"resize": "pad"}, {"reading": "plain"}, {"reduced_jpeg": False}):
        read_image(first, replace(preprocessing, **change), store)
    assert len(decoded) == 6
    assert key_of("a", preprocessing) != key_of("b", preprocessing)


def test_deep_images_depend_on_their_folder_and_are_not_kept(
    preprocessing: Preprocessing, tmp_path: Path, as_file: Any
) -> None:
    Image.fromarray(np.full((8, 8), 900, np.uint16)).save(tmp_path / "deep.png")
    store = PixelStore(tmp_path / "store", 10**8)
    whites = [replace(preprocessing, depth=reading.Depth(white)) for white in (1000.0, 2000.0)]
    found = [read_image(as_file(tmp_path / "deep.png"), how, store) for how in whites]
    assert [int(one.pixels[0, 0, 0]) for one in found if isinstance(one, Decoded)] == [230, 115]
