"""Networks that would break after hours are told by one trial; those that work pass it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from gformer_cli.core.trial import try_network, try_training
from gformer_cli.errors import InputError
from gformer_cli.networks.build import build_network

CPU = torch.device("cpu")


class Small(nn.Module):
    """Conv - bn - pool - linear; what is wrong with it comes from `after` and from subclasses."""

    def __init__(self, classes: int = 3, **others: nn.Module) -> None:
        super().__init__()
        self.conv, self.bn, self.fc = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, classes)
        for name, module in others.items():
            self.add_module(name, module)

    def features(self, images: torch.Tensor) -> torch.Tensor:
        return self.bn(self.conv(images)).relu().mean(dim=(2, 3))  # type: ignore[no-any-return]

    def forward(self, images: torch.Tensor) -> Any:
        return self.fc(self.features(images))


def answering(answer: Callable[[Small, torch.Tensor], Any], **others: nn.Module) -> nn.Module:
    kind = type("Own", (Small,), {"forward": answer})
    return kind(**others)  # type: ignore[no-any-return]


def doubled_inside(self: Small, images: torch.Tensor) -> Any:
    return self.fc(self.features(images.mul_(2.0)))


def counting(self: Small, images: torch.Tensor) -> Any:
    self.bn.running_mean.add_(0.1)  # type: ignore[union-attr,operator]
    return self.fc(self.features(images))


def raising(self: Small, images: torch.Tensor) -> Any:
    raise KeyError("no such thing")


BROKEN: dict[str, tuple[nn.Module, str]] = {
    "tuple": (answering(lambda s, x: (s.fc(s.features(x)), x)), "answers 3 images with a tuple"),
    "dict": (answering(lambda s, x: {"logits": s.fc(s.features(x))}), "answers 3 images with a dict"),
    "number of classes ignored": (Small(1000), r"with a tensor \(3, 1000\)"),
    "a dimension too many": (answering(lambda s, x: s.fc(s.features(x))[:, None]), r"with a tensor \(3, 1, 3\)"),
    "squeezed": (answering(lambda s, x: s.fc(s.features(x)).squeeze(0)), r"answers 1 images with a tensor \(3,\)"),
    "labels": (answering(lambda s, x: s.fc(s.features(x)).round().long()), "with a tensor"),
    "unused norm": (Small(spare=nn.BatchNorm2d(7)), "normalisation layer spare takes no part"),
    "no linear layer last": (answering(lambda s, x: s.fc(s.features(x)).softmax(dim=1)), "has no linear classifier"),
    "linear on a map": (
        answering(lambda s, x: s.fc(s.bn(s.conv(x)).permute(0, 2, 3, 1)).mean(dim=(1, 2))),
        "no linear layer's output is its answer",
    ),
    "batch": (answering(lambda s, x: s.fc(s.features(x) - s.features(x).mean(dim=0))), "depends on the others"),
    "random": (answering(lambda s, x: s.fc(torch.dropout(s.features(x), 0.5, True))), "differently each time"),
    "input changed": (answering(doubled_inside), "changes the images"),
    "state changed": (answering(counting), "changes its own state"),
    "raises": (answering(raising), "does not take 16 x 16 images: 'no such thing'"),
    "not finite": (answering(lambda s, x: s.fc(s.features(x)) / 0), "not finite"),
    "no norm": (nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, 3)), "has no normalisation layer"),
}


@pytest.mark.parametrize("what", BROKEN)
def test_a_network_that_does_not_do_is_refused_in_two_lines(what: str) -> None:
    network, told = BROKEN[what]
    with pytest.raises(InputError, match=told) as caught:
        try_network(network, "own.py:make", 3, 16, CPU)
    assert caught.value.hint and "\n" not in caught.value.message + caught.value.hint


@pytest.mark.parametrize(
    "network",
    [
        Small(spare=nn.Linear(5, 3)),
        Small(spare=nn.Linear(5, 9)),
        answering(lambda s, x: s.fc(s.features(x)) + 0 * s.spare(s.features(x)), spare=nn.Linear(4, 3)),
    ],
    ids=["unused", "of another width", "beside the answer"],
)
def test_a_linear_layer_that_is_defined_last_is_no_head(network: nn.Module) -> None:
    assert try_network(network, "own.py:make", 3, 16, CPU).classifier_name == "fc"


def test_a_named_head_must_make_the_answer() -> None:
    with pytest.raises(InputError, match="its head, spare, has 9 outputs for 3 classes"):
        try_network(Small(spare=nn.Linear(5, 9)), "own.py:make", 3, 16, CPU, "spare")
    with pytest.raises(InputError, match="its head, spare, does not make the answer"):
        try_network(Small(spare=nn.Linear(4, 3)), "own.py:make", 3, 16, CPU, "spare")
    with pytest.raises(InputError, match="has no layer 'fd'") as caught:
        try_network(Small(), "own.py:make", 3, 16, CPU, "fd")
    assert "fc" in caught.value.hint


@pytest.mark.parametrize(
    "name",
    [
        "resnet18",
        "mobilenet_v3_small",
        "shufflenet_v2_x0_5",
        "efficientnet_b0",
        pytest.param("vgg11_bn", marks=pytest.mark.slow),  # 128 million weights
    ],
)
def test_the_libraries_networks_pass(name: str) -> None:
    network = build_network(name, 3)
    try_network(network, name, 3, 64, CPU)
    try_training(network, name, 3, 64, 2)


def test_nothing_to_generate_is_told_whatever_the_size() -> None:
    class Fixed(nn.Sequential):
        def forward(self, images: torch.Tensor) -> Any:
            raise AssertionError("another size, please")

    with pytest.raises(InputError, match="has no normalisation layer"):
        try_network(Fixed(nn.Flatten(), nn.Linear(8, 3)), "own.py:make", 3, 16, CPU)


def test_a_size_that_a_network_refuses_is_told() -> None:
    with pytest.raises(InputError, match="backbone inception_v3 does not take 64 x 64 images") as caught:
        try_network(build_network("inception_v3", 3), "inception_v3", 3, 64, CPU)
    assert "--image-size" in caught.value.hint


def test_batches_of_one_are_told_where_a_network_cannot_be_trained_in_them() -> None:
    network = build_network("resnet18", 3, width=0.125)
    with pytest.raises(InputError, match="in batches of one: Expected more than 1 value per channel") as caught:
        try_training(network, "resnet18", 3, 32, 1)
    assert "pretrain.batch_size" in caught.value.hint
    try_training(network, "resnet18", 3, 32, 2)


@pytest.mark.parametrize(
    ("forward", "told"),
    [
        (lambda s, x: (s.fc(s.features(x)), x) if s.training else s.fc(s.features(x)), "with a tuple"),
        (torch.no_grad()(Small.forward), "does not require grad"),
        (lambda s, x: s.fc(s.features(x).sigmoid().mul_(2).sigmoid_().log_()), "inplace operation"),
    ],
)
def test_a_network_that_works_but_does_not_train_is_told(forward: Any, told: str) -> None:
    with pytest.raises(InputError, match=told):
        try_training(answering(forward), "own.py:make", 3, 16, 2)


def test_a_trial_convolves_in_full_precision_and_leaves_the_setting_as_it_was() -> None:
    """In TF32 a network's answer to an image seems to depend on the others of the batch."""
    seen: list[bool] = []

    def noting(self: Small, images: torch.Tensor) -> Any:
        seen.append(torch.backends.cudnn.allow_tf32)
        return self.fc(self.features(images))

    before = torch.backends.cudnn.allow_tf32
    try:
        for setting in (True, False):
            torch.backends.cudnn.allow_tf32 = setting
            try_network(answering(noting), "own", 3, 16, CPU)
            assert torch.backends.cudnn.allow_tf32 is setting
    finally:
        torch.backends.cudnn.allow_tf32 = before
    assert seen and not any(seen)
