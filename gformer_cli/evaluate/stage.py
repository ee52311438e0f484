"""The whole of `gformer evaluate`: find held-out source images, tune, measure, and go on where that stopped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from gformer_cli.bundle import Bundle
from gformer_cli.compute import ranks
from gformer_cli.compute.threads import Cores
from gformer_cli.errors import InputError, WorkError
from gformer_cli.evaluate.measuring import measure
from gformer_cli.evaluate.output import Output
from gformer_cli.evaluate.parallel import share_of
from gformer_cli.evaluate.plan import Plan
from gformer_cli.evaluate.records import Records, describe_bundle, identity, marked
from gformer_cli.evaluate.results import Results
from gformer_cli.evaluate.source import held_out
from gformer_cli.evaluate.tune import tune as choose_settings
from gformer_cli.export.model import GraphModel, load_model
from gformer_cli.folders.domains import Domain
from gformer_cli.progress import Progress, Silent


def evaluate(
    bundle: Bundle | GraphModel,
    plan: Plan,
    *,
    model: Path,
    own_backbone: str | None = None,
    source: Sequence[Domain] = (),
    tune: bool = False,
    output: Output | None = None,
    resume: bool = False,
    device: torch.device,
    workers: int,
    jobs: int = 1,
    cores: Cores | None = None,
    strict: bool = False,
    run: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> Results:
    """Measure `plan` (see `check_plan`) with the bundle that was read from `model` (and `own_backbone`).

    `jobs` streams run at once, each in a process of its own. `source` holds the source domains whole; what training
    held out of them goes into the plan. With `output` every finished stream is on disk at once, and the results at the
    end; `run` goes into them and says how they came about. Of several processes that torchrun has started the first one
    alone has them whole. Raises `WorkError` where no image can be read, `InputError`
    for an unreadable image with `strict` and for an `output` that cannot be resumed, `Interrupted` after Ctrl-C.
    """
    progress = progress or Silent()
    if source:
        kept = held_out(bundle, source, workers=workers, strict=strict, progress=progress)
        if not kept:
            raise WorkError("training held no source image out", "Classes of one image are trained on: add images.")
        plan = replace(plan, source=kept)
    white = bundle.header.preprocessing.white_level
    described = describe_bundle(model, bundle)
    known = identity(described, plan, tune=tune, white_level=white)
    if not plan.own():
        raise InputError(
            f"shard {plan.shard[0]}/{plan.shard[1]} has nothing to measure: there are {len(plan.drawn())} streams",
            f"Cut the evaluation into at most {len(plan.drawn())} shards.",
        )
    shard = {} if plan.shard == (1, 1) else {"shard": list(plan.shard), "evaluation": marked(known)}
    records = ranks.from_first(lambda: _begun(output, {**known, **shard}, resume=resume))
    if not ranks.first():
        records.path = None
    run = {**(run or {}), **shard}
    if tune:
        assert isinstance(bundle, Bundle)  # see `plan.check_graph`
        waiting = [name for name in plan.methods if name not in records.choices]
        choose_settings(
            bundle,
            plan.source,
            ranks.mine(waiting),
            batch_size=plan.batch_size,
            device=device,
            workers=workers,
            keep=records.choose,
            progress=progress,
        )
        for choices in ranks.gathered(dict(records.choices)):
            for name, choice in choices.items():
                if name not in records.choices:
                    records.choose(name, choice)
        plan = replace(plan, settings={name: choice.settings for name, choice in records.choices.items()})
    again = partial(load_model, model, threads=share_of(cores, jobs), own_backbone=own_backbone, white_level=white)
    measure(
        again if jobs > 1 else lambda: bundle,
        plan,
        device=device,
        workers=workers,
        jobs=jobs,
        cores=cores,
        strict=strict,
        records=records,
        progress=progress,
    )
    skipped = list(records.skipped.values())
    methods = plan.measured if shard else plan.methods  # merging compares with the source model, asked for or not
    results = Results(described, methods, records.cells, skipped, records.choices, run)
    if output is not None and ranks.first():
        output.write(results)
    return results


def _begun(output: Output | None, known: dict[str, Any], *, resume: bool) -> Records:
    if output is None:
        return Records()
    output.begin(resume=resume)
    return Records.open(output.cells, known, resume=resume)
