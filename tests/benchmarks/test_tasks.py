"""The tasks of the training mix: what is drawn, what the cameras do to it, and what no task may be made of."""

from __future__ import annotations

import csv
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.universal.tasks import fonts, icons
from benchmarks.universal.tasks.camera import TROUBLES, Camera, draw_cameras
from benchmarks.universal.tasks.catalogue import CALIBRATION, HELD_OUT, NAMES, TRAINING
from benchmarks.universal.tasks.icons import EMOJI_FAMILIES, ICON_TASKS, admitted
from benchmarks.universal.tasks.pictures import CLIP_ART, STAMPS
from benchmarks.universal.tasks.procedural import shape_task, texture_task
from benchmarks.universal.tasks.task import Task, write_task

LICENCES = Path(fonts.__file__).with_name("licences.csv")
PLAIN = Camera(ink=(1.0, 1.0, 1.0), plate=(0.0, 0.0, 0.0))


def small(task: Task) -> Task:
    return replace(task, classes=task.classes[-4:], per_source=2, per_target=1)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*.png")}


@pytest.mark.parametrize("task", [texture_task(), shape_task()], ids=lambda task: task.name)
def test_a_task_is_the_same_files_each_time_and_no_two_of_them_are_equal(task: Task, tmp_path: Path) -> None:
    task = small(task)
    count = write_task(task, tmp_path / "a")
    write_task(task, tmp_path / "b")
    first = contents(tmp_path / "a")
    assert first == contents(tmp_path / "b")
    assert len(first) == count == len(task.classes) * (2 * len(task.sources) + len(task.targets))
    assert len(set(first.values())) == count


def test_another_seed_gives_other_cameras_and_other_pictures(tmp_path: Path) -> None:
    write_task(small(shape_task()), tmp_path / "a")
    write_task(small(replace(shape_task(), seed=5)), tmp_path / "b")
    first, second = contents(tmp_path / "a"), contents(tmp_path / "b")
    assert first.keys() == second.keys()
    assert not set(first.values()) & set(second.values())


def test_the_folders_are_roles_domains_and_classes(tmp_path: Path) -> None:
    task = small(replace(shape_task(), sizes=(32, 64)))
    write_task(task, tmp_path)
    for folder, size in (("shapes", 32), ("shapes-64", 64)):
        domains = {(file.parts[-4], file.parts[-3]) for file in (tmp_path / folder).rglob("*.png")}
        expected = {("sources", name) for name in task.sources} | {("targets", name) for name in task.targets}
        assert domains == expected
        labels = {path.name for path in (tmp_path / folder / "sources" / "filled").iterdir()}
        assert labels == set(task.classes)
        assert Image.open(tmp_path / folder / "sources/filled/heart/0000.png").size == (size, size)


def test_a_picture_has_the_same_pose_at_every_size() -> None:
    picture = Image.new("L", (96, 96), 255)
    small_one = PLAIN.photograph(picture, 32, np.random.default_rng(3), posed=True)
    large = PLAIN.photograph(picture, 64, np.random.default_rng(3), posed=True)
    shrunk = large.reshape(32, 2, 32, 2, 3).mean(axis=(1, 3))
    assert np.abs(small_one - shrunk).mean() < 0.02


def test_a_shape_is_printed_in_the_cameras_ink_and_a_coloured_picture_in_its_own_colours() -> None:
    green = Camera(ink=(0.0, 1.0, 0.0), plate=(0.0, 0.0, 0.0))
    shape = green.photograph(Image.new("L", (8, 8), 255), 32, np.random.default_rng(0), posed=False)
    coloured = green.photograph(Image.new("RGBA", (8, 8), (255, 0, 0, 255)), 32, np.random.default_rng(0), posed=False)
    assert shape.mean(axis=(0, 1)).argmax() == 1
    assert coloured.mean(axis=(0, 1)).argmax() == 0


@pytest.mark.parametrize(
    ("change", "darker"),
    [
        ({"light": 0.4}, True),
        ({"gradient": 0.9}, True),
        ({"cast": (1.0, 0.5, 0.2)}, True),
        ({"haze": 0.6}, False),
        ({"glare": 0.9}, False),
        ({"negative": True}, False),
    ],
)
def test_light_and_air_make_a_dark_plate_darker_or_brighter(change: dict[str, object], darker: bool) -> None:
    plate = Image.new("L", (8, 8), 0)
    camera = replace(PLAIN, plate=(0.3, 0.3, 0.3))
    usual = camera.photograph(plate, 32, np.random.default_rng(0), posed=False).mean()
    changed = replace(camera, **change).photograph(plate, 32, np.random.default_rng(0), posed=False).mean()
    assert (changed < 0.8 * usual) if darker else (changed > 1.2 * usual)


