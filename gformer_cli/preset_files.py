"""Presets: YAML files of settings, shipped with the package or the user's own."""

from __future__ import annotations

import re
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from gformer_cli.errors import InputError, did_you_mean
from gformer_cli.files import MIB, read_text


class _Loader(yaml.SafeLoader):
    """YAML as people read it: 010 is ten, and nothing but true and false is a truth value.

    YAML 1.1, which the library reads by default, takes 010 for eight, 1:30 for ninety and `no` for false.
    """

    yaml_implicit_resolvers: dict[Any, Any] = {}  # noqa: RUF012 - the library's stubs have it so


class _Dumper(yaml.SafeDumper):
    """Quotes what either version of YAML would not read back as the text that it is."""

    yaml_implicit_resolvers: dict[Any, Any] = {  # noqa: RUF012
        first: list(known) for first, known in yaml.SafeDumper.yaml_implicit_resolvers.items()
    }


for _tag, _pattern, _first in [
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?[0-9]+", list("-+0123456789")),
    ("float", r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
     list("-+.0123456789")),
    ("merge", r"<<", ["<"]),
]:  # fmt: skip
    for _kind in (_Loader, _Dumper):
        _kind.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(rf"^(?:{_pattern})$"), _first)
_Loader.add_constructor("tag:yaml.org,2002:int", lambda _loader, node: int(node.value))


def parse_yaml(text: str) -> Any:
    """The value of a YAML text; raises `yaml.YAMLError` for any that has none."""
    try:
        return yaml.load(text, _Loader)
    except yaml.YAMLError:
        raise
    except Exception as error:  # a date of month 13, a number of too many digits, nesting without end
        raise yaml.YAMLError(str(error) or type(error).__name__) from None


def dump_yaml(tree: Any) -> str:
    """The YAML text that `parse_yaml` takes for `tree`."""
    text: str = yaml.dump(tree, Dumper=_Dumper, sort_keys=False)
    return text


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


def preset_network(name: str) -> str | None:
    """The network that a preset names, if it is one that can be read and names any."""
    try:
        backbone = read_preset(name).get("backbone")
    except InputError:
        return None
    network = backbone.get("name") if isinstance(backbone, dict) else None
    return network if isinstance(network, str) else None
