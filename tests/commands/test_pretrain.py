from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import load_file

from gformer_cli.networks.build import build_network
from gformer_cli.train.source_trainer import SourceTrainer

LABELS = ["all", "without-dawn", "without-dusk", "without-noon"]
Pretrain = Callable[..., Any]


@pytest.fixture
def pretrain(gformer: Callable[..., Any], data: Path, preset: Path) -> Pretrain:
    """`pretrain(out, *options)` with the tiny preset, on the shared sources unless `sources` are given."""

    def call(out: Path, *options: object, sources: Path | None = None) -> Any:
        return gformer("pretrain", "--source", sources or data / "sources", "--out", out, "--preset", preset, *options)

    return call


def model(run: Path, label: str = "all") -> bytes:
    return (run / "models" / f"{label}.safetensors").read_bytes()


def test_a_run_holds_settings_source_models_and_log(finished_pretrain: Path, contents: Callable[..., Any]) -> None:
    models = [f"models/{label}.safetensors" for label in LABELS]
    files = ["settings.yaml", "images.json", "inventory.csv", "source.json", "pretrain.jsonl", "pretrain.csv"]
    assert sorted(contents(finished_pretrain)) == sorted([*files, *models])


def test_source_json_counts_the_images(finished_pretrain: Path) -> None:
    source = json.loads((finished_pretrain / "source.json").read_text())
    assert source["classes"] == ["circle", "square", "stripes"]
    assert source["domains"] == {name: {"circle": 10, "square": 10, "stripes": 10} for name in ("dawn", "dusk", "noon")}
    assert source["leave_one_domain_out"] is True


def test_the_log_has_a_line_per_model_and_validation(
    finished_pretrain: Path, read_log: Callable[[Path], list[dict[str, Any]]]
) -> None:
    log = read_log(finished_pretrain / "pretrain.jsonl")
    assert [(line["model"], line["step"]) for line in log] == [(label, step) for label in LABELS for step in (2, 4)]


def test_the_models_differ(finished_pretrain: Path) -> None:
    assert len({model(finished_pretrain, label) for label in LABELS}) == 4


def test_resolved_settings_are_saved_and_later_wins(pretrain: Pretrain, tmp_path: Path) -> None:
    options = ["--set", "pretrain.steps=3", "--set", "pretrain.jitter=0.5", "--steps", "1", "--seed", "7"]
    assert pretrain(tmp_path / "run", *options, "--no-leave-one-out").status == 0
    saved = yaml.safe_load((tmp_path / "run" / "settings.yaml").read_text())
    assert saved["seed"] == 7
    assert saved["backbone"]["width"] == 0.125
    assert saved["pretrain"] == saved["pretrain"] | {"steps": 1, "jitter": 0.5, "leave_one_domain_out": False}


def test_saved_settings_are_a_preset_that_repeats_the_run(
    gformer: Callable[..., Any], data: Path, finished_pretrain: Path, tmp_path: Path
) -> None:
    settings = finished_pretrain / "settings.yaml"
    done = gformer("pretrain", "--source", data / "sources", "--out", tmp_path / "run", "--preset", settings)
    assert done.status == 0
    assert model(tmp_path / "run", "without-noon") == model(finished_pretrain, "without-noon")


def test_no_leave_one_domain_out_trains_one_model_and_says_what_it_costs(pretrain: Pretrain, tmp_path: Path) -> None:
    done = pretrain(tmp_path / "run", "--no-leave-one-out", "--quiet")
    assert done.status == 0
    assert [path.name for path in (tmp_path / "run" / "models").iterdir()] == ["all.safetensors"]
    assert "warning: no leave-one-domain-out models" in done.err and "costs accuracy" in done.err
    assert json.loads((tmp_path / "run" / "source.json").read_text())["leave_one_domain_out"] is False


def test_the_full_model_does_not_depend_on_leave_one_domain_out(
    pretrain: Pretrain, finished_pretrain: Path, tmp_path: Path
) -> None:
    pretrain(tmp_path / "run", "--no-leave-one-out")
    assert model(tmp_path / "run") == model(finished_pretrain)


