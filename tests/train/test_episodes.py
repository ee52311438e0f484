from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from gformer_cli.core.context import Context
from gformer_cli.core.losses import logarithmic_cross_entropy, relative_cross_entropy
from gformer_cli.core.probe import prior_mix
from gformer_cli.train import episodes
from gformer_cli.train.episodes import EpisodeWork

MakeWork = Callable[..., EpisodeWork]
CPU = torch.device("cpu")


def test_a_partial_probe_is_trained_and_validated_and_the_whole_batch_is_what_it_starts_from(
    make_work: MakeWork,
) -> None:
    work = make_work("generator.probe=forward", "generator.probe_images=0.5")
    assert work.kept.probe_images == work.model.probe_images == 0.5
    drawn = (work.sampler.draw(number) for number in range(100))
    episode = next(episode for episode in drawn if len(episode.positions) > 1)
    backbone, images = work.models.unaware_of(episode.domain.name), episode.inputs(CPU)
    start = work._start(backbone, images, work.model(backbone, images), False)
    mixed = backbone.source_parameters().with_mix(prior_mix(backbone.source_parameters(), len(images), 16.0))
    assert torch.equal(start, backbone(images, mixed))
    assert torch.isfinite(work.loss(episode).cross_entropy)


@pytest.mark.parametrize("term", ["cross_entropy", "huber"])
def test_both_terms_reach_the_generator(make_work: MakeWork, term: str) -> None:
    work = make_work("meta_train.skewed=0")
    with torch.no_grad():  # an untrained generator's last layers are zero, which blocks those before them
        for parameter in work.model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    getattr(work.loss(work.sampler.draw(1)), term).backward()
    dead = [
        name
        for name, parameter in work.model.generator.named_parameters()
        if parameter.grad is None or not parameter.grad.abs().max() > 0
    ]
    # the mixing has no fine-tuned value to be near to
    assert [name for name in dead if term == "cross_entropy" or "mix" not in name] == []


