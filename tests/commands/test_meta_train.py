from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image
from safetensors.torch import load_file

from gformer_cli.bundle import load_bundle, read_header
from gformer_cli.core.generators import ChannelGenerator
from gformer_cli.errors import WorkError
from gformer_cli.train.meta_trainer import MetaTrainer

MetaTrain = Callable[..., Any]
ReadLog = Callable[[Path], list[dict[str, Any]]]


def keep_the_last(patch: pytest.MonkeyPatch) -> None:
    """Every look at the validation finds an improvement, so that the last generator is the saved one."""
    looks = itertools.count()

    def answers(self: MetaTrainer, _method: str) -> list[list[float]]:
        return [[next(looks) / 1000] * len(work.validation) for work in self.works]

    patch.setattr(MetaTrainer, "answers", answers)


@pytest.fixture
def meta_train(gformer: Callable[..., Any], data: Path) -> MetaTrain:
    """`meta_train(run, *options)` on the shared sources unless `sources` are given."""

    def call(run: Path, *options: object, sources: Path | None = None) -> Any:
        return gformer("meta-train", "--source", sources or data / "sources", "--run", run, *options)

    return call


@pytest.fixture(scope="session")
def plain_bundle(data: Path, finished_pretrain: Path, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The bundle that the tiny preset gives."""
    import shutil

    from gformer_cli.app import run

    folder = tmp_path_factory.mktemp("plain") / "run"
    shutil.copytree(finished_pretrain, folder)
    assert run(["meta-train", "--source", f"{data}/sources", "--run", str(folder), "--start", "none"]) == 0
    return (folder / "model.gformer").read_bytes()


def tensors(run: Path, part: str) -> dict[str, bytes]:
    """The bytes of the bundle's tensors of `backbone` or `generator`."""
    found = load_file(run / "model.gformer")
    return {name: value.numpy().tobytes() for name, value in found.items() if name.startswith(part)}


def test_the_bundle_is_one_file_that_loads(trained: Path, finished_pretrain: Path, contents: Any) -> None:
    made = {"model.gformer", "meta-train.jsonl", "meta-train.csv"}
    assert set(contents(trained)) - set(contents(finished_pretrain)) == made
    bundle = load_bundle(trained / "model.gformer")
    assert bundle.header.classes == ["circle", "square", "stripes"]
    assert set(bundle.header.data.domains) == {"dawn", "dusk", "noon"}
    assert bundle.header.settings.meta_train.learning_rate == 0.05


def test_the_bundle_holds_the_source_model_bit_for_bit(trained: Path) -> None:
    source = load_file(trained / "models" / "all.safetensors")
    assert tensors(trained, "backbone") == {f"backbone.{name}": t.numpy().tobytes() for name, t in source.items()}


def test_the_source_models_are_not_written_to(trained: Path, finished_pretrain: Path, contents: Any) -> None:
    assert contents(trained / "models") == contents(finished_pretrain / "models")


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, "auto"])
def test_the_same_command_gives_the_same_bundle(
    meta_train: MetaTrain, pretrained: Path, plain_bundle: bytes, workers: object
) -> None:
    assert meta_train(pretrained, "--workers", workers).status == 0
    assert (pretrained / "model.gformer").read_bytes() == plain_bundle


@pytest.mark.slow
def test_json_agrees_with_the_bundle_and_the_log(meta_train: MetaTrain, pretrained: Path, read_log: ReadLog) -> None:
    document = meta_train(pretrained, "--json", "--set", "meta_train.constant=true").json
    header, log = read_header(pretrained / "model.gformer"), read_log(pretrained / "meta-train.jsonl")
    assert document["bundle"] == str(pretrained / "model.gformer")
    assert document["generator_parameters"] == header.generator.parameters
    assert document["validation_accuracy"] == header.validation
    assert [(line["model"], line["step"]) for line in log] == [
        (model, step) for model in ("generator", "constant") for step in (1, 2)
    ]
    for name, lines in (("gformer", log[:2]), ("constant", log[2:])):
        assert header.validation[name] == max(line["validation_accuracy"] for line in lines)


def test_a_dry_run_touches_nothing(meta_train: MetaTrain, pretrained: Path, contents: Any) -> None:
    before = contents(pretrained)
    done = meta_train(pretrained, "--dry-run", "--steps", 9, "--json")
    assert done.json["settings"]["meta_train"]["steps"] == 9
    assert done.json["outputs"] == [str(pretrained / "model.gformer"), str(pretrained / "meta-train.jsonl")]
    assert contents(pretrained) == before


