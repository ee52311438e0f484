from __future__ import annotations

import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from gformer_cli.bundle import build_generator, build_method, load_bundle
from gformer_cli.compute.threads import Cores
from gformer_cli.config import Settings, resolve
from gformer_cli.core.backbone import Backbone
from gformer_cli.core.generalizeformer import GeneralizeFormer
from gformer_cli.core.losses import relative_cross_entropy
from gformer_cli.core.probe import Economy, prior_mix
from gformer_cli.data.labelled import load_labelled
from gformer_cli.errors import Interrupted, WorkError
from gformer_cli.folders.domains import Domain
from gformer_cli.progress import Progress, Silent, StopRequest
from gformer_cli.train import episode_work
from gformer_cli.train.meta_train import meta_train
from gformer_cli.train.meta_trainer import MetaTrainer
from gformer_cli.train.run_folder import RunFolder
from gformer_cli.train.source_models import SourceModels
from gformer_cli.train.source_trainer import preprocessing_of

CPU = torch.device("cpu")
NAMES = ("blue", "green", "red")


@pytest.fixture
def run(pretrained: Path, tmp_path: Path) -> RunFolder:
    return RunFolder(Path(shutil.copytree(pretrained, tmp_path / "run")))


@pytest.fixture
def make_trainer(domains: list[Domain], run: RunFolder, tiny: Settings) -> Callable[..., MetaTrainer]:
    """`make_trainer("meta_train.huber_weight=0")`: a trainer with an untrained generator."""

    def make(*assignments: str, leave_one_out: bool = True) -> MetaTrainer:
        settings = resolve(base=tiny, assignments=assignments)
        loaded, _ = load_labelled(
            domains, ["dark", "light"], preprocessing_of(settings), validation_fraction=0.2, seed=0, workers=0
        )
        models = SourceModels(run, run.source(), settings, CPU)
        torch.manual_seed(0)
        generator = build_generator(settings.generator, models.full)
        economy = build_method(settings.generator, generator).economy
        method = GeneralizeFormer(generator, prior_count=16.0, economy=economy)
        return MetaTrainer(method, models, loaded, settings, run, CPU, label="generator", leave_one_out=leave_one_out)

    return make


def test_a_partial_probe_is_trained_and_validated_and_the_whole_batch_is_what_it_starts_from(
    make_trainer: Callable[..., MetaTrainer],
) -> None:
    trainer = make_trainer("generator.probe=forward", "generator.probe_images=0.5")
    assert trainer.kept.economy == trainer.method.economy == Economy(images=0.5)
    drawn = (trainer.sampler.draw(number) for number in range(100))
    episode = next(episode for episode in drawn if len(episode.positions) > 1)
    backbone, images = trainer.models.unaware_of(episode.domain.name), episode.inputs(CPU)
    start = trainer._start(backbone, images, trainer.method(backbone, images))
    mixed = backbone.source_parameters().with_mix(prior_mix(backbone, len(images), 16.0))
    assert torch.equal(start, backbone(images, mixed))
    assert torch.isfinite(trainer.loss(episode).cross_entropy)


def state(backbone: Backbone) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in backbone.network.state_dict().items()}


def same(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> bool:
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


@pytest.mark.parametrize("name", NAMES)
def test_unaware_of_gives_the_model_that_was_trained_without(run: RunFolder, tiny: Settings, name: str) -> None:
    models = SourceModels(run, run.source(), tiny, CPU)
    assert same(state(models.unaware_of(name)), run.load_model(f"without-{name}"))
    assert same(state(models.full), run.load_model("all"))


def test_no_episode_uses_a_model_that_knows_its_domain(
    domains: list[Domain], run: RunFolder, tiny: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, Backbone]] = []
    used: list[Backbone] = []
    unaware_of, forward = SourceModels.unaware_of, GeneralizeFormer.forward

    def ask(self: SourceModels, domain: str) -> Backbone:
        asked.append((domain, unaware_of(self, domain)))
        return asked[-1][1]

    def use(self: GeneralizeFormer, backbone: Backbone, images: torch.Tensor) -> Any:
        used.append(backbone)
        assert backbone is asked[-1][1]
        return forward(self, backbone, images)

    for trial in ("train.meta_train.try_generating", "bundle.file.try_generation"):  # of random images
        monkeypatch.setattr(f"gformer_cli.{trial}", lambda *_: None)
    monkeypatch.setattr(SourceModels, "unaware_of", ask)
    monkeypatch.setattr(GeneralizeFormer, "forward", use)
    meta_train(domains, tiny, run, device=CPU, workers=0)
    without = {name: run.load_model(f"without-{name}") for name in NAMES}
    assert {name for name, _ in asked} == set(NAMES)
    for name in NAMES:
        for backbone in {id(model): model for domain, model in asked if domain == name}.values():
            assert same(state(backbone), without[name])
    assert len(used) > 6  # training and validation


