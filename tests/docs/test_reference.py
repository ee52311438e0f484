from __future__ import annotations

import re
from typing import Any

import typer

from gformer_cli.app import app
from gformer_cli.settings import Settings


def test_every_command_and_every_option_is_there(reference: dict[str, Any]) -> None:
    parts = dict(re.findall(r"^## (gformer[ \w-]*)\n(.*?)(?=^## |\Z)", reference["commands_page"](), re.M | re.S))
    known = list(reference["walk"](typer.main.get_command(app)))
    assert {"gformer adapt", "gformer data check", "gformer presets show"} <= {" ".join(words) for words, _ in known}
    for words, command in known[1:]:
        part = parts[" ".join(words)]
        for parameter in command.params:
            option = parameter.param_type_name == "option"
            names = parameter.opts if option else [parameter.metavar or parameter.name]
            assert all(re.search(rf"^\| `[^`]*{re.escape(name)}(?!\w)", part, re.M) for name in names), (words, names)


def test_every_setting_is_there_with_its_default(reference: dict[str, Any]) -> None:
    page = reference["settings_page"]()
    rows = dict(re.findall(r"^\| `([\w.]+)` \| `([^|]*)` \|", page, re.M))
    flat = {
        f"{section}.{name}" if isinstance(values, dict) else section: values[name]
        if isinstance(values, dict)
        else values
        for section, values in Settings().model_dump().items()
        for name in (values if isinstance(values, dict) else [section])
    }
    assert rows.keys() == flat.keys() and len(rows) > 80
    assert (rows["pretrain.steps"], rows["pretrain.flip"], rows["backbone.head"]) == ("3000", "true", "null")
    assert "whole number from 8 to 1024" in page and "`crop`, `stretch`, `pad`" in page


def test_no_meaning_is_empty(reference: dict[str, Any]) -> None:
    for page in ("commands_page", "settings_page"):
        rows = [line for line in reference[page]().splitlines() if line.startswith("| `")]
        assert len(rows) > 80
        assert [row for row in rows if row.endswith("|  |")] == []


def test_what_a_default_is_found_by_stands_in_its_column(reference: dict[str, Any]) -> None:
    page = reference["commands_page"]()
    assert "| `--model FILE` | RUN/model.gformer |" in page
    assert re.search(r"^\| `--batch-size [^`]*` \| 64 \| Images", page, re.M)
    assert "Default:" not in page and "[default" not in page
