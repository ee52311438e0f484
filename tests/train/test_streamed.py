"""Source images that do not fit into memory: read ahead from disk, and nothing that is trained tells the difference."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from gformer_cli.compute.threads import Cores
from gformer_cli.config import resolve
from gformer_cli.data import labelled, looking
from gformer_cli.data.inventory import Inventory
from gformer_cli.errors import InputError
from gformer_cli.folders.domains import Domain, find_domains
from gformer_cli.settings import Settings
from gformer_cli.train.meta_train import MetaTrainResult, meta_train
from gformer_cli.train.pretrain import PretrainResult, pretrain
from gformer_cli.train.run_folder import RunFolder
from gformer_cli.train.source_images import ClassImages, SourceImages
from gformer_cli.train.source_models import preprocessing_of

CPU = torch.device("cpu")
TWO = Cores(2, True, "asked for")
Train = Callable[..., tuple[PretrainResult, MetaTrainResult]]


@pytest.fixture
def sources(domains: list[Domain], tmp_path: Path) -> Path:
    """A copy of the domains' folders, to be changed."""
    return Path(shutil.copytree(domains[0].root.parent, tmp_path / "sources"))


@pytest.fixture
def train(tiny: Settings, tmp_path: Path, sources: Path) -> Train:
    """`train("run", workers=2)`: both stages into that folder."""

    def call(
        name: str, *, workers: int = 0, cores: Cores | None = None, strict: bool = False
    ) -> tuple[PretrainResult, MetaTrainResult]:
        settings, run, found = resolve(base=tiny), RunFolder(tmp_path / name), find_domains([sources])
        how = {"device": CPU, "workers": workers, "cores": cores}
        first = pretrain(found, settings, run, strict=strict, **how)
        return first, meta_train(found, settings, run, strict=strict, **how)

    return call


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(labelled, "CACHE_BYTES", 0)


def files(run: Path) -> dict[str, bytes]:
    names = ["model.gformer", "source.json", "images.json", "models/all.safetensors", "models/without-red.safetensors"]
    return {name: (run / name).read_bytes() for name in names}


def cut_off(path: Path) -> None:
    """Leave a whole header, and half of the pixels."""
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


@pytest.mark.slow
def test_what_is_trained_is_the_same_to_the_bit(train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train("kept")
    monkeypatch.setattr(labelled, "CACHE_BYTES", 0)
    train("ahead", workers=1)
    assert files(tmp_path / "ahead") == files(tmp_path / "kept")
    assert len(Inventory(tmp_path / "ahead" / "inventory.csv")) == 30


@pytest.mark.usefixtures("large")
def test_a_start_decodes_nothing_and_the_next_one_opens_nothing(
    domains: list[Domain], tiny: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = RunFolder(tmp_path / "run")
    monkeypatch.setattr(looking, "read_image", None)
    how = {"validation_fraction": 0.2, "seed": 0, "workers": 2}
    preprocessing = preprocessing_of(tiny)
    loaded, skipped = labelled.load_labelled(domains, ["dark", "light"], preprocessing, **how)
    assert not skipped and not any(one.is_hashed or one.in_memory for one in loaded)
    assert labelled.hash_all(loaded, workers=0) == []
    run.root.mkdir()
    run.write_inventory(loaded)
    monkeypatch.setattr(looking, "check_header", None)
    inventory = Inventory(run.inventory_path)
    again, _ = labelled.load_labelled(domains, ["dark", "light"], preprocessing, inventory=inventory, **how)
    assert labelled.fingerprint(again) == labelled.fingerprint(loaded)


@pytest.mark.slow
@pytest.mark.usefixtures("large")
@pytest.mark.parametrize("cores", [None, TWO])
def test_an_image_whose_damage_shows_late_is_replaced_and_told(
    train: Train, sources: Path, cores: Cores | None
) -> None:
    broken = sources / "red" / "dark" / "2.png"
    cut_off(broken)
    for done in train("run", workers=1, cores=cores):
        assert [one.path for one in done.skipped] == [str(broken)]


@pytest.mark.usefixtures("large")
def test_strict_makes_late_damage_an_error(train: Train, sources: Path) -> None:
    for path in (sources / "red" / "dark").iterdir():
        cut_off(path)
    with pytest.raises(InputError, match=r"unreadable image: .*dark"):
        train("run", strict=True, workers=1)


@pytest.mark.usefixtures("large")
def test_files_that_changed_since_a_run_was_started_are_noticed(tiny: Settings, tmp_path: Path, sources: Path) -> None:
    settings, found = resolve(base=tiny), find_domains([sources])
    run = RunFolder(tmp_path / "run")
    pretrain(found, settings, run, device=CPU, workers=0)
    first = sources / "blue" / "dark" / "0.png"
    content = first.read_bytes()
    first.write_bytes(content)  # another time, the same content
    as_at_the_start(run)
    pretrain(found, settings, run, device=CPU, workers=0, resume=True)
    first.write_bytes(content + b"more")
    as_at_the_start(run)
    with pytest.raises(InputError, match=r"changed images: .*0\.png"):
        pretrain(found, settings, run, device=CPU, workers=0, resume=True)


def as_at_the_start(run: RunFolder) -> None:
    """Let what `run` knows of its images be what it knew when it was claimed."""
    images = run.images()
    assert images is not None
    domains = {
        name: {label: ClassImages(known.images) for label, known in classes.items()}
        for name, classes in images.domains.items()
    }
    run.write_images(SourceImages("", domains))
