from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from gformer_cli.data.demo import write
from gformer_cli.data.demo.digits import DemoImage
from gformer_cli.data.demo.drawn import packages
from gformer_cli.data.demo.drawn.packages import Packages
from gformer_cli.data.demo.drawn.picture_set import Drawing, PictureSet

Gformer = Callable[..., Any]


def test_check_passes_sound_folders(gformer: Gformer, data: Path) -> None:
    done = gformer("data", "check", data / "sources", data / "targets")
    assert done.status == 0
    assert "All images are 16 x 16 pixels." in done.out and "No errors." in done.out
    counted = [line.split() for line in done.out.splitlines() if line.startswith("night")]
    assert counted == [["night", "3", "classes,", "10", "images", "each", "30"]]


def test_check_exits_1_on_errors_and_lists_them(gformer: Gformer, own_data: Path) -> None:
    broken = own_data / "sources" / "dusk" / "circle" / "05.png"
    broken.write_bytes(b"")
    for path in (own_data / "sources" / "noon" / "stripes").iterdir():
        path.unlink()
    done = gformer("data", "check", own_data / "sources")
    assert done.status == 1
    assert f"{broken}: the file is empty" in done.out and "noon: stripes" in done.out
    assert done.err.splitlines()[-2] == "error: the folders have errors"


def test_check_as_json(gformer: Gformer, own_data: Path) -> None:
    broken = own_data / "sources" / "dusk" / "circle" / "05.png"
    broken.write_bytes(b"")
    (own_data / "sources" / "dawn" / "circle" / "notes.txt").write_text("x")
    done = gformer("data", "check", own_data / "sources", "--json")
    assert done.status == 1
    assert done.json["ok"] is False
    assert done.json["unreadable"] == [{"path": str(broken), "reason": "the file is empty"}]
    assert [domain["images"] for domain in done.json["domains"]] == [30, 30, 30]
    assert done.json["ignored"] == [str(own_data / "sources" / "dawn" / "circle" / "notes.txt")]


def test_check_takes_a_flat_folder(gformer: Gformer, data: Path) -> None:
    found = gformer("data", "check", data / "targets" / "fog" / "circle", "--json").json
    assert (found["ok"], found["domains"][0]["images"], found["domains"][0]["classes"]) == (True, 10, {})


def test_check_verbose_counts_classes(gformer: Gformer, data: Path) -> None:
    lines = gformer("data", "check", data / "targets", "--verbose").out.splitlines()
    assert sum(line.split() == ["circle", "10"] for line in lines) == 2


@pytest.fixture
def few_digits(monkeypatch: pytest.MonkeyPatch) -> None:
    """A demo data set of four images."""

    def render(seed: int) -> Any:
        pixels = np.random.default_rng(seed)
        for role in ("sources", "targets"):
            for label in ("0", "1"):
                yield DemoImage(role, "cam", label, "a", pixels.uniform(0, 1, (8, 8, 3)).astype(np.float32))

    monkeypatch.setitem(write.RENDERERS, "digit-cameras", render)


@pytest.mark.usefixtures("few_digits")
def test_demo_writes_folders_and_a_readme(gformer: Gformer, tmp_path: Path, contents: Any) -> None:
    done = gformer("data", "demo", "digit-cameras", "--out", tmp_path / "d", "--json")
    assert done.json == {
        "name": "digit-cameras",
        "out": str(tmp_path / "d"),
        "images": {"sources/cam": 2, "targets/cam": 2},
    }
    images = [f"{role}/cam/{label}/a.png" for role in ("sources", "targets") for label in "01"]
    again = gformer("data", "demo", "digit-cameras", "--out", tmp_path / "d", "--overwrite")
    assert again.out.endswith(f"and a trained classifier of them: {tmp_path / 'd' / 'classifier'}\n")
    model = [f"classifier/{name}" for name in ("site.safetensors", "classes.txt", "transform.json")]
    assert sorted(contents(tmp_path / "d")) == sorted([*images, *model, "README.md"])


