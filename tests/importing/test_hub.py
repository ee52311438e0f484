"""Folders of timm and transformers: what they say of their model, and answers equal to the owner's own."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from gformer_cli.core.backbone import Backbone
from gformer_cli.errors import InputError
from gformer_cli.importing.hub import HubFolder, read_hub_folder
from gformer_cli.importing.transforms import from_preprocessor, from_timm
from gformer_cli.networks.build import build_network
from gformer_cli.weights.file import read_weights
from gformer_cli.weights.fitting import fill
from tests.importing.hub_folders import CLASSES, save_timm, save_transformers, shaken

Make = Callable[..., Path]


def imported(hub: HubFolder, image_size: int) -> Backbone:
    """The folder's model as an import makes it."""
    network = build_network(hub.backbone, len(CLASSES), image_size=image_size, config=hub.config)
    assert not fill(network, read_weights(hub.weights), origin="it", image_size=image_size)
    return Backbone(network, image_size=image_size).freeze()


def change(folder: Path, **entries: Any) -> Path:
    """`folder` with other entries in its config.json; None removes one."""
    path = folder / "config.json"
    config = json.loads(path.read_text()) | entries
    path.write_text(json.dumps({key: value for key, value in config.items() if value is not None}))
    return folder


@pytest.fixture
def timm_folder(tmp_path: Path) -> Make:
    """A classifier of timm's as its owner saved it."""
    pytest.importorskip("timm")

    def make(name: str = "test_resnet", **options: Any) -> Path:
        return save_timm(tmp_path / "ours", name, **options)

    return make


@pytest.mark.parametrize(
    ("name", "options", "size"),
    [
        ("resnet10t", {}, 176),
        ("efficientnet_lite0", {}, 224),
        ("test_efficientnet_gn", {}, 160),
        ("test_convnext", {}, 160),
        ("vit_tiny_patch16_224", {"img_size": 32}, 32),
        ("test_resnet", {"drop_rate": 0.3}, 160),
    ],
)
def test_a_folder_of_timm_answers_as_its_owner_has_it(
    timm_folder: Make, name: str, options: dict[str, Any], size: int
) -> None:
    import timm

    folder = timm_folder(name, **options)
    hub = read_hub_folder(folder)
    assert (hub.kind, hub.backbone, hub.config, hub.classes) == ("timm", f"timm:{name}", None, CLASSES)
    assert hub.weights == folder / "model.safetensors" and hub.transform is not None
    assert from_timm(hub.transform).changes["image_size"] == size
    owner = timm.create_model(name, num_classes=3, checkpoint_path=str(hub.weights), **options).eval()
    images = torch.randn(8, 3, size, size)
    expected = owner(images)
    assert expected.std() > 1e-3
    torch.testing.assert_close(imported(hub, size)(images), expected, rtol=0.0, atol=1e-5)


