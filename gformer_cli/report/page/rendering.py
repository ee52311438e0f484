"""Filling the templates. What comes from a file is text: it is escaped, and its control characters spelled out."""

from __future__ import annotations

import base64
import hashlib
import json
from functools import lru_cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from gformer_cli import __version__
from gformer_cli.console import one_line


def render(template: str, **values: Any) -> str:
    """A page from one of `templates/`."""
    script = _asset("sort.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return (
        _environment()
        .get_template(template)
        .render(
            **values,
            style=Markup(_asset("style.css")),
            script=Markup(script),
            script_hash=f"sha256-{digest}",
            version=__version__,
        )
    )


@lru_cache
def _environment() -> Environment:
    made = Environment(
        loader=PackageLoader("gformer_cli.report.page"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters["name"] = lambda text: one_line(str(text))
    made.filters["setting"] = setting
    return made


def setting(value: Any) -> str:
    """The value of a setting in one line; text as it is."""
    return one_line(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str))


def _asset(name: str) -> str:
    return (files("gformer_cli.report.page") / "templates" / name).read_text(encoding="utf-8")
