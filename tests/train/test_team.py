from __future__ import annotations

import pytest
import torch
from torch import nn

from gformer_cli.compute import ranks
from gformer_cli.errors import InputError
from gformer_cli.networks.norms import AdaptiveBatchNorm2d, make_adaptive
from gformer_cli.settings import PretrainSettings
from gformer_cli.train.team import Team, check_batch, is_needed, twin


@pytest.fixture
def network() -> nn.Module:
    torch.manual_seed(0)
    made = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(16, 2))
    make_adaptive(made)
    return made


def test_alone_nothing_is_shared(network: nn.Module) -> None:
    team = Team(network, torch.device("cpu"), together=True)
    assert team.network is network and not team.together
    assert team.share([1, 2, 3]) == [1, 2, 3] and team.summed([4, 5]) == [4, 5]
    loss = torch.tensor(0.5)
    assert team.weighed(loss, 3, 7) is loss and team.mean(0.5) == 0.5


def test_shares_are_weighed_by_their_images(monkeypatch: pytest.MonkeyPatch, network: nn.Module) -> None:
    team = Team(network, torch.device("cpu"), together=False)
    team.together, team.size = True, 2
    monkeypatch.setattr(ranks, "summed", lambda tensor: tensor * 2.0)
    parts = []
    for rank in range(2):
        team.rank = rank
        own = team.share([1.0, 2.0, 3.0, 4.0, 8.0])
        parts.append(float(team.weighed(torch.tensor(own).mean(), len(own), 5)))
    assert parts == pytest.approx([12.0 * 2 / 5, 6.0 * 2 / 5])  # their mean is that of the five: 3.6
    assert team.mean(3.6) == pytest.approx(3.6)


def test_each_item_of_a_batch_that_comes_in_parts_is_one_processes(network: nn.Module) -> None:
    team = Team(network, torch.device("cpu"), together=False)
    team.size = 3
    dealt = []
    for rank in range(3):
        team.rank = rank
        dealt.append([*team.share("abcd"), *team.share("e", 4), *team.share("fghij", 5)])
    assert dealt == [list("adgj"), list("beh"), list("cfi")]


def test_models_are_shared_where_there_are_more_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranks, "size", lambda: 4)
    assert [is_needed(models) for models in (1, 3, 4, 5)] == [True, True, False, False]
    check_batch(PretrainSettings(batch_size=8), 1)
    check_batch(PretrainSettings(batch_size=2), 4)
    with pytest.raises(InputError, match="4 processes cannot share batches of 7 images: each needs 2"):
        check_batch(PretrainSettings(batch_size=7), 3)


@pytest.mark.parametrize("synchronised", [False, True])
def test_what_a_twin_learns_the_network_has_learnt(network: nn.Module, synchronised: bool) -> None:
    made = twin(network, synchronised=synchronised)
    assert isinstance(network[1], AdaptiveBatchNorm2d)  # type: ignore[index]
    assert isinstance(made[1], nn.SyncBatchNorm if synchronised else AdaptiveBatchNorm2d)  # type: ignore[index]
    ours, theirs = network.state_dict(), made.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(ours[name].data_ptr() == theirs[name].data_ptr() for name in ours)
    assert made is not network and all(
        one is other for one, other in zip(network.parameters(), made.parameters(), strict=True)
    )
