"""`gformer meta-train` with several runs: one generator learns from all, and is written to a file of its own."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from typer.core import TyperCommand

from gformer_cli.commands.caching import Cache
from gformer_cli.commands.found import SOURCE_SPLITS, find_images
from gformer_cli.commands.meta_train_start import begun_with, with_start
from gformer_cli.commands.options import DOMAIN_COLUMNS, domain_rows
from gformer_cli.console import Terminal, percent, table
from gformer_cli.errors import InputError
from gformer_cli.folders.domains import Domain, Known, Layout, check_folders_exist, count_suffixes

if TYPE_CHECKING:
    import torch

    from gformer_cli.compute.threads import Cores
    from gformer_cli.settings import Settings
    from gformer_cli.train.meta_train_many import ManyResult
    from gformer_cli.train.run_folder import RunFolder

_ORDER = "gformer.order"
_SECTIONS = ("generator", "meta_train", "shifts", "seed")
"""Of the settings, those that hold for all runs; the others are each run's own."""


class InOrder(TyperCommand):
    """A command that knows in which order its options came: a --source belongs to the --run before it."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        _, _, order = self.make_parser(ctx).parse_args(args=list(args))
        ctx.meta[_ORDER] = [parameter.name for parameter in order if parameter.name in ("run", "source")]
        return super().parse_args(ctx, args)


def by_run(context: Any, runs: Sequence[Path], sources: Sequence[Path]) -> list[tuple[Path, list[Path]]]:
    """Each of several runs and its sources. Raises `InputError` for a run without, a source without a run, and a source
    that is no folder or is given to a run twice."""
    groups: list[tuple[Path, list[Path]]] = []
    left, given = list(sources), list(runs)
    for name in context.meta[_ORDER]:
        if name == "run":
            groups.append((given.pop(0), []))
        elif groups:
            groups[-1][1].append(left.pop(0))
        else:
            raise InputError(
                f"--source {left[0]} stands before the first --run, and there are several",
                "Name the --source folders of each run after its --run.",
            )
    for run, own in groups:
        check_folders_exist(own)
        if not own:
            raise InputError(
                f"--run {run} has no --source", "Name its --source folders after it, before the next --run."
            )
    return groups


@dataclass(frozen=True)
class SeveralRuns:
    """One call."""

    terminal: Terminal
    runs: Sequence[tuple[RunFolder, Sequence[Domain]]]
    settings: Settings
    out: Path
    device: torch.device
    workers: int
    cache: Cache
    cores: Cores
    strict: bool
    resume: bool
    overwrite: bool
    left_aside: Mapping[str, int]

    def check(self) -> None:
        """Raises `InputError` for what training would refuse, before it reads an image."""
        from gformer_cli.train.meta_train_many import GeneratorPlace, check_place, check_runs

        check_place(GeneratorPlace(self.out), resume=self.resume, overwrite=self.overwrite)
        check_runs(self.runs, self.settings)
        without = [str(run.root) for run, _ in self.runs if not run.source().leave_one_domain_out]
        if without:
            self.terminal.warning(
                f"no leave-one-domain-out models in {', '.join(without)}: their episodes are simulated shifts only, "
                "which costs accuracy on real ones"
            )

    def show_plan(self) -> None:
        """What would happen."""
        from gformer_cli.train.meta_train_many import GeneratorPlace

        outputs = [str(self.out), str(GeneratorPlace(self.out).meta_train_log)]
        settings = {name: value for name, value in self.settings.model_dump(mode="json").items() if name in _SECTIONS}
        counts = {str(run.root): {domain.name: domain.counts for domain in domains} for run, domains in self.runs}
        tables = [table(str(run.root), DOMAIN_COLUMNS, domain_rows(list(domains))) for run, domains in self.runs]
        document = {"runs": counts, "settings": settings, "device": str(self.device), "workers": self.workers}
        self.terminal.result(
            {"dry_run": True, **document, "outputs": outputs, "left_aside": dict(self.left_aside)},
            *tables,
            f"\nDevice: {self.device}, decoding threads: {self.workers}",
            f"Start: {self.settings.meta_train.start}",
            f"Would write: {', '.join(outputs)}",
            "Dry run: nothing was touched.",
        )

    def train(self) -> None:
        """Train, showing progress, and show what came of it."""
        from gformer_cli.train.meta_train_many import meta_train_many

        with self.terminal.progress() as progress:
            done = meta_train_many(
                self.runs,
                self.settings,
                self.out,
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
        self._show(done)

    def _show(self, done: ManyResult) -> None:
        if done.validation["gformer"] < done.validation["source"]:
            self.terminal.warning(
                "on these images adapting is worse than the source models as they are: train longer, with more runs"
            )
        rows = [*done.of_runs.items(), ("mean", done.validation)]
        methods = list(done.validation)
        self.terminal.result(
            {
                "generator": str(self.out),
                "generator_parameters": done.generator_parameters,
                "validation_accuracy": done.validation,
                "runs": done.of_runs,
                "skipped": [{"path": item.path, "reason": item.reason} for item in done.skipped],
                "left_aside": dict(self.left_aside),
            },
            table(
                "Accuracy in % on held-out source images under unseen conditions",
                ["run", *methods],
                [[name, *(percent(figures[method]) for method in methods)] for name, figures in rows],
            ),
            f"\nWrote {self.out} (generator: {done.generator_parameters:,} parameters)",
            f"Next: gformer import --run RUN --generator {shlex.quote(str(self.out))}",
        )


def meta_train_several(
    terminal: Terminal,
    groups: Sequence[tuple[Path, Sequence[Path]]],
    out: Path | None,
    of_one_run: Mapping[str, object],
    *,
    preset: str | None,
    assignments: Sequence[str],
    flags: Mapping[str, Any],
    layout: Layout,
    device: str,
    workers: int | None,
    cache: Cache,
    cores: Cores,
    strict: bool,
    resume: bool,
    overwrite: bool,
    dry_run: bool,
) -> None:
    """Write the generator file `out`. `of_one_run` are options, with their values, that say what one run's models are.

    Raises `InputError` for any of these that is given.
    """
    from gformer_cli import config
    from gformer_cli.compute.device import pick_device, pick_workers
    from gformer_cli.settings import Settings
    from gformer_cli.train.meta_train_many import GeneratorPlace
    from gformer_cli.train.meta_trainer import GENERATOR
    from gformer_cli.train.run_folder import RunFolder

    if out is None:
        raise InputError(
            "--out is missing: what several runs have taught is in no run folder",
            "Name the generator file to write: --out FILE.safetensors",
        )
    for option, value in of_one_run.items():
        if value is not None:
            raise InputError(f"{option} is for one run, and there are {len(groups)}", "Leave it out: each has its own.")
    settings = config.resolve(base=Settings(), preset=preset, assignments=assignments, flags=flags, only=_SECTIONS)
    settings = with_start(
        terminal,
        settings,
        preset=preset,
        assignments=assignments,
        flag=flags["meta_train.start"],
        begun=begun_with(GeneratorPlace(out).checkpoint(GENERATOR)) if resume else None,
    )
    terminal.details(config.to_yaml(settings))
    runs, left_aside = [], []
    for root, sources in groups:
        run = RunFolder(root)
        source = run.source()
        found = find_images(
            terminal,
            sources,
            layout,
            strict=strict,
            known=Known(source.classes, source.domains, {}),
            splits=SOURCE_SPLITS,
        )
        left_aside += found.aside
        runs.append((run, found.domains))
    several = SeveralRuns(
        terminal,
        runs,
        settings,
        out,
        device=pick_device(device),
        workers=pick_workers(workers),
        cache=cache,
        cores=cores,
        strict=strict,
        resume=resume,
        overwrite=overwrite,
        left_aside=count_suffixes(left_aside),
    )
    several.check()
    if dry_run:
        several.show_plan()
    else:
        several.train()
