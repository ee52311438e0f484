"""A generator in a file of its own: what generates on many networks, without any of them.

It is a safetensors file as bundles are. Tensors `generator.*` are the generator's state dict; the header's metadata has
one key, `gformer-generator`, with the JSON of `GeneratorFileHeader`.
"""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from gformer_cli.bundle.card import (
    GENERATOR_FORMAT,
    Card,
    GeneratorFileHeader,
    parse_generator_header,
)
from gformer_cli.bundle.check import GENERATOR
from gformer_cli.bundle.header import GENERATOR_KEY, KEY, GeneratorHeader, library_versions, open_file
from gformer_cli.bundle.integrity import stamped
from gformer_cli.core.generators import Generator
from gformer_cli.errors import InputError, WorkError
from gformer_cli.files import atomic_path
from gformer_cli.settings import GeneratorSettings
from gformer_cli.weights.torch_files import unusable

UNIVERSAL = "universal"
"""The name of the generator that comes with gformer."""


def generator_path(name: Path | str) -> Path:
    """The file that `name` means: a path, or `universal` where no file of that name is at hand."""
    path = Path(name)
    if str(name) != UNIVERSAL or path.is_file():
        return path
    return Path(str(resources.files("gformer_cli"))) / "generators" / "universal.safetensors"


def fits_its_own_alone(settings: GeneratorSettings) -> str | None:
    """Why a generator of `settings` fits no other network than its own; None for one that fits any."""
    if settings.kind != "channel":
        return f"is of the kind {settings.kind}"
    return "is on top of a constant one" if settings.on_constant else None


def save_generator(path: Path, generator: Generator, settings: GeneratorSettings, card: Card) -> None:
    """Write a generator of `settings` with its card, atomically. The same contents give the same bytes.

    Raises `InputError` for a generator that fits its own network alone, and `WorkError` for one that holds what is not
    finite.
    """
    why = fits_its_own_alone(settings)
    if why is not None:
        raise InputError(
            f"a generator that {why} fits its own network alone, so it has no file of its own",
            "Train one with generator.kind=channel and generator.on_constant=false.",
        )
    state = generator.state_dict()
    tensors = {f"generator.{name}": tensor.detach().cpu().contiguous() for name, tensor in state.items()}
    broken = unusable(tensors)
    if broken is not None:
        raise WorkError(f"the generator cannot be used, so it is not kept: {broken}", f"{path} is as it was.")
    header = GeneratorFileHeader(
        format_version=GENERATOR_FORMAT,
        generator=GeneratorHeader(settings=settings, parameters=sum(p.numel() for p in generator.parameters())),
        card=card,
        versions=library_versions(),
    )
    content = stamped(header, tensors, GENERATOR_KEY)
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)


def is_generator_file(name: Path | str) -> bool:
    """Whether it is a generator in a file of its own: not a bundle, nor anything else."""
    try:
        return GENERATOR_KEY in (open_file(generator_path(name), GENERATOR).metadata() or {})
    except InputError:
        return False


def read_generator_header(name: Path | str) -> GeneratorFileHeader:
    """The checked header of a generator file; no tensor is read. Raises `InputError` for anything else."""
    path = generator_path(name)
    metadata = open_file(path, GENERATOR).metadata()
    if KEY in (metadata or {}):
        raise InputError(
            f"{path} is a bundle, which has no card of its generator", "Give a generator file, or universal."
        )
    return parse_generator_header(path, metadata)


def read_card(name: Path | str) -> Card:
    """What the generator in the file `name` (or `universal`) has learnt on. Raises `InputError`, also for a bundle."""
    return read_generator_header(name).card
