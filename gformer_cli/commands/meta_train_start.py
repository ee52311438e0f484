"""What `gformer meta-train` goes on from where nobody has said it. No torch here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from gformer_cli.console import Terminal
from gformer_cli.preset_files import read_preset

if TYPE_CHECKING:
    from gformer_cli.settings import Settings
    from gformer_cli.train.checkpoint import Checkpoint

USUAL = "universal"
"""The generator that training goes on from unless it is told otherwise: the one that comes with gformer."""
_START, _GENERATOR = "meta_train.start", "generator."
_BY_ITSELF = (
    "Training goes on from universal, the generator that comes with gformer: --start none begins with an untrained one"
)
_OWN = (
    "Training begins with an untrained generator, since --set names its settings: --start universal would go on from "
    "the one that comes with gformer"
)


def with_start(
    terminal: Terminal,
    settings: Settings,
    *,
    preset: str | None,
    assignments: Sequence[str],
    flag: str | None,
    begun: str | None,
) -> Settings:
    """`settings` with the start of training, and with the generator section of that start.

    A start that the command or its `preset` names holds. Else what was `begun` with one is gone on with, and a run that
    was started with a file keeps it. Else it is the shipped generator, unless the `assignments` ask for a generator of
    their own, or `settings` for one of another kind. Raises `InputError` for a start that cannot be read.
    """
    from gformer_cli.train.start import NO_START, taking_its_settings

    keys = [text.partition("=")[0].strip() for text in assignments]
    if flag is None and _START not in keys and not _names_start(preset):
        start = settings.meta_train.start
        if begun is not None:
            start = begun
            terminal.message(f"Training goes on as it was begun, with meta_train.start={begun}")
        elif start in (NO_START, USUAL):
            start = NO_START
            if settings.generator.kind == "channel":
                own = any(key.startswith(_GENERATOR) for key in keys)
                terminal.message(_OWN if own else _BY_ITSELF)
                start = NO_START if own else USUAL
        settings = settings.model_copy(update={"meta_train": settings.meta_train.model_copy(update={"start": start})})
    return taking_its_settings(settings, assignments)


def begun_with(checkpoint: Checkpoint) -> str | None:
    """What `meta_train.start` was for the training that `checkpoint` is of; None where there is none that says it.

    Raises `InputError` for a checkpoint that cannot be read.
    """
    import yaml

    from gformer_cli.config import validate
    from gformer_cli.errors import InputError
    from gformer_cli.preset_files import parse_yaml

    state = checkpoint.load()
    try:
        return None if state is None else validate(parse_yaml(str(state.get("settings")))).meta_train.start
    except (InputError, yaml.YAMLError):  # going on from it refuses it
        return None


def _names_start(preset: str | None) -> bool:
    section = None if preset is None else read_preset(preset).get("meta_train")
    return isinstance(section, dict) and "start" in section
