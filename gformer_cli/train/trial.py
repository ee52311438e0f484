"""The trial before training: what will take hours is done once, on a few random images."""

from __future__ import annotations

import torch
from torch import nn

from gformer_cli.bundle import build_generator, build_model, constant_settings
from gformer_cli.compute.pace import one_thread
from gformer_cli.core.backbone import Backbone
from gformer_cli.core.generalizeformer import GeneralizeFormer
from gformer_cli.core.trial import trial_images, try_generation, try_network, try_training
from gformer_cli.settings import Settings


def try_training_of(
    network: nn.Module, settings: Settings, num_classes: int, device: torch.device, batch_size: int
) -> dict[str, str]:
    """Raises `InputError` where `network` cannot be trained in batches of `batch_size`, or nothing can be generated
    for it. `network` is not to be used afterwards. Returns the layers that cannot be adapted, each with the reason."""
    name, size = settings.backbone.name, settings.data.image_size
    with one_thread():  # a few images gain nothing from more
        backbone = try_network(network, name, num_classes, size, device, settings.backbone.head)
        try_generating(backbone, settings, num_classes, device)
        try_training(network, name, num_classes, size, batch_size)
    return backbone.unadapted


def try_generating(backbone: Backbone, settings: Settings, num_classes: int, device: torch.device) -> None:
    """Raises `InputError` where the untrained generator, or the constant one, cannot generate for `backbone`."""
    images = trial_images(2, settings.data.image_size, device)
    for wanted in (settings.generator, constant_settings(settings.generator)):
        model = build_model(wanted, build_generator(wanted, backbone).to(device))

        def predict(given: torch.Tensor, model: GeneralizeFormer = model) -> torch.Tensor:
            return model(backbone, given).logits  # type: ignore[no-any-return]

        try_generation(predict, settings.backbone.name, num_classes, images)
