"""The order in which a target's images arrive."""

from __future__ import annotations

import random

from gformer_cli.data.folders import Domain, ImageFile
from gformer_cli.seeding import derive_seed


def stationary(domain: Domain, seed: int) -> list[ImageFile]:
    """The images of one domain, shuffled by `seed`: a camera in one condition, classes in no order.

    The order depends on file names alone, not on class folders: relabelling an image moves no batch.
    """
    files = sorted(domain.files, key=lambda file: file.path.name)
    random.Random(derive_seed(seed, "stationary", domain.name)).shuffle(files)
    return files
