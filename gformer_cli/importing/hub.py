"""A folder of a timm or transformers classifier, as their libraries and the Hugging Face hub keep it.

It is read from disk alone: nothing is downloaded, and no code that a folder brings or names is run.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from gformer_cli.errors import InputError, reason
from gformer_cli.files import MIB, read_text
from gformer_cli.networks.build import TIMM, OnMeta, build_network
from gformer_cli.networks.hf import CLASSES, HF
from gformer_cli.weights.class_names import as_class_names

CONFIG, PREPROCESSOR = "config.json", "preprocessor_config.json"
_WEIGHTS = ("model.safetensors", "pytorch_model.bin")
_LARGEST = 16 * MIB
"""Of a JSON file: names of 20,000 classes are a tenth of it."""
_NOT_OF_THE_NETWORK = ("id2label", "label2id", "architectures", "auto_map", "transformers_version")
_PLACEHOLDER = re.compile(r"LABEL_\d+")
"""What transformers calls classes that nobody has named."""
_ARCHITECTURE = re.compile(r"[\w.-]+")
"""A name of timm's. With a colon it might be read as that of a file of code."""
_OF_TRAINING = re.compile(r"drop|grad_checkpointing|init")
"""Arguments of timm's networks that no prediction depends on."""
_OWN_CODE = "Build it in code of your own: --backbone FILE.py:FUNCTION --weights FILE"


@dataclass(frozen=True)
class HubFolder:
    """What a folder says of its model."""

    kind: Literal["timm", "transformers"]
    backbone: str
    """`timm:NAME` or `hf:MODEL_TYPE`, as `build_network` takes it."""
    config: str | None
    """Of `hf:MODEL_TYPE`: its config.json, without names of classes and of places."""
    weights: Path
    classes: list[str] | None
    """Their names in the order of the head; None where the folder does not name them."""
    transform: Mapping[str, Any] | None
    """timm's `pretrained_cfg`, or what preprocessor_config.json says; None where neither is there."""


def read_hub_folder(folder: Path) -> HubFolder:
    """What `folder` says of the classifier in it.

    Raises `InputError` for what is no such folder, a model for another task or of a kind that is not supported, one
    that needs code of its own, and weights that are missing or in several files.
    """
    if not folder.is_dir():
        raise InputError(
            f"no such folder: {folder}",
            "Nothing is downloaded. Fetch a model of the hub first: hf download NAME --local-dir FOLDER",
        )
    config = _json(folder / CONFIG)
    if config is None:
        raise InputError(
            f"{folder} has no {CONFIG}", "A model that timm or transformers saved has one. Else use --weights FILE."
        )
    if config.get("auto_map"):
        raise InputError(
            f"{folder} needs code that its {CONFIG} names (auto_map), and no such code is run",
            f"If you trust that code: {_OWN_CODE}",
        )
    if isinstance(config.get("architecture"), str):
        return _timm(folder, config)
    if isinstance(config.get("model_type"), str):
        return _transformers(folder, config)
    raise InputError(
        f"{folder / CONFIG} is neither timm's (architecture) nor transformers' (model_type)",
        "Save the model with timm.models.save_for_hf or model.save_pretrained. Else use --weights FILE.",
    )


def _json(path: Path) -> dict[str, Any] | None:
    """The object in a JSON file; None without the file."""
    try:
        content = json.loads(read_text(path, _LARGEST))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        what = error.strerror if isinstance(error, OSError) and error.strerror else reason(error)
        raise InputError(f"cannot read {path}: {what}", "Copy it again from where it came.") from None
    if not isinstance(content, dict):
        raise InputError(f"{path} holds no object of JSON", "Copy it again from where it came.")
    return content


def _timm(folder: Path, config: dict[str, Any]) -> HubFolder:
    if not _ARCHITECTURE.fullmatch(config["architecture"]):
        raise InputError(f"{folder / CONFIG}: architecture {config['architecture']!r} is no name of timm's", _OWN_CODE)
    backbone = f"{TIMM}{config['architecture']}"
    described = config.get("pretrained_cfg")
    described = described if isinstance(described, dict) else config  # the earliest folders have all in one
    classes = next(
        (found for found in map(_names, (config, described, {"label_names": config.get("labels")})) if found), None
    )
    count = config.get("num_classes", described.get("num_classes"))
    if classes is not None and isinstance(count, int) and count != len(classes):
        raise InputError(
            f"{folder / CONFIG} names {len(classes)} classes, and its num_classes is {count}", "Mend it, or save again."
        )
    _check_arguments(folder / CONFIG, config, described, backbone)
    transform = described if described.keys() & {"input_size", "mean", "crop_pct"} else None
    return HubFolder("timm", backbone, None, _weights(folder), classes, transform)


