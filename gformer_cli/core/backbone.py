"""Any classifier with normalisation layers and a linear head, seen as f(x; θ): which tensors are θ, and how to run with
another θ."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import nn

from gformer_cli.core.parameters import Parameters
from gformer_cli.core.session import Session
from gformer_cli.core.statistics import Statistics, pool
from gformer_cli.errors import InputError
from gformer_cli.networks.head import Head, find_head, make_head
from gformer_cli.networks.norms import AdaptiveNorm, make_adaptive


class Backbone(nn.Module):
    """A network whose θ (γ, β, mixing, classifier) can be exchanged for one pass without writing to it.

    `network` maps images (B, 3, H, W) to logits (B, K). Its normalisation layers and its head become adaptive in place
    (see `networks.norms`); its state dict keeps its names. What belongs to a pass is in its `Session`:
    threads may share a backbone.

    Args:
        network: as it was built or loaded.
        image_size: of the images that it is run on to find its head; None tries some.
        head: the name of its head, which is then not looked for.

    Raises `InputError` for a network without a layer that can be adapted, or without a linear head.
    """

    def __init__(self, network: nn.Module, *, image_size: int | None = None, head: str | None = None) -> None:
        super().__init__()
        self.network = network
        layers, self.unadapted = adaptive_layers(network)
        """Why a layer that normalises is not adapted, by its name."""
        self.layer_names = list(layers)
        self.layers = list(layers.values())
        """The adaptive normalisation layers in the order of their definition."""
        self.classifier_name = find_head(network, image_size) if head is None else head
        make_head(network, self.classifier_name)

    @property
    def classifier(self) -> Head:
        layer = self.network.get_submodule(self.classifier_name)
        assert isinstance(layer, Head)
        return layer

    @property
    def num_classes(self) -> int:
        return self.classifier.num_classes

    @property
    def families(self) -> dict[str, int]:
        """How many adaptive layers there are of each kind, such as `LayerNorm`."""
        return dict(Counter(layer.family for layer in self.layers))

    def freeze(self) -> Backbone:
        """Eval mode, no gradients: the state in which a source model is adapted."""
        return self.eval().requires_grad_(False)

    def source_parameters(self) -> Parameters:
        """θ_s: the model's own tensors (not copies) under source statistics."""
        layers, head = self.layers, self.classifier
        return Parameters(
            gammas=tuple(layer.weight for layer in layers),
            betas=tuple(layer.bias for layer in layers),
            mix=None,
            weight=head.matrix,
            bias=head.bias,
        )

    def mixing_batchnorm(self, share: float | torch.Tensor) -> Parameters:
        """θ_s where each BatchNorm mixes the batch's statistics in by `share`, in [0, 1], and the layers that normalise
        each image by itself stay as they are. With 1 it is how training normalises."""
        source = self.source_parameters()
        of_batch = [float(layer.of_batch) for layer in self.layers]
        return source.with_mix(share * source.weight.new_tensor(of_batch) if any(of_batch) else None)

    def forward(
        self,
        images: torch.Tensor,
        parameters: Parameters | None = None,
        earlier: Sequence[Statistics] | None = None,
    ) -> torch.Tensor:
        """Logits (B, K) of images (B, 3, H, W) under `parameters`, or under the model's own.

        `earlier` holds per layer the statistics of other images, which those of `images` are pooled with wherever
        `parameters` mix batch statistics in.
        """
        if parameters is not None:
            return Session(parameters, earlier=earlier).run(self.network, images)
        logits = self.network(images)
        assert isinstance(logits, torch.Tensor)
        return logits

    def observe(
        self,
        images: torch.Tensor,
        parameters: Parameters | None = None,
        earlier: Sequence[Statistics] | None = None,
    ) -> tuple[torch.Tensor, Session]:
        """As `forward`, and the pass, which holds what `images` showed: features and each layer's batch statistics."""
        session = Session(parameters or self.source_parameters(), earlier=earlier, observing=True)
        return session.run(self.network, images), session

    @torch.no_grad()
    def record(self, batches: Iterable[torch.Tensor]) -> None:
        """Record what LayerNorm and GroupNorm show of source images, batches (B, 3, H, W), in place of their source
        statistics. BatchNorm has its own. Without such layers nothing is read."""
        wanted = [layer for layer in self.layers if not layer.of_batch]
        if not wanted:
            return
        total: list[Statistics] = []
        for images in batches:
            _, session = self.observe(images)
            batch = [
                Statistics(
                    len(images),
                    session.means[layer.index].cpu().double(),
                    session.variances[layer.index].cpu().double(),
                )
                for layer in wanted
            ]
            total = [pool(both) for both in zip(total, batch, strict=True)] if total else batch
        for layer, statistics in zip(wanted, total, strict=True):
            layer.running_mean.copy_(statistics.mean)
            layer.running_var.copy_(statistics.variance)

    def assignment(self, parameters: Parameters) -> dict[str, torch.Tensor]:
        """`parameters` by their names in the network's state dict; and `LAYER.mix`, which is never in it."""
        tensors: dict[str, torch.Tensor] = {}
        for index, name in enumerate(self.layer_names):
            tensors[f"{name}.weight"] = parameters.gammas[index]
            tensors[f"{name}.bias"] = parameters.betas[index]
            if parameters.mix is not None:
                tensors[f"{name}.mix"] = parameters.mix[index]
            if parameters.means is not None and parameters.variances is not None:
                tensors[f"{name}.running_mean"] = parameters.means[index]
                tensors[f"{name}.running_var"] = parameters.variances[index]
        tensors[f"{self.classifier_name}.weight"] = parameters.weight.view_as(self.classifier.weight)
        tensors[f"{self.classifier_name}.bias"] = parameters.bias
        return tensors

    def parameters_from(self, tensors: Mapping[str, torch.Tensor]) -> Parameters:
        """The opposite of `assignment`, for parameters with a mixing or with statistics of their own.

        Raises `KeyError` for a tensor that is missing or too many, `ValueError` for one of another shape.
        """
        state = self.network.state_dict()
        left = dict(tensors)

        def take(name: str, shape: torch.Size) -> torch.Tensor:
            if left[name].shape != shape:
                raise ValueError(f"{name} has shape {tuple(left[name].shape)}, not {tuple(shape)}")
            return left.pop(name)

        def per_layer(part: str) -> tuple[torch.Tensor, ...]:
            return tuple(take(f"{name}.{part}", state[f"{name}.{part}"].shape) for name in self.layer_names)

        mixed = f"{self.layer_names[0]}.mix" in left
        head = {part: f"{self.classifier_name}.{part}" for part in ("weight", "bias")}
        made = Parameters(
            gammas=per_layer("weight"),
            betas=per_layer("bias"),
            mix=torch.stack([take(f"{name}.mix", torch.Size()) for name in self.layer_names]) if mixed else None,
            weight=take(head["weight"], state[head["weight"]].shape).flatten(1),
            bias=take(head["bias"], state[head["bias"]].shape),
            means=None if mixed else per_layer("running_mean"),
            variances=None if mixed else per_layer("running_var"),
        )
        for name in left:
            raise KeyError(name)
        return made


def adaptive_layers(network: nn.Module) -> tuple[dict[str, AdaptiveNorm], dict[str, str]]:
    """The normalisation layers of `network`, made adaptive, and why others are not (see `networks.norms`).

    Raises `InputError` where there is none.
    """
    layers, left = make_adaptive(network)
    if not layers:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in list(left.items())[:3])
        raise InputError(
            f"{type(network).__name__} has no normalisation layer that can be adapted, so there is nothing to "
            f"generate{f' ({reasons})' if reasons else ''}",
            "Supported: BatchNorm, LayerNorm and GroupNorm with scale and shift, as in ResNets, DenseNets, MobileNets, "
            "EfficientNets, VGGs with BatchNorm, ConvNeXt, ViT and Swin.",
        )
    return layers, left
