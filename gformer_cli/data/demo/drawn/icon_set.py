"""`icons`: thirty everyday things as 79 families of icons draw them; domains are kinds of drawing.

icon_set.csv names the families of each domain. The generator `universal` was trained on other families and things.
"""

from __future__ import annotations

import csv
import json
import re
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import Any

from PIL import Image

from gformer_cli.data.demo.drawn.icons import PACKAGE, STYLE_WORDS, admitted, drawn
from gformer_cli.data.demo.drawn.packages import Packages, npm_version
from gformer_cli.data.demo.drawn.picture_set import Drawing, PictureSet
from gformer_cli.data.demo.drawn.svg import check_resvg
from gformer_cli.errors import InputError, reason
from gformer_cli.files import MIB, read_text

TABLE = Path(__file__).with_name("icon_set.csv")
_THINGS = (
    "mail/envelope lock/padlock gear/cog/settings magnifier/magnifying-glass/magnifier-tool/search pencil/pen "
    "paperclip/paper-clip/attachment/attach/clip microphone/mic keyboard compass laptop headphones/headphone/headset "
    "rocket map/treasure-map bulb/lightbulb/idea lightning/bolt/zap/flash scissors/cut funnel/filter bookmark "
    "cart/shopping-cart/trolley shield fire/flame cup/coffee-cup/teacup/mug/coffee/tea airplane/aeroplane/plane "
    "wrench/spanner brush/paintbrush thermometer/temperature gamepad/joystick/controller bicycle/bike bus magnet"
)
THINGS = {words.partition("/")[0]: tuple(words.split("/")) for words in _THINGS.split()}
"""Class name -> what an icon of it may be called; a family's icons are those of the first name that it has."""
_NOT_WHAT = (
    "10 11 12 15 5 6 s l m lg sm xs bulk large small big black white duo 3d interface essential computers devices "
    "device electronics basic ui other travel content shopping nature design music food drink drinks business products "
    "product transportation accounting old ecology filmstrip"
)
NOT_WHAT = STYLE_WORDS | frozenset(_NOT_WHAT.split())
"""Words of an icon's name that tell how it is drawn or where it is listed, not what it is."""
_NOT_THE_THING = (
    "hugeicons-compass-01 lineicons-compass* qlementine-icons-compass* picon-compass* lineicons-cup* "
    "streamline-cyber-design-mug proicons-filter mi-filter* quill-filter* streamline-cyber-filter-6 "
    "streamline-cyber-filter-10 fluent-filter* rivet-icons-filter* radix-icons-filter* griddy-icons-filter-alt "
    "streamline-ultimate-filter-2-* mage-filter mage-filter-fill"
)
NOT_THE_THING = tuple(_NOT_THE_THING.split())
"""Icons that are called a thing and show another: instruments to draw circles, a trophy, lists being sorted."""
PER_FAMILY = 3
"""At most so many drawings of a thing by one family."""
ANIMATED = re.compile(r"<(animate|set\b)")
"""In an icon that moves: its first frame is half empty."""
_LARGEST = 256 * MIB

Domains = dict[str, dict[str, list[Drawing]]]


def icon_set(packages: Packages) -> PictureSet:
    """Raises `InputError` for a family that is missing or not admitted, and for a thing that a domain lacks."""
    check_resvg()
    root = packages.npm(PACKAGE)
    about = _read_json(root / "collections.json")
    roles: dict[str, Domains] = {"sources": {}, "targets": {}}
    licences = [f"{PACKAGE} {npm_version(root)}, in which are:"]
    with TABLE.open(encoding="utf-8", newline="") as opened:
        for row in csv.DictReader(opened):
            classes = roles[row["role"]].setdefault(row["domain"], {label: [] for label in THINGS})
            for family in row["families"].split():
                licences.append(_licence(family, about.get(family, {}), root))
                for label, drawings in _drawings(family, _read_json(root / "json" / f"{family}.json")).items():
                    classes[label] += drawings
    return PictureSet(
        name="icons",
        sources=roles["sources"],
        targets=roles["targets"],
        per_source=60,
        per_target=26,
        licences=tuple(licences),
    )


def _licence(family: str, about: dict[str, Any], root: Path) -> str:
    if not admitted(family, about):
        raise InputError(
            f"{root}: icon family {family!r} is missing, or not openly licensed",
            "Give another version of the package with --packages DIR.",
        )
    author = about.get("author", {}).get("name", "unknown")
    return f"{family} ({about.get('name', family)}, {author}): {about['license']['spdx']}"


def _drawings(family: str, content: dict[str, Any]) -> dict[str, list[Drawing]]:
    """A family's drawings of each thing, the shortest names first."""
    named: dict[str, list[str]] = {}
    for name, icon in content["icons"].items():
        if ANIMATED.search(icon["body"]) or any(fnmatchcase(f"{family}-{name}", one) for one in NOT_THE_THING):
            continue
        named.setdefault("-".join(word for word in name.split("-") if word not in NOT_WHAT), []).append(name)
    coloured = bool(content["info"].get("palette"))

    def drawing(name: str) -> Drawing:
        return Drawing(f"{family}-{name}", family, partial(_draw, content["icons"][name], content, coloured))

    found = {}
    for label, words in THINGS.items():
        names = next((named[word] for word in words if word in named), [])
        found[label] = [drawing(name) for name in sorted(names, key=lambda name: (len(name), name))[:PER_FAMILY]]
    return found


def _draw(icon: dict[str, Any], content: dict[str, Any], coloured: bool, side: int) -> Image.Image | None:
    return drawn(icon, content, coloured=coloured, side=side)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(read_text(path, _LARGEST))
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or reason(error)
        raise InputError(f"cannot read {path}: {why}", f"Remove its folder, and {PACKAGE} is fetched again.") from error
    if not isinstance(content, dict):
        raise InputError(f"{path} is not a file of {PACKAGE}", f"Remove its folder, and {PACKAGE} is fetched again.")
    return content
