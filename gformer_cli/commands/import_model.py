"""`gformer import`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from gformer_cli.commands import import_options as own
from gformer_cli.commands import options
from gformer_cli.commands.dry_run import show_prediction_plan
from gformer_cli.commands.found import find_images
from gformer_cli.commands.imported import show, tell
from gformer_cli.commands.locations import again, pick_run
from gformer_cli.compute.threads import Cores
from gformer_cli.console import Terminal
from gformer_cli.errors import InputError
from gformer_cli.folders.domains import Domain, Found, Known, Layout, check_folders_exist, count_suffixes
from gformer_cli.folders.targets import check_known_classes

if TYPE_CHECKING:
    import torch

    from gformer_cli.importing.gather import OwnModel
    from gformer_cli.importing.model import Owned
    from gformer_cli.importing.proof import Proof
    from gformer_cli.settings import Settings


def import_model(
    folder: own.FromFolder = None,
    backbone: options.Backbone = None,
    weights: own.Weights = None,
    entry: own.WeightsKey = None,
    classes: own.Classes = None,
    class_map: options.ClassMap = None,
    transform: own.Transform = None,
    image_size: options.ImageSize = None,
    generator: own.Generator = None,
    run: own.Out = None,
    source: own.Sources = None,
    check: own.Check = None,
    expect: own.Expect = None,
    set_: options.Assignments = None,
    layout: options.LayoutOption = Layout.auto,
    device: options.Device = "auto",
    workers: options.Workers = None,
    threads: options.Threads = None,
    strict: options.Strict = False,
    overwrite: options.Overwrite = False,
    dry_run: options.DryRun = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
    debug: options.Debug = False,
) -> None:
    """Take in a classifier that you have trained, as it is: its weights, classes and preprocessing. Nothing is trained.

    Writes RUN/model.gformer, which gformer adapt and evaluate use at once. gformer meta-train trains its generator.

    Example: gformer import --backbone resnet18 --weights site.pth --classes classes.txt --transform torchvision
    """
    terminal = Terminal(as_json=json, quiet=quiet, verbose=verbose)
    for named in (source, check):  # each by itself: the same images may be both
        check_folders_exist(named or [])
    place = pick_run(terminal, run)

    from gformer_cli.compute.device import pick_device, pick_workers
    from gformer_cli.importing.gather import Wish, gather
    from gformer_cli.importing.model import choose_generator, own_network, write_run
    from gformer_cli.train.run_folder import RunFolder

    model = gather(Wish(folder, backbone, weights, entry, classes, transform, image_size, fetch=not dry_run))
    mapped = options.read_class_map(class_map, model.classes)
    settings = _settings(model, set_ or ())
    known = Known(model.classes, (), mapped)
    sources = _find(terminal, source, known, layout, strict=strict, unlabelled=True)
    checks = _find(terminal, check, known, layout, strict=strict, unlabelled=False)
    measured = _measured(sources.domains, checks.domains)
    if expect is not None and not measured:
        raise InputError("--expect needs labelled images to measure the model on", "Add --check DIR.")
    target = RunFolder(place)
    target.check_claim(settings, resume=False, overwrite=overwrite)
    where, decoders, cores = pick_device(device), pick_workers(workers), options.pick_cores(terminal, threads)
    if dry_run and not model.weights.tensors:
        terminal.message(
            f"Weights: {model.weights_name}, which would be downloaded unless the library has them already"
        )
    else:
        owned = own_network(model, settings, mapped, where)
        chosen = choose_generator(owned, generator, recorded=bool(sources.domains))  # before what takes long
        tell(terminal, model, owned, recorded=bool(sources.domains))
    if dry_run:
        outputs = [target.settings_path, target.imported_path, target.model_path("all"), target.bundle]
        found = Found([*sources.domains, *checks.domains], [*sources.aside, *checks.aside])
        choices: dict[str, object] = {"backbone": model.backbone, "classes": model.classes}
        left_aside = count_suffixes(found.aside)
        show_prediction_plan(terminal, found.domains, where, decoders, outputs, choices, left_aside)
        return
    proof = _look(terminal, owned, sources.domains, measured, where, decoders, cores, strict=strict)
    if expect is not None and proof is not None:
        proof.require(expect)
    write_run(owned, target, chosen=chosen, domains=sources.domains, overwrite=overwrite)
    show(terminal, target, owned, proof, generator, again(run), recorded=bool(sources.domains))


def _settings(own: OwnModel, assignments: Sequence[str]) -> Settings:
    """Those of the imported model; what `--set` says of it wins."""
    from gformer_cli import config
    from gformer_cli.settings import Settings

    base = Settings()
    data = config.validate({"data": own.transform.changes}).data
    changes = {"name": own.backbone, "config": own.config, "weights": own.weights_name}
    base = base.model_copy(update={"data": data, "backbone": base.backbone.model_copy(update=changes)})
    return config.resolve(base=base, assignments=assignments, flags={"backbone.name": own.backbone})


def _find(
    terminal: Terminal, folders: list[Path] | None, known: Known, layout: Layout, *, strict: bool, unlabelled: bool
) -> Found:
    if not folders:
        return Found()
    found = find_images(terminal, folders, layout, strict=strict, unlabelled=unlabelled, known=known)
    check_known_classes(found.domains, list(known.classes))
    return found


def _measured(sources: Sequence[Domain], checks: Sequence[Domain]) -> list[Domain]:
    """What the model is measured on: `--check`, or else those sources that have labels."""
    return list(checks) or [domain for domain in sources if domain.classes]


def _look(
    terminal: Terminal,
    owned: Owned,
    sources: Sequence[Domain],
    measured: Sequence[Domain],
    device: torch.device,
    workers: int,
    cores: Cores,
    *,
    strict: bool,
) -> Proof | None:
    """Record what layers without statistics show of the sources, and measure the model."""
    from gformer_cli.compute.device import pick_pace
    from gformer_cli.data.labelled import unreadable
    from gformer_cli.importing.model import record
    from gformer_cli.importing.proof import prove

    with terminal.progress() as progress:
        pace = pick_pace(cores, device, progress)
        if sources:
            record(owned, sources, device=device, workers=workers, pace=pace, progress=progress)
        if not measured:
            return None
        own = owned.backbone, measured, owned.imported.classes, owned.preprocessing
        proof = prove(*own, device=device, workers=workers, pace=pace, progress=progress)
    if strict and proof.skipped:
        raise unreadable(proof.skipped)
    terminal.skipped([(item.path, item.reason) for item in proof.skipped])
    return proof
