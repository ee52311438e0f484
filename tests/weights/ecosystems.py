"""Checkpoints as the training scripts of others save them, made by hand of a small network."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from gformer_cli.networks.build import build_network

State = dict[str, torch.Tensor]
CLASSES = 4


def make(classes: int = CLASSES, *, seed: int = 1, width: float = 0.125) -> nn.Module:
    torch.manual_seed(seed)
    return build_network("resnet18", classes, stem="small", width=width)


def owners_network(classes: int = CLASSES) -> nn.Module:
    """One of which every tensor differs from a fresh one's."""
    network = make(classes, seed=2)
    with torch.no_grad():
        for tensor in network.state_dict().values():
            tensor.add_(torch.rand(tensor.shape) if tensor.is_floating_point() else 3)
    return network


def assert_same(network: nn.Module, owned: nn.Module) -> None:
    for name, tensor in owned.state_dict().items():
        assert torch.equal(network.state_dict()[name], tensor), name


def below(prefix: str, state: State) -> State:
    return {prefix + name: tensor for name, tensor in state.items()}


def body(state: State) -> State:
    return {name: tensor for name, tensor in state.items() if not name.startswith("fc.")}


def head(state: State) -> State:
    return {name.removeprefix("fc."): tensor for name, tensor in state.items() if name.startswith("fc.")}


def plain(network: nn.Module) -> Any:
    return network.state_dict()


def data_parallel(network: nn.Module) -> Any:
    return {"model": nn.DataParallel(network).state_dict(), "epoch": 3}


def compiled(network: nn.Module) -> Any:
    return torch.compile(network).state_dict()


def compiled_in_parts_and_distributed(network: nn.Module) -> Any:
    state = network.state_dict()
    return {"module." + name.replace("layer1.", "layer1._orig_mod."): tensor for name, tensor in state.items()}


class AttributeDict(dict[str, Any]):
    """As Lightning keeps hyperparameters in."""


def lightning(network: nn.Module) -> Any:
    return {
        "epoch": 3,
        "global_step": 90,
        "pytorch-lightning_version": "2.2.0",
        "state_dict": below("model.", network.state_dict()) | {"criterion.weight": torch.ones(CLASSES)},
        "loops": {"fit_loop": {"state_dict": {}}},
        "callbacks": {"ModelCheckpoint{'monitor': None}": {"best_model_score": torch.tensor(0.7)}},
        "optimizer_states": [{"state": {0: {"exp_avg": torch.ones(2, 2)}}, "param_groups": []}],
        "lr_schedulers": [],
        "hparams_name": "hparams",
        "hyper_parameters": AttributeDict(lr=0.1),
    }


def timm_train(network: nn.Module) -> Any:
    return {
        "epoch": 3,
        "arch": "resnet18",
        "state_dict": network.state_dict(),
        "optimizer": torch.optim.SGD(network.parameters(), 0.1).state_dict(),
        "version": 2,
        "args": argparse.Namespace(model="resnet18", lr=0.1),
        "amp_scaler": {"scale": 65536.0},
        "state_dict_ema": make(seed=5).state_dict(),
        "metric": 77.2,
    }


def domainbed(network: nn.Module) -> Any:
    state = network.state_dict()
    return {
        "args": {"algorithm": "ERM", "test_envs": [0]},
        "model_input_shape": (3, 32, 32),
        "model_num_classes": CLASSES,
        "model_num_domains": 3,
        "model_hparams": {"lr": 5e-5},
        "model_dict": {
            **below("featurizer.network.", body(state)),
            **below("classifier.", head(state)),
            **below("network.0.network.", body(state)),
            **below("network.1.", head(state)),
        },
    }


def mmpretrain(network: nn.Module) -> Any:
    state = network.state_dict()
    return {
        "meta": {"epoch": 3, "dataset_meta": {"classes": ["ant", "bee", "cat", "dog"]}, "cfg": "model = dict()"},
        "state_dict": below("backbone.", body(state)) | below("head.fc.", head(state)),
        "message_hub": {"log_scalars": {"train/loss": AttributeDict()}},
        "optimizer": torch.optim.SGD(network.parameters(), 0.1).state_dict(),
    }


def averaged(network: nn.Module) -> Any:
    return AveragedModel(network).state_dict()


def lightning_around_compiled(network: nn.Module) -> Any:
    return {"state_dict": below("net.encoder._orig_mod.", network.state_dict())}


def average_beside(network: nn.Module) -> Any:
    return below("model.", network.state_dict()) | below("ema_model.module.", make(seed=5).state_dict())


def head_elsewhere(network: nn.Module) -> Any:
    return below("encoder.", body(network.state_dict())) | below("classification_layer.", head(network.state_dict()))


ECOSYSTEMS: dict[str, tuple[Callable[[nn.Module], Any], set[str]]] = {
    "torchvision": (plain, set()),
    "ddp": (data_parallel, set()),
    "compile": (compiled, set()),
    "compiled-parts": (compiled_in_parts_and_distributed, set()),
    "lightning": (lightning, {"criterion.weight"}),
    "timm": (timm_train, set()),
    "domainbed": (domainbed, set()),
    "mmpretrain": (mmpretrain, set()),
    "swa": (averaged, {"n_averaged"}),
    "nest": (lightning_around_compiled, set()),
    "average-beside": (average_beside, {f"ema_model.module.{name}" for name in make().state_dict()}),
    "head-elsewhere": (head_elsewhere, set()),
}
