"""The folder that results are written to."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from gformer_cli.compute import ranks
from gformer_cli.errors import InputError
from gformer_cli.evaluate.results import Results
from gformer_cli.files import check_appendable, check_writable, make_folder, write_json, write_text


@dataclass(frozen=True)
class Output:
    """The files of an output folder."""

    folder: Path

    @property
    def results(self) -> Path:
        return self.folder / "results.json"

    @property
    def table(self) -> Path:
        return self.folder / "results.csv"

    @property
    def cells(self) -> Path:
        """What is finished, while the evaluation runs."""
        return self.folder / "cells.jsonl"

    def begin(self, *, resume: bool) -> None:
        """Make the folder. Results of an evaluation before this one stay until there are new ones."""
        make_folder(self.folder)
        if not resume:
            self.cells.unlink(missing_ok=True)

    def write(self, results: Results) -> None:
        """Write results.json and results.csv atomically; the cells are in them then."""
        write_json(self.results, results.to_json())
        write_text(self.table, results.to_csv())
        self.cells.unlink(missing_ok=True)


def check_output(folder: Path, *, overwrite: bool, resume: bool) -> Output:
    """Where results go; raises `InputError` for a non-empty folder without `overwrite` or `resume`, and
    where nothing can be written. Of several processes the first one looks."""
    output = Output(folder)
    if not ranks.first():
        return output
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file, not a folder", "Name a folder with --out; results.json goes inside.")
    if resume and not output.cells.is_file():
        if output.results.is_file():
            raise InputError(f"nothing to resume: {output.results} is finished", "Measure again with --overwrite.")
        raise InputError(f"nothing to resume in {folder}", "Start without --resume.")
    if folder.is_dir() and any(folder.iterdir()) and not (overwrite or resume):
        raise InputError(
            f"output folder is not empty: {folder}",
            "Continue with --resume, replace the results in it with --overwrite, or name another --out.",
        )
    check_writable(output.results, output.table)
    check_appendable(output.cells)
    return output
