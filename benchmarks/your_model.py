"""An owner's own model, taken in as it is and adapted: is it read exactly, and what does adapting it gain?

    python benchmarks/your_model.py data --out DIR
    python benchmarks/your_model.py train --out DIR --seed 0      # the owner's own code, which knows no gformer
    python benchmarks/your_model.py own-accuracy --out DIR
    python benchmarks/your_model.py import --out DIR              # from here on gformer's commands
    python benchmarks/your_model.py meta-train --out DIR
    python benchmarks/your_model.py evaluate --out DIR
    python benchmarks/your_model.py table --out DIR
    python benchmarks/your_model.py photographs --out DIR         # ImageNet weights and photographs from packages
    python benchmarks/your_model.py shifts --out DIR              # gformer imports and adapts these

The owner reads letters on parts at three sites (owner/letters.py) with a ResNet-18, a transform and an order of classes
of their own (owner/classifier.py). DIR/data holds the images, DIR/models a checkpoint for each seed, and what the
owner's own code measures of it: on held-out images of the three sites, and on four sites that nothing was trained on.

DIR/photographs holds the photographs of photographs.csv as CLASS/IMAGE, copied from packages in DIR/packages, and
photographs.json what two networks recognise by torchvision's and timm's own code (owner/photographs.py). The stage says
how to install the packages. Photographs are not part of this repository; the table's licences are the packages'.

`import` fails where gformer's accuracy on the held-out images is not that of the owner's code, and compares logits.
`meta-train` trains a generator on the owner's images (--split), and `evaluate` measures every method on the unseen
sites, and at home; both take --label, a name under which a variant of them is kept in DIR/runs, and more options in
--more. What the import itself offers, untrained, is `evaluate --label imported`.

Each stage keeps what is there and goes on with what is missing.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import torch
from owner import classifier, gformer, letters, logits, photographs

STAGES = (
    "data", "train", "own-accuracy", "import", "meta-train", "evaluate", "table", "photographs", "shifts"
)  # fmt: skip
DATA_SEED = 0
"""Of the images. All models are trained and measured on the same ones."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stage", choices=STAGES)
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    parser.add_argument("--seed", type=int, action="append", help="Of the training. Repeatable. Default: 0, 1 and 2.")
    parser.add_argument("--label", default="trained", help="Of a variant of meta-train. Default: trained.")
    parser.add_argument("--split", choices=("train", "validation"), action="append",
                        help="Images that meta-train learns from. Repeatable. Default: train.")  # fmt: skip
    parser.add_argument("--more", default="", metavar="OPTIONS", help="Of meta-train ('--preset quick') or evaluate.")
    options = parser.parse_args()
    seeds: list[int] = options.seed or [0, 1, 2]
    if options.stage == "data":
        make_data(options.out / "data")
    elif options.stage == "photographs":
        return recognised(options.out)
    elif options.stage == "shifts":
        gformer.shifts(options.out)
    elif options.stage == "table":
        gformer.print_letters(options.out, seeds, options.label)
    else:
        for seed in seeds:
            of_seed(options, seed)
    return 0


def of_seed(options: argparse.Namespace, seed: int) -> None:
    """A stage that does each seed by itself."""
    if options.stage == "train":
        train(options.out, seed)
    elif options.stage == "own-accuracy":
        own_accuracy(options.out, seed)
    elif options.stage == "import":
        own = json.loads(checkpoint(options.out, seed).with_suffix(".json").read_text())["own_accuracy"]
        expected = own["held-out"]["all"]
        found = gformer.import_model(options.out, seed, expected)
        print(f"seed {seed}: {100.0 * expected:.2f} % before, {100.0 * found:.2f} % after import")
        compare_logits(options.out, seed)
    elif options.stage == "meta-train":
        more = (options.more or "--preset quick").split()
        gformer.meta_train(options.out, seed, options.label, options.split or ["train"], more)
    else:
        for size in gformer.SIZES:
            gformer.evaluate(options.out, seed, options.label, size, options.more.split())