def test_source_models_are_bit_identical_afterwards(make_trainer: Callable[..., MetaTrainer], run: RunFolder) -> None:
    trainer = make_trainer()
    models = [trainer.models.full, *(trainer.models.unaware_of(name) for name in NAMES)]
    before = [state(model) for model in models]
    trainer.train(Silent())
    assert all(same(state(model), kept) for model, kept in zip(models, before, strict=True))
    assert all(parameter.grad is None for model in models for parameter in model.parameters())


@pytest.mark.slow
def test_source_models_are_bit_identical_after_a_thousand_episodes(make_trainer: Callable[..., MetaTrainer]) -> None:
    trainer = make_trainer("meta_train.episodes_per_step=10", "meta_train.steps=100", "meta_train.validate_every=50")
    models = [trainer.models.full, *(trainer.models.unaware_of(name) for name in NAMES)]
    before = [state(model) for model in models]
    trainer.train(Silent())
    assert all(same(state(model), kept) for model, kept in zip(models, before, strict=True))


@pytest.mark.parametrize("term", ["cross_entropy", "huber"])
def test_both_terms_reach_the_generator(make_trainer: Callable[..., MetaTrainer], term: str) -> None:
    trainer = make_trainer("meta_train.few_classes=0")
    with torch.no_grad():  # an untrained generator's last layers are zero, which blocks those before them
        for parameter in trainer.method.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    getattr(trainer.loss(trainer.sampler.draw(1)), term).backward()
    dead = [
        name
        for name, parameter in trainer.method.generator.named_parameters()
        if parameter.grad is None or not parameter.grad.abs().max() > 0
    ]
    # the mixing has no fine-tuned value to be near to
    assert [name for name in dead if term == "cross_entropy" or "mix" not in name] == []


