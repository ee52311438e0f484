"""The classifier that `gformer data demo digit-cameras` writes: plain torch and torchvision, nothing of gformer.

    gformer data demo digit-cameras --out data
    python benchmarks/demo_classifier.py --data data --out gformer_cli/data/demo/classifier.safetensors

A ShuffleNetV2 at half its width, from scratch on nine in ten of the source images: minutes on one core. It prints the
accuracy on the tenth that is held out, and on each target. Halves of float32 are kept, so that the file is small.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch.nn import functional
from torchvision import datasets, transforms
from torchvision.models import shufflenet_v2_x0_5

READ = transforms.Compose([transforms.ToTensor(), transforms.Normalize([0.5] * 3, [0.25] * 3)])
BATCH, RATE = 64, 6e-3


def images(root: Path) -> tuple[torch.Tensor, torch.Tensor]:
    """Pixels (images, 3, 32, 32) and labels (images,) of every domain below `root`."""
    domains = [datasets.ImageFolder(str(folder), READ) for folder in sorted(root.iterdir())]
    pairs = [pair for domain in domains for pair in domain]
    return torch.stack([pixels for pixels, _ in pairs]), torch.tensor([label for _, label in pairs])


def accuracy(network: torch.nn.Module, pixels: torch.Tensor, labels: torch.Tensor) -> float:
    """In %."""
    network.eval()
    with torch.inference_mode():
        return 100.0 * (network(pixels).argmax(1) == labels).float().mean().item()


def train(pixels: torch.Tensor, labels: torch.Tensor, steps: int) -> torch.nn.Module:
    network = shufflenet_v2_x0_5(num_classes=10)
    optimizer = torch.optim.AdamW(network.parameters(), lr=RATE, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=steps)
    shifted = transforms.RandomCrop(32, padding=2, padding_mode="edge")
    network.train()
    for _ in range(steps):
        chosen = torch.randint(len(pixels), (BATCH,))
        loss = functional.cross_entropy(network(shifted(pixels[chosen])), labels[chosen], label_smoothing=0.05)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return network


def halved(state: dict[str, torch.Tensor]) -> Iterator[tuple[str, torch.Tensor]]:
    for name, tensor in state.items():
        yield name, tensor.half() if tensor.is_floating_point() else tensor


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=1600)
    given = parser.parse_args()
    torch.manual_seed(0)
    pixels, labels = images(given.data / "sources")
    held = torch.arange(len(pixels)) % 10 == 0
    network = train(pixels[~held], labels[~held], given.steps)
    print(f"held out: {accuracy(network, pixels[held], labels[held]):.1f}")
    for target in sorted((given.data / "targets").iterdir()):
        domain = datasets.ImageFolder(str(target), READ)
        print(f"{target.name}: {accuracy(network, *map(_stacked, zip(*domain, strict=True))):.1f}")
    save_file(dict(halved(network.state_dict())), given.out)


def _stacked(values: tuple[torch.Tensor, ...] | tuple[int, ...]) -> torch.Tensor:
    return torch.stack([torch.as_tensor(value) for value in values])


if __name__ == "__main__":
    main()
