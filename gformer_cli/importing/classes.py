"""Names of classes in the order of a model's outputs, and folders that are called otherwise. No torch here.

A class is found by its name, never by its place among the folders: one missing folder would shift all labels.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from gformer_cli.errors import InputError, did_you_mean, reason
from gformer_cli.files import MIB, read_text
from gformer_cli.folders.domains import nfc

IMAGENET = "imagenet1k"
"""The built-in list: torchvision's names of ImageNet's 1000 classes."""
_KEYS = ("class_to_idx", "id2label", "label2id", "classes", "class_names", "label_names", "labels", "names")
"""Under which a file of JSON or YAML may hold them."""
_LARGEST = 4 * MIB
_FORMS = "one name a line, or JSON: a list, class_to_idx or id2label"
_MAP = "It must be CSV with the header folder,class, and a line for each folder that is not named after its class."
_HEADERS = {"category", "categories", "class", "classes", "class_name", "label", "labels", "name", "names"}
_BACKGROUND = {"background", "__background__", "_background_", "bg"}


def read_classes(text: str) -> list[str]:
    """The names in `text`, a file's path or `imagenet1k`, in the order of the model's outputs.

    A file holds a name a line, or JSON or YAML: a list, names by number or numbers by name, as they are or under one
    of the usual keys. Names stay as they are but for blanks around them.

    Raises `InputError` for a file that holds none, an empty name, one name twice (in composed spelling), and numbers
    that are not 0, 1, 2 and so on.
    """
    path = Path(text)
    if text == IMAGENET and not path.exists():
        from torchvision.models import ResNet18_Weights

        return distinct(ResNet18_Weights.IMAGENET1K_V1.meta["categories"])
    try:
        content = read_text(path, _LARGEST)
    except FileNotFoundError:
        raise InputError(f"no such file of classes: {text}", f"Give a file with {_FORMS}; or {IMAGENET}.") from None
    except OSError as error:
        raise InputError(f"cannot read classes {text}: {error.strerror}", f"Give a file with {_FORMS}.") from None
    suffix, unit = path.suffix.lower(), "class"
    if suffix == ".json" or content.lstrip()[:1] in ("[", "{"):
        names = _names_in(_of_json(content, path), path)
    elif suffix in (".yaml", ".yml"):
        names = _names_in(_of_yaml(content, path), path)
    else:
        names, unit = content.rstrip().split("\n"), "line"
    names = [name.strip() for name in names]
    if not any(names):
        raise InputError(f"{path} names no class", f"It must hold {_FORMS}.")
    _check_names(names, path, unit)
    return names


def check_count(classes: Sequence[str], heads: int, origin: str) -> None:
    """Raises `InputError` where the `classes` that `origin` (a file) names are not as many as the model's outputs."""
    if len(classes) == heads:
        return
    hint = "Every output of the model needs a name, in their order."
    if len(classes) == heads + 1:
        first = classes[0]
        background = next((name for name in classes if name.casefold() in _BACKGROUND), None)
        if first.casefold() in _HEADERS:
            hint = f"{first!r} at its beginning looks like a header: take it out."
        elif background is not None:
            hint = f"{background!r} may be a class that the model has no output for: take it out."
    elif len(classes) == heads - 1:
        hint += " The model may have one for the background, which needs a name as well."
    raise InputError(f"{origin} names {len(classes)} classes, and the model has {heads} outputs", hint)


def distinct(names: Iterable[str]) -> list[str]:
    """`names` where a later one of the same name has its number behind it, such as `crane (517)`.

    Libraries' own lists may have a name twice: ImageNet has two kinds of crane. A class needs a name of its own.
    """
    names = list(names)
    taken = {nfc(name) for name in names}
    found: list[str] = []
    seen: set[str] = set()
    for number, name in enumerate(names):
        own = name
        while nfc(own) in seen or (own != name and nfc(own) in taken):
            own = f"{own} ({number})"
        seen.add(nfc(own))
        found.append(own)
    return found


