"""The network of a graph in 8-bit integers. What generates stays in float32, and so do the layers that normalise."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from gformer_cli.errors import WorkError, reason
from gformer_cli.export.convert import is_of_network, quietly

if TYPE_CHECKING:
    import onnx
    import onnx_ir as ir

_LAYERS = ("Conv", "Gemm", "MatMul")
_SIMPLIFIED = ("onnx.quant.pre_process", "onnxruntime.quant")
"""Tells onnxruntime's quantiser that the graph is simplified; without it, it asks for that on the console."""


def quantised(model: ir.Model, batches: Iterable[torch.Tensor]) -> ir.Model:
    """`model` with weights and activations of its network's layers in 8-bit integers, by onnxruntime's static
    quantiser.

    Weights have a scale for each channel, and 7 of the 8 bits: products of more overflow on processors without VNNI.
    The ranges of activations are those of `batches`, input as `model` takes it. Raises `WorkError` where there is
    nothing to quantise, or the quantiser fails.
    """
    import onnx
    import onnx_ir as ir
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

    proto = ir.to_proto(model)
    layers = _layers(proto.graph)
    if not layers:
        raise WorkError("the network has no layer that integers can compute", "Export it without --int8.")
    _name_apart(proto.graph, layers)
    kept = dict(model.metadata_props)
    onnx.helper.set_model_props(proto, dict([_SIMPLIFIED]))
    with tempfile.TemporaryDirectory() as folder, quietly():
        out = Path(folder) / "int8.onnx"
        try:
            quantize_static(
                proto,
                out,
                _Reader(batches),
                quant_format=QuantFormat.QDQ,
                op_types_to_quantize=[*_LAYERS],
                nodes_to_quantize=[node.name for node in layers],
                per_channel=True,
                reduce_range=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
            )
        except Exception as error:  # onnxruntime has no common class of its errors
            raise WorkError(
                f"onnxruntime does not quantise this network: {reason(error)}", "Export it without --int8."
            ) from error
        made = onnx.load(out)
    _share_with_branches(made.graph)
    onnx.helper.set_model_props(made, kept)
    answer: ir.Model = ir.from_proto(made)
    answer.graph.sort()
    return answer


class _Reader:
    """Batches as onnxruntime's quantiser asks for them."""

    def __init__(self, batches: Iterable[torch.Tensor]) -> None:
        self._batches = iter(batches)

    def get_next(self) -> Mapping[str, Any] | None:
        batch = next(self._batches, None)
        return None if batch is None else {"images": np.ascontiguousarray(batch.numpy())}


def _layers(graph: onnx.GraphProto) -> Sequence[onnx.NodeProto]:
    """The network's layers whose weight is a constant that nothing else reads: the generator reads the classifier."""
    layers = [node for node in graph.node if node.op_type in _LAYERS and is_of_network(node.name)]
    constants = {tensor.name for tensor in graph.initializer}
    constants -= {name for node in graph.node if node not in layers for name in node.input}
    return [node for node in layers if node.input[1] in constants]


def _name_apart(graph: onnx.GraphProto, layers: Sequence[onnx.NodeProto]) -> None:
    """Give biases names that end in a dot, in place.

    Layers share those that are zero, and the quantiser names its copies by appending numbers: `val_24` becomes
    `val_245`, which may be another tensor's.
    """
    biases = {node.input[2] for node in layers if len(node.input) > 2}
    for names in _names(graph):
        names[:] = [f"{name}." if name in biases else name for name in names]
    for tensor in graph.initializer:
        if tensor.name in biases:
            tensor.name += "."


def _share_with_branches(graph: onnx.GraphProto) -> None:
    """Let branches read the weights from the integers as well, in place, so that no weight is in the file twice.

    The quantiser does not look into branches: they compute in float32.
    """
    read = {node.input[0]: node.output[0] for node in graph.node if node.op_type == "DequantizeLinear"}
    restored = {name.removesuffix("_quantized"): output for name, output in read.items()}
    for node in graph.node:
        for attribute in node.attribute:
            for names in _names(attribute.g):
                names[:] = [restored.get(name, name) for name in names]
    used = {name for names in _names(graph) for name in names}
    unused = [tensor for tensor in graph.initializer if tensor.name not in used]
    for tensor in unused:
        graph.initializer.remove(tensor)


def _names(graph: onnx.GraphProto) -> Iterable[Any]:
    """The names of every node's inputs, also in branches."""
    for node in graph.node:
        yield node.input
        for attribute in node.attribute:
            yield from _names(attribute.g)
