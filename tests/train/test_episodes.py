from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from gformer_cli.core.losses import relative_cross_entropy
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
