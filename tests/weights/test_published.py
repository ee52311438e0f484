from __future__ import annotations

import copy
import urllib.error
from typing import Any

import pytest
import torch
import torchvision
from PIL import Image
from torchvision.models import ResNet50_Weights

from gformer_cli.errors import InputError
from gformer_cli.networks.build import build_network
from gformer_cli.weights.published import names_published, published

STATE = {"fc.weight": torch.ones(2, 2)}


def refused(match: str, backbone: str, weights: str) -> InputError:
    with pytest.raises(InputError, match=match) as caught:
        published(backbone, weights)
    assert caught.value.hint
    return caught.value


@pytest.mark.parametrize("weights", ["none", "site.pth", "folder/IMAGENET1K_V1", "IMAGENET1K_V1.pth", "default.pth"])
def test_files_and_nothing_are_not_published(weights: str) -> None:
    assert published("resnet50", weights) is None and not names_published(weights)


@pytest.mark.parametrize(
    ("weights", "name"),
    [
        *[("IMAGENET1K_V1", "IMAGENET1K_V1"), ("imagenet1k_v2", "IMAGENET1K_V2")],
        *[("DEFAULT", "IMAGENET1K_V2"), ("default", "IMAGENET1K_V2")],
    ],
)
def test_torchvisions_bring_classes_and_transform(monkeypatch: pytest.MonkeyPatch, weights: str, name: str) -> None:
    asked: list[tuple[str, bool]] = []

    def fetch(self: Any, *, progress: bool, check_hash: bool) -> Any:
        asked.append((self.name, check_hash))
        return STATE

    monkeypatch.setattr(ResNet50_Weights, "get_state_dict", fetch)
    found = published("resnet50", weights)
    assert found is not None and names_published(weights)
    assert (found.name, found.backbone, found.pretrained_cfg) == (name, "resnet50", None)
    assert str(found.transforms) == str(ResNet50_Weights[name].transforms())
    assert found.classes is not None and len(found.classes) == 1000
    assert (found.classes[0], found.classes[134], found.classes[517]) == ("tench", "crane bird", "crane")
    assert asked == []  # nothing is downloaded to know this
    assert found.load() == STATE and asked == [(name, True)]


@pytest.mark.parametrize(("name", "size"), [("googlenet", 64), ("inception_v3", 96)])
def test_inputs_that_torchvisions_network_converts_itself_come_converted(name: str, size: int) -> None:
    """torchvision's network, as it comes with weights, on its inputs answers as ours does on ours."""
    found = published(name, "default")
    assert found is not None
    torch.manual_seed(0)
    ours = build_network(name, 3).eval()
    theirs = copy.deepcopy(ours)
    theirs.transform_input = True  # type: ignore[assignment]
    image = Image.fromarray(torch.randint(0, 256, (80, 90, 3), dtype=torch.uint8).numpy())
    of_theirs = torchvision.models.get_model_weights(name)["DEFAULT"].transforms()
    one, other = of_theirs(image), found.transforms(image)
    with torch.no_grad():
        expected, answer = theirs(one[None, :, :size, :size]), ours(other[None, :, :size, :size])
    torch.testing.assert_close(answer, expected, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(one, other, atol=0.1)


def test_an_enumeration_that_the_backbone_has_not() -> None:
    error = refused("there are no weights IMAGENET1K_V3 for resnet50", "resnet50", "IMAGENET1K_V3")
    assert error.hint.endswith("There are: IMAGENET1K_V1, IMAGENET1K_V2, DEFAULT.")
    refused("no weights IMAGENET1K_SWAG_E2E_V1 for vit_b_32", "vit_b_32", "IMAGENET1K_SWAG_E2E_V1")


def test_an_enumeration_of_a_backbone_without_any() -> None:
    refused("no weights IMAGENET1K_V1", "own.py:small", "IMAGENET1K_V1")
    refused("no default weights", "own.py:small", "default")


@pytest.mark.parametrize(
    "error", [urllib.error.URLError("no route"), TimeoutError(), RuntimeError("invalid hash value")]
)
def test_a_failed_download_says_how_to_go_on_without(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(torchvision.models.ResNet18_Weights, "get_state_dict", fail)
    found = published("resnet18", "default")
    assert found is not None
    with pytest.raises(InputError, match=r"cannot download the weights IMAGENET1K_V1 of resnet18: .") as caught:
        found.load()
    assert "--weights FILE" in caught.value.hint and "starts from none" in caught.value.hint


# --- timm


def test_timms_bring_classes_and_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    timm = pytest.importorskip("timm")
    asked: list[tuple[str, bool]] = []

    class Network:
        def state_dict(self) -> Any:
            return STATE

    def create(name: str, *, pretrained: bool) -> Network:
        asked.append((name, pretrained))
        return Network()

    monkeypatch.setattr(timm, "create_model", create)
    found = published("timm:resnet50_gn.a1h_in1k", "default")
    assert found is not None
    assert (found.name, found.transforms) == ("a1h_in1k", None)
    assert found.pretrained_cfg is not None and found.pretrained_cfg["crop_pct"] == 0.94
    assert found.classes is not None and len(found.classes) == 1000 and found.classes[:2] == ["tench", "goldfish"]
    assert asked == []
    assert found.load() == STATE and asked == [("resnet50_gn.a1h_in1k", True)]


def test_timms_own_tag_is_the_default() -> None:
    timm = pytest.importorskip("timm")
    found = published("timm:resnet18", "default")
    assert found is not None and found.name == timm.models.get_pretrained_cfg("resnet18").tag


def test_timms_other_class_counts_have_names_only_where_these_are_known() -> None:
    pytest.importorskip("timm")
    large = published("timm:vit_base_patch16_224.augreg_in21k", "default")
    assert large is not None and large.classes is not None and len(large.classes) == 21843
    features = published("timm:vit_base_patch14_dinov2.lvd142m", "default")
    assert features is not None and features.classes is None


def test_weights_that_timm_has_not() -> None:
    pytest.importorskip("timm")
    hint = refused("no default weights for timm:resnet18.nonsense", "timm:resnet18.nonsense", "default").hint
    assert "timm:resnet18.a1_in1k" in hint
    refused("no default weights for timm:resnet51q_not", "timm:resnet51q_not", "default")
    assert "part of the backbone's name" in refused("no weights", "timm:resnet18", "IMAGENET1K_V1").hint


def test_a_failed_download_of_timm(monkeypatch: pytest.MonkeyPatch) -> None:
    timm = pytest.importorskip("timm")

    def fail(*_: Any, **__: Any) -> None:
        raise KeyError("offline")

    monkeypatch.setattr(timm, "create_model", fail)
    found = published("timm:resnet18", "default")
    assert found is not None
    with pytest.raises(InputError, match=r"cannot download the weights .* of timm:resnet18"):
        found.load()
