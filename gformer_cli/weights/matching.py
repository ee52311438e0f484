"""Which tensor of a file is which of a network's: prefixes, heads of another name, and copies are found by looking."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch

from gformer_cli.errors import InputError
from gformer_cli.weights.file import is_average

State = Mapping[str, torch.Tensor]
_WRAPPERS = re.compile(r"(?:^|(?<=\.))(_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.")
"""Parts that torch itself puts anywhere into names."""
_EARLIER = ((re.compile(r"\bmlp\.linear_1\."), "mlp.0."), (re.compile(r"\bmlp\.linear_2\."), "mlp.3."))
"""Names that torchvision gave before, as its published ViT weights still have, and those of now."""
_NOT_THE_NETWORK = re.compile(
    r"(^|\.)(criterion|loss|losses|loss_fn|loss_func|optimizer|metrics?|discriminator|aux\d?|AuxLogits|n_averaged"
    r"|num_batches_tracked|relative_position_index|attn_mask|position_ids|total_ops|total_params)(\.|$)"
)


@dataclass(frozen=True)
class Match:
    """Which of a file's tensors is which of a network's."""

    names: dict[str, str]
    """By the network's own name the file's, whether or not the shapes are equal."""
    unused: tuple[str, ...]
    """The file's other names, without those of copies of tensors that are used."""


def is_needless(name: str) -> bool:
    """Whether no prediction needs the tensor: it is averaged, of training alone, a count, or computed anew."""
    return is_average(name) or _NOT_THE_NETWORK.search(name) is not None


def counts_batches(name: str) -> bool:
    """Whether it is the counter of a batch normalisation, which no prediction reads."""
    return name.endswith("num_batches_tracked")


def match(own: State, theirs: State, origin: str, *, free: frozenset[str] = frozenset()) -> Match:
    """Find the tensors `own` of a network among `theirs` of a file, which messages call `origin`.

    The body is what lies below the prefix that gives the most of the network's names and shapes, such as `module.`,
    `model.backbone.` or none at all. A prefix of its own may hold the head (`head.fc.weight`), and the head may have
    another name, if one module is left that has just its tensors. Where less than half of the names are known, the same
    tensors in the same order are taken, if every one has the same last name and, but for the names in `free`, shape.

    Raises `InputError` where two prefixes fit alike and their tensors differ.
    """
    full = {_renewed(name, own): name for name in theirs}
    values = {name: theirs[given] for name, given in full.items()}
    prefixes = _prefixes(own, values)
    names: dict[str, str] = {}
    for prefix in prefixes[:1] + [prefix for prefix in prefixes[1:] if not is_needless(prefix)]:
        names = {name: prefix + name for name in own if prefix + name in values} | names
    if prefixes:
        _check_alternatives(own, values, prefixes, origin)
    if len(names) < len(own) / 2:
        names = _in_order(own, values, free) or names
    names |= _renamed_head(own, values, names)
    used: defaultdict[tuple[str, torch.Size], list[str]] = defaultdict(list)
    for name in names.values():
        used[_last(name), values[name].shape].append(name)
    left = [
        name
        for name in values.keys() - set(names.values())
        if not any(torch.equal(values[name], values[other]) for other in used[_last(name), values[name].shape])
    ]
    return Match(
        {name: full[found] for name, found in names.items()},
        tuple(given for name, given in full.items() if name in left),
    )


def _renewed(name: str, own: State) -> str:
    name = _WRAPPERS.sub("", name)
    for earlier, now in _EARLIER:
        if not any(earlier.search(known) for known in own):
            name = earlier.sub(now, name)
    return name


def _last(name: str) -> str:
    return name.rpartition(".")[2]


def _prefixes(own: State, values: State) -> list[str]:
    """The prefixes below which names of the network are: that with the most first, averages last."""
    hits: Counter[str] = Counter()
    for name, value in values.items():
        for inner in _endings(name):
            if inner in own:
                hits[name.removesuffix(inner)] += 2 if value.shape == own[inner].shape else 1
    return sorted(hits, key=lambda prefix: (is_average(prefix), -hits[prefix], len(prefix)))


def _endings(name: str) -> Iterable[str]:
    """`a.b.c`, `b.c`, `c`."""
    while name:
        yield name
        name = name.partition(".")[2]


def _check_alternatives(own: State, values: State, prefixes: list[str], origin: str) -> None:
    """Raises `InputError` where another prefix has all that the first one has, but not the same."""
    best, *others = prefixes
    taken = [name for name in own if best + name in values]
    for other in others:
        if is_average(other) or not all(other + name in values for name in taken):
            continue
        differing = [name for name in taken if not _equal(values[best + name], values[other + name])]
        if differing:
            raise InputError(
                f"weights {origin} hold two networks that fit, below {best!r} and {other!r}: "
                f"{len(differing)} tensors differ, such as {differing[0]}",
                "Save the one that is meant alone, or name it: "
                f"gformer import --weights-key {(best or other).rstrip('.')}",
            )


def _renamed_head(own: State, values: State, names: Mapping[str, str]) -> dict[str, str]:
    """What is missing, if it is the weight and bias of one module, from the only module left that has just these.

    One with another number of classes is taken as well, if there is none that fits: its shape says what is wrong.
    """
    missing = {_last(name): name for name in own if name not in names and not counts_batches(name)}
    modules = {name.rpartition(".")[0] for name in missing.values()}
    if len(modules) != 1 or not missing.keys() <= {"weight", "bias"} or "weight" not in missing:
        return {}
    left: defaultdict[str, dict[str, str]] = defaultdict(dict)
    for name in values.keys() - set(names.values()):
        if not is_needless(name):
            left[name.rpartition(".")[0]][_last(name)] = name
    alike = [left[module] for module in sorted(left) if left[module].keys() == missing.keys()]
    for start in (0, 1):  # of the axes that must be equal: the first is the classes'
        fitting = [
            found
            for found in alike
            if all(values[found[last]].shape[start:] == own[name].shape[start:] for last, name in missing.items())
        ]
        if fitting:
            first, *others = fitting
            same = all(_equal(values[first[last]], values[other[last]]) for other in others for last in missing)
            return {name: first[last] for last, name in missing.items()} if same else {}
    return {}


def _in_order(own: State, values: State, free: frozenset[str]) -> dict[str, str]:
    """`own` by the names of another library for the same tensors in the same order; nothing unless all are alike."""
    without = [name for name in own if not counts_batches(name)], [name for name in values if not counts_batches(name)]
    for mine, others in ((list(own), list(values)), without):
        pairs = dict(zip(mine, others, strict=False))
        if len(mine) == len(others) and all(
            _last(name) == _last(other) and (own[name].shape == values[other].shape or name in free)
            for name, other in pairs.items()
        ):
            return pairs
    return {}


def _equal(one: torch.Tensor, other: torch.Tensor) -> bool:
    return one.shape == other.shape and torch.equal(one, other)
