"""Training the source model: what `gformer pretrain` does, and `gformer meta-train` where there is none yet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gformer_cli.commands.caching import Cache
from gformer_cli.commands.recording import recorded
from gformer_cli.compute.threads import Cores
from gformer_cli.console import Terminal, percent, table
from gformer_cli.folders.domains import Domain
from gformer_cli.records.sinks import Log

if TYPE_CHECKING:
    import torch
    from rich.table import Table

    from gformer_cli.settings import Settings
    from gformer_cli.train.pretrain import PretrainResult
    from gformer_cli.train.run_folder import RunFolder


@dataclass(frozen=True)
class SourceTraining:
    """One call of the stage."""

    terminal: Terminal
    domains: Sequence[Domain]
    settings: Settings
    run: RunFolder
    device: torch.device
    workers: int
    cache: Cache
    cores: Cores
    strict: bool
    resume: bool
    overwrite: bool
    log: Sequence[Log] = ()

    def check(self) -> list[str]:
        """The classes; raises `InputError` for what the stage would refuse, before it reads an image."""
        from gformer_cli.train.pretrain import check_resumed, check_source

        self.run.check_claim(self.settings, resume=self.resume, overwrite=self.overwrite)
        check_resumed(
            self.domains, self.run, resume=self.resume
        )  # before what the folders lack: it may have come since
        classes = check_source(self.domains, leave_one_domain_out=self.settings.pretrain.leave_one_domain_out)
        for domain in self.domains:
            missing = [name for name in classes if name not in domain.classes]
            if missing:
                self.terminal.warning(f"domain {domain.name} has no class folder for: {', '.join(missing)}")
        return classes

    def try_backbone(self, classes: Sequence[str]) -> None:
        """What the stage tries before it reads an image, without a download; raises `InputError`."""
        from gformer_cli.train.pretrain import try_backbone

        for remark in try_backbone(self.settings, len(classes), len(self.domains), self.device, download=False):
            self.terminal.warning(remark)

    def outputs(self) -> list[Path]:
        """The files that it makes and keeps."""
        lacking = self.domains if self.settings.pretrain.leave_one_domain_out else ()
        labels = ["all", *(f"without-{domain.name}" for domain in lacking)]
        return [self.run.settings_path, self.run.source_path, *map(self.run.model_path, labels)]

    def train(self) -> PretrainResult:
        """Train, showing progress and what was skipped."""
        from gformer_cli.train.pretrain import pretrain

        if not self.settings.pretrain.leave_one_domain_out:
            self.terminal.warning(
                "no leave-one-domain-out models: meta-training will know simulated shifts only, which costs accuracy "
                "on real ones"
            )
        own = self.run.root, self.settings, lambda: self.run.pretrain_log, self.log
        with (
            self.terminal.progress() as shown,
            recorded(shown, "pretrain", *own, resumed=self.resume) as (progress, _),
        ):
            done = pretrain(
                self.domains,
                self.settings,
                self.run,
                device=self.device,
                workers=self.workers,
                store=self.cache.open(),
                cores=self.cores,
                strict=self.strict,
                resume=self.resume,
                overwrite=self.overwrite,
                progress=progress,
            )
        self.terminal.skipped([(item.path, item.reason) for item in done.skipped])
        if done.source.still_rising:
            steps = self.settings.pretrain.steps
            self.terminal.message(
                "validation was still rising when training ended: more steps make a better source model, such as "
                f"--set pretrain.steps={2 * steps}"
            )
        return done


def document(run: RunFolder, done: PretrainResult) -> dict[str, Any]:
    """What was made, for --json."""
    return {
        "run": str(run.root),
        "classes": done.source.classes,
        "domains": done.source.domains,
        "fingerprint": done.source.fingerprint,
        "validation_accuracy": done.accuracies,
        "still_rising": done.source.still_rising,
        "skipped": [{"path": item.path, "reason": item.reason} for item in done.skipped],
    }


def accuracies(done: PretrainResult) -> Table:
    """What was made, to be shown."""
    return table(
        "Accuracy on validation images of the domains a model was trained on",
        ["model", "%"],
        [[name, percent(value)] for name, value in done.accuracies.items()],
    )
