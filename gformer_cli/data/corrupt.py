"""Corrupted copies of labelled images: a target domain for each kind and severity, `OUT/KIND-SEVERITY/CLASS/FILE`."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from gformer_cli.data.catalogue import CATALOGUE, smallest_side
from gformer_cli.errors import InputError, WorkError
from gformer_cli.files import MIB, check_replaceable, make_folder, read_text, remove_tree, write_json, writing_to
from gformer_cli.folders.domains import Domain, ImageFile
from gformer_cli.folders.walking import is_hidden
from gformer_cli.images.colour import require_visible
from gformer_cli.images.decoding import Skipped, attempt, decode_to, in_order, look_at_samples
from gformer_cli.images.depth import Depth

RECORD = ".corrupted.json"
"""What was done, in the folder; readers of folders pass it over."""
_PART = ".part"


@dataclass(frozen=True)
class Wish:
    """Which corruptions."""

    corruptions: Sequence[str]
    severities: Sequence[int]
    seed: int


@dataclass(frozen=True)
class Corrupted:
    """What was written."""

    images: dict[str, int]
    """By domain."""
    skipped: list[Skipped] = field(default_factory=list)


def check_corrupted(out: Path, read: Sequence[Path] = (), *, overwrite: bool) -> None:
    """Raises `InputError` for a folder that holds anything, or with `overwrite` anything but corrupted copies.

    Likewise for one inside a folder that is `read`, which would be read with it from then on, and for one around it.
    """
    place = out.resolve()
    for folder in (folder for folder in read if folder.is_dir()):
        if place.is_relative_to(folder.resolve()):
            raise InputError(f"--out {out} lies inside {folder}, which is read", "Name a folder beside it.")
        if overwrite and folder.resolve().is_relative_to(place):
            raise InputError(f"--out {out} holds {folder}, which is read", "Name another folder.")
    if not check_replaceable(out, "the copies in it", overwrite=overwrite):
        return
    strange = {path.name for path in out.iterdir()} - {*_written(out), RECORD, _PART}
    if strange:
        raise InputError(
            f"{out} holds more than corrupted copies, so --overwrite does not replace it: {min(strange)}",
            "Name another --out, or empty the folder yourself.",
        )


def domain_names(domains: Sequence[Domain], wish: Wish) -> dict[tuple[str, str, int], str]:
    """The new domain of each domain, corruption and severity: of several, the domain's own name stands in it."""
    return {
        (domain.name, kind, severity): "-".join(
            [*([domain.name] if len(domains) > 1 else []), kind.replace(":", "-"), str(severity)]
        )
        for kind in wish.corruptions
        for severity in wish.severities
        for domain in domains
    }


def write_corrupted(
    domains: Sequence[Domain],
    wish: Wish,
    out: Path,
    *,
    workers: int,
    strict: bool,
    white_level: float | None = None,
    advance: Callable[[], None] = lambda: None,
) -> Corrupted:
    """Write each image of `domains` under each corruption at each severity, as PNG and as large as it is.

    An image's noise depends on the seed and on what its file holds, as in `evaluate --shifts`. `advance` is called
    after each image. Raises `InputError` for an image that cannot be used when `strict`, and `WorkError` for none.
    """
    places, names = _places(domains), domain_names(domains, wish)
    work = partial(
        _corrupt,
        wish=wish,
        names=names,
        part=out / _PART,
        smallest=smallest_side(wish.corruptions),
        depth=Depth(white_level).among(domains, look_at_samples),
    )
    fresh = not out.exists()
    if (out / _PART).is_dir():  # what a kill has left of another
        remove_tree(out / _PART)
    make_folder(out / _PART)
    written: Counter[str] = Counter()
    skipped: list[Skipped] = []
    try:
        for done in in_order(work, places, workers=workers):
            if isinstance(done, Skipped):
                if strict:
                    raise InputError(f"cannot use {done.path}: {done.reason}", "Mend it, or run without --strict.")
                skipped.append(done)
            else:
                written.update(done)
            advance()
        if not written:
            raise _none_written(skipped)
        record = {"corruptions": list(wish.corruptions), "severities": list(wish.severities), "seed": wish.seed}
        write_json(out / _PART / RECORD, record | {"domains": sorted(written)})
        with writing_to(out):
            _replace(out)
    except BaseException:
        with suppress(OSError):
            remove_tree(out if fresh else out / _PART)
        raise
    return Corrupted({name: written[name] for name in names.values() if name in written}, skipped)


def _none_written(skipped: Sequence[Skipped]) -> WorkError:
    such = f", such as {skipped[0].path}: {skipped[0].reason}" if skipped else ""
    return WorkError(f"no image can be used{such}", "See: gformer data check DIR. For small images: --corruptions all")


@dataclass(frozen=True)
class _Place:
    """An image, and where its copies go."""

    file: ImageFile
    domain: str
    copy: str
    """Below the new domain."""

    @property
    def path(self) -> Path:
        return self.file.path


def _places(domains: Sequence[Domain]) -> list[_Place]:
    found = []
    for domain in domains:
        for name in (domain.name, *domain.classes):
            if Path(name).name != name or is_hidden(name):
                raise InputError(f"{name!r} of {domain.root} cannot be the name of a folder", "Call it otherwise.")
        taken: set[str] = set()
        for file in domain.files:
            stem, number = f"{file.label}/{Path(file.name).stem}", 1
            copy = f"{stem}.png"
            while copy.casefold() in taken:  # a.jpg beside a.png, or another folder's below the class
                number += 1
                copy = f"{stem}-{number}.png"
            taken.add(copy.casefold())
            found.append(_Place(file, domain.name, copy))
    return found


def _corrupt(
    place: _Place, *, wish: Wish, names: Mapping[tuple[str, str, int], str], part: Path, smallest: int, depth: Depth
) -> list[str] | Skipped:
    """Write all copies of an image; the domains that they are of."""

    def read(data: bytes) -> tuple[np.ndarray, int]:
        pixels = decode_to(
            data, lambda image: np.array(require_visible(image)), levels=partial(depth.of, place.file.path)
        )
        if min(pixels.shape[:2]) < smallest:
            raise ValueError(f"a side is too small: {min(pixels.shape[:2])} < {smallest} pixels")
        return pixels, int(hashlib.sha256(data).hexdigest()[:8], 16)

    found = attempt(place.file, read)
    if isinstance(found, Skipped):
        return Skipped(str(place.path), found.reason)
    pixels, position = found
    images = torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 255.0
    done = []
    for kind in wish.corruptions:
        for severity in wish.severities:
            changed = CATALOGUE[kind](images, severity=severity, seed=wish.seed, positions=[position])
            array = (changed[0] * 255.0).round().to(torch.uint8).permute(1, 2, 0).contiguous().numpy()
            name = names[place.domain, kind, severity]
            path = part / name / place.copy
            make_folder(path.parent)
            with writing_to(path):
                Image.fromarray(array).save(path)
            done.append(name)
    return done


def _replace(out: Path) -> None:
    for name in _written(out):
        remove_tree(out / name)
    for entry in sorted((out / _PART).iterdir(), key=lambda path: path.name != RECORD):
        entry.replace(out / entry.name)
    (out / _PART).rmdir()


def _written(out: Path) -> list[str]:
    """The domains that the record in `out` tells of, as far as they are there."""
    try:
        names = json.loads(read_text(out / RECORD, MIB))["domains"]
        return [name for name in names if (out / name).is_dir() and Path(name).name == name]
    except (OSError, ValueError, LookupError, TypeError):
        return []
