"""Contact sheets of image folders. Only the images that are shown are decoded. No torch here."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from itertools import islice

from PIL import Image

from gformer_cli.console import amount
from gformer_cli.folders.domains import Domain, ImageFile
from gformer_cli.images.contact_sheet import SIDE, Row, Shown, small
from gformer_cli.images.decoding import Skipped, attempt, decode_to, look_at_samples
from gformer_cli.images.depth import Depth
from gformer_cli.seeding import derive_seed

ACROSS = 8
"""Pictures of a row."""
ROWS = 120
"""Rows of a sheet; where there are more classes, every n-th is shown."""
_TRIED = 4 * ACROSS
"""Images of a class that are opened at most, where some cannot be read."""
LISTED = 40
"""Unreadable images that are listed."""


def folder_rows(domains: Sequence[Domain], depth: Depth, seed: int) -> list[Row]:
    """A row for each class of each domain: images that are drawn by the seed and by their names."""
    wanted = [(domain, name) for domain in domains for name in (domain.classes or ("",))]
    shown = wanted if len(wanted) <= ROWS else [wanted[number * len(wanted) // ROWS] for number in range(ROWS)]
    rows = []
    for domain in domains:
        names = [name for own, name in shown if own is domain]
        counts, chosen = domain.counts or {"": len(domain.files)}, _drawn_by_class(domain, names, seed)
        rows += [_folder_row(domain, name, counts[name], chosen[name], depth) for name in names]
    if len(shown) < len(wanted):
        rows.insert(0, Row([f"{len(shown)} of {len(wanted)} classes, evenly spaced"]))
    return rows


def unreadable_notes(unreadable: Sequence[Skipped]) -> list[str]:
    """What could not be read, and why."""
    if not unreadable:
        return []
    told = [f"    {item.path}: {item.reason}" for item in unreadable[:LISTED]]
    more = [f"    ... and {len(unreadable) - LISTED} more"] if len(unreadable) > LISTED else []
    return [f"{amount(len(unreadable), 'unreadable image', 'unreadable images')}:", *told, *more]


def drawn(files: Iterable[ImageFile], seed: int, most: int) -> list[ImageFile]:
    """At most so many of the files, in an order of the seed's, whatever order they come in."""
    return heapq.nsmallest(most, files, key=lambda file: (derive_seed(seed, "sheet", file.relative), file.relative))


def levels_of(domains: Sequence[Domain], white_level: float | None) -> Depth:
    """How images of more than 8 bits are read."""
    return Depth(white_level).among(domains, look_at_samples)


def _drawn_by_class(domain: Domain, names: Sequence[str], seed: int) -> dict[str, list[ImageFile]]:
    """`drawn` of each class in one pass over the files, of which there may be many: few are kept."""
    kept: dict[str, list[ImageFile]] = {name: [] for name in names}
    for file in domain.files:
        own = kept.get(str(file.label) if domain.classes else "")
        if own is not None:
            own.append(file)
            if len(own) == 8 * _TRIED:
                own[:] = drawn(own, seed, _TRIED)
    return {name: drawn(own, seed, _TRIED) for name, own in kept.items()}


def _folder_row(domain: Domain, name: str, count: int, files: Sequence[ImageFile], depth: Depth) -> Row:
    found = list(islice(_pictures(files, depth), ACROSS))
    words = [domain.name, *([name] if name else []), amount(count, "image", "images")]
    empty = Shown(Image.new("RGB", (SIDE, SIDE), (240, 240, 240)), "none readable" if count else "no image")
    return Row(words, found or [empty])


def _pictures(files: Sequence[ImageFile], depth: Depth) -> Iterator[Shown]:
    """Those that can be read, one by one."""
    for file in files:
        found = attempt(file, partial(_small, file=file, depth=depth))
        if not isinstance(found, Skipped):
            yield Shown(found)


def _small(data: bytes, file: ImageFile, depth: Depth) -> Image.Image:
    return decode_to(data, small, side=SIDE, levels=partial(depth.of, file.path))