def _names(config: Mapping[str, Any]) -> list[str] | None:
    return as_class_names(config.get("label_names"))


def _check_arguments(path: Path, config: Mapping[str, Any], described: Mapping[str, Any], backbone: str) -> None:
    """Raises `InputError` for a network that is otherwise than timm builds it by name for images of its size."""
    arguments = config.get("model_args")
    arguments = dict(arguments) if isinstance(arguments, Mapping) else {}
    arguments.pop("num_classes", None)
    shape = described.get("input_size")
    own_size = shape[-1] if isinstance(shape, list) and shape else None
    sizes = arguments.pop("img_size", own_size)
    channels, pool = arguments.pop("in_chans", 3), arguments.pop("global_pool", config.get("global_pool"))
    if channels != 3:
        raise InputError(f"{path}: the network takes images of {channels} channels", "Networks take three channels.")
    if sizes not in (own_size, [own_size, own_size]):
        raise InputError(f"{path}: the network is built for {sizes} pixels, and its images have {own_size}", _OWN_CODE)
    for name, value in arguments.items():
        if value is not None and not _OF_TRAINING.search(name):
            raise InputError(f"{path}: the network is built with {name}={value!r}, which timm's own is not", _OWN_CODE)
    with OnMeta():
        network = build_network(backbone, 1, image_size=own_size if isinstance(own_size, int) else None)
        if pool is not None and not _pools(network, config["architecture"], pool):
            raise InputError(f"{path}: the network pools by {pool!r}, which timm's own does not", _OWN_CODE)


def _pools(network: Any, name: str, pool: object) -> bool:
    """Whether timm's `network` pools its features so."""
    import timm

    try:
        wanted = timm.create_model(name, num_classes=1, global_pool=pool)
    except Exception:  # some take no such argument, and others none of this value
        return False

    def layers(one: Any) -> list[str]:
        return [f"{path} {type(layer).__name__}" for path, layer in one.named_modules()]

    def pools(one: Any) -> list[str]:
        held = [getattr(layer, key, None) for layer in one.modules() for key in ("global_pool", "pool_type")]
        return [value for value in held if isinstance(value, str)]

    return layers(network) == layers(wanted) and pools(network) == pools(wanted)


def _transformers(folder: Path, config: dict[str, Any]) -> HubFolder:
    kind = config["model_type"]
    _check_task(folder / CONFIG, kind, config.get("architectures"))
    classes = as_class_names(config.get("id2label"))
    if classes is not None and all(_PLACEHOLDER.fullmatch(name) for name in classes):
        classes = None
    needed = {key: value for key, value in config.items() if key not in _NOT_OF_THE_NETWORK and key[:1] != "_"}
    text = json.dumps(needed, sort_keys=True)
    return HubFolder("transformers", f"{HF}{kind}", text, _weights(folder), classes, _json(folder / PREPROCESSOR))


def _check_task(path: Path, kind: str, architectures: object) -> None:
    """Raises `InputError` unless the model is one of the classifiers that are supported."""
    named = architectures[0] if isinstance(architectures, list) and architectures else None
    if kind in CLASSES and named in (None, CLASSES[kind]):
        return
    if isinstance(named, str) and "ForImageClassification" not in named:
        raise InputError(
            f"{path}: {named} is no classifier of images", "Use a model that was saved as a ...ForImageClassification."
        )
    raise InputError(
        f"{path}: {named or kind} is not among the networks of transformers that are supported",
        f"Supported: {', '.join(CLASSES.values())}. Or: {_OWN_CODE}",
    )


def _weights(folder: Path) -> Path:
    for name in _WEIGHTS:
        if (folder / name).is_file():
            return folder / name
        if (folder / f"{name}.index.json").is_file():
            raise InputError(
                f"the weights in {folder} are in several files ({name}.index.json)",
                "Save them in one: model.save_pretrained(FOLDER, max_shard_size='1000GB')",
            )
    raise InputError(
        f"{folder} has no weights: neither {_WEIGHTS[0]} nor {_WEIGHTS[1]}",
        "Save the model again, or copy the whole folder. Weights of other frameworks are not read.",
    )
