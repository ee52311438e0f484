"""An exported graph with its network in 8-bit integers, and what that costs in accuracy."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from gformer_cli.bundle import Bundle
from gformer_cli.export.convert import convert, serialised
from gformer_cli.export.graphs import LOGITS, SOURCE_LOGITS, BatchNormGraph
from gformer_cli.export.header import Accuracy, Int8, Kind
from gformer_cli.export.preprocessing import PreparingGraph
from gformer_cli.export.quantise import quantised
from gformer_cli.export.running import Running
from gformer_cli.export.samples import Labelled, Samples

if TYPE_CHECKING:
    import onnx_ir as ir

SOURCE, BN, ADAPTED = "source", "bn", "adapted"
"""What answers: the source model, the network under the statistics of each batch, and the file."""
Batches = Iterable[tuple[torch.Tensor, torch.Tensor]]
"""Input and labels (B,) of a graph."""


def in_integers(
    bundle: Bundle, kind: Kind, made: ir.Model, running: Running, labelled: Labelled, *, prepares: bool
) -> tuple[ir.Model, Int8]:
    """`made`, a graph of `bundle` that `running` runs, in integers; and its accuracy before and after.

    Some of the `labelled` images calibrate, the others are measured. An adaptive graph is not its only answer: what
    integers do to BatchNorm's is told by a graph of its own. Raises `WorkError` likewise to `quantised`.
    """
    calibrating, measured = labelled.split()

    def batches(images: Labelled) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        for batch in images.batches():
            yield Samples.of(bundle, batch.pixels, prepares=prepares).given, batch.labels

    def both(model: ir.Model, float32: Running, named: Mapping[str, str]) -> tuple[ir.Model, dict[str, Accuracy]]:
        integers = quantised(model, (images for images, _ in batches(calibrating)))
        return integers, accuracies(float32, _run(integers), batches(measured), named)

    named = {LOGITS: SOURCE} if kind == "source" else {SOURCE_LOGITS: SOURCE, LOGITS: ADAPTED}
    integers, found = both(made, running, named)
    if kind == "adaptive" and any(layer.of_batch for layer in bundle.backbone.layers):
        plain = BatchNormGraph(bundle.backbone).eval()
        image, _ = next(batches(measured))
        graph = convert(PreparingGraph(plain, bundle.preprocessing) if prepares else plain, image[0])
        found |= both(graph, _run(graph), {LOGITS: BN})[1]
    accuracy = {name: found[name] for name in (SOURCE, BN, ADAPTED) if name in found}
    return integers, Int8(calibrated=len(calibrating), measured=len(measured), accuracy=accuracy)


def accuracies(
    float32: Running,
    int8: Running,
    batches: Iterable[tuple[torch.Tensor, torch.Tensor]],
    named: Mapping[str, str],
) -> dict[str, Accuracy]:
    """Of two graphs with the same outputs, on the same `batches` of input and labels (B,).

    `named` says what each output with logits is called; those that the graphs lack are left out.
    """
    right = {name: [0, 0] for output, name in named.items() if output in float32.names}
    count = 0
    for images, labels in batches:
        count += len(labels)
        for place, running in enumerate((float32, int8)):
            answers = running(images)
            for output, name in named.items():
                if output in answers:
                    right[name][place] += int((answers[output].argmax(1) == labels).sum())
    return {name: Accuracy(float32=one / count, int8=other / count) for name, (one, other) in right.items()}


def _run(model: ir.Model) -> Running:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        path.write_bytes(serialised(model))
        return Running(path, torch.get_num_threads())
