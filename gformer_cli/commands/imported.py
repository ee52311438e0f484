"""What `gformer import` says of a model: where it is from, how good it is, what comes next."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from gformer_cli.console import Terminal, percent, table
from gformer_cli.folders.domains import nfc

if TYPE_CHECKING:
    from gformer_cli.importing.gather import OwnModel
    from gformer_cli.importing.model import Owned
    from gformer_cli.importing.proof import Proof
    from gformer_cli.train.run_folder import RunFolder

_SHOWN = 20
"""Classes that the table shows, worst first; --json has all."""


def tell(terminal: Terminal, own: OwnModel, owned: Owned, *, recorded: bool) -> None:
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
    if owned.unrecorded and not recorded:
        layers = " and ".join(f"{count} {family}" for family, count in owned.unrecorded.items())
        terminal.warning(
            f"{layers} layers keep no statistics, and no images were given to record them: they are not adapted "
            "until --source DIR (no labels needed) or gformer meta-train shows them some"
        )


def show(
    terminal: Terminal,
    run: RunFolder,
    owned: Owned,
    proof: Proof | None,
    generator: Path | None,
    again: str,
    *,
    recorded: bool,
) -> None:
    """The result of the command."""
    suspicion = None if proof is None else proof.suspicion()
    if suspicion is not None:
        terminal.warning(suspicion)
    if generator is not None:
        how = f"The generator is that of {generator}."
    elif owned.unrecorded and not recorded:
        how = "The generator is untrained, and nothing is recorded: it predicts as the model by itself does."
    else:
        how = "The generator is untrained: adapting mixes the batch's statistics in, as bn-mix does."
    terminal.result(
        {
            "run": str(run.root),
            "bundle": str(run.bundle),
            "backbone": owned.settings.backbone.name,
            "classes": owned.imported.classes,
            "origin": owned.imported.origin.model_dump(mode="json"),
            "preprocessing": owned.settings.data.model_dump(mode="json"),
            "unused": list(owned.unused),
            "generator": None if generator is None else str(generator),
            "accuracy": None if proof is None else _document(proof),
            "suspicion": suspicion,
        },
        *([] if proof is None else _tables(proof)),
        f"\nWrote {run.bundle}. {how}",
        f"Next: gformer adapt --target DIR{again}",
        f"  or: gformer meta-train --source DIR{again}, which trains a generator for this model",
    )


def _document(proof: Proof) -> dict[str, Any]:
    from gformer_cli.importing.proof import accuracy_of

    return {
        "accuracy": proof.accuracy,
        "images": proof.images,
        "domains": {
            name: {"images": found.total(), "accuracy": accuracy_of(found)} for name, found in proof.domains.items()
        },
        "classes": {name: {"images": count, "accuracy": share} for name, (count, share) in proof.by_class().items()},
        "skipped": [{"path": item.path, "reason": item.reason} for item in proof.skipped],
    }


def _tables(proof: Proof) -> list[Any]:
    from gformer_cli.importing.proof import accuracy_of

    domains = [[name, str(found.total()), percent(accuracy_of(found))] for name, found in proof.domains.items()]
    if len(domains) > 1:
        domains.append(["all", str(proof.images), percent(proof.accuracy)])
    classes = sorted(proof.by_class().items(), key=lambda item: item[1][1])
    rows = [[name, str(count), percent(share)] for name, (count, share) in classes[:_SHOWN]]
    title = f"The {_SHOWN} worst of {len(classes)} classes" if len(classes) > _SHOWN else "By class"
    return [
        table("Accuracy of the imported model, not adapted", ["domain", "images", "%"], domains),
        "",
        table(title, ["class", "images", "%"], rows),
    ]