def test_a_dry_run_shows_everything_and_touches_nothing(pretrain: Pretrain, tmp_path: Path) -> None:
    done = pretrain(tmp_path / "run", "--dry-run", "--steps", 17, "--device", "cpu", "--workers", 3)
    assert done.status == 0
    assert list(tmp_path.iterdir()) == []
    assert "steps: 17" in done.out and "width: 0.125" in done.out
    assert [line.split() for line in done.out.splitlines() if line.startswith("dawn")] == [
        ["dawn", "3", "30", "10", "10"]
    ]
    assert "Device: cpu, decoding threads: 3" in done.out
    for name in ("settings.yaml", *(f"{label}.safetensors" for label in LABELS)):
        assert name in done.out


def test_a_dry_run_as_json(pretrain: Pretrain, tmp_path: Path) -> None:
    plan = pretrain(tmp_path / "run", "--dry-run", "--json").json
    assert plan["domains"]["dusk"] == {"circle": 10, "square": 10, "stripes": 10}
    assert plan["settings"]["pretrain"]["steps"] == 4
    assert str(tmp_path / "run" / "models" / "without-noon.safetensors") in plan["outputs"]
    assert not (tmp_path / "run").exists()


def test_json_prints_one_document_and_nothing_else(pretrain: Pretrain, tmp_path: Path) -> None:
    document = pretrain(tmp_path / "run", "--json").json
    assert list(document["validation_accuracy"]) == LABELS
    assert document["run"] == str(tmp_path / "run")
    assert document["skipped"] == []


def test_the_shown_accuracy_is_that_of_the_log(
    pretrain: Pretrain, tmp_path: Path, read_log: Callable[[Path], list[dict[str, Any]]]
) -> None:
    document = pretrain(tmp_path / "run", "--json").json
    for label in LABELS:
        lines = [line for line in read_log(tmp_path / "run" / "pretrain.jsonl") if line["model"] == label]
        assert document["validation_accuracy"][label] == max(line["validation_accuracy"] for line in lines)


@pytest.mark.slow
def test_quiet_and_verbose(pretrain: Pretrain, tmp_path: Path) -> None:
    assert pretrain(tmp_path / "quiet", "--quiet").err == ""
    assert "jitter: 0.2" in pretrain(tmp_path / "verbose", "--verbose").err


def test_the_same_command_gives_the_same_models(
    pretrain: Pretrain, finished_pretrain: Path, tmp_path: Path, contents: Callable[..., Any]
) -> None:
    assert pretrain(tmp_path / "run", "--workers", 0).status == 0
    assert contents(tmp_path / "run" / "models") == contents(finished_pretrain / "models")


def test_steps_and_validate_every_set_the_log(
    pretrain: Pretrain, tmp_path: Path, read_log: Callable[[Path], list[dict[str, Any]]]
) -> None:
    pretrain(tmp_path / "run", "--no-leave-one-out", "--steps", 5, "--set", "pretrain.validate_every=3")
    assert [line["step"] for line in read_log(tmp_path / "run" / "pretrain.jsonl")] == [3, 5]


CHANGES = [
    ("--seed", "1"),
    ("--set", "pretrain.batch_size=6"),
    ("--set", "pretrain.learning_rate=0.02"),
    ("--set", "pretrain.weight_decay=0.9"),
    ("--set", "pretrain.label_smoothing=0.3"),
    ("--set", "pretrain.warmup=1.0"),
    ("--set", "pretrain.crop=0.3"),
    ("--set", "pretrain.flip=false"),
    ("--set", "pretrain.jitter=0"),
    ("--set", "pretrain.precision=bfloat16"),
    ("--set", "data.mean=[0.1, 0.2, 0.3]"),
    ("--set", "data.std=[0.5, 0.5, 0.5]"),
    ("--set", "data.validation_fraction=0.5"),
    ("--image-size", "12"),
]


@pytest.mark.parametrize(("option", "value"), CHANGES)
def test_every_setting_changes_the_model(
    pretrain: Pretrain, finished_pretrain: Path, tmp_path: Path, option: str, value: str
) -> None:
    assert pretrain(tmp_path / "run", "--no-leave-one-out", option, value).status == 0
    assert model(tmp_path / "run") != model(finished_pretrain)


def test_resize_says_how_images_that_are_not_square_are_read(
    pretrain: Pretrain, own_data: Path, tmp_path: Path
) -> None:
    for path in (own_data / "sources").rglob("*.png"):
        with Image.open(path) as image:
            image.resize((32, 16)).save(path)
    for way in ("crop", "stretch"):
        options = ["--no-leave-one-out", "--set", f"data.resize={way}"]
        assert pretrain(tmp_path / way, *options, sources=own_data / "sources").status == 0
    assert model(tmp_path / "crop") != model(tmp_path / "stretch")


