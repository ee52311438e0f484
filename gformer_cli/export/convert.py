"""From a module of torch to an ONNX graph with a free batch size."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import torch

from gformer_cli.errors import InputError, WorkError, reason
from gformer_cli.export.conditional import make_branch
from gformer_cli.export.graphs import CHOICE, AdaptedGraph, SourceGraph
from gformer_cli.export.preprocessing import PreparingGraph

if TYPE_CHECKING:
    import onnx_ir as ir

NEEDED = ("onnx", "onnxscript", "onnxruntime")
OPSET = 20
"""Of ONNX: onnxruntime reads it from 1.17 on."""
_LARGEST = (1 << 31) - 1
"""Bytes: what a file of ONNX's format can hold."""
_NETWORK = "network/"
_EXAMPLE = 3
"""Images that the graph is traced with; 1 would be taken for a fixed size."""


def check_libraries(needed: tuple[str, ...] = NEEDED) -> None:
    """Raises `InputError` where something is missing that an export needs."""
    missing = [name for name in needed if find_spec(name) is None]
    if missing:
        raise InputError(f"ONNX files need {', '.join(missing)}", "Install it: pip install 'gformer[export]'")


def convert(graph: SourceGraph | AdaptedGraph | PreparingGraph, image: torch.Tensor) -> ir.Model:
    """The ONNX graph of `graph`. `image` is one of its input: float32 (3, S, S), or uint8 (H, W, 3) of any size.

    Raises `WorkError` where torch cannot make a graph of the network.
    """
    example = image.expand(_EXAMPLE, *image.shape).contiguous()
    names = ("batch", "height", "width") if isinstance(graph, PreparingGraph) else ("batch",)
    free = ({axis: torch.export.Dim(name, min=1) for axis, name in enumerate(names)},)
    try:
        with torch.no_grad(), quietly():
            program = torch.export.export(graph, (example,), dynamic_shapes=free, strict=False)
            made = torch.onnx.export(
                program,
                dynamo=True,
                input_names=["images"],
                output_names=list(graph.outputs),
                opset_version=OPSET,
                optimize=False,
                verbose=False,
            )
    except Exception as error:  # torch raises what it likes, and the network may be the user's own code
        raise WorkError(
            f"torch {torch.__version__} makes no ONNX graph of this network: {reason(error)}",
            "Its code may depend on values of tensors, or torch may be too old: pip install --upgrade torch onnxscript",
        ) from error
    assert made is not None
    model: ir.Model = made.model
    _mark(model)
    _tidy(model)
    if set(CHOICE) <= set(graph.outputs):
        make_branch(model)
    return model


def serialised(model: ir.Model) -> bytes:
    """The bytes of a file. Raises `InputError` for a model that is too large for one."""
    import onnx_ir

    size = sum(value.const_value.nbytes for value in model.graph.initializers.values() if value.const_value is not None)
    if size > _LARGEST:
        raise InputError(
            f"the graph has {size / 1e9:.1f} GB of weights, and an ONNX file holds 2", "Export a smaller network."
        )
    model.producer_name = "gformer"
    content: bytes = onnx_ir.to_proto(model).SerializeToString(deterministic=True)
    return content


def is_of_network(name: str) -> bool:
    """Whether the node `name` of a graph is a layer of the adapted network, and no part of the generator."""
    return name.startswith(_NETWORK)


def _mark(model: ir.Model) -> None:
    """Name the layers of the network so that `is_of_network` knows them: by whose their weight is, or what is
    transposed to it. Later passes rename weights, and keep the names of nodes."""
    for node in model.graph:
        weight = node.inputs[1] if len(node.inputs) > 1 else None
        producer = None if weight is None else weight.producer()
        if producer is not None and producer.op_type == "Transpose":
            weight = producer.inputs[0]
        if weight is not None and weight.is_initializer() and "backbone" in (weight.name or "").split("."):
            node.name = f"{_NETWORK}{node.name}"


def _tidy(model: ir.Model) -> None:
    """Compute what is constant, and what occurs twice once. onnxruntime does the rest as it loads the graph.

    The exporter's own optimiser looks for patterns as well, and takes minutes for a graph of thousands of nodes.
    """
    import onnx_ir.passes.common as passes
    from onnxscript.optimizer import fold_constants_ir

    passes.InlinePass()(model)
    passes.CommonSubexpressionEliminationPass()(model)  # a weight that two passes of the network transpose
    fold_constants_ir(model, should_fold=lambda node: node.op_type == "Transpose" or None)  # or else by its size
    then: list[Any] = [
        passes.RemoveUnusedNodesPass(),
        passes.RemoveUnusedFunctionsPass(),  # type: ignore[no-untyped-call]
        passes.RemoveUnusedOpsetsPass(),
        passes.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0),
        passes.DeduplicateInitializersPass(),
        passes.CommonSubexpressionEliminationPass(),
        passes.OutputFixPass(),
        passes.NameFixPass(),
        passes.ClearMetadataAndDocStringPass(),
    ]
    for one in then:
        one(model)


@contextmanager
def quietly() -> Iterator[None]:
    """Without what exporter and quantiser say of their own working."""
    loggers = [logging.getLogger(name) for name in ("", "torch.onnx", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            for logger in loggers:
                logger.setLevel(logging.ERROR)
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
