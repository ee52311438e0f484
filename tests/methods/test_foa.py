"""`foa` on small vision transformers, against a version that takes the network apart, and its evolution."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import nn
from torchvision.models import VisionTransformer, resnet18

from gformer_cli.core.backbone import Backbone
from gformer_cli.errors import InputError
from gformer_cli.methods.evolution import Evolution
from gformer_cli.methods.foa import Foa, Prompted

SOURCE = torch.randn(2, 8, 3, 16, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
BATCHES = 1.0 + 2.0 * torch.randn(3, 6, 3, 16, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def vit() -> Backbone:
    timm = pytest.importorskip("timm")
    torch.manual_seed(0)
    options = {"img_size": 16, "patch_size": 8, "embed_dim": 12, "depth": 2, "num_heads": 2}
    network = timm.create_model("vit_tiny_patch16_224", num_classes=4, **options)
    return Backbone(network.double(), image_size=None, head="head").freeze()


def _points() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def test_evolution_finds_the_least_of_an_ill_conditioned_bowl() -> None:
    scales = torch.logspace(0, 3, 8, dtype=torch.float64)
    goal = torch.linspace(-1, 1, 8, dtype=torch.float64)
    search = Evolution(8, population=None, step=1.0, generator=_points())
    assert search.population == 4 + int(3 * math.log(8))
    for _ in range(250):
        points = search.ask()
        search.tell(points, ((points - goal).square() * scales).sum(dim=1))
    torch.testing.assert_close(search.mean, goal, rtol=0.0, atol=1e-4)
    spread = search.covariance.diagonal()
    assert spread[0] > 30 * spread[-1]  # it has learnt the scales
    assert search.decomposed == search.rounds


def test_its_first_round_by_hand() -> None:
    search = Evolution(2, population=4, step=0.5, generator=_points())
    points = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -2.0]], dtype=torch.float64)
    raw = [math.log(2.5) - math.log(rank) for rank in range(1, 5)]
    good = [weight / (raw[0] + raw[1]) for weight in raw[:2]]
    mean = [good[1] * 1.0, good[0] * 1.0]  # the second is best, the first next
    mu = 1 / (good[0] ** 2 + good[1] ** 2)
    rate = (mu + 2) / (2 + mu + 5)
    step_path = [math.sqrt(rate * (2 - rate) * mu) * m / 0.5 for m in mean]
    search.tell(points, torch.tensor([2.0, 1.0, 3.0, 4.0], dtype=torch.float64))
    assert search.mean.tolist() == pytest.approx(mean)
    assert search.step_path.tolist() == pytest.approx(step_path)
    expected = math.sqrt(2) * (1 - 1 / 8 + 1 / 84)
    damping = 1 + 2 * max(0.0, math.sqrt((mu - 1) / 3) - 1) + rate
    assert search.sigma == pytest.approx(0.5 * math.exp(rate / damping * (math.hypot(*step_path) / expected - 1)))
    one, many = search.rank_one, search.rank_mu
    assert one == pytest.approx(2 / (3.3**2 + mu))
    bad = raw[2] + raw[3]
    most = min(1 + one / many, 1 + 2 * (bad**2 / (raw[2] ** 2 + raw[3] ** 2)) / (mu + 2), (1 - one - many) / (2 * many))
    weights = [*good, most * raw[2] / abs(bad), most * raw[3] / abs(bad)]
    steps = [[0.0, 2.0], [2.0, 0.0], [-2.0, 0.0], [0.0, -4.0]]
    kept = 1 - one - many * sum(weights)
    path_rate = (4 + mu / 2) / (2 + 4 + mu)
    path = [math.sqrt(path_rate * (2 - path_rate) * mu) * m / 0.5 for m in mean]
    scaled = [w if w > 0 else w * 2 / (a * a + b * b) for w, (a, b) in zip(weights, steps, strict=True)]
    wanted = [
        [
            kept * (i == j)
            + one * path[i] * path[j]
            + many * sum(w * y[i] * y[j] for w, y in zip(scaled, steps, strict=True))
            for j in range(2)
        ]
        for i in range(2)
    ]
    torch.testing.assert_close(search.covariance, torch.tensor(wanted, dtype=torch.float64))


def _by_parts(vit: nn.Module, images: torch.Tensor, prompts: torch.Tensor | None) -> torch.Tensor:
    """Normalised class tokens after both blocks, (B, 2 D)."""
    tokens = vit._pos_embed(vit.patch_embed(images))
    if prompts is not None:
        own = prompts.view(1, -1, 12).expand(len(images), -1, -1)
        tokens = torch.cat([tokens[:, :1], own, tokens[:, 1:]], dim=1)
    first = vit.blocks[0](tokens)
    second = vit.blocks[1](first)
    return torch.cat([vit.blocks[1].norm1(first[:, 0]), vit.norm(second[:, 0])], dim=1)


@torch.no_grad()
def test_it_is_the_rule_by_hand(vit: Backbone) -> None:
    method, network = Foa(vit, prompts=2, fitness_weight=0.3), vit.network
    method.prepare(SOURCE)
    shown = _by_parts(network, SOURCE.flatten(0, 1), None)
    mu, sigma = shown.mean(dim=0), shown.std(dim=0)
    generator = _points()
    limit = math.sqrt(6 / (3 * 64 + 12))
    best = limit * (2 * torch.rand(24, generator=generator, dtype=torch.float64) - 1)
    assert best.abs().max() <= limit
    search = Evolution(24, population=None, step=1.0, generator=generator)
    moving = None
    for batch in BATCHES:
        asked = search.ask()
        losses, answers, means = [], [], []
        for point in [*asked, best]:
            features = _by_parts(network, batch, point)
            p = network.head(features[:, 12:]).softmax(dim=1)
            apart = (features.mean(dim=0) - mu).square().sum() + (features.std(dim=0) - sigma).square().sum()
            losses.append(float(0.3 * 6 / 64 * apart - (p * p.log()).sum()))
            shift = 0.0 if moving is None else mu[12:] - moving
            answers.append(network.head(features[:, 12:] + shift))
            means.append(features[:, 12:].mean(dim=0))
        chosen = losses.index(min(losses))
        torch.testing.assert_close(method.predict(batch), answers[chosen])
        best = [*asked, best][chosen]
        search.tell(asked, torch.tensor(losses[:-1], dtype=torch.float64))
        mean = torch.stack(means).mean(dim=0)
        moving = mean if moving is None else 0.9 * moving + 0.1 * mean


def test_it_forgets_the_stream_and_not_the_source(vit: Backbone) -> None:
    before = {name: tensor.clone() for name, tensor in vit.state_dict().items()}
    method = Foa(vit)
    method.prepare([])
    assert torch.equal(method.predict(BATCHES[0]), vit(BATCHES[0]))  # nothing is known of the source
    method.prepare(SOURCE)
    first = [method.predict(batch) for batch in BATCHES]
    assert method.predict(BATCHES[0][:1]).isfinite().all()
    method.reset()
    assert all(torch.equal(method.predict(batch), logits) for batch, logits in zip(BATCHES, first, strict=True))
    assert all(torch.equal(tensor, before[name]) for name, tensor in vit.state_dict().items())


def test_torchvisions_transformers_are_known_and_others_refused() -> None:
    torch.manual_seed(0)
    network = VisionTransformer(16, 8, num_layers=2, num_heads=2, hidden_dim=12, mlp_dim=24, num_classes=4)
    nn.init.normal_(network.heads.head.weight)
    backbone = Backbone(network, image_size=16).freeze()
    images = BATCHES[0].float()
    logits, features = Prompted(backbone)(images, None)
    torch.testing.assert_close(logits, backbone(images))
    torch.testing.assert_close(network.heads(features[:, 12:]), logits)
    assert not torch.allclose(Prompted(backbone)(images, torch.ones(24))[0], logits)
    with pytest.raises(InputError, match="cannot adapt this network"):
        Foa(Backbone(resnet18(num_classes=3), image_size=32))


def test_values_to_tune_hold_the_defaults(vit: Backbone) -> None:
    method = Foa(vit)
    assert all(getattr(method, key) in values for key, values in Foa.tunable.items())


@pytest.mark.parametrize(
    "setting", [{"prompts": 1}, {"fitness_weight": 9.0}, {"seed": 1}], ids=lambda value: next(iter(value))
)
def test_each_keyword_has_an_effect(vit: Backbone, setting: dict[str, Any]) -> None:
    usual, changed = Foa(vit), Foa(vit, **setting)
    for method in (usual, changed):
        method.prepare(SOURCE)
    one, two = (torch.stack([method.predict(batch) for batch in BATCHES]) for method in (usual, changed))
    assert not torch.equal(one, two)