def test_backbone_width_and_stem_choose_the_network(pretrain: Pretrain, tmp_path: Path) -> None:
    options = ["--steps", 1, "--no-leave-one-out"]
    pretrain(tmp_path / "deep", "--backbone", "resnet34", *options)
    pretrain(tmp_path / "wide", "--set", "backbone.width=0.25", *options)
    pretrain(tmp_path / "stem", "--set", "backbone.stem=standard", *options)
    deep, wide, stem = (load_file(tmp_path / name / "models/all.safetensors") for name in ("deep", "wide", "stem"))
    assert "layer1.2.conv1.weight" in deep and "layer1.2.conv1.weight" not in wide
    assert wide["fc.weight"].shape == (3, 128) and stem["fc.weight"].shape == (3, 64)
    assert wide["conv1.weight"].shape[-1] == 3 and stem["conv1.weight"].shape[-1] == 7


def test_weights_from_a_file_are_the_start(pretrain: Pretrain, tmp_path: Path) -> None:
    torch.manual_seed(5)
    network = build_network("resnet18", 3, stem="small", width=0.125)
    torch.save(network.state_dict(), tmp_path / "start.pth")
    options = ["--steps", 1, "--no-leave-one-out", "--set", "pretrain.learning_rate=1e-9"]
    assert pretrain(tmp_path / "run", "--weights", tmp_path / "start.pth", *options).status == 0
    trained = load_file(tmp_path / "run" / "models" / "all.safetensors")
    torch.testing.assert_close(trained["layer2.0.conv1.weight"], network.layer2[0].conv1.weight.detach())


@pytest.mark.parametrize("more", [["--dry-run"], []], ids=["dry-run", "run"])
def test_tensors_that_the_weights_leave_fresh_are_told(pretrain: Pretrain, tmp_path: Path, more: list[str]) -> None:
    options = ["--steps", 1, "--no-leave-one-out", *more]
    for classes, told in ((3, None), (8, "start-8.pth: 2 tensors stay fresh, such as fc.weight")):
        start = tmp_path / f"start-{classes}.pth"
        torch.save(build_network("resnet18", classes, stem="small", width=0.125).state_dict(), start)
        done = pretrain(tmp_path / f"run-{classes}", "--weights", start, *options)
        assert done.status == 0
        assert told in done.err if told else "fresh" not in done.err


def test_sources_may_be_given_one_by_one(
    gformer: Callable[..., Any], data: Path, preset: Path, finished_pretrain: Path, tmp_path: Path
) -> None:
    each = [part for name in ("dawn", "dusk", "noon") for part in ("--source", data / "sources" / name)]
    assert gformer("pretrain", *each, "--out", tmp_path / "run", "--preset", preset).status == 0
    assert model(tmp_path / "run") == model(finished_pretrain)


def test_layout_says_how_to_read_a_folder(pretrain: Pretrain, own_data: Path, tmp_path: Path) -> None:
    one = own_data / "sources" / "dawn"
    read_as_domain = pretrain(tmp_path / "a", "--layout", "domain", "--no-leave-one-out", "--steps", 1, sources=one)
    assert read_as_domain.status == 0
    read_as_root = pretrain(tmp_path / "b", "--layout", "domains", sources=one)
    assert read_as_root.status == 2 and "DIR/domain/class/image" in read_as_root.err


def test_a_domain_without_a_class_is_told(pretrain: Pretrain, own_data: Path, tmp_path: Path) -> None:
    folder = own_data / "sources" / "dusk" / "stripes"
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
    done = pretrain(tmp_path / "run", "--quiet", "--steps", 1, sources=own_data / "sources")
    assert done.status == 0
    assert done.err == "warning: domain dusk has no class folder for: stripes\n"


def test_unreadable_images_are_skipped_counted_and_listed(pretrain: Pretrain, own_data: Path, tmp_path: Path) -> None:
    broken = own_data / "sources" / "noon" / "square" / "03.png"
    broken.write_bytes(broken.read_bytes()[:60])
    empty = own_data / "sources" / "dawn" / "circle" / "00.png"
    empty.write_bytes(b"")
    done = pretrain(tmp_path / "run", "--json", "--steps", 1, sources=own_data / "sources")
    assert done.status == 0
    assert [item["path"] for item in done.json["skipped"]] == [str(empty), str(broken)]
    assert done.json["domains"]["noon"]["square"] == 9
    assert "warning: 2 unreadable images skipped" in done.err
    assert f"{empty}: the file is empty" in done.err and str(broken) in done.err