def test_huber_weight_zero_does_not_even_fine_tune(make_work: MakeWork, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("fine-tuned for nothing")

    monkeypatch.setattr(episodes, "fine_tuned", refuse)
    work = make_work("meta_train.huber_weight=0")
    assert work.loss(work.sampler.draw(0)).huber == 0.0


def test_the_loss_is_relative_or_the_plain_cross_entropy(make_work: MakeWork) -> None:
    plain, relative = (
        make_work(f"meta_train.loss={name}", "meta_train.context=0", "meta_train.at_home=0")
        for name in ("cross_entropy", "relative")
    )
    episode = plain.sampler.draw(1)
    backbone, images, labels = plain.models.unaware_of(episode.domain.name), episode.inputs(CPU), episode.labels(CPU)
    found = plain.model(backbone, images)
    expected = torch.nn.functional.cross_entropy(found.logits, labels)
    torch.testing.assert_close(plain.loss(episode).cross_entropy, expected)
    share = relative_cross_entropy(found.logits, found.probe.logits, labels)
    torch.testing.assert_close(relative.loss(episode).cross_entropy, share)
    assert not torch.isclose(share, expected)


@pytest.mark.slow
@pytest.mark.parametrize("probe", ["none", "source"])
def test_what_is_lost_to_the_source_model_counts_more(make_work: MakeWork, probe: str) -> None:
    options = f"generator.probe={probe}", "meta_train.loss=logarithmic", "meta_train.context=0"
    plain, careful = (make_work(*options, f"meta_train.harm_weight={weight}") for weight in (0, 3))
    signs = set()
    for number in range(30):
        episode = plain.sampler.draw(number)
        backbone, labels = plain.backbone_of(episode), episode.labels(CPU)
        images = episode.inputs(CPU)
        after = logarithmic_cross_entropy(plain.model(backbone, images).logits, labels)
        harm = after - logarithmic_cross_entropy(backbone(images), labels)
        signs.add(bool(harm > 0.0))
        torch.testing.assert_close(plain.loss(episode).cross_entropy, after)
        torch.testing.assert_close(careful.loss(episode).cross_entropy, after + 3.0 * harm.clamp_min(0.0))
    assert signs == {True, False}


def test_an_episode_at_home_is_put_to_the_model_that_knows_its_domain(
    make_work: MakeWork,
) -> None:
    work = make_work("meta_train.at_home=0.5")
    episodes = [work.sampler.draw(number) for number in range(30)]
    assert {episode.at_home for episode in episodes} == {True, False}
    for episode in episodes:
        knows = work.backbone_of(episode) is work.models.full
        assert knows is episode.at_home


def test_what_came_before_an_episode_is_its_context(make_work: MakeWork) -> None:
    work = make_work("meta_train.context=1", "meta_train.loss=cross_entropy")
    episode = next(e for e in map(work.sampler.draw, range(50)) if len(e.earlier) > 1 and len(e.positions) > 1)
    backbone, context = work.backbone_of(episode), Context(len(episode.earlier))
    for images in episode.earlier_inputs(CPU):
        work.model(backbone, images, context)
    expected = work.model(backbone, episode.inputs(CPU), context)
    assert expected.earlier is not None
    found = work.loss(episode).cross_entropy
    torch.testing.assert_close(found, torch.nn.functional.cross_entropy(expected.logits, episode.labels(CPU)))


def test_two_conditions_and_single_passes_are_drawn_as_the_settings_say(make_work: MakeWork) -> None:
    shares = "meta_train.two_conditions", "meta_train.single_pass"
    shifted = "shifts.probability=1", "meta_train.at_home=0"
    none, all_of_them = (make_work(*shifted, *(f"{name}={share}" for name in shares)) for share in (0, 1))
    for number in range(20):
        plain, other = none.sampler.draw(number), all_of_them.sampler.draw(number)
        assert plain.other is None and not plain.single_pass
        assert other.other is not None and other.single_pass


def test_a_single_pass_among_the_episodes_is_trained_on(make_work: MakeWork) -> None:
    work = make_work("generator.probe=source", "meta_train.single_pass=1", "meta_train.loss=cross_entropy")
    episode = next(e for e in map(work.sampler.draw, range(50)) if len(e.positions) > 1 and not e.earlier)
    backbone, images = work.backbone_of(episode), episode.inputs(CPU)
    with torch.no_grad():
        for parameter in work.model.parameters():
            parameter.add_(0.1)
        once, probed = work.model(backbone, images, single_pass=True).logits, work.model(backbone, images).logits
    expected, other = (torch.nn.functional.cross_entropy(logits, episode.labels(CPU)) for logits in (once, probed))
    torch.testing.assert_close(work.loss(episode).cross_entropy, expected)
    assert not torch.isclose(expected, other)


def test_without_leave_one_domain_out_models_every_episode_is_shifted(make_work: MakeWork) -> None:
    work = make_work("shifts.probability=0", "meta_train.at_home=0", leave_one_domain_out=False)
    assert all(work.sampler.draw(number).shift is not None for number in range(20))
    assert all(episode.shift is not None for episode in work.validation if not episode.at_home)
    work = make_work("shifts.probability=0")
    assert all(work.sampler.draw(number).shift is None for number in range(20))
    assert {episode.shift is None for episode in work.validation} == {True, False}


def test_validation_uses_held_out_images_and_held_out_shifts(make_work: MakeWork) -> None:
    work = make_work()
    for number in range(30):
        episode = work.sampler.draw(number)
        assert set(episode.positions) <= set(episode.domain.train)
    trained_on = {"photometric", "blur", "noise", "geometric", "style"}
    for episode in work.validation:
        assert set(episode.positions) <= set(episode.domain.validation)
        assert episode.shift is None or not trained_on & set(episode.shift.families)
