"""What `gformer import` says of a model: where it is from, how good it is, what comes next."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gformer_cli.commands import options
from gformer_cli.commands.locations import again
from gformer_cli.console import Terminal, amount, percent, table
from gformer_cli.folders.domains import nfc

if TYPE_CHECKING:
    from gformer_cli.bundle import OriginHeader, TemperaturesHeader
    from gformer_cli.commands.import_images import Measured
    from gformer_cli.core.backbone import Backbone
    from gformer_cli.importing.gather import OwnModel
    from gformer_cli.importing.generators import Chosen
    from gformer_cli.importing.model import Owned
    from gformer_cli.importing.proof import Proof
    from gformer_cli.settings import Settings
    from gformer_cli.train.run_folder import RunFolder

_SHOWN = 20
"""Classes that the table shows, worst first; --json has all."""


@dataclass(frozen=True)
class Shown:
    """What the command made."""

    run: RunFolder
    settings: Settings
    """Of the run: of the network and of how images are prepared."""
    classes: list[str]
    chosen: Chosen
    measured: Measured
    origin: OriginHeader | None
    """None for a source model that was trained here."""
    unused: tuple[str, ...] = ()
    """Tensors of the file that are none of the network's."""


def tell(terminal: Terminal, own: OwnModel, owned: Owned) -> None:
    """What the model was taken for, a line each, and what a user might miss."""
    from gformer_cli.images.wording import describe_input

    file = own.weights
    entry = f", entry {file.entry}" if file.entry else ""
    terminal.message(f"Weights: {own.weights_name}{entry}")
    if file.others:
        terminal.message(f"  it also holds: {', '.join(file.others)} (--weights-key takes another)")
    names = ", ".join(own.classes[:4]) + (", ..." if len(own.classes) > 4 else "")
    terminal.message(f"Classes: {len(own.classes)} ({names}), from {own.classes_from}")
    if file.classes is not None and [nfc(name) for name in file.classes] != [nfc(name) for name in own.classes]:
        theirs = ", ".join(file.classes[:4]) + (", ..." if len(file.classes) > 4 else "")
        terminal.warning(f"{own.weights_name} itself names other classes, or in another order: {theirs}")
    terminal.message(f"Images: {describe_input(owned.settings.data)}, from {own.transform.origin}")
    if own.transform.alternatives:
        names = ", ".join(own.transform.alternatives)
        terminal.message(f"  the library prepares images otherwise for: {names} (--transform takes another)")
    if owned.unused:
        terminal.warning(f"tensors of {own.weights_name} that the network has no place for:")
        terminal.listed(owned.unused)
    left = [f"{name} ({why})" for name, why in owned.backbone.unadapted.items()]
    if left:
        terminal.warning(f"normalisation layers that are not adapted: {len(left)}")
        terminal.listed(left)


def tell_unrecorded(terminal: Terminal, backbone: Backbone, chosen: Chosen, *, recorded: bool) -> None:
    """A warning where layers have no statistics of the source to go by, and none are about to be `recorded`."""
    from gformer_cli.importing.generators import unrecorded

    left = unrecorded(backbone)
    if not left or recorded:
        return
    layers = " and ".join(f"{count} {family}" for family, count in left.items())
    what = "they are not adapted"
    if chosen.trained:
        what = "what is generated for them goes by a guess, and the batch's statistics are not mixed in,"
    terminal.warning(
        f"{layers} layers keep no statistics, and no images were given to record them: {what} until --source DIR (no "
        "labels needed) or gformer meta-train shows them some"
    )


