"""Export a bundle: make the graph, check it, and only then put the file in its place."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch

from gformer_cli.bundle import Bundle
from gformer_cli.errors import InputError
from gformer_cli.export.check import Compared, ResizedAlike, compare, compare_pixels, require_alike
from gformer_cli.export.convert import check_libraries, convert, serialised
from gformer_cli.export.graphs import GuardedGraph, graph_of
from gformer_cli.export.header import Int8, Kind, header_of, is_graph_file, metadata_of
from gformer_cli.export.int8 import in_integers
from gformer_cli.export.preprocessing import PreparingGraph, check_preprocessing
from gformer_cli.export.running import Running
from gformer_cli.export.samples import Labelled, Samples
from gformer_cli.files import atomic_path, check_writable
from gformer_cli.progress import Progress, Silent


@dataclass(frozen=True)
class Exported:
    """What was written."""

    kind: Kind
    guarded: bool
    outputs: list[str]
    nodes: int
    seconds: float
    """For making the graph."""
    compared: list[Compared]
    resized: ResizedAlike | None = None
    """How the graph resizes, where it does."""
    int8: Int8 | None = None
    """What integers cost, where the network computes in them."""


def check_export(
    model: Path, bundle: Bundle, out: Path, kind: str | None, *, overwrite: bool, prepares: bool = False
) -> Kind:
    """The kind of graph to make, by default what the bundle predicts with.

    Raises `InputError` for a bundle that has no such graph, and for an `out` that must not be written.
    """
    check_libraries()
    if not is_graph_file(out):
        raise InputError(f"an export is an ONNX file, so it cannot be called {out}", "Name it with the suffix .onnx.")
    if out.exists() and not overwrite:
        raise InputError(f"output file exists: {out}", "Replace it with --overwrite, or name another --out.")
    static = bundle.header.static is not None
    kind = kind or ("static" if static else "adaptive")
    if kind == "adaptive" and static:
        raise InputError(f"{model} is static: it generates nothing", "Export it with --kind static.")
    if kind == "static" and not static:
        raise InputError(
            f"{model} is not static: what it generates depends on the batch",
            f"Make a static bundle of it with gformer freeze --model {model}, or export it with --kind adaptive.",
        )
    if kind == "adaptive":
        _check_generator(model, bundle)
    if prepares:
        check_preprocessing(bundle.preprocessing)
    check_writable(out)
    return cast(Kind, kind)


def _check_generator(model: Path, bundle: Bundle) -> None:
    settings = bundle.header.generator.settings
    why = None
    if settings.probe == "backward" and settings.kind != "constant":
        why = "reads gradients (generator.probe=backward), and a graph has no backward pass"
    elif settings.probe_images != 1.0:
        why = f"probes a share of the images (generator.probe_images={settings.probe_images:g})"
    if why is not None:
        raise InputError(
            f"{model} cannot be exported: its generator {why}",
            "Learn one with generator.probe=none, source or forward, of the whole batch; or export a frozen bundle.",
        )


def export(
    model: Path,
    bundle: Bundle,
    out: Path,
    kind: Kind,
    pixels: torch.Tensor,
    *,
    logits_only: bool = False,
    prepares: bool = False,
    labelled: Labelled | None = None,
    progress: Progress | None = None,
) -> Exported:
    """Write `bundle`, read from `model`, to `out` as a graph of that kind, atomically.

    It is compared with the bundle on `pixels`, uint8 (N, 3, H, W) of the network's size, before it takes its place. A
    graph that `prepares` takes uint8 images of any size, and then so are `pixels`. With `labelled` images, likewise,
    its network then computes in 8-bit integers. Raises `WorkError` where graph and bundle differ or no graph can be
    made. `logits_only` is that of `graphs.graph_of`.
    """
    progress = progress or Silent()
    bundle.to(torch.device("cpu"))
    began = time.perf_counter()
    progress.begin("exporting", 2 if labelled is None else 3)
    graph = graph_of(bundle, kind, logits_only=logits_only)
    guard = graph.guard if isinstance(graph, GuardedGraph) else None
    samples = Samples.of(bundle, pixels, prepares=prepares)
    made = convert(PreparingGraph(graph, bundle.preprocessing) if prepares else graph, samples.given[0])
    outputs = [value.name or "" for value in made.graph.outputs]
    header = header_of(bundle, model, kind, outputs, guarded=guard is not None, prepares=prepares)
    made.metadata_props.update(metadata_of(header))
    seconds = time.perf_counter() - began
    progress.advance()
    with atomic_path(out) as temporary:
        temporary.write_bytes(serialised(made))
        running = Running(temporary, torch.get_num_threads())
        compared = compare(bundle, kind, guard, running, samples)
        require_alike(compared)
        progress.advance()
        if labelled is not None:
            made, measured = in_integers(bundle, kind, made, running, labelled, prepares=prepares)
            header = header.model_copy(update={"int8": measured})
            made.metadata_props.update(metadata_of(header))
            temporary.write_bytes(serialised(made))
            progress.advance()
    progress.end()
    resized = compare_pixels(bundle, kind, samples) if prepares else None
    return Exported(kind, guard is not None, outputs, len(made.graph), seconds, compared, resized, header.int8)
