"""How good a model is on labelled images when each batch is adapted to."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from gformer_cli.bundle import build_model
from gformer_cli.compute.pace import Pace
from gformer_cli.core.backbone import Backbone
from gformer_cli.data.streams import arrival_order
from gformer_cli.folders.domains import Domain
from gformer_cli.images.preprocessing import Preprocessing, Skipped, read_batches
from gformer_cli.importing.generators import Chosen
from gformer_cli.progress import Progress

BATCH = 32
"""Images that are adapted to together."""


@torch.no_grad()
def adapted_accuracies(
    backbone: Backbone,
    chosen: Chosen,
    domains: Sequence[Domain],
    classes: Sequence[str],
    preprocessing: Preprocessing,
    *,
    device: torch.device,
    workers: int,
    pace: Pace,
    progress: Progress,
) -> dict[str, float]:
    """Per domain the share of its readable images that is answered rightly, in shuffled batches of its own.

    Domains without a readable image are left out.
    """
    preprocessing = preprocessing.among(domains)
    model = build_model(chosen.settings.generator, chosen.generator).to(device).eval()
    index = {name: number for number, name in enumerate(classes)}
    found: dict[str, float] = {}
    progress.begin("measuring, adapted", sum(len(domain.files) for domain in domains))
    for domain in domains:
        right = images = 0
        files = arrival_order(domain, chosen.settings.seed)
        skipped: list[Skipped] = []
        for batch in read_batches(files, preprocessing, batch_size=BATCH, workers=workers, skipped=skipped):
            with pace.step(len(batch.files)):
                logits = model(backbone, preprocessing.network_input(batch.pixels, device)).logits
            labels = [index[str(file.label)] for file in batch.files]
            right += sum(one == other for one, other in zip(logits.argmax(dim=1).tolist(), labels, strict=True))
            images += len(labels)
            for _ in labels:
                progress.advance()
        if images:
            found[domain.name] = right / images
    progress.end()
    return found