def compare_logits(out: Path, seed: int) -> None:
    """How far the imported model's logits are from the owner's, on all images that it was not trained on."""
    model, classes = classifier.load(checkpoint(out, seed))
    images = [
        file for split in ("held-out", "unseen") for file, _ in classifier.images_of(out / "data" / split, classes)
    ]
    own = classifier.predicted(model, images)
    imported = logits.of_bundle(out / "runs" / f"seed-{seed}" / "imported" / "model.gformer", images)
    same = int((own.argmax(1) == imported.argmax(1)).sum())
    largest = (own - imported).abs().max().item()
    print(f"seed {seed}: {same} of {len(images)} answers are the same, logits differ by {largest:.1e} at most")


def make_data(folder: Path) -> None:
    if folder.is_dir():
        print(f"{folder} is there already.")
        return
    part = folder.with_name(f"{folder.name}.part")
    count = letters.write(part, DATA_SEED)
    part.rename(folder)
    print(f"{folder}: {count} images.")


def checkpoint(out: Path, seed: int) -> Path:
    return out / "models" / f"seed-{seed}.pth"


def train(out: Path, seed: int) -> None:
    file = checkpoint(out, seed)
    if file.is_file():
        print(f"{file} is there already.")
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    model, epoch, accuracies = classifier.train(out / "data", letters.CLASSES, seed)
    classifier.save(model, letters.CLASSES, file)
    minutes = (time.monotonic() - began) / 60.0
    record(file, {"epoch": epoch, "validation": accuracies, "training_minutes": minutes})
    print(f"{file}: epoch {epoch} of {len(accuracies)}, {accuracies[epoch - 1]:.3f} of the validation images.")


def own_accuracy(out: Path, seed: int) -> None:
    """Accuracy by the owner's code, per site: held-out images of the three, and the unseen ones."""
    file = checkpoint(out, seed)
    model, classes = classifier.load(file)
    found: dict[str, dict[str, float]] = {}
    for split in ("held-out", "unseen"):
        images = classifier.images_of(out / "data" / split, classes)
        sites = sorted({image.parent.parent.name for image, _ in images})
        each = {site: classifier.accuracy(model, [one for one in images if site in one[0].parts]) for site in sites}
        found[split] = each | {"all": classifier.accuracy(model, images)}
        shown = ", ".join(f"{site} {100.0 * value:.2f}" for site, value in found[split].items())
        print(f"seed {seed}, {split}: {shown} %")
    record(file, {"own_accuracy": found, "own_classes": classes})


def recognised(out: Path) -> int:
    """Copy the photographs, and count what each network recognises by its own library's code."""
    packages = out / "packages"
    needed = [packages / network.weights for network in photographs.NETWORKS]
    missing = [file for file in needed + [packages / one.file for one in photographs.listed()] if not file.is_file()]
    if missing:
        print(f"{len(missing)} files are missing, such as {missing[0]}. Install them:", file=sys.stderr)
        print(*photographs.installation(packages), sep="\n", file=sys.stderr)
        return 1
    copies = photographs.copy(packages, out / "photographs")
    found: dict[str, Any] = {}
    for network in photographs.NETWORKS:
        seen = photographs.answers(network, packages, [file for file, _ in copies])
        pairs = [(answer, photograph) for answer, (_, photograph) in zip(seen, copies, strict=True)]
        exact = sum(answer == photograph.label for answer, photograph in pairs)
        accepted = sum(answer in photograph.accepted for answer, photograph in pairs)
        print(f"{network.name}: {accepted} of {len(pairs)} photographs, {exact} as the table's first class.")
        for answer, photograph in pairs:
            if answer not in photograph.accepted:
                print(f"  {photograph.file}: {answer}, not {photograph.label}")
        found[network.name] = {"photographs": len(pairs), "accepted": accepted, "exact": exact, "answers": seen}
    (out / "photographs.json").write_text(json.dumps(found, indent=1))
    return 0


def record(file: Path, more: dict[str, Any]) -> None:
    """Add to the JSON file beside a checkpoint."""
    beside = file.with_suffix(".json")
    known = json.loads(beside.read_text()) if beside.is_file() else {}
    beside.write_text(json.dumps(known | more, indent=1))


if __name__ == "__main__":
    torch.set_num_threads(1)  # the figures are the same on any number of cores
    sys.exit(main())
