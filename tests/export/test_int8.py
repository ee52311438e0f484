"""The network computes in integers, what generates does not; and the accuracies told are those of the two files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from gformer_cli.bundle import Bundle
from gformer_cli.errors import InputError, WorkError
from gformer_cli.export.convert import convert, serialised
from gformer_cli.export.graphs import LOGITS, SOURCE_LOGITS, AdaptedGraph
from gformer_cli.export.header import Accuracy, read_graph_header
from gformer_cli.export.int8 import accuracies
from gformer_cli.export.quantise import quantised
from gformer_cli.export.running import Running
from gformer_cli.export.samples import Labelled, made_images, read_labelled
from gformer_cli.export.write import export
from gformer_cli.folders.domains import Domain, ImageFile, ImageFiles
from gformer_cli.guard.tensors import CODES
from tests.export.conftest import Made
from tests.export.test_write import GENERATORS, vit


@pytest.fixture(scope="module")
def int8(made: Made, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The guarded file in integers, calibrated on all that its tests ask."""
    out = tmp_path_factory.mktemp("int8") / "model.onnx"
    out.write_bytes(serialised(quantised(ir.load(made.path), made.batches.values())))
    return out


@pytest.mark.parametrize("decision", CODES)
def test_the_file_in_integers_decides_and_answers_nearly_as_the_other(made: Made, int8: Path, decision: str) -> None:
    images = made.batches[decision]
    wanted, found = Running(made.path, 1)(images), Running(int8, 1)(images)
    assert int(found["decision"]) == CODES[decision]
    for name in ("logits", "source_logits", "generated_logits"):
        assert not torch.equal(found[name], wanted[name])
        torch.testing.assert_close(found[name], wanted[name], rtol=0.0, atol=0.1 * float(wanted[name].std() + 1.0))


def test_the_network_alone_is_in_integers_and_no_weight_is_there_twice(int8: Path) -> None:
    graph = onnx.load(int8).graph
    kinds = {tensor.name: tensor.data_type for tensor in graph.initializer}
    weights = [name for name, kind in kinds.items() if kind == TensorProto.INT8 and name.endswith("_quantized")]
    assert sorted(weights) == ["backbone.network.0.weight_quantized", "backbone.network.3.weight_quantized"]
    assert not {name.removesuffix("_quantized") for name in weights} & kinds.keys()
    assert any("generator" in name and kind == TensorProto.FLOAT for name, kind in kinds.items())
    (branch,) = [node for node in graph.node if node.op_type == "If"]
    (inner,) = [node for a in branch.attribute for node in a.g.node if node.op_type == "Conv"]
    assert inner.input[1] == "backbone.network.3.weight_DequantizeLinear_Output"
    used = {name for node in graph.node for name in node.input}
    used |= {name for node in graph.node for a in node.attribute for one in a.g.node for name in one.input}
    assert kinds.keys() <= used


def _graph(shared: str, others: list[str]) -> ir.Model:
    """Convolutions of one weight one after the other, that share a bias, and at the end a sum of other tensors."""
    nodes, value = [], "images"
    for number in range(12):
        nodes.append(
            helper.make_node("Conv", [value, "weight", shared], [f"{number}"], f"network/{number}", pads=[1, 1, 1, 1])
        )
        value = f"{number}"
    for name in others:
        nodes.append(helper.make_node("Add", [value, name], [f"sum_{name}"], f"add_{name}"))
        value = f"sum_{name}"
    random = np.random.default_rng(0)
    kernel = np.zeros((2, 2, 3, 3), np.float32)
    kernel[[0, 1], [0, 1], 1, 1] = 1.0
    tensors = {"weight": kernel, shared: random.normal(size=2).astype(np.float32)}
    tensors |= {name: np.full((1, 1, 1, 1), 3.0, np.float32) for name in others}
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["batch", 2, 4, 4])],
        [helper.make_tensor_value_info(value, TensorProto.FLOAT, ["batch", 2, 4, 4])],
        [numpy_helper.from_array(tensor, name) for name, tensor in tensors.items()],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    helper.set_model_props(made, {"kept": "as it was"})
    return ir.from_proto(made)


def test_a_shared_bias_does_not_take_the_name_of_another_tensor(tmp_path: Path) -> None:
    """onnxruntime's quantiser calls its copies of a bias `val_2` `val_20`, `val_21` and so on."""
    model = _graph("val_2", [f"val_2{number}" for number in range(12)])
    images = torch.randn(4, 2, 4, 4, generator=torch.Generator().manual_seed(0))
    answers = []
    for name, one in {"float": model, "int8": quantised(model, [images])}.items():
        (tmp_path / name).write_bytes(serialised(one))
        answers.append(*Running(tmp_path / name, 1)(images).values())
    torch.testing.assert_close(answers[1], answers[0], rtol=0.0, atol=0.5)
    assert onnx.load(tmp_path / "int8").metadata_props[0].value == "as it was"
    assert len(onnx.load(tmp_path / "int8").metadata_props) == 1