@pytest.mark.usefixtures("few_digits")
def test_demo_depends_on_its_seed_only(gformer: Gformer, tmp_path: Path, contents: Any) -> None:
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        gformer("data", "demo", "digit-cameras", "--out", tmp_path / name, "--seed", seed)
    assert contents(tmp_path / "a") == contents(tmp_path / "b") != contents(tmp_path / "c")


@pytest.mark.usefixtures("few_digits")
def test_demo_replaces_a_demo_only_when_asked_and_nothing_else(gformer: Gformer, tmp_path: Path, contents: Any) -> None:
    out = tmp_path / "d"
    gformer("data", "demo", "digit-cameras", "--out", out)
    before = contents(out)
    assert gformer("data", "demo", "digit-cameras", "--out", out, "--seed", 1).status == 2
    assert contents(out) == before
    assert gformer("data", "demo", "digit-cameras", "--out", out, "--seed", 1, "--overwrite").status == 0
    assert contents(out) != before
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    assert gformer("data", "demo", "digit-cameras", "--out", tmp_path / "mine", "--overwrite").status == 2
    assert contents(tmp_path / "mine") == {"letter.txt": b"dear"}


def test_an_unknown_demo_names_the_nearest(gformer: Gformer, tmp_path: Path) -> None:
    done = gformer("data", "demo", "digit-camera", "--out", tmp_path / "d")
    assert done.status == 2 and "Did you mean 'digit-cameras'?" in done.err
    assert not (tmp_path / "d").exists()


