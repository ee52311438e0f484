"""The options of `gformer import` alone. No torch here."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

FromFolder = Annotated[
    Path | None,
    typer.Option(
        "--from",
        metavar="FOLDER",
        help="A folder of timm or Hugging Face: config.json, model.safetensors. It says everything itself.",
        show_default=False,
    ),
]
Weights = Annotated[
    str | None,
    typer.Option(
        "--weights",
        metavar="FILE|NAME",
        help="A checkpoint or state dict (safetensors, or of torch.save), or weights that the library publishes, "
        "such as IMAGENET1K_V2, or default.",
        show_default=False,
    ),
]
WeightsKey = Annotated[
    str | None,
    typer.Option(
        "--weights-key",
        metavar="KEY",
        help="The entry of the checkpoint that holds the weights, such as model_ema. Default: found by looking.",
        show_default=False,
    ),
]
Classes = Annotated[
    str | None,
    typer.Option(
        "--classes",
        metavar="FILE",
        help="Names in the order of the model's outputs: one a line, or JSON (list, class_to_idx, id2label); "
        "imagenet1k is built in. Default: as the checkpoint has them.",
        show_default=False,
    ),
]
Transform = Annotated[
    str | None,
    typer.Option(
        "--transform",
        metavar="NAME|FILE.json",
        help="How the model's images are prepared: torchvision, timm, the name of weights such as IMAGENET1K_V1, "
        "or a FILE.json with resize, crop, interpolation, mean, std (or timm's, or Hugging Face's). Default: the "
        "library's for this backbone.",
        show_default=False,
    ),
]
Generator = Annotated[
    str | None,
    typer.Option(
        "--generator",
        metavar="universal|FILE|none",
        help="The generator of the model: universal, which comes with gformer; that of a generator file or a bundle; "
        "or none, an untrained one, which adapts as bn-mix does. Default: universal; none where layers keep no "
        "statistics and no --source shows them some.",
        show_default=False,
    ),
]
Out = Annotated[
    Path | None,
    typer.Option(
        "--run",
        "--out",
        metavar="RUN",
        help="Folder of the run, new or empty; or without a model, one that holds a model already. Default: "
        "gformer-run.",
        show_default=False,
    ),
]
Sources = Annotated[
    list[Path] | None,
    typer.Option(
        "--source",
        metavar="DIR",
        help="Images like those it was trained on. With labels they measure it and calibrate its confidences. They are "
        "recorded where its layers keep no statistics (LayerNorm, GroupNorm). Repeatable.",
        show_default=False,
    ),
]
Check = Annotated[
    list[Path] | None,
    typer.Option(
        "--check", metavar="DIR", help="Labelled images to measure the model on. Repeatable.", show_default=False
    ),
]
Expect = Annotated[
    float | None,
    typer.Option(
        "--expect",
        min=0.0,
        max=1.0,
        help="Its accuracy on --check (else --source) as its owner knows it, 0 to 1: exit with 1 when it differs "
        "by more than 0.002.",
        show_default=False,
    ),
]
