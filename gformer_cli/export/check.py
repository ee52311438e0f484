"""Whether an exported file answers what its bundle answers."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from PIL import Image

from gformer_cli.bundle import Bundle
from gformer_cli.errors import WorkError
from gformer_cli.export.graphs import LOGITS, SOURCE_LOGITS
from gformer_cli.export.preprocessing import Resized
from gformer_cli.export.running import Running
from gformer_cli.export.samples import Samples
from gformer_cli.guard.prediction import predict_both
from gformer_cli.guard.rule import Guard, Verdict
from gformer_cli.guard.tensors import CODES
from gformer_cli.images.preprocessing import to_pixels

SIZES = (1, 3, 8, 64)
"""Images in a batch."""
TOLERANCE = 1e-4
"""Largest difference of a logit, where no logit is above 1; else as a share of the largest."""
_COARSE = 4.0
"""So many times what torch's float32 differs from float64 a file may differ from torch's float32,"""
_MOST = 1e-2
"""and this share of the largest logit at most."""


@dataclass(frozen=True)
class Compared:
    """One batch through onnxruntime and through torch."""

    images: int
    difference: float
    """The largest of a logit."""
    allowed: float
    """By `TOLERANCE`, or by how coarsely torch itself rounds on these images."""
    labels: int
    """Images with another label."""
    decision: bool
    """Whether the guard's decision is the same."""


@dataclass(frozen=True)
class ResizedAlike:
    """The graph's pixels beside those of the commands, which Pillow resizes."""

    share: float
    """Of values, three a pixel, that differ."""
    most: int
    """Levels, of 255."""
    labels: int
    """Images that get another label for it."""


@torch.no_grad()
def _expected(
    bundle: Bundle, kind: str, guard: Guard | None, inputs: torch.Tensor
) -> tuple[dict[str, torch.Tensor], Verdict]:
    """Logits by the name of their output as the bundle answers a batch (B, 3, S, S), and the guard's verdict on it."""
    if kind == "source":
        return {LOGITS: bundle.backbone(inputs)}, Verdict()
    both = predict_both(bundle.backbone, bundle.model, inputs)
    verdict = Verdict() if guard is None else guard.decide(both.signals)
    logits, _ = both.under(verdict)
    return {LOGITS: logits, SOURCE_LOGITS: both.source}, verdict


@torch.no_grad()
def _rounding(bundle: Bundle, kind: str, verdict: Verdict, inputs: torch.Tensor, logits: torch.Tensor) -> float:
    """How far `logits` (B, K), torch's under `verdict`, lie from those that float64 gives."""
    backbone, model = copy.deepcopy(bundle.backbone).double(), copy.deepcopy(bundle.model).double()
    if kind == "source":
        exact = backbone(inputs.double())
    else:
        exact, _ = predict_both(backbone, model, inputs.double()).under(verdict)
    return float((exact - logits).abs().max())


def compare(bundle: Bundle, kind: str, guard: Guard | None, running: Running, samples: Samples) -> list[Compared]:
    """The first of `samples` in batches of each of `SIZES`. `guard` is that of the graph."""
    inputs, found = samples.inputs, []
    for size in sorted({min(size, len(inputs)) for size in SIZES}):
        wanted, verdict = _expected(bundle, kind, guard, inputs[:size])
        given = running(samples.given[:size])
        pairs = [(given[name], logits) for name, logits in wanted.items() if name in given]
        differences = [float((one - other).abs().max()) for one, other in pairs]
        labels = sum(int((one.argmax(1) != other.argmax(1)).sum()) for one, other in pairs)
        scale = max(1.0, *(float(logits.abs().max()) for _, logits in pairs))
        allowed = TOLERANCE * scale
        if max(differences) > allowed:  # is it the network? Under the statistics of one image some round coarsely
            own = _COARSE * _rounding(bundle, kind, verdict, inputs[:size], wanted[LOGITS])
            allowed = max(allowed, min(own, _MOST * scale))
        same = "decision" not in given or int(given["decision"]) == CODES[verdict.decision]
        found.append(Compared(size, max(differences), allowed, labels, same))
    return found


def compare_pixels(bundle: Bundle, kind: str, samples: Samples) -> ResizedAlike:
    """What the graph makes of its images beside what the commands make of them, all as one batch."""
    how = bundle.preprocessing
    own = torch.stack([to_pixels(Image.fromarray(image.numpy()), how) for image in samples.given])
    away = (Resized(how)(samples.given) - own.float()).abs()
    both = (samples.inputs, how.network_input(own, torch.device("cpu")))
    labels = [_expected(bundle, kind, None, inputs)[0][LOGITS].argmax(1) for inputs in both]
    return ResizedAlike(float((away > 0.0).float().mean()), int(away.max()), int((labels[0] != labels[1]).sum()))


def require_alike(found: Sequence[Compared]) -> None:
    """Raises `WorkError` where a label or the guard's decision differs, or a logit by more than is allowed."""
    for one in found:
        what = None
        if one.labels:
            what = f"{one.labels} labels differ"
        elif not one.decision:
            what = "the guard's decision differs"
        elif not one.difference <= one.allowed:  # not a number is not alike
            what = f"logits differ by {one.difference:.2g}, more than {one.allowed:.2g}"
        if what is not None:
            raise WorkError(
                f"onnxruntime and torch do not agree on a batch of {one.images} images: {what}",
                "Nothing was written. Is the bundle whole? gformer inspect --verify tells.",
            )
