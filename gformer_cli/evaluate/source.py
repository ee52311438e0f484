"""Held-out source images: those that neither the source model nor the generator was trained on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from gformer_cli.bundle import Described
from gformer_cli.data.labelled import fingerprint
from gformer_cli.folders.domains import Domain
from gformer_cli.folders.targets import check_known_classes
from gformer_cli.progress import Progress
from gformer_cli.train.pretrain import hash_source, read_source


def held_out(
    bundle: Described, domains: Sequence[Domain], *, workers: int, strict: bool, progress: Progress
) -> list[Domain]:
    """`domains` with those images that training held out; with all images where the bundle was trained on others.

    Raises `InputError` for classes that the bundle does not know and, with `strict`, for an unreadable image.
    """
    check_known_classes(domains, bundle.header.classes)
    trained = list(bundle.header.data.domains)
    # the split depends on the order of the domains, which is not the user's to remember
    domains = sorted(domains, key=lambda domain: trained.index(domain.name) if domain.name in trained else len(trained))
    loaded, _ = read_source(
        domains, bundle.header.classes, bundle.header.settings, workers=workers, strict=strict, progress=progress
    )
    hash_source(loaded, workers=workers, progress=progress)
    if fingerprint(loaded) != bundle.header.data.fingerprint:
        why = (
            "--source does not hold the images that this bundle was trained on"
            if trained
            else "it is not known which images the imported model was trained on"
        )
        progress.warning(
            f"{why}, so all of --source are used. If it was trained on some of them, figures on source images are too "
            "good."
        )
        return [replace(domain, files=own.files) for domain, own in zip(domains, loaded, strict=True)]
    return [
        replace(domain, files=own.files.at(own.validation))
        for domain, own in zip(domains, loaded, strict=True)
        if own.validation
    ]
