from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from gformer_cli.bundle import Bundle, build_model, read_generator
from gformer_cli.core.backbone import Backbone
from gformer_cli.errors import InputError

OTHER = Path(__file__).parent.parent / "golden" / "bundles"


@pytest.fixture
def backbone(make_network: Callable[..., nn.Module]) -> Backbone:
    """A network unlike any that the bundles hold."""
    return Backbone(make_network(classes=5).float()).freeze()


def test_a_generator_of_another_network_generates_for_this_one(bundle: Bundle, backbone: Backbone) -> None:
    assert bundle.path is not None
    settings, generator = read_generator(bundle.path, backbone)
    assert settings == bundle.header.generator.settings
    wanted = bundle.model.generator.state_dict()  # type: ignore[union-attr]
    found = generator.state_dict()
    assert found.keys() == wanted.keys() and all(torch.equal(found[name], wanted[name]) for name in wanted)
    with torch.no_grad():
        logits = build_model(settings, generator).eval()(backbone, torch.randn(4, 3, 8, 8)).logits
    assert logits.shape == (4, 5) and bool(torch.isfinite(logits).all())


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("channel-constant", "is on top of a constant one"),
        ("vector", "is of the kind vector"),
        ("constant", "is of the kind constant"),
        ("static", "is a static bundle"),
    ],
)
def test_a_generator_that_fits_its_own_network_alone_is_refused(name: str, why: str, backbone: Backbone) -> None:
    with pytest.raises(InputError, match=why):
        read_generator(OTHER / f"{name}.gformer", backbone)


def test_what_is_no_generator_is_refused(tmp_path: Path, backbone: Backbone) -> None:
    (tmp_path / "a.gformer").write_bytes(b"no bundle")
    with pytest.raises(InputError, match="not a generator file"):
        read_generator(tmp_path / "a.gformer", backbone)
