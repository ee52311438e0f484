"""An exported file in the place of a bundle."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from gformer_cli.bundle import Bundle, Described, depth_of, load_bundle, with_white_level
from gformer_cli.core.change import Change, change_of
from gformer_cli.errors import InputError
from gformer_cli.export.convert import check_libraries
from gformer_cli.export.graphs import CHANGE, GENERATED, LOGITS, SIGNAL_VALUES, SOURCE_LOGITS
from gformer_cli.export.header import GraphHeader, is_graph_file, read_graph_header
from gformer_cli.export.running import Running
from gformer_cli.guard.rule import GENERATED as BY_GENERATED
from gformer_cli.guard.rule import SOURCE, Guard, Verdict
from gformer_cli.guard.signals import SIGNALS


class GraphModel(Described):
    """What `gformer export` wrote, loaded by onnxruntime on the CPU; it predicts as its bundle does.

    Args:
        path: the file.
        threads: that compute.
        white_level: what is white in images of more than 8 bits, in the place of its own.

    Raises `InputError` for a file that is not a whole export, and for one that has no adapted and source predictions.
    """

    def __init__(self, path: Path, *, threads: int, white_level: float | None = None) -> None:
        self.about: GraphHeader = read_graph_header(path)
        check_libraries(("onnxruntime",))
        if not {LOGITS, SOURCE_LOGITS, CHANGE} <= set(self.about.outputs):
            why = "holds the source model alone" if self.about.kind == "source" else "has no source_logits"
            raise InputError(f"{path} {why}", "Export it with --kind adaptive or static, and without --logits-only.")
        if self.about.prepares:
            raise InputError(
                f"{path} resizes its images itself, all of a batch at once", "Export it without --with-preprocessing."
            )
        self.header = with_white_level(self.about.bundle, white_level)
        self.path: Path | None = path
        self.image_bytes = self.about.image_bytes
        self.depth = depth_of(self.header)
        self.threads = threads
        self._running = Running(path, threads)
        if set(self._running.names) != set(self.about.outputs):
            raise InputError(f"damaged ONNX file {path}: its outputs are not those of its header", "Export it again.")

    @property
    def guard(self) -> Guard | None:
        """The guard that decides in the graph."""
        return super().guard if self.about.guarded else None

    @property
    def adapted_names(self) -> tuple[list[str], str]:
        """Those of the adapted normalisation layers, and of the classifier."""
        return self.about.layer_names, self.about.classifier_name

    def candidates(self, images: torch.Tensor) -> GraphCandidates:
        """What the graph says of the network's input (B, 3, S, S)."""
        return GraphCandidates(len(images), self._running(images))


@dataclass(frozen=True)
class GraphCandidates:
    """The answers of a graph to B images; as `guard.prediction.Candidates`, without the parameters."""

    count: int
    outputs: dict[str, torch.Tensor]

    @property
    def source(self) -> torch.Tensor:
        """(B, K) logits of the unadapted model."""
        return self.outputs[SOURCE_LOGITS]

    @property
    def change(self) -> Change:
        """How much of a change the generated parameters are."""
        return change_of(self.outputs[CHANGE])

    @property
    def signals(self) -> dict[str, float]:
        """What the guard decides by: those of `batch_signals`."""
        return dict(zip(SIGNALS, [float(self.count), *self.outputs[SIGNAL_VALUES].tolist()], strict=True))

    def under(self, verdict: Verdict) -> tuple[torch.Tensor, None]:
        """Logits (B, K) under what `verdict` lets predict."""
        if verdict.decision == SOURCE:
            return self.source, None
        generated = self.outputs.get(GENERATED, self.outputs[LOGITS])
        return generated if verdict.decision == BY_GENERATED else self.outputs[LOGITS], None


def check_graph_device(path: Path, device: str) -> None:
    """Raises `InputError` where the exported file `path` is asked to run on another `device` than the CPU."""
    if device not in ("auto", "cpu"):
        raise InputError(f"--device {device} has no effect on {path}", "ONNX files run on the CPU here.")


def load_model(
    path: Path, *, threads: int, own_backbone: str | None = None, white_level: float | None = None
) -> Bundle | GraphModel:
    """What predicts: a bundle, or by its name an exported file, on so many `threads`. See `load_bundle` for the others.

    Raises `InputError` for what is neither, and for `own_backbone` beside an exported file.
    """
    if not is_graph_file(path):
        return load_bundle(path, own_backbone=own_backbone, white_level=white_level)
    if own_backbone is not None:
        raise InputError(f"--backbone has no effect on {path}", "The network is in the file: leave it out.")
    return GraphModel(path, threads=threads, white_level=white_level)