def test_a_folder_of_the_earliest_form_is_read(timm_folder: Make) -> None:
    """Everything in one object, weights of `torch.save`, classes under another key, and no arguments."""
    folder = timm_folder()
    config = json.loads((folder / "config.json").read_text())
    flat = config["pretrained_cfg"] | {"architecture": config["architecture"], "labels": CLASSES}
    (folder / "config.json").write_text(json.dumps(flat))
    torch.save(read_weights(folder / "model.safetensors").tensors, folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    hub = read_hub_folder(folder)
    assert hub.classes == CLASSES and hub.weights.name == "pytorch_model.bin"
    assert hub.transform is not None and from_timm(hub.transform).changes["image_size"] == 160
    assert imported(hub, 160).num_classes == 3
    numbered = {"1": "b", "0": "a", "2": "c"}
    assert read_hub_folder(change(folder, labels=None, label_names=numbered)).classes == ["a", "b", "c"]
    assert read_hub_folder(change(folder, label_names=None)).classes is None


@pytest.mark.parametrize(
    ("entries", "what"),
    [
        ({"label_names": ["a", "b"]}, "names 2 classes, and its num_classes is 3"),
        ({"model_args": {"in_chans": 1}}, "takes images of 1 channels"),
        ({"model_args": {"img_size": 64}}, "built for 64 pixels, and its images have 160"),
        ({"model_args": {"img_size": [160, 96]}}, r"built for \[160, 96\] pixels"),
        ({"model_args": {"act_layer": "gelu"}}, "built with act_layer='gelu'"),
        ({"model_args": {"global_pool": "max"}}, "pools by 'max'"),
        ({"model_args": None, "global_pool": "catavgmax"}, "pools by 'catavgmax'"),
        ({"model_args": {"global_pool": {"evil": 1}}}, "pools by {'evil': 1}"),
        ({"architecture": "test_resnt"}, "unknown timm backbone: 'test_resnt'"),
        ({"architecture": None}, r"neither timm's \(architecture\) nor transformers' \(model_type\)"),
    ],
)
def test_a_network_that_timm_builds_otherwise_is_refused(timm_folder: Make, entries: dict[str, Any], what: str) -> None:
    folder = timm_folder()
    assert read_hub_folder(folder).classes == CLASSES
    with pytest.raises(InputError, match=what) as caught:
        read_hub_folder(change(folder, **entries))
    assert caught.value.hint


def test_a_name_with_a_file_of_code_runs_nothing(timm_folder: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = timm_folder()
    monkeypatch.chdir(folder)
    (folder / "timm:evil.py").write_text("raise SystemExit('it ran')")
    with pytest.raises(InputError, match=r"architecture 'evil\.py:run' is no name of timm's"):
        read_hub_folder(change(folder, architecture="evil.py:run"))


@pytest.mark.parametrize("pool", ["token", "avg"])
def test_pooling_of_a_vit_is_checked_although_it_is_no_layer(timm_folder: Make, pool: str) -> None:
    folder = timm_folder("test_vit", global_pool=pool)
    if pool == "token":
        assert read_hub_folder(folder).backbone == "timm:test_vit"
    else:
        with pytest.raises(InputError, match="pools by 'avg'"):
            read_hub_folder(folder)


@pytest.fixture
def transformers_folder(tmp_path: Path) -> Make:
    """A classifier of transformers' as its owner saved it, with what prepares its images."""
    pytest.importorskip("transformers")

    def make(kind: str = "ViT", classes: list[str] | None = CLASSES) -> Path:
        return save_transformers(tmp_path / "ours", kind, classes)

    return make


@pytest.mark.parametrize("kind", ["ViT", "ResNet", "ConvNext"])
def test_a_folder_of_transformers_answers_as_its_owner_has_it(transformers_folder: Make, kind: str) -> None:
    import transformers

    folder = transformers_folder(kind)
    hub = read_hub_folder(folder)
    assert (hub.kind, hub.backbone, hub.classes) == ("transformers", f"hf:{kind.lower()}", CLASSES)
    assert hub.transform is not None and from_preprocessor(hub.transform).changes["image_size"] == 32
    owner = transformers.AutoModelForImageClassification.from_pretrained(folder).eval()
    images = torch.randn(8, 3, 32, 32)
    expected = owner(images).logits
    assert expected.std() > 1e-3
    torch.testing.assert_close(imported(hub, 32)(images), expected, rtol=0.0, atol=1e-5)


def test_a_folder_of_a_timm_network_that_transformers_saved_is_one_of_timms(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    if not hasattr(transformers, "TimmWrapperConfig"):
        pytest.skip("a later release of transformers has it")
    config = transformers.TimmWrapperConfig(architecture="test_resnet", id2label=dict(enumerate(CLASSES)))
    owner = shaken(transformers.TimmWrapperForImageClassification(config))
    owner.save_pretrained(tmp_path)
    hub = read_hub_folder(tmp_path)
    assert (hub.kind, hub.backbone, hub.classes) == ("timm", "timm:test_resnet", CLASSES)
    images = torch.randn(2, 3, 64, 64)
    torch.testing.assert_close(imported(hub, 64)(images), owner(images).logits, rtol=0.0, atol=1e-5)


def test_the_config_that_goes_into_a_bundle_names_no_place_and_no_class(transformers_folder: Make) -> None:
    hub = read_hub_folder(change(transformers_folder(), _name_or_path="/home/me/secret", auto_map={}))
    assert hub.config is not None and not any(word in hub.config for word in ("secret", "crane", "auto_map"))
    assert json.loads(hub.config)["hidden_size"] == 16


def test_classes_and_a_transform_that_are_not_there_are_not_made_up(transformers_folder: Make) -> None:
    folder = transformers_folder(classes=None)
    assert read_hub_folder(folder).classes is None
    assert read_hub_folder(change(folder, id2label={"0": "a", "2": "b"})).classes is None
    assert read_hub_folder(change(folder, id2label={"1": "b", "0": "a"})).classes == ["a", "b"]
    (folder / "preprocessor_config.json").unlink()
    assert read_hub_folder(folder).transform is None


@pytest.mark.parametrize(
    ("entries", "what"),
    [
        (
            {"architectures": ["DetrForObjectDetection"], "model_type": "detr"},
            "DetrForObjectDetection is no classifier",
        ),
        ({"architectures": ["ViTModel"]}, "ViTModel is no classifier of images"),
        (
            {"architectures": ["DeiTForImageClassificationWithTeacher"], "model_type": "deit"},
            "DeiTForImageClassificationWithTeacher is not among the networks of transformers that are supported",
        ),
        ({"architectures": ["EvilForImageClassification"]}, "EvilForImageClassification is not among"),
        ({"architectures": None, "model_type": "bert"}, "bert is not among"),
        ({"auto_map": {"AutoModelForImageClassification": "evil.Evil"}}, "needs code that its config.json names"),
        ({"model_type": None}, "neither timm's"),
    ],
)
def test_a_model_for_something_else_and_one_with_code_are_refused(
    transformers_folder: Make, entries: dict[str, Any], what: str
) -> None:
    folder = transformers_folder()
    (folder / "evil.py").write_text("raise SystemExit('it ran')")
    with pytest.raises(InputError, match=what) as caught:
        read_hub_folder(change(folder, **entries))
    assert caught.value.hint


def test_a_folder_that_lacks_something_is_told_what(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder") as caught:
        read_hub_folder(Path("google/vit-base-patch16-224"))
    assert "Nothing is downloaded" in caught.value.hint
    with pytest.raises(InputError, match=r"has no config\.json"):
        read_hub_folder(tmp_path)
    config = tmp_path / "config.json"
    for text, what in {"{": "cannot read", "[" * 100_000: "cannot read", "[1]": "no object", "{}": "neither"}.items():
        config.write_text(text)
        with pytest.raises(InputError, match=what):
            read_hub_folder(tmp_path)
    config.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="cannot read"):
        read_hub_folder(tmp_path)
    config.write_text('{"model_type": "vit"}')
    (tmp_path / "tf_model.h5").touch()
    with pytest.raises(InputError, match=r"has no weights: neither model\.safetensors nor pytorch_model\.bin"):
        read_hub_folder(tmp_path)
    (tmp_path / "model.safetensors.index.json").write_text("{}")
    with pytest.raises(InputError, match="are in several files") as caught:
        read_hub_folder(tmp_path)
    assert "max_shard_size" in caught.value.hint
