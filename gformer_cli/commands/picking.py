"""`--pick` of `gformer adapt`: its options, the file that it writes, and what is told of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gformer_cli.commands.locations import STDOUT
from gformer_cli.console import Terminal, amount
from gformer_cli.errors import InputError

if TYPE_CHECKING:
    from gformer_cli.adapt.picking import Pick, Picker, Pool

PICKED = Path("picked.csv")
"""Beside the predictions, where nobody names another file."""

PickImages = Annotated[
    int | None,
    typer.Option(
        "--pick",
        metavar="N",
        min=1,
        max=10_000,
        help="List the N images whose labels would help most: those that adapting is unsure of, or changed the answer "
        "to, each for others like it.",
        show_default=False,
    ),
]
PickOut = Annotated[
    Path | None,
    typer.Option(
        "--pick-out",
        metavar="FILE.csv",
        help="Where that list goes. Default: picked.csv, beside the predictions.",
        show_default=False,
    ),
]


@dataclass(frozen=True)
class Picking:
    """How many images are listed, and where; nothing where nobody asked."""

    wanted: int = 0
    out: Path = PICKED
    seed: int = 0
    """Of the pool, and of the clusters."""

    @classmethod
    def of(cls, terminal: Terminal, wanted: int | None, out: Path | None, predictions: Path, seed: int) -> Picking:
        """Raises `InputError` for a file without images to list in it."""
        if wanted is None:
            if out is not None:
                raise InputError("--pick-out names the list of --pick", "Add --pick N, or leave it out.")
            return cls()
        if out is None:
            out = PICKED if predictions == STDOUT else predictions.with_name(PICKED.name)
            terminal.message(f"Images to label: {out} (--pick-out names another)")
        return cls(wanted, out, seed)

    @property
    def outputs(self) -> list[Path]:
        return [self.out] if self.wanted else []

    def check(self, predictions: Path, *, overwrite: bool) -> None:
        """Raises `InputError` for a list that is no CSV or would take the place of a file, also of `predictions`."""
        from gformer_cli.files import check_writable

        if not self.wanted:
            return
        if self.out.suffix.lower() != ".csv":
            raise InputError(f"the list of images to label is a CSV, so it cannot be called {self.out}", "Use .csv.")
        if self.out.is_dir():
            raise InputError(f"{self.out} is a folder, not a file", "Name a file, such as picked.csv.")
        if self.out.absolute() == predictions.absolute():
            raise InputError(f"{self.out} would hold predictions and images to label", "Name another --pick-out.")
        if self.out.exists() and not overwrite:
            raise InputError(
                f"list file exists: {self.out}", "Replace it with --overwrite, or name another --pick-out."
            )
        check_writable(self.out)

    def sinks(self, classes: Sequence[str]) -> list[Picker]:
        """What looks at each batch."""
        from gformer_cli.adapt import Picker

        return [Picker(classes, self.wanted, self.seed)] if self.wanted else []

    def finish(self, pools: Sequence[Pool], *, name_targets: bool) -> list[Pick]:
        """Choose from what the processes have kept, and write the list."""
        from gformer_cli.adapt import pick, write_picks

        if not self.wanted:
            return []
        picks = pick(pools, self.wanted, self.seed)
        write_picks(self.out, picks, name_targets=name_targets)
        return picks

    def told(self, picks: Sequence[Pick]) -> list[str]:
        """What was listed, in a line."""
        if not self.wanted:
            return []
        differ = sum(one.image.label != one.image.source_label for one in picks)
        listed = amount(len(picks), "image", "images")
        all_of_them = ", which are all" if len(picks) < self.wanted else ""
        return [f"Wrote {self.out}: {listed} to label next{all_of_them}; on {differ} the two models differ"]

    def to_json(self, picks: Sequence[Pick]) -> dict[str, Any]:
        """What the document says of it."""
        from gformer_cli.adapt import picked_row

        if not self.wanted:
            return {}
        rows = [picked_row(rank, one, name_target=True) for rank, one in enumerate(picks, 1)]
        return {"pick_out": str(self.out), "picked": rows}
