"""Pickles made by hand, which no `torch.save` writes: they may neither change anything nor take memory."""

from __future__ import annotations

import copyreg
import pickle
import struct
import tracemalloc
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
import torch

from gformer_cli.weights import inert
from gformer_cli.weights.inert import HostileFile, Stored, opened
from gformer_cli.weights.torch_files import RefusedFile

REBUILD = b"ctorch._utils\n_rebuild_tensor_v2\n"
FOUR_FLOATS = b"((X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x04tQ"
"""The open arguments of a tensor: a reference to the storage `0`."""


@pytest.fixture
def load(tmp_path: Path) -> Callable[[bytes], object]:
    """What a file holds whose pickle is as given, beside a storage of four floats."""

    def call(code: bytes) -> object:
        with zipfile.ZipFile(tmp_path / "w.pth", "w") as archive:
            archive.writestr("w/data.pkl", b"\x80\x02" + code + b".")
            archive.writestr("w/data/0", torch.arange(4.0).numpy().tobytes())
        with opened(tmp_path / "w.pth") as content:
            return content.tensor() if isinstance(content, Stored) else content

    return call


def number(value: int) -> bytes:
    return b"J" + struct.pack("<i", value)


def tensor(offset: int, size: int, stride: int) -> bytes:
    return REBUILD + FOUR_FLOATS + number(offset) + number(size) + b"\x85" + number(stride) + b"\x85\x89NtR"


def test_a_tensor_is_a_view_of_its_storage(load: Callable[[bytes], object]) -> None:
    found = load(tensor(1, 2, 2))
    assert isinstance(found, torch.Tensor) and found.tolist() == [1.0, 3.0]


@pytest.mark.parametrize("claim", [(0, 5, 1), (3, 2, 1), (0, 3, 2), (0, 1 << 30, 1), (-1, 2, 1), (0, 2, -1)])
def test_a_tensor_beyond_its_storage_is_refused(load: Callable[[bytes], object], claim: tuple[int, int, int]) -> None:
    with pytest.raises(RuntimeError):
        load(tensor(*claim))


def test_a_storage_that_claims_more_than_there_is(load: Callable[[bytes], object]) -> None:
    with pytest.raises(RefusedFile, match="fewer numbers"):
        load(tensor(0, 2, 1).replace(b"K\x04tQ", number(1 << 30) + b"tQ"))


@pytest.mark.parametrize(
    "code",
    [
        b"}r" + struct.pack("<I", 1 << 22),  # a place in the memo, up to which all would be made
        b"}p4194304\n",
        b"\x8e" + struct.pack("<Q", 1 << 40),  # bytes
        b"\x96" + struct.pack("<Q", 1 << 31),  # a bytearray
        b"\x8d" + struct.pack("<Q", 1 << 40),  # text
        b"cbuiltins\nbytearray\n" + number(1 << 30) + b"\x85R",
        b"cbuiltins\nrange\n" + number(1 << 30) + b"\x85Rcbuiltins\nlist\nq\x00\x86R",
    ],
    ids=["memo", "memo-text", "bytes", "bytearray", "text", "made-bytearray", "made-list"],
)
def test_claims_take_no_memory(load: Callable[[bytes], object], code: bytes) -> None:
    tracemalloc.start()
    with suppress(Exception):
        load(code)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1 << 22


@pytest.mark.parametrize("state", [b"}X\x0c\x00\x00\x00__defaults__)s", b"N}X\x05\x00\x00\x00_callNs\x86"])
def test_functions_cannot_be_changed(load: Callable[[bytes], object], state: bytes) -> None:
    with pytest.raises(RefusedFile, match="no object of its own"):
        load(REBUILD + state + b"b")
    assert isinstance(load(tensor(0, 4, 1)), torch.Tensor)


def test_placeholders_do_not_become_what_a_file_makes_of_them(load: Callable[[bytes], object]) -> None:
    """State, items and calls of a class that is not known: only items are kept."""
    found = load(b"cos.path\njoin\n)\x81}X\x06\x00\x00\x00origin}sbX\x01\x00\x00\x00aK\x01s")
    assert isinstance(found, inert.Inert) and found.origin == "os.path.join" and dict(found) == {"a": 1}
    with pytest.raises(TypeError):
        load(b"cos.path\njoin\n}X\x06\x00\x00\x00originNsb")  # the class itself


@pytest.mark.parametrize("name", ["builtins\neval", "subprocess\nPopen", "nt\nsystem", "posix\nexecve", "os\nunlink"])
def test_names_that_only_programs_need_are_refused(load: Callable[[bytes], object], name: str) -> None:
    with pytest.raises(HostileFile, match=f"calls {name.replace(chr(10), '[.]')}, as a program"):
        load(f"c{name}\n)R".encode())


@pytest.mark.parametrize("name", ["os\n_Environ", "builtins\ngetattr", "evaluate\nopen", "collections\ndeque"])
def test_names_that_settings_need_are_not(load: Callable[[bytes], object], name: str) -> None:
    assert isinstance(load(f"c{name}\n)R".encode()), inert.Inert)


def test_numbers_of_a_registry_name_nothing(load: Callable[[bytes], object]) -> None:
    copyreg.add_extension("pathlib", "Path", 200)
    try:
        assert pickle.loads(b"\x80\x02\x82\xc8.") is Path
        with pytest.raises(RefusedFile, match="registry"):
            load(b"\x82\xc8")
    finally:
        copyreg.remove_extension("pathlib", "Path", 200)
        copyreg.clear_extension_cache()


def test_storages_of_another_kind_are_refused(load: Callable[[bytes], object]) -> None:
    with pytest.raises(RefusedFile, match="unknown kind"):
        load(tensor(0, 4, 1).replace(b"FloatStorage", b"FancyStorage"))


def test_another_byte_order_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "w.pth", "w") as archive:
        archive.writestr("w/data.pkl", pickle.dumps({}, 2))
        archive.writestr("w/byteorder", "big")
    with pytest.raises(RefusedFile, match="byte order"), opened(tmp_path / "w.pth"):
        pass
