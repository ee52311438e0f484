"""A bundle in an evaluation loop of your own: a DataLoader, and the model as a torch module.

python examples/evaluation_loop.py model.gformer FOLDER

FOLDER holds labelled images of one condition: FOLDER/class/image.
"""

import sys

import torch
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder

import gformer_cli as gformer


def main(path: str, folder: str) -> None:
    model = gformer.load(path)
    # loader=str: the transform is given the path, and decodes the file as gformer adapt does
    data = ImageFolder(folder, transform=model.preprocessing, loader=str)
    labels = torch.tensor([model.classes.index(name) for name in data.classes])  # in the model's order
    loader = DataLoader(data, batch_size=32, shuffle=True, generator=torch.Generator().manual_seed(0))

    module = model.module
    right = as_it_was = 0
    for images, folders in loader:
        wanted = labels[folders]
        right += int((module(images).argmax(dim=1).cpu() == wanted).sum())
        with torch.no_grad():
            source = module.source(images.to(model.device))
        as_it_was += int((source.argmax(dim=1).cpu() == wanted).sum())
    print(f"{len(data)} images: source {as_it_was / len(data):.1%}, adapted {right / len(data):.1%}")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    try:
        main(*sys.argv[1:])
    except gformer.GformerError as error:
        sys.exit(str(error))
