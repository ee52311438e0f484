"""Any BatchNorm CNN with a linear classifier, seen as f(x; θ): which tensors are θ, and how to run with another θ."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import nn

from gformer_cli.core.parameters import Parameters
from gformer_cli.core.stem import RememberedConvolution
from gformer_cli.errors import InputError
from gformer_cli.networks.norms import MixedBatchNorm2d, Statistics

LayerAdapter = Callable[
    [int, torch.Tensor, torch.Tensor],
    tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor],
]
Classifier = Callable[[torch.Tensor], torch.Tensor]


@dataclass
class Observation:
    """What one pass showed on its way."""

    features: torch.Tensor | None = None
    """Input of the classifier, (B, D)."""
    means: dict[int, torch.Tensor] = field(default_factory=dict)
    """Per BatchNorm layer the batch mean, (C_l,)."""
    variances: dict[int, torch.Tensor] = field(default_factory=dict)
    """Per BatchNorm layer the biased batch variance, (C_l,)."""


class Backbone(nn.Module):
    """A network whose θ (γ, β, mixing, classifier) can be exchanged for one pass without writing to it.

    `network` maps images (B, 3, H, W) to logits (B, K). Its `nn.BatchNorm2d` layers become
    `MixedBatchNorm2d` in place; its state dict keeps its names. The classifier is the last `nn.Linear`.

    Raises `InputError` for a network without BatchNorm or without a final linear layer.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        _convert_batchnorm(network)
        self.network = network
        found = {name: m for name, m in network.named_modules() if isinstance(m, MixedBatchNorm2d)}
        self.layer_names = list(found)
        self.layers = list(found.values())
        """The BatchNorm layers in the order of their definition."""
        linears = [name for name, m in network.named_modules() if isinstance(m, nn.Linear)]
        if not self.layer_names or not linears:
            missing = "BatchNorm layers" if not self.layer_names else "linear classifier"
            raise InputError(
                f"{type(network).__name__} has no {missing}, so there is nothing to generate",
                "Supported: CNNs with BatchNorm2d layers and a final linear layer (resnet, densenet, vgg_bn, "
                "mobilenet, efficientnet, mnasnet, regnet, shufflenet, googlenet, inception, and timm's like them).",
            )
        self.classifier_name = linears[-1]
        if self.classifier.bias is None:
            self.classifier.bias = nn.Parameter(self.classifier.weight.new_zeros(self.num_classes))

    @property
    def classifier(self) -> nn.Linear:
        layer = self.network.get_submodule(self.classifier_name)
        assert isinstance(layer, nn.Linear)
        return layer

    @property
    def num_classes(self) -> int:
        return self.classifier.out_features

    def freeze(self) -> Backbone:
        """Eval mode, no gradients: the state in which a source model is adapted."""
        return self.eval().requires_grad_(False)

    def source_parameters(self) -> Parameters:
        """θ_s: the model's own tensors (not copies) under source statistics."""
        layers = self.layers
        return Parameters(
            gammas=tuple(layer.weight for layer in layers),
            betas=tuple(layer.bias for layer in layers),
            mix=None,
            weight=self.classifier.weight,
            bias=self.classifier.bias,
        )

    def forward(
        self,
        images: torch.Tensor,
        parameters: Parameters | None = None,
        earlier: Sequence[Statistics] | None = None,
    ) -> torch.Tensor:
        """Logits (B, K) of images (B, 3, H, W) under `parameters`, or under the model's own.

        `earlier` holds per BatchNorm layer the statistics of other images, which those of `images` are pooled with
        wherever `parameters` mix batch statistics in.
        """
        with self._pooling(earlier):
            if parameters is None:
                logits = self.network(images)
            else:
                logits = torch.func.functional_call(self.network, self.assignment(parameters), (images,))
        assert isinstance(logits, torch.Tensor)
        return logits

    def observe(
        self,
        images: torch.Tensor,
        parameters: Parameters | None = None,
        earlier: Sequence[Statistics] | None = None,
    ) -> tuple[torch.Tensor, Observation]:
        """As `forward`, and what the pass showed of `images`: classifier input and each layer's batch statistics."""
        with self._observing() as seen:
            logits = self(images, parameters, earlier)
        return logits, seen

    def generate(self, images: torch.Tensor, adapt_layer: LayerAdapter, classify: Classifier) -> torch.Tensor:
        """Logits (B, K) of images (B, 3, H, W) under parameters that are made as the batch reaches them.

        `adapt_layer(index, mean, variance)` gets the batch's statistics at a BatchNorm layer, (C_l,) both, under
        what was made for the layers before, and returns the (γ, β, mix) and the (mean, variance) to normalise with;
        `classify` maps the features (B, D) to the classifier's output (B, K).
        """
        layers = self.layers
        handle = self.classifier.register_forward_hook(lambda _module, inputs, _output: classify(inputs[0]))
        try:
            for index, layer in enumerate(layers):
                layer.adapter = lambda mean, var, index=index: adapt_layer(index, mean, var)
            return self(images)  # type: ignore[no-any-return]
        finally:
            handle.remove()
            for layer in layers:
                layer.adapter = None

    @contextmanager
    def sharing_stem(self) -> Iterator[None]:
        """Passes of the same images inside share what the first convolution makes of them, whatever their θ.

        The results are the same to the bit. Of ResNet-18 at 224 pixels it saves a tenth of a pass, for 1.4 times the
        memory: the widest activation is held. A convolution whose forward was replaced, as by this, is left alone.
        """
        first = next((m for m in self.network.modules() if isinstance(m, nn.Conv2d)), None)
        if first is None or "forward" in vars(first):
            yield
            return
        first.forward = RememberedConvolution(first)  # type: ignore[method-assign]
        try:
            yield
        finally:
            del first.forward

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
        tensors[f"{self.classifier_name}.weight"] = parameters.weight
        tensors[f"{self.classifier_name}.bias"] = parameters.bias
        return tensors

    def parameters_from(self, tensors: Mapping[str, torch.Tensor]) -> Parameters:
        """The opposite of `assignment`, for parameters with statistics of their own and without mixing.

        Raises `KeyError` for a tensor that is missing or too many, `ValueError` for one of another shape.
        """
        state = self.network.state_dict()
        left = dict(tensors)

        def take(name: str) -> torch.Tensor:
            if left[name].shape != state[name].shape:
                raise ValueError(f"{name} has shape {tuple(left[name].shape)}, not {tuple(state[name].shape)}")
            return left.pop(name)

        def per_layer(part: str) -> tuple[torch.Tensor, ...]:
            return tuple(take(f"{name}.{part}") for name in self.layer_names)

        made = Parameters(
            gammas=per_layer("weight"),
            betas=per_layer("bias"),
            mix=None,
            weight=take(f"{self.classifier_name}.weight"),
            bias=take(f"{self.classifier_name}.bias"),
            means=per_layer("running_mean"),
            variances=per_layer("running_var"),
        )
        for name in left:
            raise KeyError(name)
        return made

    @contextmanager
    def _pooling(self, earlier: Sequence[Statistics] | None) -> Iterator[None]:
        if earlier is None:
            yield
            return
        layers = self.layers
        try:
            for layer, statistics in zip(layers, earlier, strict=True):
                layer.earlier = statistics
            yield
        finally:
            for layer in layers:
                layer.earlier = None

    @contextmanager
    def _observing(self) -> Iterator[Observation]:
        seen = Observation()

        def keep_features(_module: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
            seen.features = inputs[0]

        handle = self.classifier.register_forward_pre_hook(keep_features)
        layers = self.layers
        try:
            for index, layer in enumerate(layers):
                layer.observer = lambda mean, var, index=index: _keep(seen, index, mean, var)
            yield seen
        finally:
            handle.remove()
            for layer in layers:
                layer.observer = None


def _keep(seen: Observation, index: int, mean: torch.Tensor, variance: torch.Tensor) -> None:
    seen.means[index] = mean
    seen.variances[index] = variance


def _convert_batchnorm(network: nn.Module) -> None:
    for module in list(network.modules()):
        for name, child in list(module.named_children()):
            if MixedBatchNorm2d.can_replace(child):
                setattr(module, name, MixedBatchNorm2d.from_batchnorm(child))
