"""The `gformer` command: registers the subcommands and turns errors into messages and exit statuses.

Exit status: 0 done; 1 the work failed; 2 wrong usage or input; 130 interrupted.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Annotated

import typer

from gformer_cli import __version__, interrupts, stdio
from gformer_cli.commands import (
    adapt,
    audit,
    compare,
    data,
    demo,
    diff,
    doctor,
    evaluate,
    export,
    freeze,
    import_model,
    inspect,
    launch,
    merge,
    meta_train,
    presets,
    pretrain,
    renamed,
    report,
    runs,
    serve,
    several_runs,
    watch,
)
from gformer_cli.commands.options import remember_command, wants_traceback
from gformer_cli.compute.launched import SHARED, Seat, seat
from gformer_cli.compute.threads import short_spin
from gformer_cli.console import one_line
from gformer_cli.errors import GformerError, InputError, plain

app = typer.Typer(
    name="gformer",
    help="Generate a model for each batch from an unseen distribution: test-time adaptation without fine-tuning.",
    epilog="Start with: gformer demo",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("import")(import_model.import_model)
app.command("pretrain")(pretrain.pretrain)
app.command("meta-train", cls=several_runs.InOrder)(meta_train.meta_train)
app.command("adapt", cls=renamed.Adapt)(adapt.adapt)
app.command("watch")(watch.watch)
app.command("serve")(serve.serve)
app.command("audit")(audit.audit)
app.command("evaluate")(evaluate.evaluate)
app.command("merge")(merge.merge)
app.command("report")(report.report)
app.command("compare")(compare.compare)
app.command("freeze")(freeze.freeze)
app.command("export")(export.export)
app.add_typer(data.app, name="data")
app.add_typer(presets.app, name="presets")
app.command("inspect")(inspect.inspect)
app.command("diff")(diff.diff)
app.command("runs")(runs.runs)
app.command("launch", context_settings=launch.TAKES_ALL, options_metavar=launch.USAGE)(launch.launch)
app.command("doctor")(doctor.doctor)
app.command("demo")(demo.demo)

# the class of all usage errors; Typer has moved it between modules, its subclass stays in place
_UsageErrorBase: type[Exception] = next(
    c for c in typer.BadParameter.__mro__ if c.__name__ == "ClickException" and issubclass(c, Exception)
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"gformer {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


def run(arguments: Sequence[str] | None = None, place: Seat = Seat()) -> int:  # noqa: B008 - it cannot be changed
    """Run one command line (without the program's name) and return its exit status.

    `place` says whether other processes run the same and share its work.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    remember_command(words)
    try:
        with _among_others(place, words) if place.size > 1 else nullcontext():
            status = app(args=None if arguments is None else words, prog_name="gformer", standalone_mode=False)
            stdio.finish()
    except (KeyboardInterrupt, typer.Abort):
        return _interrupted(quiet=place.rank > 0)
    except Exception as error:
        if interrupts.seen() and not isinstance(error, GformerError):
            return _interrupted(quiet=place.rank > 0)
        if wants_traceback() and not isinstance(error, _UsageErrorBase):
            raise
        return _explain(error) if place.size == 1 else _explain_once(error)
    return status if isinstance(status, int) else 0


@contextmanager
def _among_others(place: Seat, words: Sequence[str]) -> Iterator[None]:
    """Within the block the processes know each other, and the first one alone is heard."""
    from gformer_cli.compute import ranks

    with stdio.silent() if place.rank else nullcontext():
        ranks.join(place)
        if not words or words[0] not in SHARED:
            raise InputError(
                f"each of {place.size} processes would do the whole of: {' '.join(['gformer', *words[:1]])}",
                f"Run it without torchrun. What processes share is {', '.join(SHARED)}.",
            )
        yield
        ranks.leave()


def main() -> None:
    """The process's one command line."""
    short_spin()
    interrupts.install()
    stdio.prepare()
    status = run(place=seat())
    interrupts.at_exit()
    sys.exit(status)


def _interrupted(*, quiet: bool = False) -> int:
    if not quiet:
        _complain("interrupted", "")
    return interrupts.STATUS


def _explain_once(error: Exception) -> int:
    """Like `_explain`, in one of several processes: what has ended them is told by one."""
    from gformer_cli.compute import ranks

    if not ranks.may_tell(error):
        return error.exit_status if isinstance(error, GformerError) else 1
    return _explain(ranks.signed(error) if isinstance(error, GformerError) else error)


def _explain(error: Exception) -> int:
    """Say on stderr what went wrong; returns the exit status."""
    if isinstance(error, GformerError):
        _complain(error.message, error.hint)
        return error.exit_status
    if isinstance(error, _UsageErrorBase):
        told = error.format_message() if hasattr(error, "format_message") else str(error)
        context = getattr(error, "ctx", None)
        if type(error).__name__ == "NoArgsIsHelpError":  # no error to tell: the help page is the answer
            print(told, end="", file=sys.stderr)
        else:
            command = context.command_path if context is not None else "gformer"
            _complain(plain(" ".join(told.split())), f"See: {command} --help")
        return 2
    if isinstance(error, BrokenPipeError):  # the reader has gone, as with `gformer presets list | head -1`
        return 1
    _complain(f"unexpected {type(error).__name__}: {error}", "This is a defect in gformer; --debug shows where.")
    return 1


def _complain(message: str, hint: str) -> None:
    # they name files and repeat arguments, which may be anything
    print(f"error: {one_line(message)}".rstrip(), file=sys.stderr)
    if hint:
        print(f"  {one_line(hint)}", file=sys.stderr)
