"""Where a watched folder's predictions, skipped files and moved images go, before the first of them is there."""

from __future__ import annotations

from gformer_cli.adapt import check_output
from gformer_cli.files import check_appendable, check_fillable, make_folder
from gformer_cli.folders.targets import check_batch_size
from gformer_cli.watch.ledger import skipped_file
from gformer_cli.watch.options import WatchOptions


def check_outputs(options: WatchOptions) -> None:
    """Raises `InputError` for what cannot be written, and `WorkError` for a full disk; touches nothing."""
    check_batch_size(options.batch_size)
    check_output(options.out, overwrite=False, continued=True)
    check_appendable(skipped_file(options.out))
    if options.move_to is not None:
        check_fillable(options.move_to)


def make_folders(options: WatchOptions) -> None:
    """Make those that are not there."""
    make_folder(options.out.parent)
    if options.move_to is not None:
        make_folder(options.move_to)
