"""What the commands make of folders that are not as tidy as they should be."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

Gformer = Callable[..., Any]
ReadCsv = Callable[[Path], list[dict[str, str]]]
HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"


@pytest.fixture
def fog(data: Path, tmp_path: Path) -> Path:
    """A copy of one target of thirty images that a test may change."""
    return Path(shutil.copytree(data / "targets" / "fog", tmp_path / "fog"))


@pytest.fixture
def adapt(gformer: Gformer, bundle: Path, tmp_path: Path) -> Gformer:
    def call(*targets: Path, options: tuple[object, ...] = ()) -> Any:
        named = [part for target in targets for part in ("--target", target)]
        return gformer("adapt", "--model", bundle, *named, "--out", tmp_path / "p.csv", "--overwrite", *options)

    return call


@pytest.fixture
def sessions(fog: Path) -> Path:
    """DIR/class/session/image."""
    for label in list(fog.iterdir()):
        for number, path in enumerate(sorted(label.iterdir())):
            folder = label / ("mon", "tue")[number % 2]
            folder.mkdir(exist_ok=True)
            path.rename(folder / path.name)
    return fog


def test_sessions_below_known_classes_are_one_domain(
    adapt: Gformer, gformer: Gformer, bundle: Path, sessions: Path, tmp_path: Path
) -> None:
    assert adapt(sessions).status == 0
    read = (tmp_path / "p.csv").read_text()
    assert adapt(sessions, options=("--layout", "domain")).status == 0
    assert (tmp_path / "p.csv").read_text() == read and "target" not in read.splitlines()[0].split(",")
    measured = gformer("evaluate", "--model", bundle, "--target", sessions, "--json").json
    assert list(measured["summaries"][0]["targets"]) == ["fog"]
    static = gformer("freeze", "--model", bundle, "--target", sessions, "-o", tmp_path / "s.gformer", "--json")
    assert static.json["images"] == 30


def test_sessions_below_classes_that_nobody_knows_are_asked_about(
    gformer: Gformer, sessions: Path, preset: Path, tmp_path: Path
) -> None:
    for command in (["pretrain", "--source", sessions, "--out", tmp_path / "run", "--preset", preset],
                    ["data", "check", sessions]):  # fmt: skip
        done = gformer(*command)
        assert done.status == 2 and "circle, square, stripes, or mon, tue below them" in done.err
        assert "--layout domain (DIR/class/image)" in done.err
    assert not (tmp_path / "run").exists()


def test_what_sources_are_taken_for_is_said(
    gformer: Gformer, data: Path, preset: Path, pretrained: Path, tmp_path: Path
) -> None:
    source = ["--source", data / "sources", "--dry-run"]
    told = "read as 3 domains (dawn, dusk, noon) of 3 classes (circle, square, stripes)"
    pretrain = ["pretrain", *source, "--out", tmp_path / "new", "--preset", preset]
    assert told in gformer(*pretrain).err
    assert told not in gformer(*pretrain, "--quiet").err
    assert told not in gformer("meta-train", *source, "--run", pretrained).err  # the run knows


def test_parts_and_masks_are_asked_about_by_every_command(
    adapt: Gformer, gformer: Gformer, bundle: Path, data: Path, tmp_path: Path
) -> None:
    for part in ("train", "test", "ground_truth"):
        shutil.copytree(data / "targets" / "fog", tmp_path / "set" / part)
    evaluate = ["evaluate", "--model", bundle, "--target"]
    freeze = ["freeze", "--model", bundle, "-o", tmp_path / "s.gformer", "--target"]
    for what in ("set/ground_truth seems to hold masks", "set holds parts of one data set (test, train)"):
        for done in (
            adapt(tmp_path / "set"),
            gformer(*evaluate, tmp_path / "set"),
            gformer(*freeze, tmp_path / "set"),
            gformer("data", "check", tmp_path / "set"),
            gformer("pretrain", "--source", tmp_path / "set", "--out", tmp_path / "run"),
        ):
            assert done.status == 2 and what in done.err
        shutil.rmtree(tmp_path / "set" / "ground_truth", ignore_errors=True)
    assert adapt(tmp_path / "set", options=("--layout", "domains")).status == 0


@pytest.fixture
def mixed(fog: Path) -> Path:
    """The images under other suffixes and none, with files beside them that are no images, or of a format not read."""
    for number, path in enumerate(sorted((fog / "circle").iterdir())):
        image = Image.open(path).convert("RGB")
        suffix, file_format = [(".jfif", "JPEG"), (".jpe", "JPEG"), (".jp2", "JPEG2000"), ("", "PNG"), (".x", "TIFF")][
            number % 5
        ]
        path.unlink()
        image.save(path.with_suffix(suffix), file_format)
    (fog / "circle" / "a.heic").write_bytes(HEIC)
    (fog / "square" / "b.heic").write_bytes(HEIC)
    (fog / "readme").write_text("no image")
    return fog


ASIDE = {".heic": 2, "(none)": 1}
LINE = "left aside: 2 .heic, 1 without a suffix; there are images among them, in formats that are not read: HEIF"


@pytest.fixture(autouse=True)
def without_heif(monkeypatch: pytest.MonkeyPatch) -> None:
    from gformer_cli.folders import formats

    monkeypatch.setattr(formats, "FORMATS", tuple(name for name in formats.FORMATS if name != "HEIF"))


@pytest.mark.slow
def test_images_of_any_suffix_are_read_and_the_rest_is_named(
    adapt: Gformer, gformer: Gformer, bundle: Path, mixed: Path, tmp_path: Path
) -> None:
    out = tmp_path / "s.gformer"
    for done, images in (
        (adapt(mixed, options=("--json", "--quiet")), lambda found: found["images"]),
        (adapt(mixed, options=("--json", "--dry-run")), lambda found: sum(found["domains"]["fog"].values())),
        (gformer("evaluate", "--model", bundle, "--target", mixed, "--json"), lambda found: found["cells"][0]["n"]),
        (gformer("freeze", "--model", bundle, "--target", mixed, "-o", out, "--json"), lambda found: found["images"]),
        (gformer("data", "check", mixed, "--json"), lambda found: found["domains"][0]["images"]),
    ):
        assert images(done.json) == 30 and done.json["left_aside"] == ASIDE
        assert f"warning: {LINE}" in done.err and str(mixed / "circle" / "a.heic") in done.err
    assert str(mixed / "readme") in adapt(mixed, options=("--verbose",)).err
    checked = gformer("data", "check", mixed, "--json")
    assert checked.status == 1 and len(checked.json["unreadable"]) == 2
    assert checked.json["ignored"] == [str(mixed / "readme")]


def test_an_image_that_is_not_read_is_an_error_with_strict_and_another_file_is_not(
    adapt: Gformer, gformer: Gformer, bundle: Path, mixed: Path, tmp_path: Path
) -> None:
    watch = ["watch", mixed, "--model", bundle, "--out", tmp_path / "w.csv", "--until-idle", "0"]
    for done in (adapt(mixed, options=("--strict",)), gformer(*watch, "--strict", "--settle", "0")):
        assert done.status == 2 and f"image that is not read: {mixed / 'circle' / 'a.heic'} (HEIF)" in done.err
    for path in mixed.rglob("*.heic"):
        path.unlink()
    done = adapt(mixed, options=("--strict",))
    assert done.status == 0 and "\nleft aside: 1 without a suffix" in f"\n{done.err}"


def test_a_watched_folder_names_what_it_leaves_aside(
    gformer: Gformer, bundle: Path, mixed: Path, tmp_path: Path
) -> None:
    watch = ["watch", mixed, "--model", bundle, "--until-idle", "0", "--settle", "0", "--out"]
    done = gformer(*watch, tmp_path / "w.csv", "--json")
    assert (done.json["images"], done.json["left_aside"]) == (30, ASIDE)
    assert done.err.count(LINE) == 1
    planned = gformer(*watch, tmp_path / "w.csv", "--json", "--dry-run").json
    assert (planned["present"], planned["left_aside"]) == ({".": 30}, ASIDE)  # class folders are no domains


@pytest.mark.slow
def test_training_names_what_it_leaves_aside(
    gformer: Gformer, own_data: Path, preset: Path, tmp_path: Path, mixed: Path
) -> None:
    shutil.copytree(mixed, own_data / "sources" / "fog")
    arguments = ["--source", own_data / "sources", "--run", tmp_path / "run", "--json"]
    done = gformer("pretrain", *arguments, "--preset", preset)
    assert done.json["left_aside"] == ASIDE and LINE in done.err
    assert done.json["domains"]["fog"] == {"circle": 10, "square": 10, "stripes": 10}
    assert gformer("meta-train", *arguments).json["left_aside"] == ASIDE


@pytest.mark.slow
def test_an_empty_domain_folder_is_a_warning(
    adapt: Gformer, gformer: Gformer, bundle: Path, own_data: Path, preset: Path, tmp_path: Path
) -> None:
    for role in ("sources", "targets"):
        (own_data / role / "none" / "circle").mkdir(parents=True)
    (own_data / "empty").mkdir()
    pretrain = ["pretrain", "--source", own_data / "sources", "--out", tmp_path / "run", "--preset", preset]
    for done in (
        adapt(own_data / "targets"),
        gformer("evaluate", "--model", bundle, "--target", own_data / "targets"),
        gformer("data", "check", own_data / "targets"),
        gformer(*pretrain, "--dry-run"),
    ):
        assert done.status == 0
        assert "warning: folders without images, which are passed over:" in done.err and "/none" in done.err
    beside = adapt(own_data / "empty", own_data / "targets" / "fog")
    assert beside.status == 0 and f"  {own_data / 'empty'}" in beside.err
    assert adapt(own_data / "empty").status == 2


@pytest.mark.slow
def test_one_class_in_two_spellings_is_one(gformer: Gformer, own_data: Path, preset: Path, tmp_path: Path) -> None:
    sources = own_data / "sources"
    for domain, name in (("dawn", "d\u00e9faut"), ("dusk", "de\u0301faut"), ("noon", "de\u0301faut")):
        (sources / domain / "stripes").rename(sources / domain / name)
    done = gformer("meta-train", "--source", sources, "--run", tmp_path / "run", "--preset", preset, "--json")
    assert done.json["pretrained"]["classes"] == ["circle", "d\u00e9faut", "square"]
    model = ["--model", tmp_path / "run" / "model.gformer"]
    measured = gformer("evaluate", *model, "--target", sources / "noon", "--json")
    assert measured.json["cells"][0]["n"] == 30


def test_a_deep_tree_ends_no_command(
    adapt: Gformer, gformer: Gformer, bundle: Path, fog: Path, tmp_path: Path, make_deep: Callable[[Path], Path]
) -> None:
    shutil.copy(fog / "circle" / "00.png", make_deep(fog / "circle" / "deep"))
    watch = ["watch", fog, "--model", bundle, "--until-idle", "0", "--settle", "0"]
    for done in (
        adapt(fog),
        gformer("data", "check", fog),
        gformer(*watch, "--out", tmp_path / "w.csv", "--move-to", tmp_path / "done"),
    ):
        assert done.status == 0 and "more than 100 folders deep" in done.err
        assert max(map(len, done.err.splitlines())) < 400
    assert sum(path.is_file() for path in (tmp_path / "done").rglob("*")) == 30
    strict = adapt(data_again(fog, tmp_path), options=("--strict",))
    assert strict.status == 2 and "not looked into" in strict.err


def data_again(fog: Path, tmp_path: Path) -> Path:
    """The folder with an image in it again, after all were moved away."""
    shutil.copytree(tmp_path / "done", fog, dirs_exist_ok=True)
    return fog


def test_what_storage_and_systems_leave_is_passed_over(adapt: Gformer, fog: Path) -> None:
    for name in ("@eaDir", "#recycle", "__MACOSX", "$RECYCLE.BIN", "lost+found", "System Volume Information"):
        shutil.copytree(fog / "circle", fog / name)
        shutil.copytree(fog / "circle", fog / "square" / name)
    done = adapt(fog, options=("--json",))
    assert (done.json["images"], done.json["left_aside"]) == (30, {})


def test_links_give_their_own_names(adapt: Gformer, data: Path, tmp_path: Path, read_csv: ReadCsv) -> None:
    for name in ("fog", "night"):
        shutil.copytree(data / "targets" / name, tmp_path / name / "images")
        (tmp_path / f"site-{name}").symlink_to(tmp_path / name / "images")
    assert adapt(tmp_path / "site-fog", tmp_path / "site-night").status == 0
    assert {row["target"] for row in read_csv(tmp_path / "p.csv")} == {"site-fog", "site-night"}
