from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from gformer_cli.bundle import (
    BundleHeader,
    DataHeader,
    GeneratorHeader,
    Lineage,
    file_hash,
    read_header,
    verify,
)
from gformer_cli.bundle.integrity import stamped
from gformer_cli.errors import InputError
from gformer_cli.settings import Settings

Write = Callable[..., Path]


def tensors() -> dict[str, torch.Tensor]:
    """Of every kind that bundles hold: matrices, vectors, whole numbers without a dimension, half precision."""
    random = torch.Generator().manual_seed(0)
    return {
        "backbone.bn.weight": torch.rand(5, generator=random),
        "backbone.bn.num_batches_tracked": torch.tensor(7),
        "backbone.fc.weight": torch.rand(3, 5, generator=random),
        "generator.head": torch.rand(4, generator=random).bfloat16(),
    }


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """`write("a.gformer", classes=["x"])`: a file of `tensors` whose header has these fields."""

    def call(name: str = "model.gformer", **fields: object) -> Path:
        settings = Settings()
        header = BundleHeader(
            format_version=1,
            classes=["cat", '"犬"'],
            preprocessing=settings.data,
            backbone=settings.backbone,
            generator=GeneratorHeader(settings=settings.generator, parameters=4),
            data=DataHeader(domains={"photo": {"cat": 2}}, fingerprint="ab"),
            validation={"gformer": 0.5},
            versions={},
            settings=settings,
            lineage=Lineage(stage="meta-train"),
        )
        path = tmp_path / name
        path.write_bytes(stamped(header.model_copy(update=fields), tensors()))
        return path

    return call


def test_a_written_bundle_verifies_and_its_hash_is_over_the_whole_file(write: Write) -> None:
    path = write()
    found = verify(path)
    assert found.problems == () and found.stored == found.computed == read_header(path).content_hash
    content = path.read_bytes()
    assert content.count(found.computed.encode()) == 1
    assert hashlib.sha256(content.replace(found.computed.encode(), b"0" * 64)).hexdigest() == found.computed


def test_the_same_contents_give_the_same_bytes_and_others_another_hash(write: Write) -> None:
    assert write("a").read_bytes() == write("b").read_bytes()
    assert verify(write("c", classes=["cat", "dog"])).computed != verify(write("a")).computed


def test_a_class_that_looks_like_the_hash_changes_nothing(write: Write) -> None:
    path = write(classes=["0" * 64, '"content_hash":"' + "0" * 64])
    assert verify(path).problems == ()


@pytest.mark.parametrize("start", [0, 5, 10, 15])
def test_any_flipped_byte_is_noticed(write: Write, start: int) -> None:
    path = write()
    content = path.read_bytes()
    for position in range(start, len(content), 16):
        changed = bytearray(content)
        changed[position] ^= 1 << position // 16 % 8
        path.write_bytes(changed)
        try:
            assert verify(path).problems, position
        except InputError as error:
            assert error.exit_status == 2


def test_every_byte_of_a_tensor_counts(write: Write) -> None:
    path = write()
    content = path.read_bytes()
    size = sum(tensor.nbytes for tensor in tensors().values())
    for position in range(len(content) - size, len(content)):
        changed = bytearray(content)
        changed[position] ^= 1 << position % 8
        path.write_bytes(changed)
        (problem,) = verify(path).problems
        assert problem.startswith(("tensors backbone.* changed", "tensors generator.* changed"))


def test_it_tells_which_part_changed(write: Write) -> None:
    path = write()
    content = path.read_bytes()
    path.write_bytes(content.replace(rb"\"gformer\":0.5", rb"\"gformer\":0.6"))
    assert verify(path).problems[0].startswith("the header changed since it was written: hash ")
    last = bytearray(content)
    last[content.index(tensors()["backbone.fc.weight"].numpy().tobytes())] ^= 1
    path.write_bytes(last)
    assert verify(path).problems[0].startswith("tensors backbone.* changed since")


def test_a_truncated_bundle_is_refused(write: Write) -> None:
    path = write()
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(InputError, match="not a bundle"):
        verify(path)


def test_a_bundle_from_before_hashes_says_so(write: Write) -> None:
    path = write()
    path.write_bytes(path.read_bytes().replace(b"content_hash", b"content_hasX"))
    found = verify(path)
    assert found.stored is None and "holds no content hash" in found.problems[0]


def test_what_is_no_hash_is_refused(write: Write) -> None:
    path = write()
    found = verify(path).computed
    path.write_bytes(path.read_bytes().replace(found.encode(), b"z" * 64))
    with pytest.raises(InputError, match="content_hash"):
        verify(path)


def test_the_parent_is_told_from_other_files(write: Write) -> None:
    parent, other = write("parent"), write("other", classes=["one"])
    assert file_hash(parent) == hashlib.sha256(parent.read_bytes()).hexdigest()
    child = write("child", lineage=Lineage(stage="freeze", parent=file_hash(parent), parent_name="parent"))
    assert verify(child, parent).problems == ()
    assert "other is not its parent" in verify(child, other).problems[0]
    assert verify(parent, other).problems == ("it records no parent",)
    with pytest.raises(InputError, match="no such bundle"):
        verify(child, parent.with_name("gone"))


def test_fields_that_older_bundles_do_not_have_get_defaults(write: Write) -> None:
    document = read_header(write()).model_dump()
    for name in ("static", "lineage", "part_hashes", "content_hash"):
        del document[name]
    older = BundleHeader.model_validate(document)
    assert (older.static, older.lineage, older.part_hashes, older.content_hash) == (None, None, {}, None)
