"""`gformer import`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from gformer_cli.commands import import_options as own
from gformer_cli.commands import options
from gformer_cli.commands.dry_run import show_prediction_plan
from gformer_cli.commands.import_exchange import put_generator
from gformer_cli.commands.import_images import Asked, Images, Machine, find, look
from gformer_cli.commands.imported import Shown, show, tell, tell_unrecorded
from gformer_cli.commands.locations import pick_run
from gformer_cli.console import Terminal
from gformer_cli.errors import InputError
from gformer_cli.folders.domains import Known, Layout, check_folders_exist, count_suffixes

if TYPE_CHECKING:
    from gformer_cli.importing.gather import OwnModel, Wish
    from gformer_cli.settings import Settings
    from gformer_cli.train.run_folder import RunFolder


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

    Name no model where RUN holds one, from gformer pretrain or an earlier import: that one gets the generator.

    Example: gformer import --backbone resnet18 --weights site.pth --classes classes.txt --transform torchvision
    """
    terminal = Terminal(as_json=json, quiet=quiet, verbose=verbose)
    for named in (source, check):  # each by itself: the same images may be both
        check_folders_exist(named or [])
    place = pick_run(terminal, run)

    from gformer_cli.compute.device import pick_device, pick_workers
    from gformer_cli.importing.gather import Wish
    from gformer_cli.networks.own_code import own_code
    from gformer_cli.train.run_folder import RunFolder

    target = RunFolder(place)
    machine = Machine(pick_device(device), pick_workers(workers), options.pick_cores(terminal, threads))
    asked = Asked(source or (), check or (), layout, expect, strict)
    how = {"overwrite": overwrite, "dry_run": dry_run}
    if folder is None and weights is None and target.started and (backbone is None or own_code(backbone)):
        of_a_model = {
            "--weights-key": entry,
            "--classes": classes,
            "--class-map": class_map,
            "--transform": transform,
            "--image-size": image_size,
            "--set": set_,
        }
        put_generator(terminal, target, generator, backbone, of_a_model, asked, machine, **how)
        return
    wish = Wish(folder, backbone, weights, entry, classes, transform, image_size, fetch=not dry_run)
    _take_in(terminal, target, wish, class_map, set_ or (), generator, asked, machine, **how)


def _take_in(
    terminal: Terminal,
    run: RunFolder,
    wish: Wish,
    class_map: Path | None,
    assignments: Sequence[str],
    generator: str | None,
    asked: Asked,
    machine: Machine,
    *,
    overwrite: bool,
    dry_run: bool,
) -> None:
    """Import a new model into `run`."""
    from gformer_cli.importing.gather import gather
    from gformer_cli.importing.generators import choose_generator
    from gformer_cli.importing.model import own_network, write_run

    model = gather(wish)
    mapped = options.read_class_map(class_map, model.classes)
    settings = _settings(model, assignments, generator)
    images = find(terminal, asked, Known(model.classes, (), mapped))
    sources = images.sources.domains
    run.check_claim(settings, resume=False, overwrite=overwrite)
    if dry_run and not model.weights.tensors:
        terminal.message(
            f"Weights: {model.weights_name}, which would be downloaded unless the library has them already"
        )
        _show_plan(terminal, run, model, images, machine)
        return
    owned = own_network(model, settings, mapped, machine.device)
    chosen = choose_generator(owned.backbone, settings, generator, recorded=bool(sources))  # before what takes long
    tell(terminal, model, owned)
    tell_unrecorded(terminal, owned.backbone, chosen, recorded=bool(sources))
    if dry_run:
        _show_plan(terminal, run, model, images, machine)
        return
    measured = look(
        terminal, owned.backbone, owned.imported.classes, owned.preprocessing, chosen, images, asked, machine
    )
    write_run(owned, run, chosen=chosen, domains=sources, temperatures=measured.temperatures, overwrite=overwrite)
    known = owned.imported
    made = Shown(run, settings, known.classes, chosen, measured, known.origin, owned.unused)
    show(terminal, made, owned.backbone)


def _show_plan(terminal: Terminal, run: RunFolder, model: OwnModel, images: Images, machine: Machine) -> None:
    outputs = [run.settings_path, run.imported_path, run.model_path("all"), run.bundle]
    choices: dict[str, object] = {"backbone": model.backbone, "classes": model.classes}
    found = images.together
    left_aside = count_suffixes(found.aside)
    show_prediction_plan(terminal, found.domains, machine.device, machine.workers, outputs, choices, left_aside)


def _settings(own: OwnModel, assignments: Sequence[str], generator: str | None) -> Settings:
    """Those of the imported model; what `--set` says of it wins.

    Raises `InputError` for a setting of the generator that the one which is to be used has fixed.
    """
    from gformer_cli import config
    from gformer_cli.importing.generators import NONE
    from gformer_cli.settings import Settings

    for text in assignments:
        key = text.partition("=")[0].strip()
        if key.startswith("generator.") and generator != NONE:
            raise InputError(
                f"--set {key} has no effect: the generator has been trained with its own settings",
                "Leave it out, or take an untrained generator: --generator none.",
            )
    base = Settings()
    data = config.validate({"data": own.transform.changes}).data
    changes = {"name": own.backbone, "config": own.config, "weights": own.weights_name}
    base = base.model_copy(update={"data": data, "backbone": base.backbone.model_copy(update=changes)})
    return config.resolve(base=base, assignments=assignments, flags={"backbone.name": own.backbone})
