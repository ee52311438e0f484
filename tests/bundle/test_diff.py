from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import torch

from gformer_cli.bundle import BundleHeader, DataHeader, GeneratorHeader, StaticHeader
from gformer_cli.bundle.diff import FieldChange, diff
from gformer_cli.bundle.integrity import stamped
from gformer_cli.settings import Settings

Write = Callable[..., Path]
STATIC = StaticHeader(target="fog", images=4, batches=1, batch_size=4, seed=0, fingerprint="ab")


def tensors(**changes: torch.Tensor) -> dict[str, torch.Tensor]:
    """A network of every kind of layer and a generator of one tensor; `__` in a name stands for a dot."""
    made = {
        "backbone.conv.weight": torch.ones(2, 3, 1, 1),
        "backbone.bn.weight": torch.tensor([3.0, 4.0]),
        "backbone.bn.bias": torch.tensor([0.0, 2.0]),
        "backbone.bn.running_mean": torch.zeros(2),
        "backbone.bn.running_var": torch.ones(2),
        "backbone.fc.weight": torch.ones(3, 2),
        "backbone.fc.bias": torch.ones(3),
        "generator.head": torch.ones(2),
    }
    return made | {name.replace("__", "."): tensor for name, tensor in changes.items()}


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def call(name: str, contents: Mapping[str, torch.Tensor], **fields: object) -> Path:
        settings = Settings()
        header = BundleHeader(
            format_version=1,
            classes=["a", "b", "c"],
            preprocessing=settings.data,
            backbone=settings.backbone,
            generator=GeneratorHeader(settings=settings.generator, parameters=2),
            data=DataHeader(domains={"photo": {"a": 1, "b": 1, "c": 1}}, fingerprint="x"),
            validation={"gformer": 0.5},
            versions={"torch": "2.0"},
            settings=settings,
        )
        (tmp_path / name).write_bytes(stamped(header.model_copy(update=fields), contents))
        return tmp_path / name

    return call


def test_equal_bundles_are_the_same(write: Write) -> None:
    found = diff(write("a", tensors()), write("b", tensors()))
    assert found.same and found.header == []
    assert set(found.parts) == {"model", "generator"}
    assert found.parts["model"].equal == 7 and found.parts["generator"].equal == 1


def test_changes_are_relative_and_sorted_by_size(write: Write) -> None:
    changed = tensors(
        backbone__bn__weight=torch.tensor([3.0, 9.0]),  # moved by 5, of length 5
        backbone__bn__bias=torch.tensor([0.0, 3.0]),
        backbone__bn__running_var=torch.tensor([1.0, 1.5]),
        backbone__conv__weight=2.5 * torch.ones(2, 3, 1, 1),
        backbone__fc__bias=1.25 * torch.ones(3),
    )
    part = diff(write("a", tensors()), write("b", changed)).parts["model"]
    assert [(layer.layer, layer.kind) for layer in part.layers] == [
        ("conv", "convolution"),
        ("bn", "normalisation"),
        ("fc", "classifier"),
    ]
    assert [layer.change for layer in part.layers] == pytest.approx([1.5, 1.0, 0.25])
    assert part.layers[1].tensors == pytest.approx({"γ": 1.0, "β": 0.5, "variance": 0.5 / math.sqrt(2)})
    assert part.layers[2].tensors == pytest.approx({"bias": 0.25})
    assert part.equal == 2 and not part.same


def test_from_zero_and_not_finite_are_infinite_and_come_first(write: Write) -> None:
    changed = tensors(
        backbone__bn__running_mean=torch.ones(2), backbone__conv__weight=torch.full((2, 3, 1, 1), math.nan)
    )
    path = write("b", changed)
    part = diff(write("a", tensors()), path).parts["model"]
    assert [layer.change for layer in part.layers] == [math.inf, math.inf]
    assert diff(path, path).same


def test_header_fields_by_dotted_name(write: Write) -> None:
    settings = Settings(seed=3)
    b = write("b", tensors(), classes=["a", "b", "d"], versions={"torch": "2.1", "python": "3"}, settings=settings)
    found = diff(write("a", tensors()), b)
    assert found.header == [
        FieldChange("classes", ["a", "b", "c"], ["a", "b", "d"]),
        FieldChange("settings.seed", 0, 3),
        FieldChange("versions.python", None, "3"),
        FieldChange("versions.torch", "2.0", "2.1"),
    ]
    assert not found.same and all(part.same for part in found.parts.values())


def test_a_static_bundle_is_compared_by_what_it_kept(write: Write) -> None:
    static = {name: tensor for name, tensor in tensors().items() if name.startswith("backbone")}
    static["static.bn.weight"] = torch.tensor([3.0, 9.0])
    found = diff(write("a", tensors()), write("b", static, static=STATIC))
    assert [layer.tensors for layer in found.parts["model"].layers] == [pytest.approx({"γ": 1.0})]
    assert found.parts["source"].same and found.parts["source"].equal == 7
    assert found.parts["generator"].only_a == ["head"]
    assert {field.key for field in found.header} == {f"static.{name}" for name in StaticHeader.model_fields}


def test_other_architectures_are_told_apart(write: Write) -> None:
    other = {
        "backbone.fc.weight": torch.ones(5, 2),
        "backbone.norm.weight": torch.ones(2),
        "generator.head": torch.ones(2, 2),
        "constant.mix": torch.ones(1),
    }
    found = diff(write("a", tensors()), write("b", other))
    model = found.parts["model"]
    assert model.reshaped == {"fc.weight": ([3, 2], [5, 2])} and model.layers == []
    assert model.only_b == ["norm.weight"] and len(model.only_a) == 6 and "bn.bias" in model.only_a
    assert found.parts["generator"].reshaped == {"head": ([2], [2, 2])}
    assert found.parts["constant"].only_b == ["mix"]


def test_the_constant_generator_of_an_older_file_is_compared_with_one_of_now(write: Write) -> None:
    now, before = ({**tensors(), f"{name}.mix": torch.ones(1)} for name in ("constant", "control"))
    found = diff(write("a", before), write("b", now))
    assert found.parts["constant"].same and found.parts["constant"].equal == 1


def test_another_type_of_the_same_numbers_is_a_difference(write: Write) -> None:
    half = tensors(backbone__conv__weight=torch.ones(2, 3, 1, 1, dtype=torch.float16))
    part = diff(write("a", tensors()), write("b", half)).parts["model"]
    assert [(layer.layer, layer.change) for layer in part.layers] == [("conv", 0.0)]
