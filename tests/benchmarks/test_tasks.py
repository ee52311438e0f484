"""The tasks of the training mix: what is drawn, and what no task, and no data set of the demo, shares with another."""

from __future__ import annotations

import csv
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from benchmarks.universal.tasks import fonts, icons
from benchmarks.universal.tasks.catalogue import CALIBRATION, HELD_OUT, NAMES, TRAINING
from benchmarks.universal.tasks.icons import ICON_TASKS
from benchmarks.universal.tasks.pictures import CLIP_ART, STAMPS
from benchmarks.universal.tasks.procedural import shape_task, texture_task
from benchmarks.universal.tasks.task import Task, write_task
from gformer_cli.data.demo.drawn import icon_set, letter_set, sticker_set

LICENCES = Path(fonts.__file__).with_name("licences.csv")


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


def demo_families() -> set[str]:
    with icon_set.TABLE.open(encoding="utf-8", newline="") as opened:
        return {family for row in csv.DictReader(opened) for family in row["families"].split()}


def test_the_demos_drawings_are_none_that_a_generator_is_trained_on_or_chosen_by() -> None:
    used = {*TRAINING, *CALIBRATION}
    for task in used & set(ICON_TASKS):
        assert not demo_families() & families(task).keys()
        assert not set(icon_set.THINGS) & set(ICON_TASKS[task].names())
    with letter_set.TABLE.open(encoding="utf-8", newline="") as opened:
        packages = {row["package"] for row in csv.DictReader(opened)}
    for task in used & set(fonts.SCRIPTS):
        assert not packages & used_fonts(task)
    trained = [folder for folders in CLIP_ART.values() for folder in folders]
    shown = [folder for folders in sticker_set.CLASSES.values() for folder in folders]
    assert not any(one.startswith(other) or other.startswith(one) for one in trained for other in shown)
