from __future__ import annotations

import random
from dataclasses import replace

import pytest
import torch

from gformer_cli.bundle import Bundle
from gformer_cli.guard.rule import Guard
from gformer_cli.guard.signals import SIGNALS
from gformer_cli.guard.tensors import CODES, decide


@pytest.fixture
def guard(bundle: Bundle) -> Guard:
    """Calibrated, and with room between the limits for shares."""
    assert bundle.guard is not None
    own = bundle.guard
    score = replace(own.strangeness, limit=-2.0, far=12.0)
    return replace(own, sizes=(4, 16), strangeness=score, smallest_batch=3.0, **_of_two_sizes(own))


def _of_two_sizes(own: Guard) -> dict[str, dict[str, tuple[float, ...]]]:
    return {
        "typical": {name: (values[0], values[0] + 0.3) for name, values in own.typical.items()},
        "spread": {name: (values[0] + 0.1, 2.0 * values[0] + 0.2) for name, values in own.spread.items()},
    }


def drawn(guard: Guard, size: int, draw: random.Random) -> dict[str, float]:
    """Signals as float32 holds them, not far from what is typical."""
    names = [name for name in SIGNALS if name != "batch_size"]
    values = torch.tensor([guard.typical.get(name, (0.0,))[0] + draw.gauss(0.0, 2.0) for name in names])
    return {"batch_size": float(size), **dict(zip(names, values.tolist(), strict=True))}


@pytest.mark.slow
def test_tensors_decide_as_the_rule_does(guard: Guard) -> None:
    draw, seen = random.Random(0), set()
    for size in (1, 2, 3, 4, 7, 16, 50) * 20:
        signals = drawn(guard, size, draw)
        wanted = guard.decide(signals)
        tensors = {name: torch.tensor(value) for name, value in signals.items() if name != "batch_size"}
        found = decide(guard, size, tensors)
        assert int(found.decision) == CODES[wanted.decision]
        assert float(found.share) == pytest.approx(wanted.share, abs=1e-12)
        assert float(found.strangeness) == pytest.approx(wanted.signals["strangeness"], rel=1e-12)
        assert float(found.expected_loss) == pytest.approx(wanted.signals["expected_loss"], rel=1e-12)
        seen.add(wanted.decision)
    assert seen == set(CODES)


def test_a_signal_without_a_number_leaves_the_batch_to_the_source_model(guard: Guard) -> None:
    signals = drawn(guard, 8, random.Random(1))
    for name in ("entropy", "agreement"):  # one that no score weighs, and one that does
        tensors = {key: torch.tensor(value) for key, value in signals.items() if key != "batch_size"}
        tensors[name] = torch.tensor(float("nan"))
        found = decide(guard, 8, tensors)
        assert int(found.decision) == CODES["source"] and float(found.share) == 0.0
