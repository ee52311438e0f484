"""Settings as a flat list, for tools and tables."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from gformer_cli.settings import Settings


def flat(settings: Settings) -> dict[str, str]:
    """Every setting by its dotted name; values as --set takes them."""
    return dict(_leaves(settings.model_dump(mode="json"), ""))


def _leaves(tree: Mapping[str, Any], before: str) -> Iterator[tuple[str, str]]:
    for name, value in tree.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{before}{name}.")
        else:
            yield f"{before}{name}", value if isinstance(value, str) else json.dumps(value)
