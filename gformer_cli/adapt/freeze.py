"""Make a static bundle: generate parameters for a sample of one condition, and keep them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import torch

from gformer_cli.bundle import Bundle, Lineage, StaticHeader, file_hash, save_static_bundle
from gformer_cli.compute.device import make_deterministic
from gformer_cli.core.generalizeformer import GeneralizeFormer
from gformer_cli.core.static import StaticSample
from gformer_cli.data.labelled import unreadable
from gformer_cli.data.streams import arrival_order
from gformer_cli.errors import InputError, WorkError
from gformer_cli.files import check_writable
from gformer_cli.folders.domains import Domain
from gformer_cli.folders.targets import check_batch_size
from gformer_cli.images.preprocessing import Skipped, read_batches
from gformer_cli.progress import Progress, Silent


@dataclass(frozen=True)
class FreezeResult:
    """What `freeze` did."""

    static: StaticHeader
    skipped: list[Skipped]


def check_freeze(model: Path, bundle: Bundle, out: Path, *, batch_size: int, limit: int, overwrite: bool) -> None:
    """Raises `InputError` for a static `bundle`, numbers below one, and an `out` that must not be written."""
    check_batch_size(batch_size)
    if limit < 1:
        raise InputError(f"--limit must be 1 or more, got {limit}", "It is the most images that are read.")
    if bundle.header.static is not None:
        lineage = bundle.header.lineage
        name = lineage.parent_name if lineage is not None else None
        raise InputError(
            f"{model} is static already: it has no generator",
            f"Freeze the bundle that it was made from{f', {name}' if name else ''}.",
        )
    if out.is_dir():
        raise InputError(f"{out} is a folder, not a file", "Name a file, such as static.gformer.")
    if out.exists() and out.samefile(model):
        raise InputError(f"--out {out} is the bundle itself", "Name another file: the bundle is the way back.")
    if out.exists() and not overwrite:
        raise InputError(f"output file exists: {out}", "Replace it with --overwrite, or name another --out.")
    check_writable(out)


def freeze(
    model: Path,
    bundle: Bundle,
    domain: Domain,
    out: Path,
    *,
    batch_size: int,
    limit: int,
    seed: int,
    device: torch.device,
    workers: int,
    strict: bool = False,
    progress: Progress | None = None,
) -> FreezeResult:
    """Write to `out` the static bundle of what `bundle`, read from `model`, generates for `domain`. Reads no labels.

    At most `limit` images, drawn by `seed` and file name, in batches of `batch_size`, whose parameters are averaged
    (`StaticSample`). Memory holds one batch, however many images there are. Raises `WorkError` when nothing is
    readable or what was generated is not finite, and `InputError` for an unreadable image with `strict`.
    """
    assert isinstance(bundle.model, GeneralizeFormer)
    progress = progress or Silent()
    make_deterministic(seed)
    bundle.to(device)
    chosen = arrival_order(domain, seed)[:limit]
    bundle.look_into([domain])
    sample = StaticSample(bundle.backbone)
    digest = hashlib.sha256()
    skipped: list[Skipped] = []
    batches = 0
    progress.begin("freezing", -(-len(chosen) // batch_size))
    for batch in read_batches(chosen, bundle.preprocessing, batch_size=batch_size, workers=workers, skipped=skipped):
        if strict and skipped:
            raise unreadable(skipped)
        sample.add(bundle.model, bundle.preprocessing.network_input(batch.pixels, device))
        digest.update("".join(batch.digests).encode())
        batches += 1
        progress.advance()
    if strict and skipped:
        raise unreadable(skipped)
    progress.end()
    for line in bundle.depth.news():
        progress.message(f"{line}; --white-level sets another")
    if not batches:
        raise WorkError(
            f"no readable image: {len(skipped)} skipped, such as {skipped[0].path} ({skipped[0].reason})",
            "See: gformer data check DIR",
        )
    try:
        theta = sample.theta()
    except ValueError as error:
        raise WorkError(
            f"nothing to keep for {domain.name}: {error}", "Is the bundle whole? gformer inspect --verify"
        ) from None
    static = StaticHeader(
        target=domain.name,
        images=sample.images,
        batches=batches,
        batch_size=batch_size,
        seed=seed,
        fingerprint=digest.hexdigest(),
    )
    lineage = Lineage(stage="freeze", parent=file_hash(model), parent_name=model.name)
    save_static_bundle(out, parent=bundle, lineage=lineage, static=static, theta=theta)
    return FreezeResult(static, skipped)
