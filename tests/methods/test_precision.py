"""Methods that keep copies or draw views: single precision, either grad mode, batches of one, adapted ones too."""

from __future__ import annotations

import pytest
import torch

from gformer_cli.methods import METHODS
from gformer_cli.methods.base import Parts

SETTINGS: dict[str, dict[str, float]] = {
    "cotta": {"copies": 2, "threshold": 1.0},
    "rotta": {"update_every": 1, "capacity": 4},
    "note": {"update_every": 1, "capacity": 4},
    "t3a": {"supports": 1},
    "adanpc": {"neighbours": 2},
    "rmt": {},
    "petta": {"capacity": 4},
    "tast": {"heads": 3, "supports": 2},
    "tsd": {"supports": 1},
    "lame": {},
    "pea": {},
    "memo": {"copies": 2},
}


@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("grad", [True, False])
def test_logits_are_finite_of_the_models_type_and_free_of_gradients(
    parts: Parts, batches: list[torch.Tensor], name: str, dtype: torch.dtype, grad: bool
) -> None:
    parts.backbone.to(dtype)
    before = {key: value.clone() for key, value in parts.backbone.state_dict().items()}
    method = METHODS[name].from_parts(parts, **SETTINGS[name])
    with torch.set_grad_enabled(grad):
        for images in [batches[0][:1], batches[0], batches[1][:1], batches[2][:2]]:
            logits = method.predict(images.to(dtype))
            assert logits.shape == (len(images), 4) and logits.dtype == dtype
            assert logits.isfinite().all() and not logits.requires_grad
    after = parts.backbone.state_dict()
    assert all(torch.equal(after[key], value) for key, value in before.items())
    assert not any(p.requires_grad for p in parts.backbone.parameters())
