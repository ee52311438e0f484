"""The settings themselves: every number a run depends on, typed. `config.py` makes them of presets and overrides."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator
from pydantic_core import PydanticCustomError

from gformer_cli.earlier_settings import as_of_now
from gformer_cli.seeding import LARGEST_SEED

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
Share = Annotated[float, Field(gt=0.0, le=1.0)]
_MOST = 1e9
"""What any number may be: far beyond all sense, and far from what float32 cannot hold."""
Positive = Annotated[float, Field(gt=0.0, le=_MOST)]
NotNegative = Annotated[float, Field(ge=0.0, le=_MOST)]
Channel = Annotated[float, Field(ge=-_MOST, le=_MOST)]
Spread = Annotated[float, Field(ge=1e-9, le=_MOST)]
Count = Annotated[int, Field(ge=1)]
TEMPERATURES = (0.01, 100.0)
"""What logits may be divided by: beyond, probabilities say nothing any more."""
Byte = Annotated[int, Field(ge=0, le=255)]
Size = Annotated[int, Field(ge=1, le=16384)]
"""Of a layer that is generated with; more is a slip of the keyboard or a hostile file."""
Precision = Literal["auto", "float32", "bfloat16"]
Interpolation = Literal["nearest", "box", "bilinear", "hamming", "bicubic", "lanczos"]
ShiftFamily = Literal["photometric", "blur", "noise", "geometric", "style"]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _no_number_is_true(cls, value: Any, info: ValidationInfo) -> Any:
        if isinstance(value, bool) and cls.model_fields[str(info.field_name)].annotation is not bool:
            raise PydanticCustomError("no_bool", "Input should be a number or text, not true or false")
        return value


class DataSettings(_Section):
    """How image files become the network's input."""

    image_size: Annotated[int, Field(ge=8, le=1024)] = 224
    """Height and width of the input."""
    resize: Literal["crop", "stretch", "pad"] = "crop"
    """`crop`: the ratio of the sides is kept, and the centre is cut out; `stretch`: both sides to one length; `pad`:
    the ratio is kept, and what lacks of a square is filled."""
    resize_size: Annotated[int, Field(ge=8, le=4096)] | None = None
    """Pixels that the shorter side (`pad`: the longer, `stretch`: both) is resized to before the centre is cropped to
    `image_size`, as torchvision and timm do; null: cut and resized to `image_size` in one step."""
    centre_rounding: Literal["even", "down"] = "even"
    """Where half a pixel too many lies on each side of the centre: `even`: to the even margin, as torchvision and timm
    round; `down`: as the transformers library does."""
    interpolation: Interpolation = "bilinear"
    """As Pillow names them; without antialias nearest, bilinear and bicubic alone."""
    antialias: bool = True
    """Smooth where the image shrinks, as Pillow does; false: as torchvision resizes tensors with antialias=False."""
    fill: tuple[Byte, Byte, Byte] = (0, 0, 0)
    """The colour of what is padded, red, green, blue."""
    channels: Literal["rgb", "bgr", "grey"] = "rgb"
    """Order of the input's channels; `grey`: three equal ones."""
    mean: tuple[Channel, Channel, Channel] = (0.485, 0.456, 0.406)
    """Mean of the input's channels, in their order, where black is 0 and white is 1."""
    std: tuple[Spread, Spread, Spread] = (0.229, 0.224, 0.225)
    """Standard deviation of the input's channels, in their order."""
    reading: Literal["upright", "plain"] = "upright"
    """`upright`: turned as EXIF says, colours to sRGB, transparent parts white; `plain`: none of these, as
    `Image.open(FILE).convert("RGB")` and so torchvision's `ImageFolder` read."""
    reduced_jpeg: bool = True
    """Decode JPEGs that are far larger than the input at a reduced size: faster, and nearly the same."""
    white_level: Positive | None = None
    """The sample that is white in images of more than 8 bits, such as 4095; null: found for each folder."""
    validation_fraction: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.2
    """Share of each source domain's images, per class, that nothing is trained on."""

    @model_validator(mode="after")
    def _smoothed(self) -> DataSettings:
        if not self.antialias and self.interpolation not in ("nearest", "bilinear", "bicubic"):
            raise ValueError(f"data.interpolation {self.interpolation} needs data.antialias true")
        return self


class BackboneSettings(_Section):
    """The network whose convolutions stay frozen after `pretrain`."""

    name: str = "resnet18"
    """A classifier of torchvision, `timm:NAME`, or `FILE.py:FUNCTION`."""
    stem: Literal["standard", "small"] = "standard"
    """`small`: a 3x3 convolution of stride 1 and no pooling, for images under 64 pixels."""
    width: Annotated[float, Field(gt=0.0, le=4.0)] = 1.0
    """Multiplies every stage's channels; other than 1 needs weights: none."""
    head: str | None = None
    """The name of the layer that answers, as in the network's state dict; null: found by running the network."""
    config: str | None = None
    """Of a network of the transformers library: its config.json, as text."""
    weights: str = "default"
    """`default` or another name of weights that the library publishes, `none` (from scratch), or a file."""


class PretrainSettings(_Section):
    """Training of the source models."""

    steps: Count = 3000
    """Of each model; with `patience` at most."""
    batch_size: Count = 64
    """Images of a step."""
    learning_rate: Positive = 1e-4
    """Its highest value, after the warmup."""
    weight_decay: NotNegative = 1e-4
    """Of AdamW, on all weights."""
    label_smoothing: Fraction = 0.0
    """Share of the target probability that is spread over all classes."""
    warmup: Fraction = 0.1
    """Share of the steps in which the learning rate rises."""
    crop: Share = 0.8
    """Smallest share of the image's area that a random crop keeps; 1 switches crops off."""
    flip: bool = True
    """Mirror at random. Off for letters and digits."""
    jitter: NotNegative = 0.2
    """Random brightness, contrast and saturation."""
    validate_every: Count = 200
    """Steps between two validations."""
    patience: Count | None = None
    """After so many validations in a row without a better one the learning rate, held until then, falls to zero, and
    training ends; null: it falls by a cosine from its highest on, and training takes all steps."""
    leave_one_domain_out: bool = True
    """Also train, for each domain, a model without it: meta-train needs them."""
    precision: Precision = "auto"
    """`auto`: bfloat16 on GPUs that have it, else float32."""

    @model_validator(mode="before")
    @classmethod
    def _as_of_now(cls, values: Any) -> Any:
        return as_of_now("pretrain", values) if isinstance(values, Mapping) else values


class GeneratorSettings(_Section):
    """The network that generates."""

    kind: Literal["channel", "vector", "constant"] = "channel"
    """`channel`: heads per channel, for any network; `vector`: the paper's tokens; `constant`: learned residuals that
    are the same for every batch."""
    width: Size = 64
    """Of the transformer's tokens."""
    depth: Annotated[int, Field(ge=1, le=64)] = 2
    """Layers of the transformer."""
    heads: Size = 4
    """Attention heads of a layer; they divide `width`."""
    feed_forward: Size = 128
    """Hidden width of a layer's feed-forward network."""
    channel_width: Size = 32
    """Of `channel` alone: width of the networks that read single channels."""
    on_constant: bool = False
    """Of `channel` alone: generate on top of a constant generator, learned with the rest. It then fits one network."""
    probe: Literal["none", "source", "forward", "backward"] = "none"
    """What comes before the prediction: `none`: nothing, each layer's parameters are generated as the batch reaches it;
    `source`: a pass of the source model as it is, which `adapt` makes anyway; `forward`: one under mixed statistics;
    `backward`: that and a backward pass, for gradient features."""
    probe_images: Share = 1.0
    """Share of a batch's images that are probed. With a probe alone."""
    statistics: bool = True
    """Read how far each layer's batch statistics lie from the source's."""
    features: bool = True
    """Read the batch's features before the classifier."""
    class_shares: bool = False
    """Of `channel` alone: read the shares of the classes in the batch, apart from those in its context, and let the
    classifier's bias follow them."""
    probed_classes: bool = False
    """Of `channel` alone: read a probe's classes alone, and generate each layer's parameters as the batch reaches it;
    else everything is generated from the probe, at once."""
    trust: bool = False
    """Of `channel` alone, with a probe: give each batch a number in [0, 1] that scales all that is generated, and the
    mixing, towards the source model."""
    generates: Literal["both", "bn", "classifier"] = "both"
    """`bn`: γ and β of the normalisation layers; `classifier`: the linear classifier; or both."""
    last_layers: Count | None = None
    """Generate γ and β of so many normalisation layers nearest to the classifier only; null for all."""
    classifier_bias: bool = True
    """Generate the classifier's bias as well as its weights."""
    mixing: bool = True
    """Generate the mixing of statistics; without, a batch of n images mixes by n / (n + prior_count)."""
    prior_count: Positive = 16.0
    """How many images the source statistics count as when the probe mixes them with the batch's."""

    @model_validator(mode="before")
    @classmethod
    def _as_of_now(cls, values: Any) -> Any:
        return as_of_now("generator", values) if isinstance(values, Mapping) else values

    @model_validator(mode="after")
    def _heads_divide_width(self) -> GeneratorSettings:
        if self.width % self.heads:
            raise ValueError(f"generator.width {self.width} is not divisible by generator.heads {self.heads}")
        return self

    @model_validator(mode="after")
    def _kind_allows_probe(self) -> GeneratorSettings:
        if self.kind == "vector" and self.probe == "none":
            raise ValueError("generator.kind vector needs a generator.probe")
        if self.probe == "none" and self.probe_images != 1.0:
            raise ValueError("generator.probe_images needs a generator.probe")
        for name in ("probed_classes", "trust"):
            if self.probe == "none" and getattr(self, name):
                raise ValueError(f"generator.{name} needs a generator.probe")
        return self


