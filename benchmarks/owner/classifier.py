"""What an owner has before gformer comes: a network, a transform, a training and an evaluation of their own.

Only torch, torchvision and PIL are used here, and nothing of gformer: its figures are held to these. Only `DESCRIPTION`
was written for it.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional
from torchvision import transforms
from torchvision.models import resnet18

Labelled = tuple[Path, int]
"""An image's file and its class."""
NORMALIZE = transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
TRANSFORM = transforms.Compose(
    [transforms.Resize(36), transforms.CenterCrop(32), transforms.ToTensor(), NORMALIZE]
)  # the deployed one
DESCRIPTION = {
    "resize": 36,
    "crop": 32,
    "interpolation": "bilinear",
    "mean": [0.485, 0.456, 0.406],
    "std": [0.229, 0.224, 0.225],
}
"""The same in words that gformer reads."""
MOST_EPOCHS, PATIENCE = 60, 8
"""Training stops when the validation images were not read better for so many epochs."""
BATCH = 64


def images_of(root: Path, classes: Sequence[str]) -> list[Labelled]:
    """Every image of ROOT/SITE/CLASS, in order."""
    index = {name: number for number, name in enumerate(classes)}
    return [(file, index[file.parent.name]) for file in sorted(root.glob("*/*/*.jpg"))]


def read(file: Path) -> Image.Image:
    with Image.open(file) as image:
        return image.convert("RGB")


@torch.inference_mode()
def predicted(model: nn.Module, files: Sequence[Path]) -> Tensor:
    """The logits of each image: (images, classes)."""
    model.eval()
    batches = [files[start : start + BATCH] for start in range(0, len(files), BATCH)]
    return torch.cat([model(torch.stack([TRANSFORM(read(file)) for file in batch])) for batch in batches])


def accuracy(model: nn.Module, images: Sequence[Labelled]) -> float:
    """From 0 to 1."""
    logits = predicted(model, [file for file, _ in images])
    right = logits.argmax(1) == torch.tensor([label for _, label in images])
    return right.float().mean().item()


def train(root: Path, classes: Sequence[str], seed: int) -> tuple[nn.Module, int, list[float]]:
    """From scratch on ROOT/train: the model of the best epoch, that epoch, and each epoch's validation accuracy."""
    torch.manual_seed(seed)
    model = resnet18(num_classes=len(classes))
    images = images_of(root / "train", classes)
    validation = images_of(root / "validation", classes)
    shorter_side = transforms.Resize(36)
    pictures = [shorter_side(read(file)) for file, _ in images]
    labels = torch.tensor([label for _, label in images])
    augment = transforms.Compose([transforms.RandomCrop(32), transforms.ToTensor(), NORMALIZE])
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.05)
    best, accuracies = copy.deepcopy(model.state_dict()), [0.0]
    while len(accuracies) <= MOST_EPOCHS and len(accuracies) - accuracies.index(max(accuracies)) <= PATIENCE:
        model.train()
        for indices in torch.randperm(len(images)).split(BATCH):
            batch = torch.stack([augment(pictures[index]) for index in indices.tolist()])
            loss = functional.cross_entropy(model(batch), labels[indices], label_smoothing=0.05)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        accuracies.append(accuracy(model, validation))
        print(f"epoch {len(accuracies) - 1}: {accuracies[-1]:.3f} of the validation images", flush=True)
        if accuracies[-1] > max(accuracies[:-1]):
            best = copy.deepcopy(model.state_dict())
    model.load_state_dict(best)
    return model, accuracies.index(max(accuracies)), accuracies[1:]


def save(model: nn.Module, classes: Sequence[str], file: Path) -> None:
    """As many training scripts do."""
    index = {name: number for number, name in enumerate(classes)}
    torch.save({"state_dict": model.state_dict(), "class_to_idx": index}, file)


def load(file: Path) -> tuple[nn.Module, list[str]]:
    """The model, and its classes in the order of its outputs."""
    checkpoint = torch.load(file, map_location="cpu", weights_only=True)
    classes = sorted(checkpoint["class_to_idx"], key=checkpoint["class_to_idx"].__getitem__)
    model = resnet18(num_classes=len(classes))
    model.load_state_dict(checkpoint["state_dict"])
    return model, classes
