"""The set `icons`, of a made-up package: which icons are of a thing, and whose."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("resvg_py")

from gformer_cli.data.demo.drawn import icon_set
from gformer_cli.data.demo.drawn.packages import Packages
from gformer_cli.data.demo.drawn.picture_set import Drawing
from gformer_cli.errors import InputError

BODY = {"body": '<path fill="currentColor" d="M2 2h20v20H2z"/>'}


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two families: `plain` has every thing by its first name, `rich` draws gears in many ways, and in colour."""
    root = tmp_path / "@iconify" / "json"
    (root / "json").mkdir(parents=True)
    (root / "package.json").write_text('{"version": "2.2"}')
    about = {"name": "Plain Icons", "author": {"name": "Ann"}, "license": {"spdx": "MIT"}}
    write(root / "collections.json", {"plain": about, "rich": about | {"license": {"spdx": "CC-BY-4.0"}}})
    write(root / "json" / "plain.json", family(dict.fromkeys(icon_set.THINGS, BODY)))
    gears = ("settings-fill", "cog-big-bold", "cog", "cog-outline-2", "cog-user", "cog-24", "gearbox")
    write(root / "json" / "rich.json", family(dict.fromkeys(gears, BODY), palette=True))
    table = tmp_path / "table.csv"
    table.write_text("role,domain,families\nsources,line,plain rich\ntargets,pixel,plain\n")
    monkeypatch.setattr(icon_set, "TABLE", table)
    return root


def write(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content))


def family(icons: dict[str, Any], palette: bool = False) -> dict[str, Any]:
    return {"icons": icons, "width": 24, "height": 24, "info": {"palette": palette}}


def gears(tmp_path: Path) -> list[Drawing]:
    return list(icon_set.icon_set(Packages(tmp_path)).sources["line"]["gear"])


@pytest.mark.usefixtures("package")
def test_a_familys_icons_are_those_of_the_first_name_it_has_the_shortest_first(tmp_path: Path) -> None:
    names = [(drawing.name, drawing.family) for drawing in gears(tmp_path)]
    assert names == [
        ("plain-gear", "plain"), ("rich-cog", "rich"), ("rich-cog-24", "rich"), ("rich-cog-big-bold", "rich"),
    ]  # fmt: skip


@pytest.mark.usefixtures("package")
def test_a_family_with_colours_keeps_them(tmp_path: Path) -> None:
    pictures = [drawing.draw(96) for drawing in gears(tmp_path)]
    assert [picture.mode for picture in pictures if picture] == ["L", "RGBA", "RGBA", "RGBA"]


@pytest.mark.usefixtures("package")
def test_families_are_named_with_their_authors_and_licences(tmp_path: Path) -> None:
    found = icon_set.icon_set(Packages(tmp_path))
    assert found.licences == (
        "@iconify/json 2.2, in which are:",
        "plain (Plain Icons, Ann): MIT", "rich (Plain Icons, Ann): CC-BY-4.0", "plain (Plain Icons, Ann): MIT",
    )  # fmt: skip
    assert list(found.targets["pixel"]) == list(icon_set.THINGS) and len(icon_set.THINGS) == 30


def test_a_family_that_is_missing_or_closed_is_refused(package: Path, tmp_path: Path) -> None:
    write(package / "collections.json", {"plain": {"license": {"spdx": "CC-BY-NC-4.0"}}})
    with pytest.raises(InputError, match="icon family 'plain' is missing, or not openly licensed"):
        gears(tmp_path)


@pytest.mark.parametrize("content", ["{", "[]", "\udcff"])
def test_a_file_that_is_no_family_is_named(package: Path, tmp_path: Path, content: str) -> None:
    (package / "json" / "rich.json").write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(InputError, match=r"rich\.json"):
        gears(tmp_path)


def test_a_thing_that_a_domain_lacks_is_named(package: Path, tmp_path: Path) -> None:
    names = [name for name in icon_set.THINGS if name != "bus"]
    write(package / "json" / "plain.json", family(dict.fromkeys(names, BODY)))
    with pytest.raises(InputError, match="no drawing of 'bus' for domain 'line'"):
        gears(tmp_path)


@pytest.mark.parametrize(
    "moves", ["<animate attributeName='d'/>", "<animateMotion/>", "<animateTransform/>", "<set to='1'/>"]
)
def test_an_icon_that_moves_is_left_out(package: Path, tmp_path: Path, moves: str) -> None:
    still, moving = BODY, {"body": f'<path d="M2 2h20v20H2z">{moves}</path>'}
    write(package / "json" / "rich.json", family({"cog": moving, "cog-fill": still, "settings": still}))
    assert [drawing.name for drawing in gears(tmp_path)] == ["plain-gear", "rich-cog-fill"]


def test_an_icon_that_is_called_a_thing_and_shows_another_is_left_out(
    package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(icon_set, "NOT_THE_THING", ("rich-cog*",))
    assert [drawing.name for drawing in gears(tmp_path)] == ["plain-gear", "rich-settings-fill"]


def test_seventy_nine_families_are_named_once() -> None:
    with icon_set.TABLE.open(encoding="utf-8", newline="") as opened:
        families = [family for row in csv.DictReader(opened) for family in row["families"].split()]
    assert len(families) == len(set(families)) == 79 and "line-md" not in families
    named = " ".join(icon_set.NOT_THE_THING)
    assert all(any(one.startswith(f"{family}-") for family in families) for one in named.split())
