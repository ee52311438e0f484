"""Settings from presets and overrides.

Later wins: defaults, then a preset, then `--set key=value`, then explicit flags. What was resolved is saved
with the run. An unknown key or a value of the wrong type is an `InputError` that names the nearest valid key.
"""

from __future__ import annotations

import reprlib
from collections.abc import Container, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import yaml
from pydantic import ValidationError

from gformer_cli.earlier_settings import RENAMED
from gformer_cli.errors import InputError, did_you_mean, plain
from gformer_cli.networks.own_code import check_own_code
from gformer_cli.preset_files import dump_yaml, parse_yaml, read_preset
from gformer_cli.settings import IDLE, Settings

_NETWORK = "backbone.name"


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
            f"{named}: this setting was fixed with the source model",
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
