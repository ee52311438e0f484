"""A classifier that stands for one's own: trained on the sources of `digit-cameras`, by code that knows no gformer.

`benchmarks/demo_classifier.py` makes it: torchvision's `shufflenet_v2_x0_5`, right on 95 % of source images that it was
not trained on.
"""

from __future__ import annotations

import json
from importlib.resources import as_file, files
from pathlib import Path

import numpy as np

WEIGHTS, CLASSES, TRANSFORM = "site.safetensors", "classes.txt", "transform.json"


def write_classifier(folder: Path) -> None:
    """What its owner would have: weights, the classes in the order of the outputs, and the transform."""
    from safetensors.numpy import load_file, save_file

    with as_file(files(__package__) / "classifier.safetensors") as kept:
        tensors = load_file(kept)
    save_file(
        {name: tensor.astype(np.float32) if tensor.dtype == np.float16 else tensor for name, tensor in tensors.items()},
        folder / WEIGHTS,
    )
    (folder / CLASSES).write_text("".join(f"{digit}\n" for digit in range(10)), encoding="utf-8")
    transform = {"resize": 32, "crop": 32, "mean": [0.5] * 3, "std": [0.25] * 3}
    (folder / TRANSFORM).write_text(json.dumps(transform) + "\n", encoding="utf-8")
