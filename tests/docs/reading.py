"""What the tests of the documentation read from a page."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
CALL = re.compile(r"(?:^\s*(?:\$ )?|[|;&(] ?|-- |/)gformer (?=[a-z])")
"""Where a command of a shell calls gformer, and not a sentence or the output of a command."""
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def blocks(text: str) -> list[tuple[str, str]]:
    """Language and content of every fenced block."""
    return [(found[1], found[2]) for found in _FENCE.finditer(text)]


def prose(text: str) -> str:
    """The page without its fenced blocks."""
    return _FENCE.sub("", text)


def anchors(text: str) -> set[str]:
    """What `#...` of a link may be: the headings, as MkDocs and GitHub both spell them."""
    headings = re.findall(r"^#{1,6} (.+)$", prose(text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


def links(text: str) -> list[tuple[str, str]]:
    """File and anchor of every link of the page that leads to no other site."""
    found = re.findall(r"\]\(([^)\s]+)\)|<img[^>]* src=\"([^\"]+)\"|srcset=\"([^\"]+)\"", prose(text))
    targets = [next(filter(None, groups)) for groups in found]
    return [(name, anchor) for name, _, anchor in (t.partition("#") for t in targets) if not re.match(r"\w+:", name)]


def calls(text: str) -> list[str]:
    """Every call of gformer on the page, in a block or in a line of text; continued lines are joined."""
    shell = [content for language, content in blocks(text) if language in ("", "sh", "bash", "console", "yaml")]
    indented = re.findall(r"^    (.*)$", prose(text), re.MULTILINE)
    lines = [line for content in [*shell, "\n".join(indented)] for line in content.replace("\\\n", " ").splitlines()]
    lines += [" ".join(span.split()) for span in re.findall(r"`(gformer [^`]+)`", prose(text))]
    return [line for line in lines if CALL.search(line) and not line.lstrip().startswith("#")]
