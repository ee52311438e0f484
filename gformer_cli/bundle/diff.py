"""What differs between two bundles: header, and tensors layer by layer. Tensors are read one by one."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from gformer_cli.bundle import BundleHeader, open_file, read_header
from gformer_cli.bundle.check import CONSTANT_NAMES

_HASHES = ("content_hash", "part_hashes")
"""They differ whenever anything else does."""
_NORMALISATION = {"weight": "γ", "bias": "β", "running_mean": "mean", "running_var": "variance"}


@dataclass(frozen=True)
class FieldChange:
    """A header field by its dotted name; None on the side that does not have it."""

    key: str
    a: Any
    b: Any


@dataclass(frozen=True)
class LayerChange:
    """A layer whose tensors differ."""

    layer: str
    kind: str
    """`normalisation`, `convolution`, `classifier`, `linear`, or `other`."""
    change: float
    """The largest of `tensors`."""
    tensors: dict[str, float]
    """Per tensor that differs |b - a| / |a| (Euclidean norms); infinite where a is zero or either is not finite."""


@dataclass(frozen=True)
class PartChange:
    """One kind of tensors of both bundles."""

    equal: int
    """Tensors that are the same to the bit."""
    layers: list[LayerChange]
    """Largest change first."""
    only_a: list[str]
    only_b: list[str]
    reshaped: dict[str, tuple[list[int], list[int]]]
    """Tensors of one name and two shapes, in a and in b."""

    @property
    def same(self) -> bool:
        return not (self.layers or self.only_a or self.only_b or self.reshaped)


@dataclass(frozen=True)
class Difference:
    """All that differs."""

    header: list[FieldChange]
    parts: dict[str, PartChange]
    """`model`: the tensors of the network, of a static bundle those that it kept; `source`, where one of them is
    static: the networks before adapting; then `generator` and `constant`, where any has them."""

    @property
    def same(self) -> bool:
        return not self.header and all(part.same for part in self.parts.values())


def diff(a: Path, b: Path) -> Difference:
    """Compare two bundles of any architecture. Raises `InputError` for what is not a bundle."""
    headers, files = [read_header(path) for path in (a, b)], [open_file(path) for path in (a, b)]
    one, other = (_Tensors(file) for file in files)
    classes = len(headers[0].classes)
    parts = {"model": _compare(one.part("backbone", "static"), other.part("backbone", "static"), classes)}
    if any(header.static is not None for header in headers):
        parts["source"] = _compare(one.part("backbone"), other.part("backbone"), classes)
    for kinds in (("generator",), CONSTANT_NAMES):
        pair = one.part(*kinds), other.part(*kinds)
        if any(pair):
            parts[kinds[0]] = _compare(*pair)
    return Difference(_compare_headers(*headers), parts)


Readers = dict[str, Callable[[], torch.Tensor]]


class _Tensors:
    def __init__(self, file: Any) -> None:
        self._file = file
        self._names: list[str] = list(file.keys())

    def part(self, *kinds: str) -> Readers:
        """Readers by the tensors' names inside their kind; a later kind takes the place of an earlier one."""
        return {
            name.partition(".")[2]: partial(self._file.get_tensor, name)
            for kind in kinds
            for name in self._names
            if name.startswith(f"{kind}.")
        }


def _compare(a: Readers, b: Readers, classes: int = 0) -> PartChange:
    """`classes` tells the classifier from other linear layers; 0 where there is none."""
    equal = 0
    changes: dict[str, dict[str, float]] = defaultdict(dict)
    reshaped: dict[str, tuple[list[int], list[int]]] = {}
    for name in sorted(a.keys() & b.keys()):
        before, after = a[name](), b[name]()
        if before.shape != after.shape:
            reshaped[name] = list(before.shape), list(after.shape)
        elif _same_bits(before, after):
            equal += 1
        else:
            layer, _, tensor = name.rpartition(".")
            shown = _NORMALISATION.get(tensor, tensor) if f"{layer}.running_mean" in a else tensor
            changes[layer][shown] = _relative(before, after)
    layers = [
        LayerChange(name, _kind(a, name, classes), max(tensors.values()), tensors) for name, tensors in changes.items()
    ]
    return PartChange(
        equal,
        sorted(layers, key=lambda layer: (-layer.change, layer.layer)),
        sorted(a.keys() - b.keys()),
        sorted(b.keys() - a.keys()),
        reshaped,
    )


def _kind(tensors: Readers, layer: str, classes: int) -> str:
    if f"{layer}.running_mean" in tensors:
        return "normalisation"
    weight = tensors[f"{layer}.weight"]() if f"{layer}.weight" in tensors else None
    if weight is not None and weight.dim() == 4:
        return "convolution"
    if weight is not None and weight.dim() == 2:
        return "classifier" if len(weight) == classes else "linear"
    return "other"


def _same_bits(a: torch.Tensor, b: torch.Tensor) -> bool:
    bits = [tensor.reshape(-1).view(torch.uint8) for tensor in (a, b)]  # so that NaN equals itself
    return a.dtype == b.dtype and torch.equal(*bits)


def _relative(before: torch.Tensor, after: torch.Tensor) -> float:
    before, after = before.double(), after.double()
    scale = float(torch.linalg.vector_norm(before))
    moved = float(torch.linalg.vector_norm(after - before))
    change = moved / scale if scale else math.inf
    return change if math.isfinite(change) else math.inf


def _compare_headers(a: BundleHeader, b: BundleHeader) -> list[FieldChange]:
    one, other = (_flat(header.model_dump(mode="json", exclude=set(_HASHES))) for header in (a, b))
    return [
        FieldChange(key, one.get(key), other.get(key))
        for key in sorted(one.keys() | other.keys())
        if one.get(key) != other.get(key)
    ]


def _flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat
