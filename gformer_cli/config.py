"""Settings: every number a run depends on, typed; presets and overrides that make them.

Later wins: defaults, then a preset, then `--set key=value`, then explicit flags. What was resolved is saved
with the run. An unknown key or a value of the wrong type is an `InputError` that names the nearest valid key.
"""

from __future__ import annotations

import reprlib
from collections.abc import Container, Iterator, Mapping, Sequence
from itertools import islice
from typing import Annotated, Any, Literal, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator, model_validator
from pydantic_core import PydanticCustomError

from gformer_cli.earlier_settings import RENAMED, as_of_now
from gformer_cli.errors import InputError, did_you_mean, plain
from gformer_cli.networks.own_code import check_own_code
from gformer_cli.preset_files import dump_yaml, parse_yaml, read_preset
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
Size = Annotated[int, Field(ge=1, le=16384)]
"""Of a layer that is generated with; more is a slip of the keyboard or a hostile file."""
Precision = Literal["auto", "float32", "bfloat16"]
ShiftFamily = Literal["photometric", "blur", "noise", "geometric", "style"]

_NETWORK = "backbone.name"


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
    resize: Literal["crop", "stretch"] = "crop"
    mean: tuple[Channel, Channel, Channel] = (0.485, 0.456, 0.406)
    std: tuple[Spread, Spread, Spread] = (0.229, 0.224, 0.225)
    white_level: Positive | None = None
    """The sample that is white in images of more than 8 bits, such as 4095; null: found for each folder."""
    validation_fraction: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.2
    """Share of each source domain's images, per class, that nothing is trained on."""


class BackboneSettings(_Section):
    """The network whose convolutions stay frozen after `pretrain`."""

    name: str = "resnet18"
    stem: Literal["standard", "small"] = "standard"
    """`small`: a 3x3 convolution of stride 1 and no pooling, for images under 64 pixels."""
    width: Annotated[float, Field(gt=0.0, le=4.0)] = 1.0
    """Multiplies every stage's channels; other than 1 needs weights: none."""
    head: str | None = None
    """The name of the layer that answers, as in the network's state dict; null: found by running the network."""
    weights: str = "default"
    """`default` (the library's download), `none` (from scratch), or a state-dict file."""


class PretrainSettings(_Section):
    """Training of the source models."""

    steps: Count = 3000
    batch_size: Count = 64
    learning_rate: Positive = 1e-4
    weight_decay: NotNegative = 1e-4
    label_smoothing: Fraction = 0.0
    warmup: Fraction = 0.1
    """Share of the steps in which the learning rate rises; it falls by a cosine afterwards."""
    crop: Share = 0.8
    """Smallest share of the image's area that a random crop keeps; 1 switches crops off."""
    flip: bool = True
    """Mirror at random. Off for letters and digits."""
    jitter: NotNegative = 0.2
    """Random brightness, contrast and saturation."""
    validate_every: Count = 200
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
    depth: Annotated[int, Field(ge=1, le=64)] = 2
    heads: Size = 4
    feed_forward: Size = 128
    channel_width: Size = 32
    """Of `channel` alone: width of the networks that read single channels."""
    on_constant: bool = False
    """Of `channel` alone: generate on top of a constant generator, learned with the rest. It then fits one network."""
    probe: Literal["none", "forward", "backward"] = "none"
    """What comes before the prediction: `none`: nothing, each layer's parameters are generated as the batch reaches it;
    `forward`: a pass of the source model; `backward`: that and a backward pass, for gradient features."""
    probe_images: Share = 1.0
    """Share of a batch's images that are probed. With a probe alone."""
    statistics: bool = True
    """Read how far each layer's batch statistics lie from the source's."""
    features: bool = True
    """Read the batch's features before the classifier."""
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
            raise ValueError("generator.kind vector needs generator.probe forward or backward")
        if self.probe == "none" and self.probe_images != 1.0:
            raise ValueError("generator.probe_images needs generator.probe forward or backward")
        return self


_OF_CHANNEL = ("channel_width", "on_constant")
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

    steps: Count = 1000
    episodes_per_step: Count = 4
    """Episodes whose gradients are averaged: single small batches are noisy teachers."""
    learning_rate: Positive = 1e-3
    weight_decay: NotNegative = 1e-2
    warmup: Fraction = 0.1
    clip: Positive = 1.0
    """Largest norm of the generator's gradient."""
    largest_batch: Count = 64
    """Episode batches hold 1 to this many images, small ones as often as large ones."""
    few_classes: Fraction = 0.2
    """Share of the episodes whose batch holds two classes only."""
    loss: Literal["relative", "cross_entropy"] = "relative"
    """`relative`: at its best temperature and as a share of the source model's; `cross_entropy`: as in the paper."""
    huber_weight: NotNegative = 0.0
    """λ, the paper's weight of the distance to fine-tuned parameters; 0 switches that term (and its cost) off."""
    huber_steps: Count = 1
    huber_learning_rate: Positive = 0.1
    ema: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    """Decay of the exponential moving average of the generator's weights that is validated and kept; 0: none."""
    constant: bool = True
    """Also meta-train the constant generator, for comparison."""
    precision: Precision = "auto"
    validate_every: Count = 200
    patience: Count | None = None
    """Stop after so many validations in a row without a better one; null never stops early."""
    validation_batches: Count = 4
    """Per source domain, with and without a held-out shift, at each of the validation's batch sizes."""
    validation_few_classes: Fraction = 0.2
    """Share of them, rounded to whole batches, that holds two classes only."""
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
    families: Annotated[tuple[ShiftFamily, ...], Field(min_length=1)] = get_args(ShiftFamily)


class Settings(_Section):
    """Everything a run depends on beside its data and its machine."""

    seed: Annotated[int, Field(ge=0, le=LARGEST_SEED)] = 0
    data: DataSettings = DataSettings()
    backbone: BackboneSettings = BackboneSettings()
    pretrain: PretrainSettings = PretrainSettings()
    generator: GeneratorSettings = GeneratorSettings()
    meta_train: MetaTrainSettings = MetaTrainSettings()
    shifts: ShiftSettings = ShiftSettings()


def resolve(
    *,
    base: Settings | None = None,
    preset: str | None = None,
    assignments: Sequence[str] = (),
    flags: Mapping[str, Any] | None = None,
    only: Sequence[str] | None = None,
) -> Settings:
    """Settings from their layers, later wins: `base`, the preset, `--set` assignments, explicit flags.

    `flags` maps dotted keys to values; None means that the flag was not given. With `only`, a trained run (`base`) has
    fixed all other sections: a preset may hold them but does not touch them, `--set` and flags may say what they are.

    Raises `InputError` as `validate` does, and for a network of somebody's own code that neither `assignments` nor
    `flags` name: a file does not make code run. And for a setting that they name and that does nothing (`IDLE`).
    """
    tree = (base or Settings()).model_dump(mode="json")
    if preset is not None:
        _merge(tree, read_preset(preset), origin=f"preset {preset}", only=only)
    named = (flags or {}).get(_NETWORK) is not None
    for assignment in assignments:
        key, value = _parse_assignment(assignment)
        named = named or key == _NETWORK
        if isinstance(value, (bool, int, float)) and isinstance(_at(tree, key), str):
            value = assignment.partition("=")[2].strip()  # a file may be called 007
        _change(tree, key, value, "--set", only)
    for key, value in (flags or {}).items():
        if value is not None:
            _change(tree, key, value, "flag", only)
    settings = validate(tree)
    _check_effect(settings.generator.kind, [text.partition("=")[0].strip() for text in assignments])
    _check_effect(settings.generator.kind, [key for key, value in (flags or {}).items() if value is not None])
    if not named:
        check_own_code(settings.backbone.name, None, f"preset {preset}" if preset is not None else "the run")
    return settings


def _check_effect(kind: str, named: Sequence[str]) -> None:
    """Raises `InputError` where one of the `named` keys does nothing for this kind of generator."""
    for key in named:
        section, _, name = key.partition(".")
        if section == "generator" and name in IDLE[kind]:
            able = " or ".join(other for other, idle in IDLE.items() if name not in idle)
            raise InputError(
                f"setting {key} has no effect with generator.kind={kind}",
                f"Leave it out, or choose generator.kind={able}.",
            )


