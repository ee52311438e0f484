"""transformers' classifiers: the library's own answers, the names of its files, and configs that are not trusted."""

from __future__ import annotations

import copy
import json
import runpy
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from gformer_cli.bundle import load_bundle
from gformer_cli.bundle.file import save_bundle
from gformer_cli.bundle.header import DataHeader
from gformer_cli.config import validate
from gformer_cli.core.backbone import Backbone
from gformer_cli.core.generators import ChannelGenerator, Reads
from gformer_cli.core.trial import try_network
from gformer_cli.errors import InputError
from gformer_cli.networks import hf
from gformer_cli.networks.build import OnMeta, build_network
from gformer_cli.networks.hf import CLASSES, HF

transformers = pytest.importorskip("transformers")
CPU = torch.device("cpu")
TRANSFORMER = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "mlp_ratio": 2,
    "image_size": 32,
    "patch_size": 8,
}
WINDOWS = {"embed_dim": 8, "depths": [1, 2], "num_heads": [1, 2], "window_size": 4, "image_size": 32, "patch_size": 4}
STAGES = {"hidden_sizes": [8, 16], "depths": [1, 2]}
TINY: dict[str, dict[str, Any]] = {
    "resnet": STAGES | {"embedding_size": 8, "layer_type": "basic"},
    "regnet": STAGES | {"embedding_size": 8, "groups_width": 8},
    "convnext": STAGES | {"num_stages": 2},
    "convnextv2": STAGES | {"num_stages": 2},
    "mobilenet_v1": {"depth_multiplier": 0.25},
    "mobilenet_v2": {"depth_multiplier": 0.25},
    "efficientnet": {"width_coefficient": 0.25, "depth_coefficient": 0.25, "hidden_dim": 320},
    "mobilevit": {"hidden_sizes": [16, 16, 16], "neck_hidden_sizes": [8, 8, 8, 8, 8, 8, 16]},
    "vit": TRANSFORMER,
    "deit": TRANSFORMER,
    "dinov2": TRANSFORMER,
    "dinov2_with_registers": TRANSFORMER,
    "swin": WINDOWS,
    "swinv2": WINDOWS,
}
BY_ITSELF = ("resnet", "regnet", "mobilenet_v1", "mobilenet_v2", "efficientnet")
"""With BatchNorm alone."""


def saved(kind: str, folder: Path, **changes: Any) -> tuple[nn.Module, str]:
    """A network as its owner trained it and saved it to `folder`, and its config."""
    if kind not in transformers.CONFIG_MAPPING:
        pytest.skip("a later release of transformers has it")
    torch.manual_seed(0)
    owner = getattr(transformers, CLASSES[kind])
    network = owner(owner.config_class(num_labels=3, **TINY[kind] | changes)).eval()
    with torch.no_grad():
        for name, tensor in network.named_parameters():
            if tensor.dim() > 1:
                tensor.normal_(0.0, tensor[0].numel() ** -0.5)
            elif name.endswith("bias"):
                tensor.normal_(0.0, 0.3)
    network.save_pretrained(folder)
    return network, (folder / "config.json").read_text(encoding="utf-8")


@pytest.fixture(params=TINY)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_every_kind_answers_as_the_library_does_under_the_names_of_the_file(kind: str, tmp_path: Path) -> None:
    owner, config = saved(kind, tmp_path)
    network = build_network(f"{HF}{kind}", 3, config=config).eval()
    names = list(network.state_dict())
    stored = load_file(tmp_path / "model.safetensors")
    assert set(names) == {name for name in stored if "relative_position_index" not in name}
    network.load_state_dict(stored)
    images = torch.randn(4, 3, 32, 32)
    expected = owner(images).logits
    assert expected.std() > 1e-3
    torch.testing.assert_close(network(images), expected, rtol=0.0, atol=1e-6)
    backbone = Backbone(network, image_size=32).freeze()
    assert backbone.classifier_name in ("classifier", "classifier.1") and not backbone.unadapted
    assert ("BatchNorm" in backbone.families) == (kind in (*BY_ITSELF, "mobilevit"))
    assert ("LayerNorm" in backbone.families) == (kind not in BY_ITSELF)
    torch.testing.assert_close(backbone(images), expected, rtol=0.0, atol=1e-6)
    torch.testing.assert_close(backbone(images, backbone.mixing_batchnorm(0.0)), expected, rtol=0.0, atol=1e-5)
    assert set(names) <= set(network.state_dict())  # and places for what is recorded


