"""Bundles that lie, are damaged, or were made to do harm."""

from __future__ import annotations

import json
import math
import os
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from gformer_cli.bundle import DataHeader, build_generator, load_bundle, read_header, save_bundle
from gformer_cli.bundle import file as bundle_module
from gformer_cli.config import validate
from gformer_cli.core.backbone import Backbone
from gformer_cli.errors import InputError
from gformer_cli.networks.build import OnMeta, build_network

Change = Callable[[dict[str, torch.Tensor], dict[str, Any]], None]


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = validate(
        {
            "data": {"image_size": 8},
            "backbone": {"stem": "small", "width": 0.05, "weights": "none"},
            "generator": {"width": 4, "depth": 1, "heads": 2, "channel_width": 4, "feed_forward": 4},
        }
    )
    backbone = Backbone(build_network("resnet18", 3, stem="small", width=0.05)).freeze()
    path = tmp_path_factory.mktemp("whole") / "model.gformer"
    save_bundle(
        path,
        backbone=backbone,
        generator=build_generator(made.generator, backbone),
        constant=build_generator(made.generator.model_copy(update={"kind": "constant"}), backbone),
        settings=made,
        classes=["cat", "dog", "owl"],
        data=DataHeader(domains={"photo": {"cat": 2}}, fingerprint="abc"),
        validation={"gformer": 0.75},
    )
    return path


@pytest.fixture
def bundle(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(whole, tmp_path / "model.gformer"))


def rewrite(path: Path, change: Change) -> Path:
    with safe_open(path, framework="pt") as file:
        header = json.loads(file.metadata()["gformer"])
    tensors = load_file(path)
    change(tensors, header)
    save_file(tensors, path, metadata={"gformer": json.dumps(header)})
    return path


def refused(path: Path, *told: str, read: Callable[[Path], object] = load_bundle) -> None:
    with pytest.raises(InputError) as caught:
        read(path)
    assert caught.value.hint and str(path) in caught.value.message
    assert "\n" not in caught.value.message and len(caught.value.message) < 400 + len(str(path))
    for text in told:
        assert text in caught.value.message