def _change(tree: dict[str, Any], key: str, value: Any, origin: str, only: Sequence[str] | None) -> None:
    """Set one key of `tree` in place; raises `InputError` for another value of what is fixed."""
    before = validate(tree) if only is not None and key.split(".", maxsplit=1)[0] not in only else None
    _merge(tree, _nest(key, value), origin=origin)
    if before is not None and validate(tree) != before:
        named = f"--set {key}" if origin == "--set" else f"{key}={_short(value)}"
        raise InputError(
            f"{named}: this setting was fixed when the source model was trained",
            f"Settings that can be changed now start with: {', '.join(only or ())}.",
        )


def validate(tree: Mapping[str, Any]) -> Settings:
    """A mapping as settings; raises `InputError` naming the key, the value and what was expected."""
    try:
        return Settings.model_validate(tree)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        if first["type"] == "value_error":  # from a check over several keys, which names them itself
            raise InputError(str(first["ctx"]["error"]), "Change one of them with --set or in the preset.") from None
        raise InputError(
            f"wrong value for setting {key}: {_short(first['input'])}", _sentence(plain(first["msg"]))
        ) from None


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."


def keys() -> list[str]:
    """Every dotted key, such as `pretrain.steps`."""
    return _flatten(Settings().model_dump(mode="json"))


def to_yaml(settings: Settings) -> str:
    """Settings as the YAML that `--preset FILE` reads back."""
    return dump_yaml(settings.model_dump(mode="json"))


def _parse_assignment(text: str) -> tuple[str, Any]:
    key, separator, value = text.partition("=")
    if not separator or not key:
        raise InputError(f"--set wants KEY=VALUE, got {text!r}", "For example: --set pretrain.steps=500")
    try:
        return key.strip(), parse_yaml(value) if value.strip() else ""
    except yaml.YAMLError:
        return key.strip(), value


def _at(tree: Any, key: str) -> Any:
    """The setting `key` of `tree`, or None where there is none."""
    for part in key.split("."):
        tree = tree.get(part) if isinstance(tree, Mapping) else None
    return tree


def _nest(key: str, value: Any) -> dict[str, Any]:
    tree: Any = value
    for part in reversed(key.split(".")):
        tree = {part: tree}
    assert isinstance(tree, dict)
    return tree


def _merge(tree: dict[str, Any], changes: Mapping[str, Any], *, origin: str, only: Sequence[str] | None = None) -> None:
    """Put `changes` into `tree` in place; a key that `tree` does not have is an error."""
    sections = {name for name, value in tree.items() if isinstance(value, Mapping)}
    for key, value in _leaves(changes, sections=sections):
        _check_key(tree, key, origin)
        if only is not None and key.split(".")[0] not in only:
            continue
        *path, last = key.split(".")
        place = tree
        for part in path:
            place = place[part]
        place[last] = value


def _check_key(tree: Mapping[str, Any], key: str, origin: str) -> None:
    known = _flatten(tree)
    if key not in known:
        if any(name.startswith(key + ".") for name in known):
            inside = ", ".join(name for name in known if name.startswith(key + "."))
            raise InputError(f"{origin}: {key!r} is a section, not a setting", f"It holds: {inside}.")
        near = f"It is called {RENAMED[key]} now." if key in RENAMED else did_you_mean(key, known).strip()
        raise InputError(f"{origin}: unknown setting {key!r}", f"{near} See: gformer presets show quick")


def _flatten(tree: Mapping[str, Any]) -> list[str]:
    return [key for key, _ in _leaves(tree)]


def _leaves(
    tree: Mapping[str, Any], prefix: str = "", sections: Container[str] | None = None
) -> Iterator[tuple[str, Any]]:
    """Dotted keys with their values.

    With `sections`, of any other mapping one key alone: aliases in a short YAML file can stand for billions.
    """
    for key, value in tree.items():
        name = f"{prefix}{key}"
        if not isinstance(value, Mapping):
            yield name, value
        elif sections is None or name in sections:
            yield from _leaves(value, f"{name}.", sections)
        else:
            yield ".".join([name, *(str(inside) for inside in islice(value, 1))]), None


def _short(value: object) -> str:
    """Its `repr`, cut: a value from a YAML file may be of any size."""
    shown = reprlib.Repr()
    shown.maxlevel, shown.maxstring, shown.maxother, shown.maxlong = 3, 100, 100, 100
    return shown.repr(value)
