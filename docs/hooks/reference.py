"""Two pages of the reference, made from the code at every build: commands from Typer, settings from pydantic."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator, Sequence
from typing import Any

import typer
from pydantic import BaseModel

from gformer_cli import settings
from gformer_cli.app import app

Command = Any
"""A command or a group of commands, of the click that Typer brings."""


def on_files(files: Any, config: Any) -> Any:
    """MkDocs asks for more files than lie in docs/."""
    from mkdocs.structure.files import File

    for name, page in (("commands", commands_page()), ("settings", settings_page())):
        files.append(File.generated(config, f"reference/{name}.md", content=page))
    return files


def commands_page() -> str:
    """Every command with its options, as `--help` has them."""
    parts = ["# Commands", "Made from the program itself. `gformer COMMAND --help` says the same."]
    for words, command in walk(typer.main.get_command(app)):
        parts.append(f"## {' '.join(words)}" if len(words) > 1 else f"## {words[0]} itself")
        context = command.context_class(command, info_name=" ".join(words), **context_settings())
        parts.append("```\n" + " ".join([*words, *command.collect_usage_pieces(context)]) + "\n```")
        parts.extend(_described(command))
        parts.append(_options(command, context))
    return "\n\n".join(filter(None, parts)) + "\n"


def context_settings() -> dict[str, Any]:
    """As the program has them: a command keeps the spellings of --help that it was first asked with."""
    return dict(app.info.context_settings or {})


def walk(command: Command, *words: str) -> Iterator[tuple[tuple[str, ...], Command]]:
    """Every command under `command`, itself first, with the words that call it."""
    words = words or ("gformer",)
    yield words, command
    for name, below in getattr(command, "commands", {}).items():
        yield from walk(below, *words, name)


def settings_page() -> str:
    """Every setting with its default, what it may be, and its docstring."""
    parts = [
        "# Settings",
        "Made from the code. A setting comes from its default, then `--preset`, then `--set SECTION.NAME=VALUE`, then a"
        " flag of the command; later wins. What was resolved is saved with the run, in `settings.yaml`.",
    ]
    for section, model in sections().items():
        parts.append(f"## {section}" if section else "## general")
        parts.append((inspect.getdoc(model) or "") if section else "")
        parts.append(_settings(section, model))
    return "\n\n".join(filter(None, parts)) + "\n"


def sections() -> dict[str, type[BaseModel]]:
    """The model of each section; that of "" holds the settings that are in none."""
    models = {name: field.annotation for name, field in settings.Settings.model_fields.items()}
    return {
        "": settings.Settings,
        **{name: model for name, model in models.items() if isinstance(model, type) and issubclass(model, BaseModel)},
    }


def meanings(model: type[BaseModel]) -> dict[str, str]:
    """The docstring under each field."""
    (tree,) = ast.parse(inspect.cleandoc("\n" + inspect.getsource(model))).body
    assert isinstance(tree, ast.ClassDef)
    return {
        field.target.id: " ".join(inspect.cleandoc(told.value.value).split())
        for field, told in zip(tree.body, tree.body[1:], strict=False)
        if isinstance(field, ast.AnnAssign)
        and isinstance(field.target, ast.Name)
        and isinstance(told, ast.Expr)
        and isinstance(told.value, ast.Constant)
        and isinstance(told.value.value, str)
    }


def _described(command: Command) -> Iterator[str]:
    for paragraph in inspect.cleandoc(_plain(command.help or "")).split("\n\n"):
        example = re.fullmatch(r"Example: (.*)", paragraph, re.DOTALL)
        yield f"```\n{example[1]}\n```" if example else " ".join(paragraph.split())


def _options(command: Command, context: Any) -> str:
    rows = []
    for parameter in command.params:
        record = None if getattr(parameter, "hidden", False) else parameter.get_help_record(context)
        if record:
            name, told = record[0], " ".join(_plain(record[1]).split())
            # what Typer knows stands in brackets; what is found while running is said in the text
            default = re.search(r" ?\[default: ([^\]]*)\]| Default: (.*?)\.(?= \[|$)", told)
            meaning = told.replace(default[0], "") if default else told
            rows.append((f"`{name}`", (default[1] or default[2]) if default else "", meaning))
    return _table(("Option", "Default", "Meaning"), rows) if rows else ""


def _settings(section: str, model: type[BaseModel]) -> str:
    told = meanings(model)
    rows = []
    for name, schema in model.model_json_schema()["properties"].items():
        if "$ref" in schema:
            continue
        default = model.model_fields[name].default
        value = list(default) if isinstance(default, tuple) else default
        rows.append((f"`{f'{section}.' if section else ''}{name}`", f"`{_yaml(value)}`", _allowed(schema), told[name]))
    return _table(("Setting", "Default", "Values", "Meaning"), rows)


def _allowed(schema: dict[str, Any]) -> str:
    """What a value may be, in words."""
    if "anyOf" in schema:
        return " or ".join(_allowed(one) for one in schema["anyOf"])
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    if schema.get("type") == "array":
        each = _allowed(schema.get("items") or schema["prefixItems"][0])
        return f"{schema['maxItems']} times: {each}" if "maxItems" in schema else f"a list of {each}"
    names = {
        "null": "`null`",
        "integer": "whole number",
        "number": "number",
        "boolean": "`true`, `false`",
        "string": "text",
    }
    limits = {"minimum": "from", "exclusiveMinimum": "above", "maximum": "to", "exclusiveMaximum": "below"}
    said = [f"{word} {schema[key]:.10g}" for key, word in limits.items() if key in schema]
    return " ".join([names[schema["type"]], *said])


def _yaml(value: Any) -> str:
    """As YAML spells it."""
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _table(heads: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = [heads, ("---",) * len(heads), *rows]
    return "\n".join(
        "| " + " | ".join(" ".join(cell.split()).replace("|", "\\|") for cell in line) + " |" for line in lines
    )


def _plain(text: str) -> str:
    """Without the backslashes that keep rich from reading brackets as styles."""
    return text.replace("\\[", "[")