def test_strict_makes_an_unreadable_image_an_error(pretrain: Pretrain, own_data: Path, tmp_path: Path) -> None:
    broken = own_data / "sources" / "noon" / "square" / "03.png"
    broken.write_bytes(b"no image")
    done = pretrain(tmp_path / "run", "--strict", sources=own_data / "sources")
    assert done.status == 2
    assert f"error: unreadable image: {broken}" in done.err
    assert not (tmp_path / "run").exists()


def test_a_full_folder_is_refused_and_overwrite_replaces_the_run(
    pretrain: Pretrain, pretrained: Path, contents: Callable[..., Any]
) -> None:
    before = contents(pretrained)
    refused = pretrain(pretrained, "--seed", 3)
    assert refused.status == 2 and f"output folder is not empty: {pretrained}" in refused.err
    assert contents(pretrained) == before
    assert pretrain(pretrained, "--seed", 3, "--no-leave-one-out", "--overwrite").status == 0
    assert model(pretrained) != before["models/all.safetensors"]
    assert not (pretrained / "models" / "without-dawn.safetensors").exists()


@pytest.mark.slow
@pytest.mark.parametrize("steps", [1, 6])
def test_an_overwrite_that_is_stopped_keeps_the_old_run_and_can_be_resumed(
    pretrain: Pretrain,
    pretrained: Path,
    tmp_path: Path,
    stop_after: Callable[[str, int], None],
    contents: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    steps: int,
) -> None:
    before = contents(pretrained)
    with monkeypatch.context():
        stop_after("pretrain", steps)
        assert pretrain(pretrained, "--seed", 3, "--overwrite").status == 130
    after = contents(pretrained)
    assert {name: after[name] for name in before} == before
    assert pretrain(pretrained, "--seed", 4, "--resume").status == 2
    assert pretrain(pretrained, "--seed", 3, "--resume").status == 0
    assert pretrain(tmp_path / "fresh", "--seed", 3).status == 0
    resumed, fresh = contents(pretrained), contents(tmp_path / "fresh")
    assert sorted(resumed) == sorted(fresh)
    assert {name for name in fresh if resumed[name] != fresh[name]} <= {"pretrain.jsonl", "pretrain.csv"}


@pytest.mark.parametrize("steps", [1, 3, 4, 6, 16])
def test_resume_after_an_interruption_equals_an_uninterrupted_run(
    pretrain: Pretrain,
    finished_pretrain: Path,
    tmp_path: Path,
    stop_after: Callable[[str, int], None],
    contents: Callable[..., Any],
    read_log: Callable[[Path], list[dict[str, Any]]],
    steps: int,
) -> None:
    stop_after("pretrain", steps)
    assert pretrain(tmp_path / "run").status == 130
    assert pretrain(tmp_path / "run", "--resume").status == 0
    assert read_log(tmp_path / "run" / "pretrain.jsonl") == read_log(finished_pretrain / "pretrain.jsonl")
    resumed, whole = contents(tmp_path / "run"), contents(finished_pretrain)
    assert sorted(resumed) == sorted(whole)
    assert {name for name in whole if resumed[name] != whole[name]} <= {"pretrain.jsonl", "pretrain.csv"}


def test_ctrl_c_says_how_to_go_on(pretrain: Pretrain, tmp_path: Path, stop_after: Callable[[str, int], None]) -> None:
    stop_after("pretrain", 6)
    done = pretrain(tmp_path / "run", "--quiet")
    assert done.status == 130
    assert done.err.splitlines() == [
        "error: stopped after step 2 of 4 of model without-dawn",
        "  Go on with the same command and --resume.",
    ]


