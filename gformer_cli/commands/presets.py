"""`gformer presets`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gformer_cli.commands import options
from gformer_cli.console import Terminal, table
from gformer_cli.errors import InputError

app = typer.Typer(help="Ready-made settings: list, show, copy.", no_args_is_help=True)

_Name = Annotated[str, typer.Argument(help="A preset's name.", show_default=False)]


@app.command("list")
def list_presets(json: options.Json = False, debug: options.Debug = False) -> None:
    """List the presets that come with gformer."""
    from gformer_cli import preset_files

    found = {name: preset_files.preset_summary(name) for name in preset_files.preset_names()}
    Terminal(as_json=json).result(
        found, table("", ["preset", "for"], [[name, text] for name, text in found.items()], numbers_from=2)
    )


@app.command("show")
def show(name: _Name, debug: options.Debug = False) -> None:
    """Print a preset's YAML; `--preset FILE` reads the same form."""
    from gformer_cli import preset_files

    Terminal().text(preset_files.preset_text(name))


@app.command("copy")
def copy(
    name: _Name,
    out: Annotated[Path, typer.Argument(metavar="FILE", help="Where to write it.", show_default=False)],
    overwrite: options.Overwrite = False,
    debug: options.Debug = False,
) -> None:
    """Write a preset to a file of yours, to change and pass as --preset FILE."""
    from gformer_cli import preset_files
    from gformer_cli.files import write_text

    text = preset_files.preset_text(name)
    if out.exists() and not overwrite:
        raise InputError(f"output file exists: {out}", "Replace it with --overwrite, or name another file.")
    write_text(out, text)
    Terminal().message(f"Wrote {out}")
