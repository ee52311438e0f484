"""Names of classes in the order of a model's outputs, and folders that are called otherwise. No torch here.

A class is found by its name, never by its place among the folders: one missing folder would shift all labels.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gformer_cli.errors import InputError, did_you_mean
from gformer_cli.files import MIB, read_text
from gformer_cli.folders.domains import nfc

IMAGENET = "imagenet1k"
"""The built-in list: torchvision's names of ImageNet's 1000 classes."""
_KEYS = ("class_to_idx", "id2label", "label2id", "classes", "class_names", "label_names", "labels", "names")
"""Under which a JSON file may hold them."""
_LARGEST = 16 * MIB
_FORMS = "one name a line, or JSON: a list, class_to_idx or id2label"


def read_classes(text: str) -> list[str]:
    """The names in `text`, a file's path or `imagenet1k`, in the order of the model's outputs.

    Raises `InputError` for a file that holds none, an empty name, one name twice, and numbers with a gap.
    """
    path = Path(text)
    if text == IMAGENET and not path.exists():
        from torchvision.models._meta import _IMAGENET_CATEGORIES

        return distinct(_IMAGENET_CATEGORIES)
    try:
        content = read_text(path, _LARGEST)
    except FileNotFoundError:
        raise InputError(f"no such file of classes: {text}", f"Give a file with {_FORMS}; or {IMAGENET}.") from None
    except OSError as error:
        raise InputError(f"cannot read classes {text}: {error.strerror}", f"Give a file with {_FORMS}.") from None
    if path.suffix.lower() == ".json" or content.lstrip()[:1] in ("[", "{"):
        names, unit = _of_json(content, path), "class"
    else:
        names, unit = content.rstrip().splitlines(), "line"
    names = [name.strip() for name in names]
    if not any(names):
        raise InputError(f"{path} names no class", f"It must hold {_FORMS}.")
    _check(names, path, unit)
    return names


def distinct(names: Sequence[str]) -> list[str]:
    """`names` where a later one of the same name has its number behind it: ImageNet has two kinds of crane."""
    found: list[str] = []
    for number, name in enumerate(names):
        found.append(f"{name} ({number})" if name in found else name)
    return found


def read_class_map(path: Path, classes: Sequence[str]) -> dict[str, str]:
    """The class of each folder that a CSV file names: columns `folder` and `class`.

    Raises `InputError` for another file, an empty cell, a folder named twice, and a class that is none of `classes`.
    """
    try:
        rows = list(csv.reader(io.StringIO(read_text(path, _LARGEST))))
    except OSError as error:
        raise InputError(f"cannot read class map {path}: {error.strerror}", _MAP) from None
    except csv.Error as error:
        raise InputError(f"class map {path} is no CSV: {error}", _MAP) from None
    rows = [[cell.strip() for cell in row] for row in rows]
    header = [cell.casefold() for cell in rows[0]] if rows else []
    if sorted(header) != ["class", "folder"]:
        raise InputError(f"class map {path} begins with {','.join(header)!r}, not folder,class", _MAP)
    folder, label = header.index("folder"), header.index("class")
    known = {nfc(name): name for name in classes}
    found: dict[str, str] = {}
    for number, row in enumerate(rows[1:], 2):
        if not any(row):
            continue
        if len(row) != 2 or not all(row):
            raise InputError(f"class map {path}, line {number}: {','.join(row)!r} is not a folder and a class", _MAP)
        name = nfc(row[folder])
        if name in found:
            raise InputError(f"class map {path}, line {number}: folder {name!r} for the second time", _MAP)
        if nfc(row[label]) not in known:
            raise InputError(
                f"class map {path}, line {number}: {row[label]!r} is no class of the model",
                did_you_mean(row[label], classes),
            )
        found[name] = known[nfc(row[label])]
    if not found:
        raise InputError(f"class map {path} maps nothing", _MAP)
    return found


_MAP = "It must be CSV with the header folder,class, and a line for each folder that is not named after its class."


def _of_json(content: str, path: Path) -> list[str]:
    try:
        value = json.loads(content)
    except ValueError as error:
        raise InputError(f"{path} is no JSON: {error}", f"It must hold {_FORMS}.") from None
    if isinstance(value, Mapping):
        value = next((value[key] for key in _KEYS if isinstance(value.get(key), (list, Mapping))), value)
    if isinstance(value, Mapping):
        return _numbered(value, path)
    if isinstance(value, list) and all(isinstance(name, str) for name in value):
        return value
    raise InputError(f"{path} holds no names of classes", f"It must hold {_FORMS}.")


def _numbered(value: Mapping[str, Any], path: Path) -> list[str]:
    """Names in the order of their numbers; those are the keys (`id2label`) or the values (`class_to_idx`)."""
    if value and all(isinstance(number, int) and not isinstance(number, bool) for number in value.values()):
        pairs = [(number, name) for name, number in value.items()]
    elif value and all(key.isdecimal() and isinstance(name, str) for key, name in value.items()):
        pairs = [(int(key), name) for key, name in value.items()]
    else:
        raise InputError(f"{path} holds no names of classes", f"It must hold {_FORMS}.")
    numbers = sorted(number for number, _ in pairs)
    for wanted, number in enumerate(numbers):
        if number != wanted:
            what = f"number {number} twice" if number in numbers[:wanted] else f"no class of number {wanted}"
            raise InputError(f"{path} has {what}", "Classes are numbered from 0 on, as the model's outputs are.")
    return [name for _, name in sorted(pairs)]


def _check(names: Sequence[str], path: Path, unit: str) -> None:
    """Raises `InputError` for an empty name and for one that comes twice; `unit` is what they are counted by."""
    first: dict[str, int] = {}
    for number, name in enumerate(names):
        place = number + (unit == "line")  # lines are counted from 1, classes as the model counts them
        if not name:
            raise InputError(f"{path}, {unit} {place}: an empty name", "Every output of the model needs a name.")
        before = first.setdefault(nfc(name), place)
        if before != place:
            raise InputError(f"{path}: {name!r} is {unit} {before} and {unit} {place}", "Classes need different names.")
