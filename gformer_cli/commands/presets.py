"""`gformer presets`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gformer_cli.commands import options
from gformer_cli.console import Terminal, table
from gformer_cli.errors import InputError
from gformer_cli.networks.own_code import own_code

app = typer.Typer(help="Ready-made settings: list, show, copy.", no_args_is_help=True)

_Name = Annotated[str, typer.Argument(help="A preset's name.", show_default=False)]


@app.command("list")
def list_presets(
    json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
    debug: options.Debug = False,
) -> None:
    """List the presets that come with gformer.

    A preset file may name code of its author's own. It runs only where --backbone names it too.
    """
    from gformer_cli import preset_files

    terminal = Terminal(as_json=json, quiet=quiet, verbose=verbose)
    found = {name: preset_files.preset_summary(name) for name in preset_files.preset_names()}
    rows = [[name, preset_files.preset_network(name) or "", text] for name, text in found.items()]
    terminal.result(found, table("", ["preset", "network", "for"], rows, numbers_from=3))
    terminal.message(
        "\nA preset file may name code of its author's own as network, FILE.py:FUNCTION, and none of these does; "
        "it runs only where --backbone names it too."
    )


@app.command("show")
def show(
    name: _Name,
    json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
    debug: options.Debug = False,
) -> None:
    """Print a preset's YAML; `--preset FILE` reads the same form."""
    from gformer_cli import preset_files

    terminal, text = Terminal(as_json=json, quiet=quiet, verbose=verbose), preset_files.preset_text(name)
    if json:
        terminal.result({"preset": name, "text": text})
    else:
        terminal.text(text)
    network = preset_files.preset_network(name)
    if network is not None and own_code(network):
        terminal.warning(f"preset {name} names code, {network}, which runs only where --backbone names it too")


@app.command("copy")
def copy(
    name: _Name,
    out: Annotated[Path, typer.Argument(metavar="FILE", help="Where to write it.", show_default=False)],
    overwrite: options.Overwrite = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
    debug: options.Debug = False,
) -> None:
    """Write a preset to a file of yours, to change and pass as --preset FILE."""
    from gformer_cli import preset_files
    from gformer_cli.files import write_text

    text = preset_files.preset_text(name)
    if out.exists() and not overwrite:
        raise InputError(f"output file exists: {out}", "Replace it with --overwrite, or name another file.")
    write_text(out, text)
    terminal = Terminal(as_json=json, quiet=quiet, verbose=verbose)
    terminal.result({"preset": name, "out": str(out)}, f"Wrote {out}")