def show(terminal: Terminal, made: Shown, backbone: Backbone) -> None:
    """The result of the command."""
    from gformer_cli.importing.generators import unrecorded

    proof, chosen, run = made.measured.proof, made.chosen, made.run
    suspicion = None if proof is None else proof.suspicion()
    if suspicion is not None:
        terminal.warning(suspicion)
    blind, fitted = bool(unrecorded(backbone)), made.measured.temperatures
    more = again(run.root) + options.own_backbone_again(made.settings.backbone.name)
    terminal.result(
        {
            "run": str(run.root),
            "bundle": str(run.bundle),
            "backbone": made.settings.backbone.name,
            "classes": made.classes,
            "origin": None if made.origin is None else made.origin.model_dump(mode="json"),
            "preprocessing": made.settings.data.model_dump(mode="json"),
            "unused": list(made.unused),
            "generator": chosen.name if chosen.trained else None,
            "generator_sha256": chosen.lineage.parent,
            "accuracy": None if proof is None else _document(proof, made.measured.adapted),
            "temperatures": None if fitted is None else fitted.model_dump(mode="json"),
            "suspicion": suspicion,
        },
        *([] if proof is None else _tables(proof, made.measured.adapted)),
        f"\nWrote {run.bundle}. {_how(chosen, blind=blind)}",
        _confidence(fitted),
        *([f"Recommended first: gformer import --source DIR --overwrite{more}"] if blind else []),
        f"Next: gformer adapt --target DIR{more}",
        f"  or: gformer meta-train --source DIR{more}, which trains a generator for this model",
    )


def _how(chosen: Chosen, *, blind: bool) -> str:
    """What the generator is; `blind` where layers have no statistics of the source to go by."""
    from gformer_cli.bundle import UNIVERSAL

    if chosen.name == UNIVERSAL:
        return "The generator is universal, which comes with gformer and has learnt on other data."
    if chosen.trained:
        return f"The generator is that of {chosen.name}."
    if blind:
        return "The generator is untrained, and nothing is recorded: it predicts as the model by itself does."
    return "The generator is untrained: adapting mixes the batch's statistics in, as bn-mix does."


def _confidence(fitted: TemperaturesHeader | None) -> str:
    """Whether confidences mean what they say."""
    if fitted is None:
        return "Confidences are not calibrated (temperature 1): --source DIR, with labels, calibrates them."
    return (
        f"Confidences are calibrated on {amount(fitted.images, 'shifted source image', 'shifted source images')}: "
        f"temperature {fitted.source:g} (source), {fitted.adapted:g} (adapted)."
    )


def _document(proof: Proof, adapted: Mapping[str, float]) -> dict[str, Any]:
    from gformer_cli.importing.proof import accuracy_of

    return {
        "accuracy": proof.accuracy,
        "adapted": _together(proof, adapted),
        "images": proof.images,
        "domains": {
            name: {"images": found.total(), "accuracy": accuracy_of(found), "adapted": adapted.get(name)}
            for name, found in proof.domains.items()
        },
        "classes": {name: {"images": count, "accuracy": share} for name, (count, share) in proof.by_class().items()},
        "skipped": [{"path": item.path, "reason": item.reason} for item in proof.skipped],
    }


def _together(proof: Proof, adapted: Mapping[str, float]) -> float:
    """The adapted accuracy over the images of all domains."""
    return sum(share * proof.domains[name].total() for name, share in adapted.items()) / proof.images


def _tables(proof: Proof, adapted: Mapping[str, float]) -> list[Any]:
    from gformer_cli.importing.adapted import BATCH
    from gformer_cli.importing.proof import accuracy_of

    domains = [
        [name, str(found.total()), percent(accuracy_of(found)), percent(adapted[name]) if name in adapted else "-"]
        for name, found in proof.domains.items()
    ]
    if len(domains) > 1:
        domains.append(["all", str(proof.images), percent(proof.accuracy), percent(_together(proof, adapted))])
    classes = sorted(proof.by_class().items(), key=lambda item: item[1][1])
    rows = [[name, str(count), percent(share)] for name, (count, share) in classes[:_SHOWN]]
    title = f"The {_SHOWN} worst of {len(classes)} classes" if len(classes) > _SHOWN else "By class"
    return [
        table(
            f"Accuracy of the model, %, not adapted and adapted in shuffled batches of {BATCH}",
            ["domain", "images", "source", "adapted"],
            domains,
        ),
        "",
        table(f"{title}, not adapted", ["class", "images", "%"], rows),
    ]