BASELINE = ["--set=meta_train.validate_every=9"]
CHANGES = [
    "generator.width=16",
    "generator.depth=2",
    "generator.heads=4",
    "generator.channel_width=8",
    "generator.feed_forward=16",
    "generator.probe=backward",
    "generator.statistics=false",
    "generator.features=false",
    "generator.generates=bn",
    "generator.generates=classifier",
    "generator.last_layers=1",
    "generator.classifier_bias=false",
    "generator.mixing=false",
    "generator.probe=forward",
    "generator.probe=forward generator.kind=vector",
    "generator.kind=constant",
    "generator.prior_count=1.0",
    "meta_train.steps=3",
    "meta_train.episodes_per_step=1",
    "meta_train.learning_rate=0.004",
    "meta_train.weight_decay=0.5",
    "meta_train.warmup=1.0",
    "meta_train.clip=1e-6",
    "meta_train.largest_batch=3",
    "meta_train.skewed=1.0",
    "meta_train.ema=0.9",
    "meta_train.precision=bfloat16",
    "meta_train.huber_weight=0",
    "meta_train.huber_weight=1",
    "meta_train.huber_steps=3",
    "meta_train.huber_learning_rate=1.0",
    "shifts.probability=0",
    "shifts.probability=1",
    "shifts.strength=0.2",
    "shifts.families=[noise]",
]


