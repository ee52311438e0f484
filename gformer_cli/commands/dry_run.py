"""What `--dry-run` shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from gformer_cli.commands.options import DOMAIN_COLUMNS, domain_rows
from gformer_cli.console import Terminal, table
from gformer_cli.folders.domains import Domain

if TYPE_CHECKING:
    import torch

    from gformer_cli.settings import Settings


def show_training_plan(
    terminal: Terminal,
    domains: Sequence[Domain],
    classes: Sequence[str],
    settings: Settings,
    device: torch.device,
    workers: int,
    outputs: Sequence[Path],
    left_aside: Mapping[str, int],
) -> None:
    """Settings, counted images, device and output paths of a training command."""
    from gformer_cli.config import to_yaml

    document = _plan(domains, device, workers, outputs) | {"left_aside": dict(left_aside)}
    terminal.result(
        document | {"classes": list(classes), "settings": settings.model_dump(mode="json")},
        "Resolved settings:",
        *to_yaml(settings).splitlines(),
        *_shown(domains, device, workers, outputs),
    )


def show_prediction_plan(
    terminal: Terminal,
    domains: Sequence[Domain],
    device: torch.device,
    workers: int,
    outputs: Sequence[Path],
    choices: Mapping[str, object],
    left_aside: Mapping[str, int],
) -> None:
    """Counted images, device, output paths and the command's own choices."""
    terminal.result(
        _plan(domains, device, workers, outputs) | dict(choices) | {"left_aside": dict(left_aside)},
        *(f"{name.replace('_', ' ')}: {_in_words(value)}" for name, value in choices.items()),
        *_shown(domains, device, workers, outputs),
    )


def _plan(domains: Sequence[Domain], device: torch.device, workers: int, outputs: Sequence[Path]) -> dict[str, object]:
    return {
        "dry_run": True,
        "domains": {domain.name: domain.counts or {"(unlabelled)": len(domain.files)} for domain in domains},
        "device": str(device),
        "workers": workers,
        "outputs": [str(path) for path in outputs],
    }


def _in_words(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _shown(domains: Sequence[Domain], device: torch.device, workers: int, outputs: Sequence[Path]) -> list[object]:
    return [
        *([table("", DOMAIN_COLUMNS, domain_rows(list(domains)))] if domains else []),
        f"\nDevice: {device}, decoding threads: {workers}",
        "Would write: " + ", ".join(str(path) for path in outputs) if outputs else "Would write nothing",
        "Dry run: nothing was touched.",
    ]
