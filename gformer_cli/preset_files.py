"""Presets: YAML files of settings, shipped with the package or the user's own."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from gformer_cli.errors import InputError, did_you_mean
from gformer_cli.files import MIB, read_text


def parse_yaml(text: str) -> Any:
    """The value of a YAML text; raises `yaml.YAMLError` for any that has none."""
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        raise
    except Exception as error:  # a date of month 13, a number of too many digits, nesting without end
        raise yaml.YAMLError(str(error) or type(error).__name__) from None


def preset_names() -> list[str]:
    """Names of the presets that come with the package, sorted."""
    return sorted(path.stem for path in presets_folder().glob("*.yaml"))


def presets_folder() -> Path:
    """Where the shipped presets lie: inside an installed package, or beside it in a checkout."""
    installed = Path(str(resources.files("gformer_cli"))) / "presets"
    return installed if installed.is_dir() else Path(__file__).resolve().parent.parent / "presets"


def preset_text(name: str) -> str:
    """The YAML of a shipped preset by name, or of a file by path."""
    shipped = presets_folder() / f"{name}.yaml"
    if name in preset_names():
        return shipped.read_text(encoding="utf-8")
    path = Path(name)
    if path.suffix in {".yaml", ".yml"} or path.is_file():
        try:
            return read_text(path, MIB)
        except OSError as error:
            raise InputError(
                f"cannot read preset file {path}: {error.strerror}", "Give a YAML file: gformer presets show quick"
            ) from None
    raise InputError(f"unknown preset: {name!r}", did_you_mean(name, preset_names()))


def preset_summary(name: str) -> str:
    """The first comment line of a shipped preset: what it is for."""
    first = preset_text(name).splitlines()[0]
    return first.removeprefix("#").strip()


def read_preset(name: str) -> dict[str, Any]:
    """A preset as nested mappings; raises `InputError` for one that is not YAML or not a mapping."""
    try:
        tree = parse_yaml(preset_text(name))
    except yaml.YAMLError as error:
        raise InputError(
            f"preset {name} is not valid YAML: {str(error).splitlines()[0]}",
            "See: gformer presets show quick",
        ) from None
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        raise InputError(f"preset {name} is not a mapping of settings", "See: gformer presets show quick")
    return tree
