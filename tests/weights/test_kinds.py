"""What is said of files that hold no weights."""

from __future__ import annotations

import io
import pickle
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save
from torch import nn

from gformer_cli.errors import InputError
from gformer_cli.weights.file import read_weights
from gformer_cli.weights.kinds import foreign_kind


def script(path: Path) -> None:
    torch.jit.script(nn.Linear(2, 2)).save(str(path))


def exported(path: Path) -> None:
    torch.export.save(torch.export.export(nn.Linear(2, 2), (torch.ones(1, 2),)), str(path))


def archive(**entries: bytes) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        with zipfile.ZipFile(path, "w") as file:
            for name, content in entries.items():
                file.writestr(name, content)

    return write


def numpy_archive(path: Path) -> None:
    with path.open("wb") as stream:
        np.savez(stream, a=np.ones(2), b=np.ones(3))


def tarred(path: Path) -> None:
    with tarfile.open(path, "w") as file:
        file.addfile(tarfile.TarInfo("weights"), io.BytesIO())


def damaged(path: Path) -> None:
    archive(a=b"1")(path)
    path.write_bytes(path.read_bytes().replace(b"PK\x01\x02", b"PK\x00\x00"))


def content(what: bytes) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(what)


KINDS: dict[str, tuple[Callable[[Path], object], str, str]] = {
    "empty": (content(b""), "empty", "again"),
    "html": (content(b"\n<!DOCTYPE html>\n<html>Not found"), "a web page", "download it again"),
    "xml": (content(b"<?xml version='1.0'?><Error><Code>AccessDenied"), "a web page", "download it again"),
    "lfs": (
        content(b"version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 9\n"),
        "a pointer of Git LFS",
        "git lfs pull",
    ),
    "hdf5": (content(b"\x89HDF\r\n\x1a\n" + bytes(99)), "an HDF5 file", "state_dict"),
    "onnx": (content(b"\x08\x08\x12\x07pytorch\x1a\x052.1.0"), "an ONNX model", "state_dict"),
    "tflite": (content(b"\x1c\x00\x00\x00TFL3" + bytes(99)), "a TensorFlow Lite model", "state_dict"),
    "npy": (content(b"\x93NUMPY\x01\x00v\x00"), "a NumPy array", "state_dict"),
    "gzip": (content(b"\x1f\x8b\x08\x00" + bytes(99)), "compressed by gzip", "Unpack"),
    "tar": (tarred, "a tar archive", "Unpack"),
    "text": (content("Klasse\tGröße\n".encode()), "text", "state_dict"),
    "pickle": (content(pickle.dumps({"a": 1})), "a pickle that torch.save did not write", "state_dict"),
    "bytes": (content(bytes(range(1, 256))), "neither safetensors nor a file of torch.save", "state_dict"),
    "torchscript": (script, "TorchScript, which is a program", "torch.save(model.state_dict()"),
    "pt2": (exported, "a program of torch.export", "torch.save(model.state_dict()"),
    "keras": (archive(**{"config.json": b"{}", "model.weights.h5": b""}), "a model of Keras", "state_dict"),
    "npz": (numpy_archive, "a zip archive that torch.save did not write: it holds a.npy, b.npy", "state_dict"),
    "cut-zip": (content(b"PK\x03\x04" + bytes(999)), "cut short", "again"),
    "damaged-zip": (damaged, "a damaged zip archive", "again"),
    "cut-safetensors": (
        lambda path: path.write_bytes(save({"w": torch.ones(2, 2)})[:20]),
        "cut short",
        "again",
    ),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", KINDS)
def test_a_foreign_file_is_told_by_its_looks(tmp_path: Path, kind: str) -> None:
    write, name, hint = KINDS[kind]
    write(tmp_path / "site.pth")
    with pytest.raises(InputError) as caught:
        read_weights(tmp_path / "site.pth")
    assert caught.value.message.startswith(f"cannot read weights {tmp_path / 'site.pth'}: it is {name}")
    assert hint in caught.value.hint and len(caught.value.message) < 250


def test_an_onnx_file_without_its_makers_name(tmp_path: Path) -> None:
    (tmp_path / "a.onnx").write_bytes(b"\x08\x09\x12\x05other")
    found = foreign_kind(tmp_path / "a.onnx")
    assert found is not None and found[0] == "an ONNX model"


@pytest.mark.parametrize("zipped", [True, False])
def test_files_of_torch_save_are_not_foreign(tmp_path: Path, zipped: bool) -> None:
    torch.save({"w": torch.ones(2)}, tmp_path / "site.onnx", _use_new_zipfile_serialization=zipped)
    assert foreign_kind(tmp_path / "site.onnx") is None
