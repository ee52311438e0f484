"""What `gformer adapt` and `gformer watch` do to be trusted: the guard, the audit log, keeping each generated set."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gformer_cli.console import Terminal

if TYPE_CHECKING:
    import torch

    from gformer_cli.audit.sinks import Kept
    from gformer_cli.bundle import Bundle
    from gformer_cli.export.model import GraphModel
    from gformer_cli.guard.rule import Guard, Verdict

PANEL = "Guard and audit"


class GuardMode(str, Enum):
    """What the guard may do."""

    off = "off"
    warn = "warn"
    on = "on"


GuardOption = Annotated[
    GuardMode,
    typer.Option(
        "--guard",
        help="on leaves a batch that generated parameters may harm to the source model, in part or in whole; "
        "warn decides and says so, but predicts as generated; off does not look.",
        rich_help_panel=PANEL,
    ),
]
GuardLimits = Annotated[
    list[str] | None,
    typer.Option(
        "--guard-limit",
        metavar="NAME=VALUE",
        help="Another threshold for the guard than the calibrated one; gformer inspect lists them. Repeatable.",
        rich_help_panel=PANEL,
        show_default=False,
    ),
]
Audit = Annotated[
    Path | None,
    typer.Option(
        "--audit",
        metavar="FILE",
        help="Append one line a batch to this log (.jsonl): see gformer audit.",
        rich_help_panel=PANEL,
        show_default=False,
    ),
]
AuditAppend = Annotated[
    bool,
    typer.Option(
        "--audit-append",
        help="Continue a log that another bundle or other settings wrote.",
        rich_help_panel=PANEL,
    ),
]
SaveParameters = Annotated[
    Path | None,
    typer.Option(
        "--save-parameters",
        metavar="DIR",
        help="Keep the parameters of each batch, one safetensors file each.",
        rich_help_panel=PANEL,
        show_default=False,
    ),
]


@dataclass(frozen=True)
class Trust:
    """These options of one command line."""

    guard: GuardMode
    limits: list[str]
    audit: Path | None
    append: bool
    parameters: Path | None

    @property
    def obeyed(self) -> bool:
        return self.guard is GuardMode.on

    def prepare(
        self,
        terminal: Terminal,
        bundle: Bundle | GraphModel,
        model: Path,
        device: torch.device,
        settings: Mapping[str, Any],
        *,
        out: Path,
        overwrite: bool = False,
        continued: bool = False,
    ) -> tuple[Guard | None, Kept]:
        """The guard to follow and what is kept beside the predictions in `out`; nothing is touched yet.

        `settings` are the command's choices that decide predictions. Raises `InputError` for what cannot be done.
        """
        from gformer_cli.audit.sinks import plan_sinks

        rule = self.rule(bundle)
        kept = plan_sinks(
            bundle,
            model,
            device,
            {**settings, "guard": self.guard.value, "guard_limits": [*sorted(self.limits)]},
            audit=self.audit,
            append=self.append,
            parameters=self.parameters,
            overwrite=overwrite,
            continued=continued,
            others=[out],
        )
        self.tell(terminal, bundle, rule)
        return rule, kept

    def rule(self, bundle: Bundle | GraphModel) -> Guard | None:
        """The guard to follow. Raises `InputError` for limits that cannot be."""
        from gformer_cli.adapt import choose_guard

        return choose_guard(bundle, wanted=self.guard is not GuardMode.off, limits=self.limits)

    def tell(self, terminal: Terminal, bundle: Bundle | GraphModel, rule: Guard | None) -> None:
        """A warning where a guard is wanted and there is none."""
        if rule is None and self.guard is not GuardMode.off and bundle.header.static is None:
            terminal.warning(
                "the bundle holds no calibrated guard, so every batch is predicted as generated: "
                "gformer meta-train makes one"
            )

    def mode(self, rule: Guard | None) -> str:
        """What the guard does, with a bundle that may hold none."""
        return self.guard.value if rule is not None else GuardMode.off.value


def told(verdict: Verdict) -> str:
    """A verdict in words."""
    share = f" ({verdict.share:.0%} generated)" if 0.0 < verdict.share < 1.0 else ""
    return f"{verdict.decision}{share}, because of {', '.join(verdict.reasons)}"


def counted(decisions: Mapping[str, int]) -> list[str]:
    """How often the guard decided what, in one line; none without a guard or a batch."""
    return [f"Guard: {', '.join(f'{count} {name}' for name, count in decisions.items())}"] if decisions else []
