"""A data set of noise in three colours, a tiny run and its bundle, for the stages behind the commands."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from gformer_cli.bundle import Bundle, load_bundle
from gformer_cli.config import Settings, resolve, validate
from gformer_cli.data.folders import Domain, find_domains
from gformer_cli.stages.meta_train import meta_train
from gformer_cli.stages.pretrain import pretrain
from gformer_cli.stages.run_folder import RunFolder

CPU = torch.device("cpu")
SETTINGS = validate(
    {
        "data": {"image_size": 8},
        "backbone": {"stem": "small", "width": 0.125, "weights": "none"},
        "pretrain": {"steps": 4, "batch_size": 7, "learning_rate": 0.01, "validate_every": 1},
        "generator": {"width": 8, "depth": 1, "heads": 2, "channel_width": 4},
        "meta_train": {
            "steps": 3,
            "episodes_per_step": 2,
            "largest_batch": 4,
            "validate_every": 1,
            "huber_weight": 0.1,
            "guard_batches": 0,
        },
    }
)


@pytest.fixture(scope="session", autouse=True)
def told_one_thread() -> Iterator[None]:
    """Networks this small gain nothing from threads, and lose much where the cores are busy."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        torch.set_num_threads(1)
        yield


@pytest.fixture(autouse=True)
def one_thread(told_one_thread: None) -> None:
    """Whatever a test before has asked for."""
    torch.set_num_threads(1)


@pytest.fixture
def tiny() -> Settings:
    """Settings that train in a second."""
    return SETTINGS


@pytest.fixture(scope="session")
def domains(tmp_path_factory: pytest.TempPathFactory) -> list[Domain]:
    """Three domains of two classes of five images."""
    root, random = tmp_path_factory.mktemp("domains"), np.random.default_rng(0)
    for domain, colour in {"blue": (80, 90, 200), "green": (90, 200, 80), "red": (200, 90, 80)}.items():
        for label, brightness in (("dark", 0.4), ("light", 1.2)):
            (root / domain / label).mkdir(parents=True)
            for number in range(5):
                pixels = random.uniform(0.8, 1.0, (8, 8, 3)) * colour * brightness
                Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(root / domain / label / f"{number}.png")
    return find_domains([root])


@pytest.fixture(scope="session")
def pretrained(domains: list[Domain], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pretrained run folder. Not to be written to."""
    run = RunFolder(tmp_path_factory.mktemp("pretrained") / "run")
    pretrain(domains, SETTINGS, run, device=CPU, workers=0)
    return run.root


@pytest.fixture(scope="session")
def _bundle_file(domains: list[Domain], tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = RunFolder(tmp_path_factory.mktemp("trained") / "run")
    pretrain(domains, SETTINGS, run, device=CPU, workers=0)
    with_guard = resolve(base=SETTINGS, assignments=["meta_train.guard_batches=1"])
    meta_train(domains, with_guard, run, device=CPU, workers=0)
    return run.bundle


@pytest.fixture
def bundle(_bundle_file: Path) -> Bundle:
    return load_bundle(_bundle_file)
