"""`gformer export`."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gformer_cli.commands import options
from gformer_cli.commands.found import SOURCE_SPLITS, find_images, known_of
from gformer_cli.commands.locations import pick_graph, pick_model
from gformer_cli.console import Terminal, table
from gformer_cli.errors import InputError
from gformer_cli.folders.domains import Layout, check_folders_exist

if TYPE_CHECKING:
    import torch
    from rich.table import Table

    from gformer_cli.bundle import Bundle
    from gformer_cli.export.check import ResizedAlike
    from gformer_cli.export.header import Int8
    from gformer_cli.export.samples import Labelled
    from gformer_cli.export.write import Exported


class GraphKind(str, Enum):
    """What the file computes."""

    adaptive = "adaptive"
    static = "static"
    source = "source"


def export(
    model: options.Model = None,
    run: options.Run = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            metavar="FILE",
            help="The ONNX file to write. Default: beside the bundle, SITE.onnx for SITE.gformer.",
            show_default=False,
        ),
    ] = None,
    kind: Annotated[
        GraphKind | None,
        typer.Option(
            "--kind",
            help="adaptive generates parameters for each batch; static holds those that a static bundle keeps; source "
            "is the model as it was. Default: what the bundle predicts with.",
            show_default=False,
        ),
    ] = None,
    check: Annotated[
        int,
        typer.Option(
            "--check",
            metavar="N",
            min=1,
            help="Compare file and bundle on N images, in batches of 1, 3, 8 and 64; where they differ, nothing is "
            "written.",
        ),
    ] = 64,
    images: Annotated[
        Path | None,
        typer.Option(
            "--images",
            metavar="DIR",
            help="Images for the comparison. Default: made ones.",
            show_default=False,
        ),
    ] = None,
    logits_only: Annotated[
        bool,
        typer.Option(
            "--logits-only",
            help="Leave out the source model's logits, whose pass can cost as much as all else, and the guard, which "
            "needs them.",
        ),
    ] = False,
    with_preprocessing: Annotated[
        bool,
        typer.Option(
            "--with-preprocessing",
            help="The file takes uint8 images (B, H, W, 3) of any size, and resizes and normalises them itself.",
        ),
    ] = False,
    int8: Annotated[
        bool,
        typer.Option(
            "--int8",
            help="The network computes in 8-bit integers; what generates stays in float32. Needs source images with "
            "labels, --images DIR: some calibrate, the others tell what it costs.",
        ),
    ] = False,
    backbone: options.OwnBackbone = None,
    threads: options.Threads = None,
    overwrite: options.Overwrite = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
    debug: options.Debug = False,
) -> None:
    """Write a bundle as an ONNX file: adapting without Python, in onnxruntime. Needs pip install 'gformer\\[export]'.

    Images go in, a batch of any size; logits and the source model's logits come out. A guard of the bundle decides in
    the graph. The context of gformer watch is not exported: each batch stands for itself.

    Example: gformer export --out site.onnx
    """
    terminal = Terminal(as_json=json, quiet=quiet, verbose=verbose)
    model = pick_model(terminal, model, run)
    out = pick_graph(terminal, out, model)
    if images is not None:
        check_folders_exist([images])
    elif int8:
        raise InputError(
            "--int8 needs images: they calibrate it, and tell what it costs",
            "Give labelled source images with --images DIR.",
        )

    import torch

    from gformer_cli.bundle import load_bundle
    from gformer_cli.export import write as stage
    from gformer_cli.files import make_folder

    bundle = load_bundle(model, own_backbone=backbone)
    wanted = None if kind is None else kind.value
    chosen = stage.check_export(model, bundle, out, wanted, overwrite=overwrite, prepares=with_preprocessing)
    pixels, labelled = _images(terminal, bundle, images, check, any_size=with_preprocessing, int8=int8)
    bundle.check_memory(len(pixels), torch.device("cpu"))
    make_folder(out.parent)
    torch.set_num_threads(options.pick_cores(terminal, threads).count)
    with terminal.progress() as progress:
        done = stage.export(
            model,
            bundle,
            out,
            chosen,
            pixels,
            logits_only=logits_only,
            prepares=with_preprocessing,
            labelled=labelled,
            progress=progress,
        )
    _show(terminal, done, out, made=images is None)


def _images(
    terminal: Terminal, bundle: Bundle, folder: Path | None, count: int, *, any_size: bool, int8: bool
) -> tuple[torch.Tensor, Labelled | None]:
    """Images to compare on, uint8 (at most count, 3, H, W), and those with labels for `int8`."""
    from gformer_cli.compute.device import pick_workers
    from gformer_cli.export.samples import made_images, read_labelled, read_some

    if folder is None:
        return made_images(bundle, count, any_size=any_size), None
    known = known_of(bundle.header)
    found = find_images(terminal, [folder], Layout.auto, unlabelled=not int8, known=known, splits=SOURCE_SPLITS)
    workers = pick_workers(None)
    labelled = read_labelled(bundle, found.domains, workers, any_size=any_size) if int8 else None
    return read_some(bundle, found.domains, count, workers, any_size=any_size), labelled


def _show(terminal: Terminal, done: Exported, out: Path, *, made: bool) -> None:
    size = out.stat().st_size
    largest = max(one.difference for one in done.compared)
    terminal.result(
        {
            "out": str(out),
            "kind": done.kind,
            "guarded": done.guarded,
            "outputs": done.outputs,
            "nodes": done.nodes,
            "bytes": size,
            "seconds": round(done.seconds, 3),
            "checked_on": "made images" if made else "images",
            "checked": [{"batch_size": one.images, "difference": one.difference} for one in done.compared],
            "largest_difference": largest,
            "resized": None if done.resized is None else vars(done.resized),
            "int8": None if done.int8 is None else done.int8.model_dump(),
        },
        table(
            "Compared with the bundle",
            ["batch", "largest difference of a logit", "labels that differ"],
            [[str(one.images), f"{one.difference:.1e}", str(one.labels)] for one in done.compared],
        ),
        *([] if done.int8 is None else [_costs(done.int8)]),
        f"\n{done.kind}{', guarded' if done.guarded else ''}: {done.nodes} nodes, {size / 1e6:.1f} MB, made in "
        f"{done.seconds:.0f} s. Wrote {out}",
        f"Outputs: {', '.join(done.outputs)}",
        *([] if done.resized is None else [_told(done.resized)]),
    )


def _costs(int8: Int8) -> Table:
    rows = [
        [name, f"{100.0 * one.float32:.1f}", f"{100.0 * one.int8:.1f}", f"{100.0 * (one.int8 - one.float32):+.1f}"]
        for name, one in int8.accuracy.items()
    ]
    return table(
        f"What integers cost: accuracy in % on {int8.measured} images; {int8.calibrated} others calibrated",
        ["", "float32", "int8", "difference"],
        rows,
    )


def _told(resized: ResizedAlike) -> str:
    return (
        f"Resized in the graph, {100.0 * resized.share:.2f} % of the values differ from those that the commands make, "
        f"by {resized.most} of 255 at most; {resized.labels} labels do"
    )
