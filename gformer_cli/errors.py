"""What can go wrong, and the exit status each kind of failure maps to.

Every expected failure carries two short texts: what is wrong and where, and what to do about it.
`gformer_cli.app` prints them and exits; nothing else in the package exits.
"""

import difflib
import textwrap
from collections.abc import Iterable


class GformerError(Exception):
    """An expected failure: `message` says what is wrong and where, `hint` what to do about it."""

    exit_status = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __reduce__(self) -> tuple[type[Exception], tuple[str, str]]:
        return type(self), (self.message, self.hint)  # the hint must survive on its way out of another process

    def __str__(self) -> str:
        return f"{self.message}\n{self.hint}" if self.hint else self.message


class WorkError(GformerError):
    """The work itself failed: a threshold missed, a disk full, no readable image."""

    exit_status = 1


class InputError(GformerError):
    """The call or what it points to is wrong: a missing folder, an unknown key, a foreign file."""

    exit_status = 2


class Interrupted(GformerError):
    """The user asked to stop (Ctrl-C); what was finished is kept."""

    exit_status = 130


_NEAR = 0.6
"""Share of letters that a word has in common with what it may have been meant for."""
_FEW, _MANY = 20, 60
"""Names that are listed in any case, and where none is near."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A hint that names the nearest of `known`, and all of them while they are few or none is near."""
    names = list(known)
    near = nearest(name, names, cutoff=_NEAR if len(names) <= _MANY else 0.0)
    listed = len(names) <= _FEW or not near
    every = f"There are: {', '.join(names)}." if listed else ""
    return f"{near} {every}".strip()


def nearest(name: str, known: Iterable[str], *, cutoff: float = _NEAR) -> str:
    """A hint that names the nearest of `known`; empty where none is near."""
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=cutoff)
    return f"Did you mean {close[0]!r}?" if close else ""


def reason(error: BaseException) -> str:
    """What an error of a library or of a user's code says, in one short line."""
    text = str(error).strip() or type(error).__name__
    return textwrap.shorten(text.splitlines()[0], 200)


_JARGON = {
    "Value error, ": "",
    "Assertion failed, ": "",
    "Input should be": "it must be",
    "Input should": "it must",
    ", unable to parse string as an integer": "",
    ", unable to parse string as a number": "",
    ", unable to interpret input": "",
    "a valid integer": "a whole number",
    "a valid number": "a number",
    "a valid string": "text",
    "a valid boolean": "true or false",
    "a valid tuple": "a list, such as [1, 2, 3]",
}


def plain(text: str) -> str:
    """What a check of pydantic's says, in words for somebody who does not know that library."""
    for jargon, words in _JARGON.items():
        text = text.replace(jargon, words)
    return text