@pytest.mark.slow
@pytest.mark.parametrize("change", CHANGES)
def test_every_setting_changes_the_generator(
    meta_train: MetaTrain,
    pretrained: Path,
    finished_generator: dict[str, bytes],
    change: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    keep_the_last(monkeypatch)
    changes = [f"--set={part}" for part in change.split(" ")]
    assert meta_train(pretrained, *BASELINE, *changes).status == 0
    assert tensors(pretrained, "generator") != finished_generator


@pytest.fixture(scope="session")
def finished_generator(data: Path, finished_pretrain: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    import shutil

    from gformer_cli.app import run

    folder = tmp_path_factory.mktemp("last") / "run"
    shutil.copytree(finished_pretrain, folder)
    arguments = ["meta-train", "--source", f"{data}/sources", "--run", str(folder), "--start", "none"]
    with pytest.MonkeyPatch.context() as patch:
        keep_the_last(patch)
        assert run([*arguments, *BASELINE]) == 0
    return tensors(folder, "generator")


def test_the_baseline_of_these_changes_repeats(
    meta_train: MetaTrain,
    pretrained: Path,
    finished_generator: dict[str, bytes],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    keep_the_last(monkeypatch)
    meta_train(pretrained, *BASELINE)
    assert tensors(pretrained, "generator") == finished_generator


@pytest.mark.slow
@pytest.mark.parametrize("change", ["validation_batches=3", "validation_skewed=1"])
def test_settings_of_the_validation_change_what_is_validated_on(
    meta_train: MetaTrain, pretrained: Path, trained: Path, read_log: ReadLog, change: str
) -> None:
    assert meta_train(pretrained, "--set", f"meta_train.{change}").status == 0
    changed, plain = (read_log(run / "meta-train.jsonl")[0]["validation_bn"] for run in (pretrained, trained))
    assert changed != plain


@pytest.mark.slow
def test_a_generator_on_a_constant_one_has_the_weights_of_both_and_learns(
    meta_train: MetaTrain, pretrained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep_the_last(monkeypatch)
    counts = []
    for change in ("generator.kind=constant", "generator.on_constant=false", "generator.on_constant=true"):
        document = meta_train(pretrained, "--overwrite", "--set", change, "--json").json
        counts.append(document["generator_parameters"])
    assert counts[2] == counts[0] + counts[1]
    generator = load_bundle(pretrained / "model.gformer").model.generator
    assert isinstance(generator, ChannelGenerator) and generator.constant is not None
    assert all(weight.abs().max() > 0.0 for weight in generator.constant.parameters())


def test_a_constant_generator_holds_one_residual_per_parameter(meta_train: MetaTrain, pretrained: Path) -> None:
    document = meta_train(pretrained, "--set", "generator.kind=constant", "--json").json
    backbone = load_bundle(pretrained / "model.gformer").backbone
    source = backbone.source_parameters()
    assert document["generator_parameters"] == sum(t.numel() for t in source.trainable()) + len(source.gammas)


@pytest.mark.slow
def test_a_preset_changes_its_own_sections_only(meta_train: MetaTrain, pretrained: Path, tmp_path: Path) -> None:
    preset = tmp_path / "other.yaml"
    preset.write_text("backbone: {name: resnet50}\nseed: 9\nmeta_train: {steps: 1}\nshifts: {strength: 0.5}\n")
    assert meta_train(pretrained, "--preset", preset).status == 0
    settings = read_header(pretrained / "model.gformer").settings
    assert (settings.meta_train.steps, settings.shifts.strength) == (1, 0.5)
    assert (settings.backbone.name, settings.seed, settings.data.image_size) == ("resnet18", 0, 16)


@pytest.mark.parametrize("change", ["backbone.name=resnet50", "data.image_size=32", "pretrain.steps=1", "seed=3"])
def test_what_pretraining_fixed_cannot_be_set(meta_train: MetaTrain, pretrained: Path, change: str) -> None:
    done = meta_train(pretrained, "--set", change)
    assert done.status == 2
    assert f"--set {change.split('=', maxsplit=1)[0]}: this setting was fixed with the source model" in done.err
    assert not (pretrained / "model.gformer").exists()


def test_other_domain_names_are_refused(meta_train: MetaTrain, pretrained: Path, own_data: Path) -> None:
    (own_data / "sources" / "dawn").rename(own_data / "sources" / "morning")
    done = meta_train(pretrained, sources=own_data / "sources")
    assert done.status == 2
    assert "domain gone: dawn, domain new: morning" in done.err


@pytest.mark.parametrize("more", [(), ("--resume",), ("--dry-run",)])
def test_a_class_folder_that_was_renamed_is_refused(
    meta_train: MetaTrain, pretrained: Path, own_data: Path, more: tuple[str, ...]
) -> None:
    (own_data / "sources" / "dawn" / "circle").rename(own_data / "sources" / "dawn" / "disc")
    done = meta_train(pretrained, *more, sources=own_data / "sources")
    assert done.status == 2
    assert "class folder gone: dawn/circle, class folder new: dawn/disc" in done.err
    assert "gformer pretrain" in done.err and len(done.err.splitlines()) == 2


@pytest.mark.slow
def test_a_run_that_recorded_numbers_alone_is_compared_by_its_fingerprint(
    meta_train: MetaTrain, pretrained: Path, own_data: Path
) -> None:
    (pretrained / "images.json").unlink()  # as in runs of earlier versions
    Image.new("RGB", (16, 16)).save(own_data / "sources" / "dawn" / "circle" / "00.png")
    done = meta_train(pretrained, sources=own_data / "sources")
    assert done.status == 2 and "their contents differ" in done.err
    assert meta_train(pretrained).status == 0


def test_changed_contents_are_refused(meta_train: MetaTrain, pretrained: Path, own_data: Path) -> None:
    Image.new("RGB", (16, 16)).save(own_data / "sources" / "dawn" / "circle" / "00.png")
    done = meta_train(pretrained, sources=own_data / "sources")
    assert done.status == 2 and "changed images in dawn/circle (10 images before, 10 now)" in done.err
    assert not (pretrained / "model.gformer").exists()


@pytest.mark.slow
def test_a_refused_overwrite_keeps_the_old_bundle(meta_train: MetaTrain, pretrained: Path, own_data: Path) -> None:
    meta_train(pretrained)
    before = (pretrained / "model.gformer").read_bytes()
    Image.new("RGB", (16, 16)).save(own_data / "sources" / "dawn" / "circle" / "00.png")
    assert meta_train(pretrained, "--overwrite", sources=own_data / "sources").status == 2
    assert (pretrained / "model.gformer").read_bytes() == before


@pytest.mark.slow
def test_an_overwrite_that_fails_keeps_the_old_bundle_and_can_be_resumed(
    meta_train: MetaTrain, pretrained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    meta_train(pretrained, "--steps", 1)
    before = (pretrained / "model.gformer").read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr("gformer_cli.train.meta_train.save_bundle", _fail)
        assert meta_train(pretrained, "--overwrite").status == 1
    assert (pretrained / "model.gformer").read_bytes() == before
    assert meta_train(pretrained, "--resume").status == 0
    assert (pretrained / "model.gformer").read_bytes() != before
    assert meta_train(pretrained, "--resume").status == 2


def _fail(*_: object, **__: object) -> None:
    raise WorkError("the power went")


def test_what_cannot_be_written_is_told_before_the_work_and_in_a_dry_run(
    meta_train: MetaTrain, pretrained: Path
) -> None:
    (pretrained / "model.gformer").mkdir()
    for extra in ((), ("--dry-run",)):
        done = meta_train(pretrained, "--overwrite", *extra)
        assert done.status == 2 and f"cannot write {pretrained / 'model.gformer'}: Is a directory" in done.err
        assert "training" not in done.err


def test_an_image_that_broke_since_is_refused(meta_train: MetaTrain, pretrained: Path, own_data: Path) -> None:
    broken = own_data / "sources" / "dusk" / "square" / "01.png"
    broken.write_bytes(b"")
    assert "dusk/square (10 images before, 9 now)" in meta_train(pretrained, sources=own_data / "sources").err
    strict = meta_train(pretrained, "--strict", sources=own_data / "sources")
    assert strict.status == 2 and f"unreadable image: {broken}" in strict.err


@pytest.mark.slow
def test_a_finished_bundle_is_not_replaced_unasked(meta_train: MetaTrain, pretrained: Path) -> None:
    meta_train(pretrained, "--steps", 1)
    before = (pretrained / "model.gformer").read_bytes()
    for option in ((), ("--resume",)):
        assert meta_train(pretrained, *option).status == 2
    assert (pretrained / "model.gformer").read_bytes() == before
    assert meta_train(pretrained, "--overwrite").status == 0
    assert (pretrained / "model.gformer").read_bytes() != before
    assert len((pretrained / "meta-train.jsonl").read_text().splitlines()) == 2


@pytest.mark.slow
@pytest.mark.parametrize("steps", [3, *(pytest.param(steps, marks=pytest.mark.slow) for steps in (1, 5, 7))])
def test_resume_after_an_interruption_equals_an_uninterrupted_run(
    meta_train: MetaTrain,
    pretrained: Path,
    finished_pretrain: Path,
    tmp_path: Path,
    stop_after: Callable[[str, int], None],
    read_log: ReadLog,
    steps: int,
) -> None:
    import shutil

    options = ["--steps", 5, "--set", "meta_train.validate_every=2", "--set", "meta_train.constant=true"]
    whole = shutil.copytree(finished_pretrain, tmp_path / "whole")
    assert meta_train(whole, *options).status == 0
    stop_after("meta-train", steps)
    stopped = meta_train(pretrained, *options, "--quiet")
    assert stopped.status == 130
    name = "constant generator" if steps > 5 else "generator"
    assert stopped.err.splitlines()[-2:] == [
        f"error: stopped after step {(steps - 1) % 5 + 1} of 5 of the {name}",
        "  Go on with the same command and --resume.",
    ]
    assert not (pretrained / "model.gformer").exists()
    assert meta_train(pretrained, *options, "--resume").status == 0
    assert (pretrained / "model.gformer").read_bytes() == (whole / "model.gformer").read_bytes()
    assert read_log(pretrained / "meta-train.jsonl") == read_log(whole / "meta-train.jsonl")
    assert not (pretrained / "checkpoints").exists()


def test_resume_with_other_settings_is_refused(
    meta_train: MetaTrain, pretrained: Path, stop_after: Callable[[str, int], None]
) -> None:
    stop_after("meta-train", 1)
    meta_train(pretrained)
    done = meta_train(pretrained, "--resume", "--set", "meta_train.clip=2")
    assert done.status == 2 and "other settings" in done.err
    assert not (pretrained / "model.gformer").exists()


def test_an_unfinished_pretraining_cannot_be_meta_trained(
    meta_train: MetaTrain, pretrained: Path, contents: Any
) -> None:
    (pretrained / "source.json").unlink()
    before = contents(pretrained)
    done = meta_train(pretrained)
    assert done.status == 2 and "it holds a source model that is not finished" in done.err
    assert "Continue it with --resume" in done.err
    assert contents(pretrained) == before


@pytest.mark.slow
def test_without_leave_one_domain_out_models_every_episode_is_a_shift_and_it_is_told(
    gformer: Callable[..., Any], meta_train: MetaTrain, data: Path, preset: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    gformer("pretrain", "--source", data / "sources", "--out", run, "--preset", preset, "--no-leave-one-out")
    done = meta_train(run, "--set", "shifts.probability=0", "--quiet")
    assert done.status == 0
    assert done.err.startswith(
        "warning: the run has no leave-one-domain-out models: episodes are simulated shifts only, "
    )
    assert yaml.safe_load((run / "settings.yaml").read_text())["pretrain"]["leave_one_domain_out"] is False
    assert json.loads((run / "source.json").read_text())["leave_one_domain_out"] is False
