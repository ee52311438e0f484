"""Folders as timm and transformers save their classifiers, with tiny networks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

CLASSES = ["crane", "heron", "stork"]


def shaken(network: nn.Module) -> nn.Module:
    """With statistics and biases as after training."""
    torch.manual_seed(1)
    for name, tensor in network.state_dict().items():
        if name.endswith("running_var"):
            tensor.uniform_(0.5, 2.0)
        elif name.endswith(("bias", "running_mean")):
            tensor.normal_(0.0, 0.2)
    return network.eval()


def save_timm(folder: Path, name: str, **options: Any) -> Path:
    """A classifier of timm's as its owner saves it; returns `folder`."""
    import timm

    torch.manual_seed(0)
    network = shaken(timm.create_model(name, num_classes=3, **options))
    timm.models.save_for_hf(network, folder, {"label_names": CLASSES}, safe_serialization=True)
    return folder


def save_transformers(folder: Path, kind: str, classes: list[str] | None = CLASSES) -> Path:
    """A classifier of transformers' as its owner saves it, with what prepares its images; returns `folder`."""
    import transformers

    torch.manual_seed(0)
    attention = {"num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32, "patch_size": 8}
    sizes: dict[str, Any] = {
        "ViT": {"hidden_size": 16, "image_size": 32} | attention,
        "ResNet": {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1], "layer_type": "basic"},
        "ConvNext": {"hidden_sizes": [8, 16], "depths": [1, 1], "num_stages": 2},
    }[kind]
    named = {"num_labels": 3} if classes is None else {"id2label": dict(enumerate(classes))}
    config = getattr(transformers, f"{kind}Config")(**sizes, **named)
    shaken(getattr(transformers, f"{kind}ForImageClassification")(config)).save_pretrained(folder)
    processor = transformers.ViTImageProcessor if kind == "ViT" else transformers.ConvNextImageProcessor
    processor(size={"height": 32, "width": 32} if kind == "ViT" else {"shortest_edge": 32}).save_pretrained(folder)
    return folder