def read_class_map(path: Path) -> dict[str, str]:
    """The class of each folder that a CSV file names, folders in composed spelling; several may be of one class.

    The first line is `folder,class` or `class,folder`; without it, folders stand first.

    Raises `InputError` for another file, other columns, an empty cell, and a folder that is named twice or as a path.
    """
    try:
        reader = csv.reader(io.StringIO(read_text(path, _LARGEST), newline=""))
        rows = [(reader.line_num, [cell.strip() for cell in row]) for row in reader]
    except FileNotFoundError:
        raise InputError(f"no such class map: {path}", _MAP) from None
    except OSError as error:
        raise InputError(f"cannot read class map {path}: {error.strerror}", _MAP) from None
    except csv.Error as error:
        raise InputError(f"class map {path} is no CSV: {error}", _MAP) from None
    rows = [(line, row) for line, row in rows if any(row)]
    folder, label = 0, 1
    if rows:
        header = [cell.casefold() for cell in rows[0][1]]
        if {"folder", "class"} & {*header}:
            if sorted(header) != ["class", "folder"]:
                raise InputError(f"class map {path} has the columns {', '.join(header)}, not folder and class", _MAP)
            folder, label = header.index("folder"), header.index("class")
            del rows[0]
    if not rows:
        raise InputError(f"class map {path} names no folder", _MAP)
    found: dict[str, str] = {}
    for line, row in rows:
        where = f"class map {path}, line {line}"
        if len(row) != 2 or not all(row):
            raise InputError(f"{where}: {','.join(row)!r} is not a folder and a class", _MAP)
        name = nfc(row[folder])
        if "/" in name:
            raise InputError(f"{where}: {name!r} is a path", "Give the name of the folder alone.")
        if name in found:
            raise InputError(f"{where}: folder {name!r} for the second time", "A folder is of one class.")
        found[name] = row[label]
    return found


def check_class_map(class_map: Mapping[str, str], classes: Sequence[str]) -> dict[str, str]:
    """`class_map` with classes as the model spells them. Raises `InputError` for one that is none of `classes`."""
    known = {nfc(name): name for name in classes}
    for folder, label in class_map.items():
        if nfc(label) not in known:
            raise InputError(
                f"the class map gives folder {folder!r} the class {label!r}, which the model does not have",
                did_you_mean(label, classes),
            )
    return {folder: known[nfc(label)] for folder, label in class_map.items()}


def _of_json(content: str, path: Path) -> Any:
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is no JSON: {reason(error)}", f"It must hold {_FORMS}.") from None


def _of_yaml(content: str, path: Path) -> Any:
    """All values as text: `no` and `7` are names."""
    try:
        return yaml.load(content, yaml.BaseLoader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise InputError(f"{path} is no YAML: {reason(error)}", f"It must hold {_FORMS}.") from None


def _names_in(value: Any, path: Path) -> list[str]:
    if isinstance(value, Mapping):
        value = next((value[key] for key in _KEYS if isinstance(value.get(key), list | Mapping)), value)
    if isinstance(value, Mapping):
        value = _numbered(value, path)
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise InputError(f"{path} holds no names of classes", f"It must hold {_FORMS}.")
    return value


def _numbered(value: Mapping[str, Any], path: Path) -> list[Any] | None:
    """Names in the order of their numbers; those are the values (`class_to_idx`) or the keys (`id2label`)."""
    if value and all(isinstance(number, int) and not isinstance(number, bool) for number in value.values()):
        names, numbers = list(value), list(value.values())
    elif value and all(_is_number(key) for key in value):
        names, numbers = list(value.values()), [int(key) for key in value]
    elif value and all(_is_number(number) for number in value.values()):
        names, numbers = list(value), [int(number) for number in value.values()]
    else:
        return None
    for wanted, number in enumerate(sorted(numbers)):
        if number != wanted:
            what = f"two classes of number {number}" if 0 <= number < wanted else f"no class of number {wanted}"
            raise InputError(f"{path} has {what}", "Classes are numbered from 0 on, as the model's outputs are.")
    return [name for _, name in sorted(zip(numbers, names, strict=True))]


def _is_number(value: Any) -> bool:
    return isinstance(value, str) and value.isascii() and value.isdecimal()


def _check_names(names: Sequence[str], path: Path, unit: str) -> None:
    """Raises `InputError` for what is no name, and for one that comes twice; `unit` is what they are counted by."""
    first: dict[str, int] = {}
    for number, name in enumerate(names):
        place = number + (unit == "line")  # lines are counted from 1, classes as the model counts them
        if not name:
            raise InputError(f"{path}, {unit} {place}: an empty name", "Every output of the model needs a name.")
        try:
            name.encode()
        except UnicodeEncodeError:
            raise InputError(f"{path}, {unit} {place}: {name!a} is not UTF-8", "Correct the name.") from None
        before = first.setdefault(nfc(name), place)
        if before != place:
            raise InputError(f"{path}: {name!r} is {unit} {before} and {unit} {place}", "Classes need different names.")