@pytest.fixture
def few_drawings(monkeypatch: pytest.MonkeyPatch) -> list[Packages]:
    """Three drawings of each of two classes; the packages that they were asked of come into the list."""
    asked = []

    def draw(side: int) -> Image.Image:
        return Image.new("L", (side, side // 2), 255)

    def icons(packages: Packages) -> PictureSet:
        asked.append(packages)
        classes = {label: [Drawing(f"{label}-{number}", "ann", draw) for number in range(3)] for label in ("x", "y")}
        return PictureSet("icons", {"line": classes, "solid": classes}, {"pixel": classes}, 4, 2, ("ann (Ann): MIT",))

    monkeypatch.setitem(write.PICTURES, "icons", icons)
    return asked


def test_drawings_are_on_paper_or_photographed(
    gformer: Gformer, tmp_path: Path, contents: Any, few_drawings: list[Packages]
) -> None:
    options = ["data", "demo", "icons", "--packages", tmp_path / "own"]
    alone = gformer(*options, "--out", tmp_path / "a", "--json").json
    assert alone["images"] == {"sources/line": 6, "sources/solid": 6, "targets/pixel": 4}
    taken = gformer(*options, "--out", tmp_path / "b", "--cameras", "--size", 20, "--json").json
    assert taken["images"] == {"sources/line": 8, "sources/solid": 8, "targets/pixel": 4}
    assert [packages.cache for packages in few_drawings] == [tmp_path / "own"] * 2
    for name, size, told in (("a", 64, "--size 64` with"), ("b", 20, "--size 20 --cameras` with")):
        images = list((tmp_path / name).rglob("*.png"))
        assert {Image.open(path).size for path in images} == {(size, size)}
        about = (tmp_path / name / "README.md").read_text()
        assert ("Each drawing is on white paper." in about) == (name == "a")
        assert told in about and "- ann (Ann): MIT\n" in about
    gformer(*options, "--out", tmp_path / "c", "--cameras", "--size", 20)
    assert contents(tmp_path / "b") == contents(tmp_path / "c")


@pytest.mark.usefixtures("few_digits", "few_drawings")
def test_drawings_take_the_place_of_digits_and_their_classifier(gformer: Gformer, tmp_path: Path) -> None:
    gformer("data", "demo", "digit-cameras", "--out", tmp_path / "d")
    assert gformer("data", "demo", "icons", "--out", tmp_path / "d", "--overwrite").status == 0
    assert sorted(path.name for path in (tmp_path / "d").iterdir()) == ["README.md", "sources", "targets"]


def test_drawings_come_from_the_folder_of_caches_unless_another_is_named(
    gformer: Gformer, tmp_path: Path, few_drawings: list[Packages], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packages, "cache_folder", lambda: tmp_path / "cache")
    gformer("data", "demo", "icons", "--out", tmp_path / "d")
    assert few_drawings[0].cache == tmp_path / "cache"


def test_packages_are_in_a_folder(gformer: Gformer, tmp_path: Path) -> None:
    archive = tmp_path / "fonts-inter_4_all.deb"
    archive.write_bytes(b"")
    done = gformer("data", "demo", "letters", "--out", tmp_path / "d", "--packages", archive)
    assert done.status == 2 and f"--packages: {archive} is a file, not a folder" in done.err
    assert not (tmp_path / "d").exists()


@pytest.mark.parametrize("option", [["--size", "32"], ["--cameras"], ["--packages", "."]])
def test_digits_take_no_option_of_drawings(gformer: Gformer, tmp_path: Path, option: list[str]) -> None:
    done = gformer("data", "demo", "digit-cameras", "--out", tmp_path / "d", *option)
    assert (done.status, done.err) == (
        2,
        f"error: {option[0]} is of drawings, and digit-cameras is of digits\n  Leave it out.\n",
    )
    assert not (tmp_path / "d").exists()


def test_what_draws_svg_files_is_asked_for_before_anything_is_fetched(
    gformer: Gformer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gformer_cli.data.demo.drawn.svg.find_spec", lambda name: None)
    for name in ("icons", "stickers"):
        done = gformer("data", "demo", name, "--out", tmp_path / "d", "--packages", tmp_path / "p")
        assert done.status == 2 and done.err.splitlines()[1] == "  Install it with: pip install 'gformer[demo]'"
        assert not (tmp_path / "d").exists() and not (tmp_path / "p").exists()


@pytest.mark.slow
def test_rotated_mnist_is_sound(gformer: Gformer, tmp_path: Path) -> None:
    done = gformer("data", "demo", "rotated-mnist", "--out", tmp_path / "d", "--json")
    assert done.status == 0
    assert len([name for name in done.json["images"] if name.startswith("sources/angle-")]) == 5
    checked = gformer("data", "check", tmp_path / "d" / "sources", tmp_path / "d" / "targets", "--json")
    assert checked.status == 0
    assert sum(domain["images"] for domain in checked.json["domains"]) == sum(done.json["images"].values())
    assert all(len(domain["classes"]) == 10 for domain in checked.json["domains"])


@pytest.mark.slow
def test_what_a_kill_left_of_a_demo_is_replaced_on_request(gformer: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "data" / ".part" / "sources" / "old" / "9").mkdir(parents=True)
    command = ["data", "demo", "digit-cameras", "--out", tmp_path / "data"]
    assert gformer(*command).status == 2
    assert gformer(*command, "--overwrite").status == 0
    assert not (tmp_path / "data" / ".part").exists() and not (tmp_path / "data" / "sources" / "old").exists()


def test_check_draws_a_contact_sheet(gformer: Callable[..., Any], own_data: Path, tmp_path: Path) -> None:
    (own_data / "targets" / "fog" / "circle" / "00.png").write_bytes(b"")
    sheet, words = tmp_path / "sheet.png", ("data", "check", own_data / "targets", "--json")
    found = gformer(*words, "--contact-sheet", sheet)
    assert found.status == 1 and found.json["contact_sheet"] == str(sheet)  # it is drawn where there are errors, too
    with Image.open(sheet) as image:
        assert image.format == "PNG" and image.width > 8 * 96 and image.height > 6 * 96
    first = sheet.read_bytes()
    assert "file exists" in gformer(*words, "--contact-sheet", sheet).err
    gformer(*words, "--contact-sheet", sheet, "--overwrite", "--seed", 1)
    assert sheet.read_bytes() != first
    assert "--seed is of the contact sheet" in gformer(*words, "--seed", 1).err
    assert "--overwrite is of the contact sheet" in gformer(*words, "--overwrite").err


def test_shifts_and_preprocessing_are_drawn_as_settings_or_a_bundle_have_it(
    gformer: Callable[..., Any], bundle: Path, data: Path, tmp_path: Path
) -> None:
    drawn = {}
    for command in ("shifts", "preprocessing"):
        for name, options in (
            ("settings", ["--set", "data.image_size=12"]),
            ("bundle", ["--model", bundle]),
            ("seed", ["--model", bundle, "--seed", 5]),
        ):
            sheet = tmp_path / f"{command}-{name}.png"
            done = gformer("data", command, data / "sources", "--contact-sheet", sheet, *options)
            assert done.status == 0 and f"Wrote {sheet}" in done.out, done.err
            drawn[command, name] = sheet.read_bytes()
    assert len(set(drawn.values())) == 6
    both = gformer(
        "data", "shifts", data, "--contact-sheet", tmp_path / "x.png", "--model", bundle, "--preset", "quick"
    )
    assert both.status == 2 and "says how images are prepared" in both.err
    needed = gformer("data", "shifts", data / "sources")
    assert needed.status == 2 and "--contact-sheet" in needed.err


def test_corrupted_copies_are_targets(
    gformer: Callable[..., Any], bundle: Path, data: Path, tmp_path: Path, contents: Any
) -> None:
    out, site = tmp_path / "out", data / "targets" / "fog"
    call = ("data", "corrupt", site, "--out", out, "--corruptions", "noise,fog", "--severity", 5, "--severity", 2)
    planned = gformer(*call, "--dry-run")
    assert planned.status == 0 and not out.exists()
    assert f"Would write 240 images of 8 domains below {out}: gaussian-noise-2, gaussian-noise-5, " in planned.out
    one = gformer("data", "corrupt", site, "--out", out, "--corruptions", "fog", "--severity", 5, "--dry-run")
    assert f"Would write 30 images of 1 domain below {out}: fog-5" in one.out
    done = gformer(*call, "--json")
    assert done.status == 0, done.err
    names = [f"{kind}-{n}" for kind in ("gaussian-noise", "shot-noise", "impulse-noise", "fog") for n in (2, 5)]
    assert done.json == {
        "out": str(out),
        "corruptions": ["gaussian-noise", "shot-noise", "impulse-noise", "fog"],
        "severities": [2, 5],
        "seed": 0,
        "images": dict.fromkeys(names, 30),
        "skipped": [],
    }
    measured = gformer("evaluate", "--target", out, "--model", bundle, "--methods", "source", "--json").json
    assert [cell["target"] for cell in measured["cells"]] == sorted(names)
    before = contents(out)
    assert "output folder is not empty" in gformer(*call).err and contents(out) == before
    again = gformer(*call, "--overwrite")
    assert contents(out) == before and again.out.endswith(f"\nNext: gformer evaluate --target {out}\n")
    assert gformer(*call, "--overwrite", "--seed", 1).status == 0 and contents(out) != before


def test_what_cannot_be_corrupted_is_told(
    gformer: Callable[..., Any], own_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = own_data / "targets" / "fog" / "circle" / "00.png"
    broken.write_bytes(b"")
    call = ("data", "corrupt", own_data / "targets", "--corruptions", "fog", "--severity", 1, "--out")
    done = gformer(*call, tmp_path / "a")
    assert done.status == 0 and "1 unreadable image skipped" in done.err and f"{broken}: the file is empty" in done.err
    assert "Wrote 59 images of 2 domains" in done.out
    strict = gformer(*call, tmp_path / "b", "--strict")
    assert strict.status == 2 and f"cannot use {broken}: the file is empty" in strict.err
    assert not (tmp_path / "b").exists()
    flat = gformer("data", "corrupt", own_data / "targets" / "fog" / "circle", "--out", tmp_path / "c")
    assert flat.status == 2 and "no class folders, so there are no labels" in flat.err
    monkeypatch.setitem(sys.modules, "imagecorruptions", None)
    missing = gformer("data", "corrupt", own_data / "targets", "--out", tmp_path / "c", "--corruptions", "imagenet-c")
    assert missing.status == 2 and "gformer[corruptions]" in missing.err
