"""The untrained generators that settings describe, and the model around them."""

from __future__ import annotations

from gformer_cli.core.backbone import Backbone
from gformer_cli.core.generalizeformer import GeneralizeFormer
from gformer_cli.core.generators import (
    ChannelGenerator,
    ConstantGenerator,
    Generator,
    Reads,
    Scope,
    VectorGenerator,
)
from gformer_cli.settings import GeneratorSettings


def build_generator(settings: GeneratorSettings, backbone: Backbone) -> Generator:
    """The untrained generator that `settings` describe, for networks like `backbone`."""
    scope = Scope(
        bn=settings.generates != "classifier",
        classifier=settings.generates != "bn",
        bias=settings.classifier_bias,
        mixing=settings.mixing,
        last_layers=settings.last_layers,
    )
    if settings.kind == "constant":
        return ConstantGenerator(backbone, scope=scope)
    reads = Reads(
        gradients=settings.probe == "backward",
        statistics=settings.statistics,
        features=settings.features,
        class_shares=settings.class_shares,
    )
    size = {
        "width": settings.width,
        "depth": settings.depth,
        "heads": settings.heads,
        "feed_forward": settings.feed_forward,
    }
    if settings.kind == "vector":
        return VectorGenerator(backbone, **size, reads=reads, scope=scope)
    constant = ConstantGenerator(backbone) if settings.on_constant else None
    return ChannelGenerator(
        **size,
        channel_width=settings.channel_width,
        reads=reads,
        scope=scope,
        trusts=settings.trust,
        probed_classes=settings.probed_classes,
        constant=constant,
    )


def build_model(settings: GeneratorSettings, generator: Generator) -> GeneralizeFormer:
    """The model around a generator of `settings`."""
    return GeneralizeFormer(
        generator,
        prior_count=settings.prior_count,
        single_pass=settings.probe == "none",
        probe_images=settings.probe_images,
        probes_source=settings.probe == "source",
    )


def constant_settings(settings: GeneratorSettings) -> GeneratorSettings:
    """Those of the constant generator that is trained beside one of `settings`."""
    return settings.model_copy(update={"kind": "constant"})
