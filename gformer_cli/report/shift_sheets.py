"""Contact sheets of what simulated shifts and preprocessing do to images."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import chain, zip_longest

import torch
from PIL import Image

from gformer_cli.data.corruptions import CORRUPTIONS, SEVERITIES
from gformer_cli.data.shifts import FAMILIES, TRAINING_FAMILIES, Shift
from gformer_cli.errors import WorkError
from gformer_cli.folders.domains import Domain, ImageFile
from gformer_cli.images.contact_sheet import Row, Shown, small
from gformer_cli.images.decoding import Skipped, attempt, decode_to
from gformer_cli.images.preprocessing import Decoded, Preprocessing, read_image
from gformer_cli.report.sheets import drawn
from gformer_cli.seeding import derive_seed

_DRAWS = 5
"""Of a family of shifts."""
_PAIRS, _ACROSS = 24, 4
"""Images that are shown before and after preprocessing: in all, and in a row."""


def shift_rows(domains: Sequence[Domain], preprocessing: Preprocessing, strength: float, seed: int) -> list[Row]:
    """An image under every family of shifts of meta-training, and under every corruption of `evaluate --shifts`.

    Raises `WorkError` where none can be read.
    """
    preprocessing = preprocessing.among(domains)
    (file, pixels), *_ = _readable(domains, preprocessing, seed, 1)
    images = pixels[None].float() / 255.0
    plain = Shown(_picture(images), "as it is")
    rows = [Row([f"One image under simulated shifts: {file.relative}"]), Row(["Of meta-training, five draws each"])]
    for family in FAMILIES:
        held = "trained on" if family in TRAINING_FAMILIES else "held out for validation"
        made = [
            Shown(_picture(Shift((family,), strength, derive_seed(seed, "sheet", family, number))(images)))
            for number in range(_DRAWS)
        ]
        rows.append(Row([family, held], [plain, *made]))
    rows.append(Row(["Of gformer evaluate --shifts, severities 1 to 5"]))
    for name, corruption in CORRUPTIONS.items():
        made = [
            Shown(_picture(corruption(images, severity=severity, seed=seed, positions=[0])), f"severity {severity}")
            for severity in SEVERITIES
        ]
        rows.append(Row([name, corruption.group], [plain, *made]))
    return rows


def preprocessing_rows(domains: Sequence[Domain], preprocessing: Preprocessing, seed: int) -> list[Row]:
    """Pairs: an image as its file shows it, and as the network gets it. Raises `WorkError` where none can be read."""
    preprocessing = preprocessing.among(domains)
    cpu, pairs = torch.device("cpu"), []
    for file, pixels in _readable(domains, preprocessing, seed, _PAIRS):
        before = attempt(file, partial(_before, file=file, preprocessing=preprocessing))
        if isinstance(before, Skipped):
            continue
        image, size = before
        seen = preprocessing.pixels(preprocessing.network_input(pixels[None], cpu))
        after = Shown(_picture(seen.float() / 255.0), f"to {seen.shape[3]} x {seen.shape[2]}")
        pairs.append((file, Shown(image, f"{size[0]} x {size[1]}"), after))
    return [
        Row(
            [file.relative for file, _, _ in pairs[start : start + _ACROSS]],
            [shown for _, *both in pairs[start : start + _ACROSS] for shown in both],
        )
        for start in range(0, len(pairs), _ACROSS)
    ]


def _readable(
    domains: Sequence[Domain], preprocessing: Preprocessing, seed: int, most: int
) -> list[tuple[ImageFile, torch.Tensor]]:
    """Images that can be read, in turn of the domains, with their pixels, uint8 (3, S, S)."""
    found: list[tuple[ImageFile, torch.Tensor]] = []
    for file in chain.from_iterable(zip_longest(*(drawn(domain.files, seed, 4 * most) for domain in domains))):
        item = None if file is None else read_image(file, preprocessing)
        if file is not None and isinstance(item, Decoded):
            found.append((file, item.pixels))
        if len(found) == most:
            break
    if not found:
        raise WorkError("no readable image", "See: gformer data check DIR")
    return found


def _before(data: bytes, file: ImageFile, preprocessing: Preprocessing) -> tuple[Image.Image, tuple[int, int]]:
    def shown(image: Image.Image) -> tuple[Image.Image, tuple[int, int]]:
        size = image.size
        return small(image), size

    return decode_to(data, shown, levels=partial(preprocessing.depth.of, file.path))


def _picture(images: torch.Tensor) -> Image.Image:
    """The first of images (B, 3, S, S) in [0, 1], at most `SIDE` pixels."""
    pixels = (images[0] * 255.0).round().clamp(0.0, 255.0).to(torch.uint8)
    return small(Image.fromarray(pixels.permute(1, 2, 0).contiguous().numpy()))