@pytest.mark.parametrize(
    "change",
    [{"noise": 0.1}, *({"surface": surface, "texture": 0.3} for surface in ("stripes", "weave", "blotches"))],
)
def test_noise_and_surface_roughen_a_plate(change: dict[str, object]) -> None:
    plate, camera = Image.new("L", (8, 8), 0), replace(PLAIN, plate=(0.5, 0.5, 0.5))
    usual = camera.photograph(plate, 32, np.random.default_rng(0), posed=False)
    rough = replace(camera, **change).photograph(plate, 32, np.random.default_rng(0), posed=False)
    assert rough[..., 0].std() > usual[..., 0].std() + 0.03


def test_defocus_softens_edges() -> None:
    half = Image.new("L", (8, 8), 0)
    half.paste(255, (0, 0, 4, 8))
    sharp = PLAIN.photograph(half, 32, np.random.default_rng(0), posed=False)
    soft = replace(PLAIN, blur=2.0).photograph(half, 32, np.random.default_rng(0), posed=False)
    assert np.abs(np.diff(soft, axis=1)).max() < 0.5 * np.abs(np.diff(sharp, axis=1)).max()


def test_turn_is_how_far_pictures_are_turned() -> None:
    bar = Image.new("L", (96, 12), 255)

    def height(turn: float) -> float:
        seen = [
            replace(PLAIN, turn=turn).photograph(bar, 32, np.random.default_rng(seed), posed=True) for seed in range(20)
        ]
        return float(np.mean([(one.max(axis=(1, 2)) > 0.5).sum() for one in seen]))

    assert height(30.0) > 1.5 * height(0.0)


def test_every_target_has_a_trouble_of_its_own_and_no_two_tasks_share_a_camera() -> None:
    sources, targets = draw_cameras(4, len(TROUBLES), seed=1)
    assert len(set(targets)) == len(TROUBLES)
    assert all(camera.light > 0.8 and not camera.glare and not camera.negative for camera in sources)
    others = draw_cameras(4, len(TROUBLES), seed=2)
    assert not set(sources + targets) & set(others[0] + others[1])


def test_no_set_of_emoji_is_admitted_and_none_without_an_open_licence() -> None:
    free = {"license": {"spdx": "MIT"}}
    assert admitted("tabler", free)
    assert not any(admitted(family, free) for family in EMOJI_FAMILIES)
    assert not admitted("fluent-emoji-flat", free)
    assert not admitted("faces", free | {"name": "Best Emoji Ever"})
    assert not admitted("faces", free | {"category": "Emoji"})
    assert not admitted("tabler", {"license": {"spdx": "CC-BY-NC-4.0"}})
    assert not admitted("tabler", {})


def families(task: str) -> Counter[str]:
    used = [icons.domains(task, role).values() for role in ("sources", "targets")]
    return Counter(family for domains in used for one in domains for family in one)


def test_icon_families_are_in_one_domain_of_a_task_and_the_held_out_ones_in_no_other_task() -> None:
    assert all(count == 1 for task in ICON_TASKS for count in families(task).values())
    assert not families("symbols").keys() & (families("icons").keys() | families("icons-2").keys())
    concepts = [set(ICON_TASKS[task].names()) for task in ICON_TASKS]
    assert len(set.union(*concepts)) == sum(map(len, concepts))


def test_held_out_pictures_and_fonts_are_in_no_task_that_is_trained_on() -> None:
    trained = [folder for folders in CLIP_ART.values() for folder in folders]
    tested = [folder for folders in STAMPS.values() for folder in folders]
    assert not any(one.startswith(other) or other.startswith(one) for one in trained for other in tested)
    assert not used_fonts("letters") & used_fonts("letters-case")


def used_fonts(task: str) -> set[str]:
    return {
        package for role in ("sources", "targets") for files in fonts.domains(task, role).values() for package in files
    }


def test_a_task_has_one_place_in_the_mix() -> None:
    assert len(set(NAMES)) == len(TRAINING) + len(CALIBRATION) + len(HELD_OUT)
    assert set(fonts.SCRIPTS) | set(ICON_TASKS) <= set(NAMES)


def test_every_package_has_a_licence_in_the_table() -> None:
    with LICENCES.open(encoding="utf-8", newline="") as opened:
        table = {row["package"]: row for row in csv.DictReader(opened)}
    assert all(row["licence"] and row["version"] for row in table.values())
    for task in ICON_TASKS:
        assert all(task in table[f"@iconify/json:{family}"]["tasks"].split() for family in families(task))
    for task in fonts.SCRIPTS:
        assert all(task in table[package]["tasks"].split() for package in used_fonts(task))
    assert {"openclipart-svg", "tuxpaint-stamps-default", "pychess"} <= table.keys()
