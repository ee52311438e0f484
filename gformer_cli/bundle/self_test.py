"""What `gformer doctor` looks at."""

from __future__ import annotations

import importlib.metadata
import platform
from typing import Any

import torch

from gformer_cli.bundle import library_versions
from gformer_cli.compute.threads import how_threads_wait, pick_cores, usable_cores
from gformer_cli.core.backbone import Backbone
from gformer_cli.core.generalizeformer import GeneralizeFormer
from gformer_cli.core.generators import ChannelGenerator
from gformer_cli.core.probe import prior_mix
from gformer_cli.networks.build import build_network

OPTIONAL = {"demo": "mlxtend", "report": "matplotlib", "timm": "timm", "hf": "transformers", "export": "onnx"}
"""Extras and a package that each of them brings."""


def environment() -> dict[str, Any]:
    """Versions, devices, threads, installed extras and the folder of downloaded weights."""
    devices, cores = ["cpu"], pick_cores(None)
    devices += [f"cuda:{i} ({torch.cuda.get_device_name(i)})" for i in range(torch.cuda.device_count())]
    devices += ["mps"] if torch.backends.mps.is_available() else []
    return library_versions() | {
        "system": f"{platform.system()} {platform.machine()}",
        "cores": usable_cores(),
        "threads": f"{'' if cores.fixed else 'up to '}{cores.count} ({cores.reason})",
        "waiting_threads": how_threads_wait(),
        "devices": ", ".join(devices),
        "extras": ", ".join(name for name, package in OPTIONAL.items() if _installed(package)) or "none",
        "weights_folder": torch.hub.get_dir(),
    }


def self_test() -> list[str]:
    """Probe, generate, predict and learn on a tiny network; returns what went wrong, one text each."""
    torch.manual_seed(0)
    backbone = Backbone(build_network("resnet18", 3, stem="small", width=0.125)).freeze()
    model = GeneralizeFormer(ChannelGenerator(width=16, depth=1, heads=2, channel_width=8), prior_count=16.0)
    images = torch.rand(4, 3, 16, 16)
    problems: list[str] = []
    untrained = model(backbone, images).logits
    mixed = backbone.source_parameters().with_mix(prior_mix(backbone.source_parameters(), len(images), 16.0))
    if not torch.equal(untrained, backbone(images, mixed)):
        problems.append("an untrained generator does not give the source model")
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    labels = torch.tensor([0, 1, 2, 0])
    before = torch.nn.functional.cross_entropy(untrained, labels)
    before.backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    after = torch.nn.functional.cross_entropy(model(backbone, images).logits, labels)
    if not after < before:
        problems.append("a training step does not lower the loss")
    return problems


def _installed(package: str) -> bool:
    try:
        importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True
