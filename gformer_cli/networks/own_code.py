"""Networks of a user's own code, `FILE.py:FUNCTION`: which names those are, and who may have them run."""

from __future__ import annotations

from gformer_cli.errors import InputError


def own_code(name: str) -> bool:
    """Whether `name` is `FILE.py:FUNCTION`. Building it runs that file, so the command line must name it.

    Files that somebody may have sent, such as bundles, presets and run folders, may name it and make nothing run.
    """
    path, separator, function = name.rpartition(":")
    return bool(separator) and path.endswith(".py") and function.isidentifier()


def check_own_code(name: str, named: str | None, origin: str) -> str:
    """The network's name that may be built: `name`, as `origin` has it, or the `FILE.py:FUNCTION` that was `named`.

    `named` is what the command line says, or None. Raises `InputError` where `name` is code that the command line does
    not name, and where it names code for a network that is none.
    """
    if named is not None and not (own_code(named) and own_code(name)):
        raise InputError(
            f"--backbone {named} does not go with {origin}, whose backbone is {name}",
            "Only what was made with your own FILE.py:FUNCTION needs it.",
        )
    if own_code(name) and named is None:
        raise InputError(
            f"{origin} names somebody's own code, {name}, which is run only when the command line names it",
            "If you have that file and trust it, pass it: --backbone FILE.py:FUNCTION",
        )
    return named or name
