"""Use a bundle from Python: predict one batch of images, and look at what was generated for it.

python examples/predict_batch.py model.gformer FOLDER

The images of FOLDER should be of one condition. They are shuffled: a batch of one class would mislead.
"""

import random
import sys
from pathlib import Path

import gformer_cli as gformer


def main(path: str, folder: str) -> None:
    files = sorted(file for file in Path(folder).rglob("*") if file.is_file())
    if not files:
        sys.exit(f"there are no files below {folder}")
    random.Random(0).shuffle(files)

    model = gformer.load(path)
    result = model.predict(files[:64])
    for file, label, confidence in zip(files, result.labels, result.confidence.tolist(), strict=False):
        print(f"{file.relative_to(folder)}: {label} ({confidence:.2f})")

    print(f"\nGuard: {result.decision}. Layer, weight of this batch's statistics, relative change of the scale:")
    source = model.source_parameters
    for name, mix in result.parameters.items():
        if name.endswith(".mix"):
            scale = name.replace(".mix", ".weight")
            change = (result.parameters[scale] - source[scale]).norm() / source[scale].norm()
            print(f"{name.removesuffix('.mix')}: {float(mix):.2f}, {float(change):.3f}")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    try:
        main(*sys.argv[1:])
    except gformer.GformerError as error:
        sys.exit(str(error))
