"""`gformer data`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gformer_cli.commands import options
from gformer_cli.commands.data_corrupt import corrupt
from gformer_cli.commands.found import find_images
from gformer_cli.console import Terminal, amount, table
from gformer_cli.errors import InputError, WorkError
from gformer_cli.folders.domains import Layout

if TYPE_CHECKING:
    from gformer_cli.data.demo.write import DrawingOptions
    from gformer_cli.images.contact_sheet import Row
    from gformer_cli.images.preprocessing import Preprocessing
    from gformer_cli.settings import Settings

app = typer.Typer(
    help="Validate image folders, and look at them; make the demo data sets and corrupted copies.",
    no_args_is_help=True,
)


@app.command("demo")
def demo(
    name: Annotated[
        str,
        typer.Argument(
            help="Digits: rotated-mnist, digit-cameras. Drawings: icons, letters, stickers.", show_default=False
        ),
    ],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder to write.", show_default=False)],
    size: Annotated[
        int | None,
        typer.Option("--size", min=16, max=512, help="Of drawings: pixels a side. Default: 64.", show_default=False),
    ] = None,
    cameras: Annotated[
        bool,
        typer.Option(
            "--cameras",
            help="Of drawings: photograph them with simulated cameras; each target's has a trouble of its own.",
        ),
    ] = False,
    packages: Annotated[
        Path | None,
        typer.Option(
            "--packages",
            metavar="DIR",
            help="Of drawings: packages or archives that you have, unpacked or not; missing ones are fetched into it. "
            "Default: gformer/packages in your folder of caches.",
            show_default=False,
        ),
    ] = None,
    seed: options.Seed = None,
    overwrite: options.Overwrite = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
    debug: options.Debug = False,
) -> None:
    """Write a demo data set as image folders DIR/sources and DIR/targets: real digits, or drawings of free packages.

    digit-cameras has DIR/classifier as well: weights, classes and transform of a trained network, for gformer import.

    Drawings come from packages of npm (icons) and Debian, fetched once; DIR/README.md names their licences.

    Example: gformer data demo digit-cameras --out data

    Example: gformer data demo icons --cameras --out icons
    """
    terminal = Terminal(as_json=json, quiet=quiet, verbose=verbose)

    from gformer_cli.data.demo.write import CLASSIFIER, check_demo, write_demo

    check_demo(name, out, overwrite=overwrite)
    drawings = _drawings(terminal, name, size, cameras, packages)
    with terminal.progress() as progress:
        written = write_demo(name, out, seed=seed or 0, drawings=drawings, progress=progress)
    rows = [[*key.split("/"), str(count)] for key, count in written.items()]
    terminal.result(
        {"name": name, "out": str(out), "images": written},
        table("", ["folder", "domain", "images"], rows, numbers_from=2),
        f"\nWrote {amount(sum(written.values()), 'image', 'images')} below {out}",
        *([f"and a trained classifier of them: {model}"] if (model := out / CLASSIFIER).is_dir() else []),
    )


def _drawings(
    terminal: Terminal, name: str, size: int | None, cameras: bool, packages: Path | None
) -> DrawingOptions | None:
    """None for digits. Raises `InputError` where they are given what they do not take."""
    from gformer_cli.data.demo import PICTURE_SETS
    from gformer_cli.data.demo.drawn.packages import Packages, cache_folder
    from gformer_cli.data.demo.write import DrawingOptions

    if name in PICTURE_SETS:
        if packages is not None and packages.exists() and not packages.is_dir():
            raise InputError(f"--packages: {packages} is a file, not a folder", "Name the folder that it is in.")
        return DrawingOptions(Packages(packages or cache_folder(), terminal.message), size or 64, cameras)
    given = {"--size": size is not None, "--cameras": cameras, "--packages": packages is not None}
    for option, is_given in given.items():
        if is_given:
            raise InputError(f"{option} is of drawings, and {name} is of digits", "Leave it out.")
    return None


ContactSheet = Annotated[
    Path,
    typer.Option("--contact-sheet", metavar="FILE.png", help="The picture to draw.", show_default=False),
]
Folders = Annotated[list[Path], typer.Argument(metavar="DIR...", help="Image folders.", show_default=False)]


@app.command("check")
def check(
    folders: Folders,
    contact_sheet: Annotated[
        Path | None,
        typer.Option(
            "--contact-sheet",
            metavar="FILE.png",
            help="Draw some images of each class of each domain, and list those that cannot be read.",
            show_default=False,
        ),
    ] = None,
    seed: options.Seed = None,
    overwrite: options.Overwrite = False,
    layout: options.LayoutOption = Layout.auto,
    white_level: options.WhiteLevel = None,
    workers: options.Workers = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
    debug: options.Debug = False,
) -> None:
    """Validate image folders: domains, classes, counts; unreadable, duplicate and odd files.

    Exits with 1 when an image is unreadable or a class folder is empty.

    Example: gformer data check data/sources data/targets --contact-sheet sheet.png
    """
    terminal = Terminal(as_json=json, quiet=quiet, verbose=verbose)
    if contact_sheet is not None:
        from gformer_cli.images.contact_sheet import check_sheet

        check_sheet(contact_sheet, overwrite=overwrite)
    elif overwrite or seed is not None:
        option = "--overwrite" if overwrite else "--seed"
        raise InputError(f"{option} is of the contact sheet, and none is wanted", "Add --contact-sheet FILE.png.")
    found = find_images(terminal, folders, layout, unlabelled=True)
    domains = found.domains

    from gformer_cli.compute.device import pick_workers
    from gformer_cli.data.check import check_folders
    from gformer_cli.report.check import check_summary

    with terminal.progress() as progress:
        progress.begin("reading images", sum(len(domain.files) for domain in domains))
        report = check_folders(
            domains, aside=found.aside, workers=pick_workers(workers), white_level=white_level, advance=progress.advance
        )
        progress.end()
    if contact_sheet is not None:
        from gformer_cli.images.contact_sheet import write_sheet
        from gformer_cli.report.sheets import folder_rows, levels_of, unreadable_notes

        rows = folder_rows(domains, levels_of(domains, white_level), seed or 0)
        write_sheet(contact_sheet, rows, unreadable_notes(report.unreadable))
    drawn = [] if contact_sheet is None else [f"\nWrote {contact_sheet}"]
    document = report.to_json() | ({} if contact_sheet is None else {"contact_sheet": str(contact_sheet)})
    terminal.result(document, *check_summary(report, verbose=verbose), *drawn)
    if not report.ok:
        raise WorkError(
            "the folders have errors", "They are listed above; training and adapting skip unreadable images."
        )


app.command("corrupt")(corrupt)


Model = Annotated[
    Path | None,
    typer.Option(
        "--model",
        metavar="FILE",
        help="Prepare images as this bundle or .onnx file does. Default: as the settings say.",
        show_default=False,
    ),
]


@app.command("shifts")
def shifts(
    folders: Folders,
    contact_sheet: ContactSheet,
    model: Model = None,
    preset: options.Preset = None,
    set_: options.Assignments = None,
    layout: options.LayoutOption = Layout.auto,
    white_level: options.WhiteLevel = None,
    seed: options.Seed = None,
    overwrite: options.Overwrite = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
    debug: options.Debug = False,
) -> None:
    """Show what simulated shifts do to an image: those of meta-train, and the corruptions of evaluate --shifts.

    Example: gformer data shifts data/sources --contact-sheet shifts.png
    """
    from gformer_cli.images.contact_sheet import check_sheet

    terminal = Terminal(as_json=json, quiet=quiet, verbose=verbose)
    check_sheet(contact_sheet, overwrite=overwrite)
    prepared, settings = _prepared(model, preset, set_, white_level)
    found = find_images(terminal, folders, layout, unlabelled=True)

    from gformer_cli.report.shift_sheets import shift_rows

    _write(terminal, contact_sheet, shift_rows(found.domains, prepared, settings.shifts.strength, seed or 0))


@app.command("preprocessing")
def preprocessing(
    folders: Folders,
    contact_sheet: ContactSheet,
    model: Model = None,
    preset: options.Preset = None,
    set_: options.Assignments = None,
    layout: options.LayoutOption = Layout.auto,
    white_level: options.WhiteLevel = None,
    seed: options.Seed = None,
    overwrite: options.Overwrite = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
    debug: options.Debug = False,
) -> None:
    """Show what preprocessing does to images: pairs of a file as it is and of what the network gets.

    Example: gformer data preprocessing incoming --model site.gformer --contact-sheet pairs.png
    """
    from gformer_cli.images.contact_sheet import check_sheet

    terminal = Terminal(as_json=json, quiet=quiet, verbose=verbose)
    check_sheet(contact_sheet, overwrite=overwrite)
    prepared, settings = _prepared(model, preset, set_, white_level)
    found = find_images(terminal, folders, layout, unlabelled=True)

    from gformer_cli.images.wording import describe_input
    from gformer_cli.report.shift_sheets import preprocessing_rows

    terminal.message(f"Images: {describe_input(settings.data)}")
    _write(terminal, contact_sheet, preprocessing_rows(found.domains, prepared, seed or 0))


def _prepared(
    model: Path | None, preset: str | None, set_: list[str] | None, white_level: float | None
) -> tuple[Preprocessing, Settings]:
    """How images are prepared, by a bundle or by a preset and what is set. Raises `InputError` for both."""
    if model is not None and (preset is not None or set_):
        raise InputError(f"{model} says how images are prepared", "Leave out --preset and --set, or --model.")

    from gformer_cli.bundle import depth_of, with_white_level
    from gformer_cli.config import resolve
    from gformer_cli.export.header import model_header
    from gformer_cli.images.depth import Depth
    from gformer_cli.images.preprocessing import Preprocessing

    if model is not None:
        header = with_white_level(model_header(model), white_level)
        data = header.preprocessing
        return Preprocessing.of(data, depth_of(header)), header.settings.model_copy(update={"data": data})
    settings = resolve(preset=preset, assignments=set_ or [])
    level = settings.data.white_level if white_level is None else white_level
    return Preprocessing.of(settings.data, Depth(level)), settings


def _write(terminal: Terminal, sheet: Path, rows: Sequence[Row]) -> None:
    from gformer_cli.images.contact_sheet import write_sheet

    write_sheet(sheet, rows)
    pictures = sum(len(row.pictures) for row in rows)
    terminal.result({"contact_sheet": str(sheet), "pictures": pictures}, f"Wrote {sheet}: {pictures} pictures")
