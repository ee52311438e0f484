"""`gformer doctor`."""

from __future__ import annotations

from gformer_cli.commands import options
from gformer_cli.console import Terminal, table
from gformer_cli.errors import WorkError


def doctor(
    json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
    debug: options.Debug = False,
) -> None:
    """Show versions, devices and threads, and run the method once on a tiny network."""
    from gformer_cli.bundle.self_test import environment, self_test

    terminal = Terminal(as_json=json, quiet=quiet, verbose=verbose)
    found = environment()
    problems = self_test()
    result = "passed" if not problems else "; ".join(problems)
    rows = [[name.replace("_", " "), str(value)] for name, value in found.items()]
    terminal.result(
        found | {"self_test": "passed" if not problems else "failed", "problems": problems},
        table("", ["", ""], [*rows, ["self-test", result]], numbers_from=2),
    )
    if problems:
        raise WorkError(f"self-test failed: {result}", "Reinstall torch and torchvision in matching versions.")
