"""The card of a generator: what it has learnt on, by which licences, and what it was measured to do.

It stands in the metadata of a generator file, beside the generator's settings.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

from pydantic import ConfigDict, Field, FiniteFloat

from gformer_cli.bundle.check import GENERATOR
from gformer_cli.bundle.header import GENERATOR_KEY, GeneratorHeader, Part, parse
from gformer_cli.core.backbone import Backbone
from gformer_cli.networks.own_code import own_code
from gformer_cli.settings import BackboneSettings

GENERATOR_FORMAT = 1
Digest = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
Whole = Annotated[int, Field(ge=0)]


class _Strict(Part):
    model_config = ConfigDict(extra="ignore", frozen=True, strict=True)


class LearntNetwork(_Strict):
    """A source model whose parameters the generator has learnt to generate."""

    backbone: str
    width: FiniteFloat
    stem: str
    norms: dict[str, Whole]
    """How many of its normalisation layers are adapted, per family, such as `LayerNorm`."""
    weights: str
    """That it started from, by their name without the place; `none` where it was trained from scratch."""


class LearntRun(_Strict):
    """A run that the generator has learnt on: a task and a network."""

    task: str
    domains: dict[str, Whole]
    """Per source domain the number of its images."""
    classes: list[str]
    fingerprint: str
    """Of the source images, as in a bundle's header."""
    network: LearntNetwork
    seed: Whole

    @property
    def images(self) -> int:
        return sum(self.domains.values())


class Licence(_Strict):
    """What a part of the data may be used by."""

    name: str
    """Of the data."""
    licence: str
    package: str
    """Where the data came from."""


class Figures(_Strict):
    """Numbers, and the command line that made them."""

    command: str
    values: dict[str, FiniteFloat]


class Card(_Strict):
    """Where a generator is from. An untrained one has no runs."""

    runs: tuple[LearntRun, ...] = ()
    steps: Whole = 0
    episodes: Whole = 0
    start: Digest | None = None
    """SHA-256 of the file of the generator that it went on from; None for one that began untrained."""
    licences: tuple[Licence, ...] = ()
    figures: tuple[Figures, ...] = ()
    calibration: dict[str, FiniteFloat] = Field(default_factory=dict)
    """What calibrating it on held-out tasks left, by name."""


class GeneratorFileHeader(Part):
    """Everything about a generator file that is not a tensor."""

    format_version: Annotated[int, Field(ge=1)]
    generator: GeneratorHeader
    card: Card
    versions: dict[str, str]
    part_hashes: dict[str, str] = Field(default_factory=dict)
    content_hash: Digest | None = None
    """As in a bundle's header."""


def learnt_run(
    task: str,
    settings: BackboneSettings,
    backbone: Backbone,
    *,
    classes: list[str],
    domains: Mapping[str, Mapping[str, int]],
    fingerprint: str,
    seed: int,
) -> LearntRun:
    """The entry of a card for a run: `domains` has the number of images per class of each source domain.

    Of files that the settings name, the name alone is kept: where they lie is nobody's business elsewhere.
    """
    name = settings.name
    return LearntRun(
        task=task,
        domains={domain: sum(counts.values()) for domain, counts in domains.items()},
        classes=classes,
        fingerprint=fingerprint,
        network=LearntNetwork(
            backbone=Path(name).name if own_code(name) else name,
            width=settings.width,
            stem=settings.stem,
            norms=backbone.families,
            weights=Path(settings.weights).name,
        ),
        seed=seed,
    )


def parse_generator_header(path: Path, metadata: dict[str, str] | None) -> GeneratorFileHeader:
    """The checked header of a generator file from its metadata. Raises `InputError`."""
    return parse(path, metadata, GENERATOR_KEY, GeneratorFileHeader, GENERATOR_FORMAT, GENERATOR)
