"""Methods of other packages: the entry points of the group `gformer.methods`."""

from __future__ import annotations

from collections.abc import Container
from importlib.metadata import EntryPoint, entry_points

from gformer_cli.methods.base import Method

GROUP = "gformer.methods"


def installed_methods(taken: Container[str]) -> tuple[dict[str, type[Method]], dict[str, str]]:
    """Methods by the names that their packages give them, and why others cannot be had.

    A reason is a sentence without its full stop. A name that is `taken`, or that an earlier package gave, is not given
    again. Whatever a package raises on import is a reason: one that is broken does not break the others.
    """
    found: dict[str, type[Method]] = {}
    lost: dict[str, str] = {}
    for point in sorted(entry_points(group=GROUP), key=lambda point: (point.name, _package(point))):
        if point.name in taken or point.name in found:
            lost[f"{point.name} of {_package(point)}"] = "There is another method of that name"
            continue
        try:
            kind = point.load()
        except Exception as error:
            lost[point.name] = f"{_package(point)} cannot be loaded: {type(error).__name__}: {error}"
            continue
        if isinstance(kind, type) and issubclass(kind, Method):
            found[point.name] = kind
        else:
            lost[point.name] = f"{point.value} of {_package(point)} is no subclass of gformer_cli.methods.Method"
    return found, lost


def _package(point: EntryPoint) -> str:
    return point.dist.name if point.dist is not None else point.module