def test_a_crash_costs_the_steps_since_the_last_validation_only(
    pretrain: Pretrain, finished_pretrain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = SourceTrainer.step
    taken: list[int] = []

    def step(self: SourceTrainer, number: int) -> float:
        if number == 3 and not taken.count(3):
            taken.append(number)
            raise RuntimeError("power cut")
        taken.append(number)
        return original(self, number)

    monkeypatch.setattr(SourceTrainer, "step", step)
    assert pretrain(tmp_path / "run", "--no-leave-one-out").status == 1
    assert pretrain(tmp_path / "run", "--no-leave-one-out", "--resume").status == 0
    assert taken == [0, 1, 2, 3, 2, 3]
    assert model(tmp_path / "run") == model(finished_pretrain)


def test_resume_with_other_settings_is_refused(
    pretrain: Pretrain, tmp_path: Path, stop_after: Callable[[str, int], None], contents: Callable[..., Any]
) -> None:
    stop_after("pretrain", 2)
    pretrain(tmp_path / "run")
    before = contents(tmp_path / "run")
    done = pretrain(tmp_path / "run", "--resume", "--set", "pretrain.jitter=0.3")
    assert done.status == 2
    assert "pretrain.jitter=0.3" in done.err
    assert contents(tmp_path / "run") == before


def _another_class(sources: Path) -> None:
    shutil.copytree(sources / "dusk" / "circle", sources / "dusk" / "oval")
    shutil.copytree(sources / "noon" / "circle", sources / "noon" / "oval")


def _class_of_one_domain(sources: Path) -> None:
    shutil.copytree(sources / "dusk" / "circle", sources / "dusk" / "oval")


CHANGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "class added": (_another_class, "class folder new: dusk/oval, class folder new: noon/oval"),
    "class that could not be trained on": (_class_of_one_domain, "class folder new: dusk/oval"),
    "class gone": (
        lambda sources: shutil.rmtree(sources / "dawn" / "circle"),
        "class folder gone: dawn/circle",
    ),
    "domain renamed": (
        lambda sources: (sources / "dawn").rename(sources / "sunrise"),
        "domain gone: dawn, domain new: sunrise",
    ),
    "domain added": (lambda sources: shutil.copytree(sources / "dawn", sources / "rain"), "domain new: rain"),
    "image changed": (
        lambda sources: Image.new("RGB", (16, 16)).save(sources / "noon" / "circle" / "00.png"),
        "changed images in noon/circle (10 images before, 10 now)",
    ),
    "image gone": (
        lambda sources: (sources / "noon" / "circle" / "00.png").unlink(),
        "changed images in noon/circle (10 images before, 9 now)",
    ),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("finished", [False, True])
def test_resume_over_other_images_is_refused(
    pretrain: Pretrain,
    pretrained: Path,
    own_data: Path,
    tmp_path: Path,
    stop_after: Callable[[str, int], None],
    contents: Callable[..., Any],
    change: str,
    finished: bool,
) -> None:
    run = pretrained
    if not finished:
        run = tmp_path / "begun"
        stop_after("pretrain", 5)
        assert pretrain(run, sources=own_data / "sources").status == 130
    alter, told = CHANGES[change]
    alter(own_data / "sources")
    before = contents(run)
    done = pretrain(run, "--resume", "--quiet", sources=own_data / "sources")
    assert done.status == 2 and told in done.err and "--overwrite" in done.err
    assert contents(run) == before
    assert pretrain(run, "--resume", "--dry-run", sources=own_data / "sources").status == (
        0 if "image" in change else 2
    )


def test_a_run_begun_before_images_were_recorded_is_resumed(
    pretrain: Pretrain, finished_pretrain: Path, tmp_path: Path, stop_after: Callable[[str, int], None]
) -> None:
    stop_after("pretrain", 5)
    pretrain(tmp_path / "run")
    (tmp_path / "run" / "images.json").unlink()
    assert pretrain(tmp_path / "run", "--resume").status == 0
    assert model(tmp_path / "run") == model(finished_pretrain)
    assert (tmp_path / "run" / "images.json").read_bytes() == (finished_pretrain / "images.json").read_bytes()


def test_resume_of_nothing_starts_a_run(pretrain: Pretrain, finished_pretrain: Path, tmp_path: Path) -> None:
    assert pretrain(tmp_path / "run", "--resume", "--no-leave-one-out").status == 0
    assert model(tmp_path / "run") == model(finished_pretrain)


def test_the_last_line_names_the_next_command(pretrain: Pretrain, data: Path, tmp_path: Path) -> None:
    done = pretrain(tmp_path / "run", "--steps", 1)
    assert done.out.splitlines()[-1] == (
        f"Next: gformer meta-train --source {data / 'sources'} --run {tmp_path / 'run'}"
    )