@pytest.fixture
def nothing_built(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever network or generator is built with memory of its own fails the test."""
    for name in ("build_network", "build_generator"):
        original = getattr(bundle_module, name)

        def watched(*args: Any, original: Any = original, **kwargs: Any) -> Any:
            module: nn.Module = original(*args, **kwargs)
            taken = [n for n, p in module.named_parameters() if not p.is_meta]
            assert not taken, taken
            return module

        monkeypatch.setattr(bundle_module, name, watched)


def put(*path: str, value: object) -> Change:
    def change(_: dict[str, torch.Tensor], header: dict[str, Any]) -> None:
        for part in path[:-1]:
            header = header[part]
        header[path[-1]] = value

    return change


@pytest.mark.usefixtures("nothing_built")
@pytest.mark.parametrize(
    "change",
    [
        put("backbone", "width", value=4.0),
        put("backbone", "name", value="resnet152"),
        put("backbone", "name", value="regnet_y_128gf"),
        put("backbone", "name", value="timm:resnetv2_152x4_bit"),
        put("classes", value=[str(number) for number in range(100_000)]),
    ],
    ids=["width", "name", "regnet", "timm", "classes"],
)
def test_no_memory_is_taken_for_what_a_header_claims_of_the_network(bundle: Path, change: Change) -> None:
    with pytest.raises(InputError):
        load_bundle(rewrite(bundle, change))


@pytest.mark.parametrize("key", ["width", "depth", "feed_forward", "channel_width", "heads"])
@pytest.mark.parametrize("value", [10**9, 10**30, 10**400])
def test_a_generator_of_any_size_is_refused_by_its_header(bundle: Path, key: str, value: int) -> None:
    def change(_: dict[str, torch.Tensor], header: dict[str, Any]) -> None:
        header["generator"]["settings"][key] = value

    refused(rewrite(bundle, change), "damaged bundle", key, read=read_header)


@pytest.mark.parametrize("kind", ["channel", "vector"])
def test_no_memory_is_taken_for_what_a_header_claims_of_the_generator(
    bundle: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    built: list[bool] = []
    original = bundle_module.build_generator

    def watched(*args: Any) -> Any:
        generator = original(*args)
        built.append(all(p.is_meta for name, p in generator.named_parameters() if "transformer" in name))
        return generator

    monkeypatch.setattr(bundle_module, "build_generator", watched)

    def change(_: dict[str, torch.Tensor], header: dict[str, Any]) -> None:
        header["generator"]["settings"] |= {
            "kind": kind,
            "probe": "forward",
            "width": 16384,
            "feed_forward": 16384,
            "depth": 64,
        }

    refused(rewrite(bundle, change), "damaged bundle", ": generator.")
    assert built == [True]


def test_a_network_of_the_users_own_code_needs_the_classes_in_the_file(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text("def make(num_classes):\n    raise AssertionError('built')\n")

    def change(_: dict[str, torch.Tensor], header: dict[str, Any]) -> None:
        header["backbone"]["name"] = "own.py:make"
        header["classes"] = [str(number) for number in range(1000)]

    rewrite(bundle, change)
    refused(bundle, "1000 classes", read=lambda path: load_bundle(path, own_backbone=f"{tmp_path}/own.py:make"))


def test_meta_takes_no_memory_and_leaves_devices_that_are_asked_for() -> None:
    with OnMeta():
        assert torch.empty(10**12).is_meta and torch.randn(10**6, 10**6).is_meta
        assert not torch.zeros(2, device="cpu").is_meta
        assert all(parameter.is_meta for parameter in build_network("regnet_y_400mf", 5).parameters())
    assert not torch.zeros(2).is_meta


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (put("classes", value=[]), "classes"),
        (put("classes", value=["cat", "cat", "owl"]), "two classes have one name"),
        (put("classes", value=["cat", "", "owl"]), "classes"),
        (put("validation", value={"gformer": math.nan}), "validation"),
        (put("validation", value={"gformer": math.inf}), "validation"),
        (put("preprocessing", "mean", value=[math.nan, 0, 0]), "preprocessing.mean"),
        (put("preprocessing", "std", value=[math.inf, 1, 1]), "preprocessing.std"),
        (put("preprocessing", "image_size", value=100_000), "preprocessing.image_size"),
        (put("preprocessing", "white_level", value=-1), "preprocessing.white_level"),
        (put("levels", value={"integer": [5, 5]}), "white is not above black"),
        (put("levels", value={"integer": [0, math.inf]}), "levels"),
        (put("levels", value={"other": [0, 1]}), "levels"),
        (put("backbone", "width", value=1e9), "backbone.width"),
        (put("format_version", value=0), "format_version"),
        (put("format_version", value=-(10**30)), "format_version"),
    ],
)
def test_a_header_that_makes_no_sense_is_refused_by_key(bundle: Path, change: Change, told: str) -> None:
    refused(rewrite(bundle, change), "damaged bundle", told, read=read_header)


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("backbone.fc.weight", None, "backbone.fc.weight is missing"),
        ("backbone.fc.weight", torch.full((3, 26), math.nan), "values that are not finite"),
        ("backbone.fc.bias", torch.tensor([0.0, math.inf, 0.0]), "backbone.fc.bias holds values that are not finite"),
        ("backbone.bn1.running_var", torch.full((3,), -1.0), "variance below zero"),
        ("backbone.fc.bias", torch.zeros(3, dtype=torch.int32), "backbone.fc.bias holds I32, not F32"),
        ("backbone.fc.bias", torch.zeros(3, dtype=torch.float64), "backbone.fc.bias holds F64, not F32"),
        ("backbone.fc.bias", torch.zeros(4), "backbone.fc.bias has shape [4], its header says [3]"),
        ("backbone.more", torch.zeros(1), "backbone.more belongs to nothing"),
        ("generator.more", torch.zeros(1), "generator.more belongs to nothing"),
        ("constant.more", torch.zeros(1), "constant.more belongs to nothing"),
        ("control.more", torch.zeros(1), "'control' belong to nothing"),  # the name in older files
        ("other.more", torch.zeros(1), "'other' belong to nothing"),
        ("generator.norm.bias", torch.full((4,), math.nan), "generator.norm.bias holds values that are not finite"),
    ],
)
def test_tensors_that_do_not_belong_are_refused_by_name(
    bundle: Path, name: str, value: torch.Tensor | None, told: str
) -> None:
    def change(tensors: dict[str, torch.Tensor], _: dict[str, Any]) -> None:
        if value is None:
            del tensors[name]
        else:
            tensors[name] = value

    refused(rewrite(bundle, change), "damaged bundle", told)


@pytest.mark.parametrize("length", [0, 17 << 20, 1 << 62, (1 << 64) - 1])
def test_a_header_of_any_length_is_not_read(tmp_path: Path, length: int) -> None:
    path = tmp_path / "model.gformer"
    path.write_bytes(struct.pack("<Q", length) + b"{}")
    os.truncate(path, 1 << 40)  # sparse: it takes no room on the disk, and would in memory
    refused(path, "not a bundle", read=read_header)
    refused(path, "not a bundle")


def test_nesting_without_end_is_refused(bundle: Path) -> None:
    save_file(load_file(bundle), bundle, metadata={"gformer": '{"a":' * 100_000})
    refused(bundle, "damaged bundle", read=read_header)


def test_a_pipe_is_no_bundle(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "model.gformer")
    refused(tmp_path / "model.gformer", "not a bundle")


LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
JSON = LEAVES | st.lists(LEAVES, max_size=3) | st.dictionaries(st.text(max_size=8), LEAVES, max_size=3)


@settings(max_examples=30, deadline=None)
@given(data=st.data(), value=JSON)
def test_any_value_at_any_place_of_the_header_is_read_or_refused(
    whole: Path, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, value: object
) -> None:
    content = whole.read_bytes()
    end = 8 + struct.unpack_from("<Q", content)[0]
    index = json.loads(content[8:end])
    header = json.loads(index["__metadata__"]["gformer"])
    place = header
    while True:
        key = data.draw(st.sampled_from(sorted(place)))
        if isinstance(place[key], dict) and place[key] and data.draw(st.booleans()):
            place = place[key]
            continue
        place[key] = value
        break
    index["__metadata__"]["gformer"] = json.dumps(header)
    text = json.dumps(index).encode()
    path = tmp_path_factory.getbasetemp() / "any.gformer"
    path.write_bytes(struct.pack("<Q", len(text)) + text + content[end:])
    try:
        read_header(path)
    except InputError as error:
        assert error.hint and "\n" not in error.message and str(path) in error.message


def test_a_batch_that_cannot_fit_in_memory_is_told_before_it_is_read(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded, device = load_bundle(bundle), torch.device("cpu")
    size = loaded.header.preprocessing.image_size
    assert loaded.image_bytes >= 4 * 3 * size**2
    monkeypatch.setattr("gformer_cli.bundle.described.free_memory", lambda _: 10 * loaded.image_bytes + 1)
    loaded.check_memory(10, device)
    with pytest.raises(InputError, match=rf"a batch of 11 images of {size} x {size} takes at least") as caught:
        loaded.check_memory(11, device)
    assert "--batch-size 10 or less" in caught.value.hint
    monkeypatch.setattr("gformer_cli.bundle.described.free_memory", lambda _: None)
    loaded.check_memory(10**9, device)
