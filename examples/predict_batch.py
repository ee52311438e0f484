"""Use a bundle from Python: predict one batch of images, and look at what was generated for it.

python examples/predict_batch.py model.gformer FOLDER

FOLDER is one target. Its images are shuffled, as `gformer adapt` does: a batch of one class would mislead.
"""

import sys
from pathlib import Path

import torch

from gformer_cli.bundle import load_bundle
from gformer_cli.data.streams import arrival_order
from gformer_cli.folders.domains import find_domains
from gformer_cli.images.preprocessing import Skipped, read_batches


def main(model: str, folder: str) -> None:
    bundle = load_bundle(Path(model))
    domains = find_domains([Path(folder)], unlabelled=True)
    if len(domains) != 1:
        sys.exit(f"{folder} holds {len(domains)} targets, give one of them: {', '.join(d.name for d in domains)}")
    skipped: list[Skipped] = []
    files = arrival_order(domains[0], seed=0)
    batch = next(read_batches(files, bundle.preprocessing, batch_size=64, workers=2, skipped=skipped))
    images = bundle.preprocessing.network_input(batch.pixels, torch.device("cpu"))

    with torch.no_grad():
        prediction = bundle.model(bundle.backbone, images)
    for file, row in zip(batch.files, prediction.logits.softmax(dim=1), strict=True):
        print(f"{file.relative}: {bundle.header.classes[int(row.argmax())]} ({float(row.max()):.2f})")

    generated, source = prediction.parameters, bundle.backbone.source_parameters()
    print("\nlayer, weight of this batch's statistics, relative change of the scale")
    assert generated.mix is not None
    for name, mix, new, old in zip(
        bundle.backbone.layer_names, generated.mix, generated.gammas, source.gammas, strict=True
    ):
        print(f"{name}: {float(mix):.2f}, {float((new - old).norm() / old.norm()):.3f}")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
