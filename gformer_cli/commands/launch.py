"""`gformer launch`: torchrun, for a command of gformer."""

from __future__ import annotations

import logging
import os
import signal
from typing import TYPE_CHECKING, Any, NoReturn

import typer

from gformer_cli.compute.launched import SHARED
from gformer_cli.errors import InputError, WorkError
from gformer_cli.interrupts import STATUS

if TYPE_CHECKING:
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

USAGE = "[TORCHRUN'S OPTIONS] COMMAND [ITS OPTIONS]"
TAKES_ALL = {"ignore_unknown_options": True, "allow_extra_args": True, "allow_interspersed_args": False}
"""Of the command line: torchrun and the command read their own options."""


def launch(context: typer.Context) -> None:
    """Run a command in several processes, on one machine or on many, that share its work.

    COMMAND is pretrain, meta-train, evaluate or adapt. The options before it are torchrun's, and torchrun --help tells
    them. The first process alone prints. Where an option's value is called like a command, write it with =, as in
    --rdzv-id=pretrain.
    See docs/how-to/scale.md.

    Example: gformer launch --standalone --nproc-per-node 4 meta-train --source data/sources
    """
    options, command = split(context.args)

    from torch.distributed import run as torchrun
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    parser: Any = torchrun.get_args_parser()
    parser.error = _refuse
    start: Any = torchrun.run
    arguments = parser.parse_args([*options, "--module", "--", "gformer_cli", *command])
    if "LOGLEVEL" not in os.environ:  # torchrun's own word for how much it tells
        logging.disable(logging.ERROR)
    try:
        start(arguments)
    except ChildFailedError as error:
        raise typer.Exit(_status(error)) from None
    except SignalException as error:  # which the processes have had as well, and have told of
        raise typer.Exit(STATUS if error.sigval == signal.SIGINT else 128 + error.sigval) from None
    except (ValueError, AssertionError) as error:
        _refuse(str(error))
    finally:
        logging.disable(logging.NOTSET)


def split(words: list[str]) -> tuple[list[str], list[str]]:
    """torchrun's options, and the command with its own. Raises `InputError` where there is no command."""
    place = next((place for place, word in enumerate(words) if word in SHARED), None)
    if place is None:
        raise InputError(
            "no command to launch is named",
            f"Name one after torchrun's options: {', '.join(SHARED)}. Only their work is shared among processes.",
        )
    return words[:place], words[place:]


def _refuse(message: str) -> NoReturn:
    raise InputError(f"torchrun: {message}", "See: torchrun --help")


def _status(error: ChildFailedError) -> int:
    """That of the process which failed first. Raises `WorkError` where it could not say why itself."""
    rank, failure = error.get_first_failure()
    if failure.exitcode >= 0:
        return int(failure.exitcode)
    name = signal.Signals(-failure.exitcode).name
    raise WorkError(
        f"process {rank} was killed ({name})" + (", perhaps because memory ran out" if name == "SIGKILL" else ""),
        "Go on with the same command and --resume, in as many processes as you like.",
    )