_OF_CHANNEL = ("channel_width", "on_constant", "class_shares", "probed_classes", "trust")
IDLE: Mapping[str, tuple[str, ...]] = {
    "channel": (),
    "vector": _OF_CHANNEL,
    "constant": (
        *_OF_CHANNEL,
        *("width", "depth", "heads", "feed_forward", "statistics", "features", "probe_images"),
    ),
}
"""Per kind of generator the settings that do nothing for it. A preset may hold them; nobody may ask for them."""


class MetaTrainSettings(_Section):
    """Meta-learning of the generator."""

    start: str = "none"
    """The generator that training goes on from: a generator file, a bundle or `universal`; `none`: an untrained one."""
    steps: Count = 1000
    """Updates of the generator; with `patience` at most."""
    leave_one_domain_out: Annotated[int, Field(ge=0)] = 0
    """Of an imported model alone: steps for which a copy of it is fine-tuned without each source domain, by the
    pretrain section; 0: no copies, so that episodes are simulated shifts only."""
    episodes_per_step: Count = 4
    """Episodes of each run whose gradients are averaged: single small batches are noisy teachers."""
    runs_per_step: Count | None = None
    """Of meta-training on several runs alone: how many of them have episodes in a step, each run equally often; null:
    all of them."""
    learning_rate: Positive = 1e-3
    """Its highest value, after the warmup."""
    weight_decay: NotNegative = 1e-2
    """Of AdamW, on all weights."""
    warmup: Fraction = 0.1
    """Share of the steps in which the learning rate rises."""
    clip: Positive = 1.0
    """Largest norm of the generator's gradient."""
    largest_batch: Count = 64
    """Episode batches hold 1 to this many images, small ones as often as large ones."""
    skewed: Fraction = 0.5
    """Share of the episodes whose class shares are drawn, from one class to nearly all."""
    at_home: Fraction = 0.1
    """Share of the episodes that the source model meets at home, where the right answer is to do nothing."""
    two_conditions: Fraction = 0.1
    """Share of the shifted episodes whose batch holds two conditions."""
    context: Fraction = 0.2
    """Share of the episodes that come after batches of the same domain and condition."""
    single_pass: Fraction = 0.0
    """Share of the episodes that are generated in a single pass though `generator.probe` asks for a probe."""
    loss: Literal["logarithmic", "relative", "cross_entropy"] = "relative"
    """`relative`: at its best temperature and as a share of the source model's; `logarithmic`: at its best temperature,
    the logarithm of 1 and it; `cross_entropy`: as in the paper."""
    harm_weight: NotNegative = 0.0
    """Weight of what the loss is above the source model's, where it is."""
    huber_weight: NotNegative = 0.0
    """λ, the paper's weight of the distance to fine-tuned parameters; 0 switches that term (and its cost) off."""
    huber_steps: Count = 1
    """Gradient steps that make the fine-tuned parameters."""
    huber_learning_rate: Positive = 0.1
    """Size of such a step, in units of each parameter's scale."""
    ema: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    """Decay of the exponential moving average of the generator's weights that is validated and kept; 0: none."""
    constant: bool = True
    """Also meta-train the constant generator, for comparison."""
    precision: Precision = "auto"
    """`auto`: bfloat16 on GPUs that have it, else float32."""
    validate_every: Count = 200
    """Steps between two validations."""
    patience: Count | None = None
    """Stop after so many validations in a row without a better one; null never stops early."""
    validation_batches: Count = 4
    """Per source domain, with and without a held-out shift, at each of the validation's batch sizes."""
    validation_skewed: Fraction = 0.5
    """Share of them, rounded to whole batches, whose class shares are drawn."""
    validation_harm: NotNegative = 0.2
    """The generator that is kept has the highest mean accuracy less so much of the worst loss to the source model, over
    domains, batch sizes and kinds of episodes."""
    guard_batches: Annotated[int, Field(ge=0)] = 12
    """Clean batches per source domain and batch size that the guard is calibrated on; 0: the bundle has no guard."""

    @model_validator(mode="before")
    @classmethod
    def _as_of_now(cls, values: Any) -> Any:
        return as_of_now("meta_train", values) if isinstance(values, Mapping) else values


class ShiftSettings(_Section):
    """Simulated shifts in meta-training episodes."""

    probability: Fraction = 0.5
    """Share of the episodes that carry one, where leave-one-domain-out models exist; without these, all do."""
    strength: NotNegative = 1.0
    """How far a shift goes; 0 changes nothing, 2 is strong."""
    families: Annotated[tuple[ShiftFamily, ...], Field(min_length=1)] = get_args(ShiftFamily)
    """Kinds of shifts that are drawn. Others are kept for choosing the generator."""


class Settings(_Section):
    """Everything a run depends on beside its data and its machine."""

    seed: Annotated[int, Field(ge=0, le=LARGEST_SEED)] = 0
    """Of every random choice."""
    data: DataSettings = DataSettings()
    backbone: BackboneSettings = BackboneSettings()
    pretrain: PretrainSettings = PretrainSettings()
    generator: GeneratorSettings = GeneratorSettings()
    meta_train: MetaTrainSettings = MetaTrainSettings()
    shifts: ShiftSettings = ShiftSettings()
