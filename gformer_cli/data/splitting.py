"""Which images are trained on, and which are held out."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from functools import partial

from gformer_cli.folders.domains import ImageFile, nfc
from gformer_cli.folders.gathering import VALIDATION
from gformer_cli.seeding import derive_seed


def split(domains: Sequence[Sequence[ImageFile]], fraction: float, seed: int) -> list[tuple[array[int], array[int]]]:
    """Per domain the positions for training and for validation: as files say, else `fraction` of each class, by name.

    The same class and file name goes the same way in every domain, so that one object photographed under
    several conditions is never on both sides; that comes before the exact share. Small groups choose first.
    A class of a single image is trained on.
    """
    groups: dict[tuple[int, str], set[str]] = {}
    for number, files in enumerate(domains):
        for file in files:
            if file.split:
                continue
            groups.setdefault((number, str(file.label)), set()).add(nfc(file.name))
    held: dict[str, dict[str, bool]] = {label: {} for _, label in groups}
    for (_, label), names in sorted(groups.items(), key=lambda item: (len(item[1]), item[0])):
        chosen = held[label]
        wanted = max(0, min(max(1, round(len(names) * fraction)), len(names) - 1))
        wanted -= sum(chosen.get(name, False) for name in names)
        for name in sorted(names - chosen.keys(), key=partial(derive_seed, seed, label)):
            chosen[name] = wanted > 0
            wanted -= 1
    sides: list[tuple[array[int], array[int]]] = []
    for files in domains:
        train, validation = array("q"), array("q")
        for position, file in enumerate(files):
            held_out = file.split == VALIDATION if file.split else held[str(file.label)][nfc(file.name)]
            (validation if held_out else train).append(position)
        sides.append((train, validation))
    return sides