def test_every_layer_is_recorded_adapted_and_takes_part(kind: str, tmp_path: Path) -> None:
    _, config = saved(kind, tmp_path)
    network = build_network(f"{HF}{kind}", 3, config=config)
    network.load_state_dict(load_file(tmp_path / "model.safetensors"))
    backbone = try_network(network.eval(), f"{HF}{kind}", 3, 32, CPU).freeze()
    images = torch.rand(6, 3, 32, 32)
    backbone.record([images])
    _, session = backbone.observe(images)
    for layer in backbone.layers:
        if not layer.of_batch:
            torch.testing.assert_close(layer.running_mean, session.means[layer.index])
            torch.testing.assert_close(layer.running_var, session.variances[layer.index])
    source, ones = backbone.source_parameters(), torch.ones(len(backbone.layers))
    if all(not layer.of_batch for layer in backbone.layers):  # the batch shows what was recorded: nothing moves
        torch.testing.assert_close(backbone(images, source.with_mix(ones)), backbone(images), rtol=0.0, atol=1e-4)
    elsewhere = images.square() * 0.3
    assert not torch.allclose(backbone(elsewhere, source.with_mix(ones)), backbone(elsewhere), atol=1e-4)


def test_names_of_layers_are_those_of_the_state_dict(kind: str, tmp_path: Path) -> None:
    _, config = saved(kind, tmp_path)
    backbone = Backbone(build_network(f"{HF}{kind}", 3, config=config), image_size=32).freeze()
    names = backbone.network.state_dict()
    assert all(f"{layer}.{part}" in names for layer in backbone.layer_names for part in ("weight", "running_var"))
    theta = backbone.source_parameters().with_mix(torch.zeros(len(backbone.layers)))
    again = backbone.parameters_from(backbone.assignment(theta))
    assert all(torch.equal(one, other) for one, other in zip(theta.gammas, again.gammas, strict=True))


@pytest.mark.parametrize("kind", ["vit", "swin", "resnet"])
def test_copies_and_wrappers_keep_the_names_of_the_file(kind: str, tmp_path: Path) -> None:
    _, config = saved(kind, tmp_path)
    network = build_network(f"{HF}{kind}", 3, config=config)
    assert isinstance(network, getattr(transformers, CLASSES[kind]))
    names = list(network.state_dict())
    copied = copy.deepcopy(network)
    copied.load_state_dict(network.state_dict())
    assert list(copied.state_dict()) == names
    outer = nn.Sequential(nn.Identity(), network)
    assert list(outer.state_dict()) == [f"1.{name}" for name in names]
    for tensor in network.parameters():
        tensor.data.zero_()
    outer.load_state_dict({f"1.{name}": tensor for name, tensor in copied.state_dict().items()})
    assert all(torch.equal(tensor, copied.state_dict()[name]) for name, tensor in network.state_dict().items())


@pytest.mark.parametrize("kind", ["vit", "dinov2", "swin"])
def test_images_of_another_size_get_interpolated_positions(kind: str, tmp_path: Path) -> None:
    owner, config = saved(kind, tmp_path)
    network = build_network(f"{HF}{kind}", 3, config=config, image_size=48).eval()
    network.load_state_dict(load_file(tmp_path / "model.safetensors"))
    images = torch.randn(2, 3, 48, 48)
    options = {"interpolate_pos_encoding": True} if kind == "vit" else {}  # the others do so by themselves
    torch.testing.assert_close(network(images), owner(images, **options).logits, rtol=0.0, atol=1e-6)


def test_same_seed_gives_the_same_weights(tmp_path: Path) -> None:
    _, config = saved("vit", tmp_path)
    found = []
    for seed in (3, 3, 4):
        torch.manual_seed(seed)
        found.append(build_network("hf:vit", 3, config=config).state_dict()["classifier.weight"])
    assert torch.equal(found[0], found[1]) and not torch.equal(found[0], found[2])


def bundled(kind: str, tmp_path: Path) -> tuple[Path, Backbone]:
    """A bundle of a tiny network, and what it was made of."""
    _, config = saved(kind, tmp_path)
    network = build_network(f"{HF}{kind}", 3, config=config)
    network.load_state_dict(load_file(tmp_path / "model.safetensors"))
    backbone = Backbone(network, image_size=32).freeze()
    small = {"width": 8, "depth": 1, "heads": 2, "channel_width": 4}
    settings = validate(
        {
            "data": {"image_size": 32},
            "backbone": {"name": f"{HF}{kind}", "config": config, "weights": "none"},
            "generator": small,
        }
    )
    path = tmp_path / "model.gformer"
    save_bundle(
        path,
        backbone=backbone,
        generator=ChannelGenerator(**small, reads=Reads(gradients=False)),
        constant=None,
        settings=settings,
        classes=["a", "b", "c"],
        data=DataHeader(domains={}, fingerprint=""),
        validation={},
    )
    return path, backbone


@pytest.mark.parametrize("kind", ["vit", "convnext", "resnet", "swin"])
def test_a_bundle_brings_its_config_and_predicts_the_same(kind: str, tmp_path: Path) -> None:
    path, backbone = bundled(kind, tmp_path)
    images = torch.randn(2, 3, 32, 32)
    assert torch.equal(load_bundle(path).backbone(images), backbone(images))


