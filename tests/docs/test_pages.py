"""What every page owes: links that lead somewhere, and commands that exist."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import yaml

from tests.docs.reading import CALL, ROOT, anchors, calls, links
from tests.test_examples import options_of


def test_every_link_leads_to_a_file_and_a_heading(pages: dict[Path, str]) -> None:
    lost, count = [], 0
    for page, text in pages.items():
        for name, anchor in links(text):
            count += 1
            target = (page.parent / name).resolve() if name else page
            there = target in pages or target.exists()
            if not there or (anchor and anchor not in anchors(pages.get(target, ""))):
                lost.append(f"{page.relative_to(ROOT)}: {name}#{anchor}")
    assert lost == [] and count > 50


def test_every_page_that_the_code_names_exists() -> None:
    files = [
        path for folder in ("gformer_cli", "benchmarks", "presets", "tests") for path in (ROOT / folder).rglob("*")
    ]
    named = {
        name
        for path in files
        if path.suffix in {".py", ".yaml"}
        for name in re.findall(r"\bdocs/[\w/-]+\.(?:md|csv)", path.read_text(encoding="utf-8"))
    }
    assert len(named) > 5 and [name for name in sorted(named) if not (ROOT / name).is_file()] == []


def test_a_link_to_nowhere_would_be_found() -> None:
    assert links("[a](b.md#c-d) [e](https://f.g) ![h](i.svg) `x`\n```\n[j](k)\n```\n") == [
        ("b.md", "c-d"),
        ("i.svg", ""),
    ]
    assert anchors("# A `b`: c, d?\n```\n# no heading\n```\n") == {"a-b-c-d"}


def test_every_command_and_option_in_the_pages_exists(pages: dict[Path, str]) -> None:
    count = 0
    for page, text in pages.items():
        if page.name in ("CHANGELOG.md", "commands.md"):  # earlier versions; made of the commands
            continue
        for line in calls(text):
            words = words_of(line)
            used = {word.split("=")[0] for word in words if re.match(r"--?[a-z]", word)}
            known = options_of(words)
            assert words[0] == "launch" or used <= known | {"--help", "-h"}, (page.name, line, used - known)
            count += 1
    assert count > 100


def test_every_setting_that_a_command_sets_exists(pages: dict[Path, str]) -> None:
    rows = set(re.findall(r"^\| `([\w.]+)` \|", pages[ROOT / "docs" / "reference" / "settings.md"], re.M))
    for page, text in pages.items():
        asked = {key for line in calls(text) for key in re.findall(r"--set ([\w.]+)=", line)}
        assert asked <= rows or page.name == "CHANGELOG.md", (page.name, asked - rows)


def words_of(line: str) -> list[str]:
    """The words after `gformer` up to the next command of the shell."""
    call = CALL.split(line, maxsplit=1)[1]
    return shlex.split(re.split(r" [|<>;&]| \) ", call)[0], comments=True)


def test_every_page_of_the_site_is_in_its_menu() -> None:
    config = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    assert config["strict"] is True and config["theme"]["font"] is False
    listed = {
        name
        for part in config["nav"]
        for entry in (part if isinstance(part, dict) else {"": part}).values()
        for name in (entry if isinstance(entry, list) else [entry])
    }
    written = {path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md")}
    assert listed == written | {"reference/commands.md", "reference/settings.md"}


@pytest.mark.slow
def test_the_site_is_whole_and_asks_no_other_site_for_anything(tmp_path: Path) -> None:
    from mkdocs.commands.build import build
    from mkdocs.config import load_config

    build(load_config(str(ROOT / "mkdocs.yml"), site_dir=str(tmp_path)))
    made = list(tmp_path.rglob("*.html"))
    assert len(made) > 20
    for page in made:
        text = page.read_text(encoding="utf-8")
        fetched = re.findall(r"<(?:script|img|iframe)[^>]* src=\"?([^\s\">]+)|<link[^>]* href=\"?([^\s\">]+)", text)
        assert [url for pair in fetched for url in pair if re.match(r"(https?:)?//", url)] == [], page.name


def test_every_method_and_stream_is_explained(pages: dict[Path, str]) -> None:
    from gformer_cli.data.streams import STREAMS
    from gformer_cli.methods import METHODS

    named = set(re.findall(r"^\| `([\w-]+)` \|", pages[ROOT / "docs" / "how-to" / "evaluate.md"], re.M))
    assert {*METHODS, *STREAMS} <= named