@pytest.mark.slow
def test_a_transformer_is_in_integers_but_for_its_head(tmp_path: Path, perturb: Any) -> None:
    from gformer_cli.bundle import build_generator, build_model
    from gformer_cli.core.backbone import Backbone

    torch.manual_seed(0)
    backbone = Backbone(vit().eval(), image_size=16).freeze()
    settings = GENERATORS["probe of the classes"]
    model = build_model(settings, build_generator(settings, backbone)).eval().requires_grad_(False)
    perturb(model, 0.1)
    graph, images = AdaptedGraph(backbone, model).eval(), torch.randn(9, 3, 16, 16)
    made = quantised(convert(graph, torch.rand(3, 16, 16)), [images])
    weights = [one for one in ir.to_proto(made).graph.initializer if one.name.endswith("_quantized")]
    integers = sum(np.prod(one.dims) for one in weights if one.data_type == TensorProto.INT8)
    wanted = [one for one in backbone.network.parameters() if one.dim() > 1 and one.shape[0] not in (1, 3)]
    assert integers == sum(one.numel() for one in wanted)
    (tmp_path / "m.onnx").write_bytes(serialised(made))
    torch.testing.assert_close(Running(tmp_path / "m.onnx", 1)(images)["logits"], graph(images)[0], rtol=0.0, atol=0.1)


def test_where_no_layer_has_weights_of_its_own_there_is_nothing_to_quantise() -> None:
    model = _graph("b", [])
    for node in model.graph:
        node.name = "generator"
    with pytest.raises(WorkError, match="no layer that integers can compute"):
        quantised(model, [])


def test_accuracies_are_of_all_batches_and_of_each_output() -> None:
    class Answering:
        def __init__(self, logits: list[list[float]], names: list[str]) -> None:
            self.logits, self.names = torch.tensor(logits), names

        def __call__(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
            return {name: self.logits[: len(images)] for name in self.names}

    both = [LOGITS, SOURCE_LOGITS]
    one: Any = Answering([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]], both)
    other: Any = Answering([[0.0, 1.0], [0.0, 1.0], [0.0, 1.0]], both)
    batches = [(torch.zeros(3, 1), torch.tensor([0, 1, 1])), (torch.zeros(1, 1), torch.tensor([0]))]
    named = {LOGITS: "adapted", SOURCE_LOGITS: "source", "nowhere": "bn"}
    found = accuracies(one, other, batches, named)
    assert found == {name: Accuracy(float32=0.75, int8=0.5) for name in ("adapted", "source")}


@pytest.mark.slow
def test_an_export_in_integers_tells_what_they_cost(made: Made, _bundle_file: Path, tmp_path: Path) -> None:
    pixels = made_images(made.bundle, 40)
    with torch.no_grad():
        labels = made.bundle.backbone(made.bundle.preprocessing.network_input(pixels, torch.device("cpu"))).argmax(1)
    out = tmp_path / "m.onnx"
    done = export(
        _bundle_file, made.bundle, out, "adaptive", pixels[:3], labelled=Labelled(pixels, labels), prepares=True
    )
    assert done.int8 is not None and (done.int8.calibrated, done.int8.measured) == (10, 30)
    assert list(done.int8.accuracy) == ["source", "bn", "adapted"]
    assert done.int8.accuracy["source"].float32 == 1.0 and done.int8.accuracy["source"].int8 >= 0.9
    assert read_graph_header(out).int8 == done.int8
    found = Running(out, 1)(pixels[:5].permute(0, 2, 3, 1).contiguous())
    assert found["logits"].shape == (5, 2)


def test_images_of_another_class_are_refused(shallow_bundle: Bundle, tmp_path: Path) -> None:
    file = ImageFile(tmp_path, "hexagon/a.png", "hexagon")
    with pytest.raises(InputError, match="class hexagon of the images is none of the model's"):
        read_labelled(shallow_bundle, [Domain("site", tmp_path, ImageFiles([file]), ("hexagon",))], 0)
    file = ImageFile(tmp_path, "circle/a.png", shallow_bundle.header.classes[0])
    with pytest.raises(WorkError, match="fewer than two readable images"):
        read_labelled(shallow_bundle, [Domain("site", tmp_path, ImageFiles([file]), (str(file.label),))], 0)