def test_a_bundle_without_the_library_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, _ = bundled("resnet", tmp_path)
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(InputError, match="hf:resnet needs transformers"):
        load_bundle(path)


def build(kind: str, config: dict[str, Any]) -> nn.Module:
    return build_network(f"{HF}{kind}", 3, config=json.dumps({"model_type": kind} | TINY[kind] | config))


def test_what_a_config_says_of_code_files_types_and_answers_is_not_followed() -> None:
    plain, hostile = (
        build("vit", changes)
        for changes in (
            {},
            {
                "auto_map": {"AutoModelForImageClassification": "evil.Model"},
                "_name_or_path": "somebody/evil",
                "_attn_implementation": "somebody/evil-kernel",
                "attn_implementation": "somebody/evil-kernel",
                "quantization_config": {"quant_method": "evil"},
                "dtype": "float16",
                "torch_dtype": "float16",
                "return_dict": False,
                "output_hidden_states": True,
                "num_labels": 7,
                "id2label": {"0": "only"},
            },
        )
    )
    hostile.load_state_dict(plain.state_dict())
    images = torch.randn(2, 3, 32, 32)
    assert {tensor.dtype for tensor in hostile.parameters()} == {torch.float32}
    torch.testing.assert_close(hostile.eval()(images), plain.eval()(images))
    assert not {"auto_map", "quantization_config"} & hostile.config.to_dict().keys()  # type: ignore[union-attr, operator]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "changes", "what"),
    [
        ("vit", {"hidden_size": 10**9}, "hidden_size is 1000000000, and may be 16384 at most"),
        ("vit", {"num_hidden_layers": 16384}, "more than 8000 tensors"),
        ("resnet", {"depths": [16384, 16384]}, "more than 8000 tensors"),
        ("resnet", {"depths": [1] * 100}, "depths has 100 entries"),
        ("resnet", {"depths": [[[10**6]]]}, "depths is 1000000"),
        ("swin", {"window_size": 1000}, "window_size is 1000, and may be 64 at most"),
        ("swin", {"window_size": 60, "depths": [100, 100]}, "tables of its windows would have 2592000000 entries"),
        ("swin", {"window_size": [[7]], "depths": 3}, "cannot be built from its config"),
        ("efficientnet", {"depth_coefficient": float("inf")}, "depth_coefficient is inf"),
        ("efficientnet", {"width_coefficient": float("nan")}, "width_coefficient is nan"),
        ("vit", {"hidden_act": {"evil": 1}}, "hidden_act must be"),
        ("vit", {"hidden_act": "no_such"}, "cannot be built from its config"),
        ("vit", {"patch_size": 0}, "cannot be built from its config"),
        ("vit", {"num_channels": 4}, "images of 4 channels, not 3"),
    ],
)
def test_a_hostile_config_is_refused_before_it_takes_time_or_memory(
    kind: str, changes: dict[str, Any], what: str
) -> None:
    with pytest.raises(InputError, match=what), OnMeta():
        build(kind, changes)


@pytest.mark.parametrize(
    ("name", "config", "what", "hint"),
    [
        ("hf:vti", "{}", "unknown transformers backbone: 'hf:vti'", "Did you mean 'vit'?"),
        ("hf:timm_wrapper", "{}", "unknown transformers backbone", "There are: resnet"),
        ("hf:vit", None, "hf:vit needs its config", "gformer import --from FOLDER"),
        ("hf:vit", "{", "is no JSON", "config.json"),
        ("hf:vit", "[" * 100_000, "is no JSON", "config.json"),
        ("hf:vit", "[]", "is of something else", "config.json"),
        ("hf:vit", '{"model_type": "swin"}', "is of something else", "config.json"),
        ("resnet18", "{}", "resnet18 has no config", "hf:MODEL_TYPE"),
    ],
)
def test_a_config_that_does_not_go_with_the_name_is_refused(
    name: str, config: str | None, what: str, hint: str
) -> None:
    with pytest.raises(InputError, match=what) as caught:
        build_network(name, 3, config=config)
    assert hint in caught.value.hint


def test_width_and_stem_are_refused() -> None:
    with pytest.raises(InputError, match="hf:vit has no settable width"):
        build_network("hf:vit", 3, width=0.5, config="{}")
    with pytest.raises(InputError, match="hf:resnet has no small stem"):
        build_network("hf:resnet", 3, stem="small", config="{}")


def test_without_the_library_it_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(InputError, match="hf:vit needs transformers") as caught:
        build("vit", {})
    assert "pip install 'gformer[hf]'" in caught.value.hint


def test_no_other_network_needs_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    assert hf.__file__ is not None
    assert runpy.run_path(hf.__file__)["HF"] == HF  # nothing of it is imported with the module
    build_network("resnet18", 3, width=0.125)