def test_huber_weight_zero_does_not_even_fine_tune(
    make_trainer: Callable[..., MetaTrainer], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("fine-tuned for nothing")

    monkeypatch.setattr(episode_work, "fine_tuned", refuse)
    trainer = make_trainer("meta_train.huber_weight=0")
    assert trainer.loss(trainer.sampler.draw(0)).huber == 0.0


def gradients_of_a_step(trainer: MetaTrainer) -> list[torch.Tensor]:
    found: list[torch.Tensor] = []

    class Capture(torch.optim.SGD):
        def step(self, closure: Any = None) -> None:
            found.extend(parameter.grad.clone() for group in self.param_groups for parameter in group["params"])

    trainer.step(4, Capture(trainer.method.generator.parameters(), lr=1.0))
    return found


def test_a_step_averages_its_episodes_and_weighs_the_terms(make_trainer: Callable[..., MetaTrainer]) -> None:
    trainer = make_trainer("meta_train.huber_weight=0.7", "meta_train.episodes_per_step=3", "meta_train.clip=1e9")
    losses = [trainer.loss(trainer.sampler.draw(number)) for number in (12, 13, 14)]
    total = sum(loss.cross_entropy + 0.7 * loss.huber for loss in losses) / 3
    expected = torch.autograd.grad(total, list(trainer.method.generator.parameters()), allow_unused=True)
    for found, wanted in zip(gradients_of_a_step(trainer), expected, strict=True):
        torch.testing.assert_close(found, torch.zeros_like(found) if wanted is None else wanted, atol=1e-6, rtol=1e-4)


def test_clip_bounds_the_norm_of_a_step(make_trainer: Callable[..., MetaTrainer]) -> None:
    found = gradients_of_a_step(make_trainer("meta_train.clip=0.001"))
    assert math.sqrt(sum(float(gradient.square().sum()) for gradient in found)) == pytest.approx(1e-3, rel=1e-2)


def test_without_leave_one_out_models_every_episode_is_shifted(make_trainer: Callable[..., MetaTrainer]) -> None:
    trainer = make_trainer("shifts.probability=0", leave_one_out=False)
    assert all(trainer.sampler.draw(number).shift is not None for number in range(20))
    assert all(episode.shift is not None for episode in trainer.validation)
    trainer = make_trainer("shifts.probability=0")
    assert all(trainer.sampler.draw(number).shift is None for number in range(20))
    assert {episode.shift is None for episode in trainer.validation} == {True, False}


def test_validation_uses_held_out_images_and_held_out_shifts(make_trainer: Callable[..., MetaTrainer]) -> None:
    trainer = make_trainer()
    for number in range(30):
        episode = trainer.sampler.draw(number)
        assert set(episode.positions) <= set(episode.domain.train)
    trained_on = {"photometric", "blur", "noise", "geometric", "style"}
    for episode in trainer.validation:
        assert set(episode.positions) <= set(episode.domain.validation)
        assert episode.shift is None or not trained_on & set(episode.shift.families)


@pytest.mark.parametrize(
    ("accuracies", "best"),  # the first look is at the untrained generator
    [([0.0, 0.1, 0.8, 0.3], 2), ([0.0, 0.4, 0.4, 0.5], 3), ([0.9, 0.1, 0.8, 0.3], 0)],
)
def test_the_generator_that_was_best_on_validation_is_saved(
    domains: list[Domain],
    run: RunFolder,
    tiny: Settings,
    monkeypatch: pytest.MonkeyPatch,
    accuracies: list[float],
    best: int,
) -> None:
    states: list[dict[str, torch.Tensor]] = []

    def accuracy(self: MetaTrainer, method: str) -> float:
        if method != "gformer":
            return 0.25
        states.append({name: tensor.clone() for name, tensor in self.method.generator.state_dict().items()})
        return accuracies[len(states) - 1]

    monkeypatch.setattr(MetaTrainer, "accuracy", accuracy)
    alone = resolve(base=tiny, assignments=["meta_train.control=false"])
    result = meta_train(domains, alone, run, device=CPU, workers=0)
    assert result.validation == {"gformer": max(accuracies), "source": 0.25, "bn": 0.25}
    saved = load_bundle(run.bundle).method.generator.state_dict()
    assert [same(saved, candidate) for candidate in states] == [number == best for number in range(4)]


@pytest.mark.slow
def test_the_control_is_what_a_constant_generator_would_have_become(
    domains: list[Domain], pretrained: Path, tiny: Settings, tmp_path: Path
) -> None:
    """It is trained on the same episodes in the same order, and takes nothing from the generator."""
    bundles, results = {}, {}
    for name, changes in {
        "both": [],
        "blind": ["generator.kind=constant"],
        "alone": ["meta_train.control=false"],
    }.items():
        own = RunFolder(Path(shutil.copytree(pretrained, tmp_path / name)))
        results[name] = meta_train(domains, resolve(base=tiny, assignments=changes), own, device=CPU, workers=0)
        bundles[name] = load_bundle(own.bundle)
    control = bundles["both"].control
    assert control is not None and bundles["blind"].control is None and bundles["alone"].control is None
    assert same(control.generator.state_dict(), bundles["blind"].method.generator.state_dict())
    assert same(bundles["both"].method.generator.state_dict(), bundles["alone"].method.generator.state_dict())
    assert results["both"].validation == {
        **results["alone"].validation,
        "constant": results["blind"].validation["gformer"],
    }


def test_accuracy_is_counted_by_hand(make_trainer: Callable[..., MetaTrainer]) -> None:
    trainer = make_trainer()
    shares = []
    for episode in trainer.validation:
        logits = trainer.models.unaware_of(episode.domain.name)(episode.inputs(CPU))
        right = sum(int(row.argmax()) == int(label) for row, label in zip(logits, episode.labels(CPU), strict=True))
        shares.append(right / len(logits))
    assert trainer.accuracy("source") == pytest.approx(sum(shares) / len(shares))


# --- averaging and early stopping


def test_what_is_kept_is_the_average_of_the_weights(
    make_trainer: Callable[..., MetaTrainer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """ema 0.5: half of the average so far and half of the new weights, after each step."""
    trainer = make_trainer("meta_train.ema=0.5", "meta_train.steps=3", "meta_train.validate_every=3")
    scores = iter([0.0, 0.1, 0.1, 0.9])
    monkeypatch.setattr(trainer, "accuracy", lambda _method: next(scores))
    weights: list[dict[str, torch.Tensor]] = []
    step = trainer.step

    def stepped(*arguments: Any) -> dict[str, float]:
        figures = step(*arguments)
        weights.append({name: value.clone() for name, value in trainer.method.generator.state_dict().items()})
        return figures

    monkeypatch.setattr(trainer, "step", stepped)
    trainer.train(Silent())
    for name, value in trainer.method.generator.state_dict().items():
        first, second, third = (one[name] for one in weights)
        torch.testing.assert_close(value, 0.25 * first + 0.25 * second + 0.5 * third, msg=name)


def test_patience_stops_after_so_many_validations_without_a_better_one(
    make_trainer: Callable[..., MetaTrainer], run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = make_trainer("meta_train.patience=2", "meta_train.steps=9", "meta_train.validate_every=1")
    scores = iter([0.0, 0.1, 0.1, 0.5, 0.4, 0.6, 0.6, 0.5, 0.9])  # untrained, source, bn, then each step's
    monkeypatch.setattr(trainer, "accuracy", lambda _method: next(scores))
    assert trainer.train(Silent())["gformer"] == 0.6
    assert len(run.meta_train_log.read_text().splitlines()) == 5


class Listener(Silent):
    def __init__(self) -> None:
        self.warnings: list[str] = []
        self.notes: list[str] = []

    def advance(self, note: str = "") -> None:
        self.notes.append(note)

    def warning(self, text: str) -> None:
        self.warnings.append(text)


@pytest.mark.parametrize(("score", "warned"), [(0.5, True), (0.7, False)])
def test_keeping_the_untrained_generator_is_told(
    make_trainer: Callable[..., MetaTrainer], monkeypatch: pytest.MonkeyPatch, score: float, warned: bool
) -> None:
    trainer, listener = make_trainer("meta_train.steps=1"), Listener()
    scores = iter([0.6, 0.25, 0.5, score])
    monkeypatch.setattr(trainer, "accuracy", lambda _method: next(scores))
    trainer.train(listener)
    assert all("beat the untrained one" in text for text in listener.warnings)
    assert bool(listener.warnings) == warned
    assert "(source 25.0%, bn 50.0%)" in listener.notes[-1] and "episodes/s" in listener.notes[-1]


def test_the_loss_is_relative_or_the_plain_cross_entropy(make_trainer: Callable[..., MetaTrainer]) -> None:
    plain, relative = (make_trainer(f"meta_train.loss={name}") for name in ("cross_entropy", "relative"))
    episode = plain.sampler.draw(1)
    backbone, images, labels = plain.models.unaware_of(episode.domain.name), episode.inputs(CPU), episode.labels(CPU)
    found = plain.method(backbone, images)
    expected = torch.nn.functional.cross_entropy(found.logits, labels)
    torch.testing.assert_close(plain.loss(episode).cross_entropy, expected)
    share = relative_cross_entropy(found.logits, found.seen.logits, labels)
    torch.testing.assert_close(relative.loss(episode).cross_entropy, share)
    assert not torch.isclose(share, expected)


# --- shared among processes


def test_the_bundle_is_the_same_to_the_bit_however_many_processes_share_the_episodes(
    domains: list[Domain], pretrained: Path, tiny: Settings, tmp_path: Path
) -> None:
    settings = resolve(base=tiny, assignments=["meta_train.guard_batches=1", "meta_train.ema=0.5"])
    runs, results = {}, {}
    for count in (1, 2):
        runs[count] = RunFolder(Path(shutil.copytree(pretrained, tmp_path / str(count))))
        cores = Cores(count, True, "here")
        results[count] = meta_train(domains, settings, runs[count], device=CPU, workers=0, cores=cores)
    one, two = (load_bundle(run.bundle) for run in runs.values())
    assert same(one.method.generator.state_dict(), two.method.generator.state_dict())
    assert one.control is not None and two.control is not None
    assert same(one.control.generator.state_dict(), two.control.generator.state_dict())
    assert one.header.guard == two.header.guard
    assert results[1].validation == results[2].validation
    assert not runs[2].checkpoints.exists()


def test_when_one_training_fails_the_other_ends_and_the_reason_is_told(
    domains: list[Domain], run: RunFolder, tiny: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    train, ended = MetaTrainer.train, []

    def fail(self: MetaTrainer, progress: Progress, stop: StopRequest | None = None) -> dict[str, float]:
        if self.label == "control":
            raise WorkError("diverged", "Lower it.")
        try:
            return train(self, progress, stop)
        except Interrupted as error:
            ended.append(error)
            raise

    monkeypatch.setattr(MetaTrainer, "train", fail)
    settings = resolve(base=tiny, assignments=["meta_train.steps=10000", "meta_train.validate_every=10000"])
    with pytest.raises(WorkError, match="diverged"):
        meta_train(domains, settings, run, device=CPU, workers=0, cores=Cores(2, True, "here"))
    assert len(ended) == 1
