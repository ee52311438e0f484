"""Files of `torch.save` that would run code, or take memory that they do not have."""

from __future__ import annotations

import pickle
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch

from gformer_cli.weights.file import read_weights
from gformer_cli.weights.torch_files import load_plain


class Claim:
    """Unpickles as a buffer of any size."""

    def __reduce__(self) -> tuple[Any, ...]:
        return bytearray, (1 << 20,)


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "old"])
def test_tensors_and_plain_values_come_back(tmp_path: Path, zipped: bool) -> None:
    state = {"a": torch.arange(3), "steps": [1, 2.5, "x"], "none": None}
    torch.save(state, tmp_path / "w.pt", _use_new_zipfile_serialization=zipped)
    found = load_plain(tmp_path / "w.pt")
    assert torch.equal(found.pop("a"), state.pop("a")) and found == state


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "old"])
def test_a_buffer_of_a_claimed_size_is_refused(tmp_path: Path, zipped: bool) -> None:
    torch.save({"a": Claim()}, tmp_path / "w.pt", _use_new_zipfile_serialization=zipped, pickle_protocol=2)
    assert len(torch.load(tmp_path / "w.pt", weights_only=True)["a"]) == 1 << 20  # torch by itself makes it
    with pytest.raises(ValueError, match="more than tensors"):
        load_plain(tmp_path / "w.pt")


def rezip(path: Path, compression: int) -> None:
    with zipfile.ZipFile(path) as archive:
        entries = {entry.filename: archive.read(entry) for entry in archive.infolist()}
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)


def test_a_compressed_archive_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "w.pt"
    torch.save({"a": torch.zeros(1 << 20)}, path)
    rezip(path, zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 1 << 16
    with pytest.raises(ValueError, match="compressed entries"):
        load_plain(path)


def test_an_archive_that_claims_more_than_its_size_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "w.pt"
    torch.save({"a": torch.zeros(4)}, path)
    content = bytearray(path.read_bytes())
    place = content.index(b"PK\x01\x02")
    content[place + 20 : place + 28] = (1 << 30).to_bytes(4, "little") * 2  # both sizes of the first entry
    path.write_bytes(content)
    with pytest.raises(ValueError, match="claims to hold more"):
        load_plain(path)


@pytest.mark.parametrize("protocol", [2, 4])
def test_plain_pickles_do_not_run(tmp_path: Path, protocol: int) -> None:
    class Payload:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (tmp_path / "touched",)

    (tmp_path / "w.pth").write_bytes(pickle.dumps({"a": Payload()}, protocol))
    with pytest.raises(Exception, match="cannot read weights"):
        read_weights(tmp_path / "w.pth")
    assert not (tmp_path / "touched").exists()
