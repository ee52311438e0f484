"""`gformer import --run RUN` without a model: the one that RUN holds gets another generator."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from gformer_cli.commands.dry_run import show_prediction_plan
from gformer_cli.commands.import_images import Asked, Machine, find, look
from gformer_cli.commands.imported import Shown, show, tell_unrecorded
from gformer_cli.console import Terminal
from gformer_cli.errors import InputError
from gformer_cli.folders.domains import Known, count_suffixes

if TYPE_CHECKING:
    from gformer_cli.train.run_folder import RunFolder


def put_generator(
    terminal: Terminal,
    run: RunFolder,
    generator: str | None,
    own_backbone: str | None,
    of_a_model: Mapping[str, object],
    asked: Asked,
    machine: Machine,
    *,
    overwrite: bool,
    dry_run: bool,
) -> None:
    """Write the bundle of `run`. `of_a_model` are options, with their values, that say what a new model is.

    Raises `InputError` for any of these that is given.
    """
    from gformer_cli.importing.exchange import check_exchange, exchange, held_by, will_record
    from gformer_cli.importing.generators import choose_generator

    for option, value in of_a_model.items():
        if value:
            raise InputError(
                f"{option} says what a new model is, and {run.root} holds one already",
                "Leave it out to put a generator on that one, or name the new model: --weights FILE, or --from FOLDER.",
            )
    check_exchange(run.bundle, overwrite=overwrite)
    held = held_by(run, own_backbone, machine.device)
    terminal.message(f"Source model: {held.settings.backbone.name} of {run.root}, {len(held.source.classes)} classes")
    images = find(terminal, asked, Known(held.source.classes, held.source.domains, held.class_map))
    recorded = will_record(held, images.sources.domains)
    chosen = choose_generator(held.backbone, held.settings, generator, recorded=recorded)
    tell_unrecorded(terminal, held.backbone, chosen, recorded=recorded)
    if dry_run:
        choices: dict[str, object] = {"generator": chosen.name, "classes": held.source.classes}
        outputs = [*([run.model_path("all")] if recorded else []), run.bundle]
        found = images.together
        left_aside = count_suffixes(found.aside)
        show_prediction_plan(terminal, found.domains, machine.device, machine.workers, outputs, choices, left_aside)
        return
    measured = look(terminal, held.backbone, held.source.classes, held.preprocessing, chosen, images, asked, machine)
    exchange(held, chosen, images.sources.domains, temperatures=measured.temperatures, recorded=recorded)
    origin = None if held.imported is None else held.imported.origin
    show(terminal, Shown(run, held.settings, held.source.classes, chosen, measured, origin), held.backbone)
