"""Generators in files of their own: what is written is read, and files that lie or are damaged are told."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from gformer_cli.bundle import (
    UNIVERSAL,
    Bundle,
    Card,
    Figures,
    Licence,
    build_generator,
    build_model,
    file_hash,
    generator_path,
    is_generator_file,
    learnt_run,
    load_bundle,
    read_card,
    read_generator,
    read_generator_header,
    read_header,
    save_generator,
    verify,
)
from gformer_cli.core.backbone import Backbone
from gformer_cli.errors import InputError, WorkError
from gformer_cli.networks.build import build_network
from gformer_cli.settings import BackboneSettings, GeneratorSettings

SMALL = GeneratorSettings(width=8, depth=1, heads=2, channel_width=4, probe="forward")


def a_card(backbone: Backbone) -> Card:
    own = BackboneSettings(name="/home/me/mine.py:make", weights="/home/me/site.pth", width=0.5)
    run = learnt_run(
        "letters",
        own,
        backbone,
        classes=["a", "b"],
        domains={"print": {"a": 3, "b": 4}, "script": {"a": 5}},
        fingerprint="ab",
        seed=7,
    )
    return Card(
        runs=(run,),
        steps=600,
        episodes=2400,
        start="0" * 64,
        licences=(Licence(name="letters", licence="OFL-1.1", package="@fontsource/roboto"),),
        figures=(Figures(command="gformer evaluate --run run", values={'{"content_hash":"': 63.5}),),
        calibration={"trust": 0.25},
    )


@pytest.fixture
def generator(backbone: Backbone, perturb: Callable[..., None]) -> nn.Module:
    """None of its weights is zero."""
    made = build_generator(SMALL, backbone)
    perturb(made, 0.1)
    return made


@pytest.fixture
def file(generator: Any, backbone: Backbone, tmp_path: Path) -> Path:
    path = tmp_path / "letters.safetensors"
    save_generator(path, generator, SMALL, a_card(backbone))
    return path


def rewritten(path: Path, change: Callable[[dict[str, torch.Tensor], dict[str, Any]], None]) -> Path:
    """The file with other tensors or another header, as somebody's own code would write it."""
    tensors = load_file(path)
    with safe_open(path, "pt") as opened:
        header = json.loads(opened.metadata()["gformer-generator"])
    change(tensors, header)
    save_file(tensors, path, {"gformer-generator": json.dumps(header)})
    return path


def test_what_is_written_is_read(file: Path, generator: nn.Module, backbone: Backbone) -> None:
    described, found = read_generator(file, backbone)
    assert described == SMALL
    wanted = generator.state_dict()
    assert found.state_dict().keys() == wanted.keys()
    assert all(torch.equal(tensor, wanted[name]) for name, tensor in found.state_dict().items())
    assert read_card(file) == a_card(backbone)
    assert read_generator_header(file).generator.parameters == sum(p.numel() for p in generator.parameters())
    assert is_generator_file(file)


def test_the_card_says_what_it_has_learnt_on_and_not_where_files_lie(file: Path) -> None:
    (run,) = read_card(file).runs
    assert (run.images, run.domains, run.seed) == (12, {"print": 7, "script": 5}, 7)
    assert run.network.model_dump() == {
        "backbone": "mine.py:make",
        "width": 0.5,
        "stem": "standard",
        "norms": {"BatchNorm": 2},
        "weights": "site.pth",
    }
    assert b"/home" not in file.read_bytes()


def test_it_generates_for_a_network_that_it_has_not_met(
    file: Path, make_backbone: Callable[..., Backbone], backbone: Backbone, make_images: Callable[..., torch.Tensor]
) -> None:
    other = make_backbone((3, 5, 7), 4, seed=3)
    described, generator = read_generator(file, other)
    with torch.no_grad():
        logits = build_model(described, generator.double()).eval()(other, make_images()).logits
        assert logits.shape == (6, 4)
        assert not torch.allclose(logits, other(make_images()))


def test_it_verifies_and_the_same_contents_give_the_same_bytes(
    file: Path, generator: Any, backbone: Backbone, tmp_path: Path
) -> None:
    assert verify(file).problems == ()
    save_generator(tmp_path / "again", generator, SMALL, a_card(backbone))
    assert (tmp_path / "again").read_bytes() == file.read_bytes()
    changed = bytearray(file.read_bytes())
    changed[-1] ^= 1
    file.write_bytes(changed)
    assert verify(file).problems[0].startswith("tensors generator.* changed since it was written")


def test_what_it_went_on_from_is_its_parent(file: Path, generator: Any, tmp_path: Path) -> None:
    save_generator(tmp_path / "next", generator, SMALL, Card(start=file_hash(file)))
    assert verify(tmp_path / "next", file).problems == ()
    assert "is not its parent" in verify(tmp_path / "next", tmp_path / "next").problems[0]


@pytest.mark.parametrize(
    ("changes", "why"),
    [({"kind": "vector"}, "of the kind vector"), ({"on_constant": True}, "on top of a constant one")],
)
def test_a_generator_that_fits_its_own_network_alone_gets_no_file(
    changes: dict[str, object], why: str, backbone: Backbone, tmp_path: Path
) -> None:
    other = SMALL.model_copy(update=changes)
    with pytest.raises(InputError, match=why):
        save_generator(tmp_path / "x", build_generator(other, backbone), other, Card())
    assert not (tmp_path / "x").exists()


def test_a_generator_of_broken_numbers_is_not_kept(generator: Any, file: Path) -> None:
    before = file.read_bytes()
    with torch.no_grad():
        next(generator.parameters()).fill_(float("nan"))
    with pytest.raises(WorkError, match="not finite"):
        save_generator(file, generator, SMALL, Card())
    assert file.read_bytes() == before


def _wider(tensors: dict[str, torch.Tensor], header: dict[str, Any]) -> None:
    header["generator"]["settings"]["width"] = 16384


def _newer(tensors: dict[str, torch.Tensor], header: dict[str, Any]) -> None:
    header["format_version"] = 99


def _text(tensors: dict[str, torch.Tensor], header: dict[str, Any]) -> None:
    header["card"]["steps"] = "600"


def _more(tensors: dict[str, torch.Tensor], header: dict[str, Any]) -> None:
    tensors["generator.extra"] = torch.zeros(2)


def _foreign(tensors: dict[str, torch.Tensor], header: dict[str, Any]) -> None:
    tensors["backbone.extra"] = torch.zeros(2)


def _less(tensors: dict[str, torch.Tensor], header: dict[str, Any]) -> None:
    del tensors[sorted(tensors)[0]]


def _broken(tensors: dict[str, torch.Tensor], header: dict[str, Any]) -> None:
    tensors[sorted(tensors)[0]].fill_(float("inf"))


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (_wider, "has shape"),
        (_newer, "has format 99"),
        (_text, "card.steps: it must be a whole number"),
        (_more, "generator.extra belongs to nothing"),
        (_foreign, "backbone.extra belongs to nothing"),
        (_less, "is missing"),
        (_broken, "not finite"),
    ],
)
def test_a_file_that_lies_is_told_by_its_name(
    change: Callable[[dict[str, torch.Tensor], dict[str, Any]], None], why: str, file: Path, backbone: Backbone
) -> None:
    with pytest.raises(InputError, match=why) as told:
        read_generator(rewritten(file, change), backbone)
    assert f"generator file {file}" in told.value.message and "bundle" not in told.value.message
    assert told.value.hint


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_file_that_was_damaged_anywhere_is_read_or_refused(
    file: Path, backbone: Backbone, data: st.DataObject
) -> None:
    content = bytearray(file.read_bytes())
    end = 8 + struct.unpack_from("<Q", content)[0]  # of the header; what lies behind are numbers
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, end - 1))] = data.draw(st.integers(0, 255))
    path = file.with_name("damaged.safetensors")
    path.write_bytes(content)
    for read in (lambda: read_generator(path, backbone), lambda: read_card(path), lambda: verify(path)):
        try:
            read()
        except InputError as error:
            assert error.hint and "\n" not in error.message and str(path) in error.message


@pytest.mark.parametrize(
    "content",
    [b"", b"nothing", struct.pack("<Q", 1 << 60), struct.pack("<Q", 2) + b"{}", b"\x80\x04" + bytes(100)],
)
def test_what_is_no_generator_is_refused(content: bytes, tmp_path: Path, backbone: Backbone) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(content)
    for read in (lambda: read_generator(path, backbone), lambda: read_card(path)):
        with pytest.raises(InputError, match="not a generator file") as told:
            read()
        assert str(path) in told.value.message and "universal" in told.value.hint
    assert not is_generator_file(path)


def test_a_missing_file_and_a_folder_are_told(tmp_path: Path, backbone: Backbone) -> None:
    with pytest.raises(InputError, match="no such generator file"):
        read_generator(tmp_path / "gone", backbone)
    with pytest.raises(InputError, match="nor a regular file"):
        read_generator(tmp_path, backbone)


def test_bundles_and_generator_files_are_told_apart(file: Path, bundle: Bundle) -> None:
    assert bundle.path is not None
    assert not is_generator_file(bundle.path)
    with pytest.raises(InputError, match="is a bundle, which has no card"):
        read_card(bundle.path)
    for read in (read_header, load_bundle):
        with pytest.raises(InputError, match="is a generator file, without a network") as told:
            read(file)
        assert "gformer import" in told.value.hint


class TestUniversal:
    """Of the shipped file the form counts, not what it has learnt."""

    @pytest.fixture(params=["resnet18", "vit", "groupnorm"])
    def network(self, request: pytest.FixtureRequest) -> Backbone:
        if request.param == "resnet18":
            return Backbone(build_network("resnet18", 3, stem="small", width=0.125)).freeze()
        if request.param == "groupnorm":
            made: nn.Module = nn.Sequential(
                nn.Conv2d(3, 8, 3),
                nn.GroupNorm(2, 8),
                nn.ReLU(),
                nn.AdaptiveAvgPool2d(1),
                nn.Flatten(),
                nn.Linear(8, 3),
            )
        else:
            made = Patches()
        return Backbone(made.eval(), image_size=16).freeze()

    def test_it_is_small_and_verifies(self) -> None:
        path = generator_path(UNIVERSAL)
        assert path.stat().st_size <= 2 * 1024 * 1024
        assert verify(path).problems == ()

    def test_it_reads_back_and_fits_any_network(self, network: Backbone) -> None:
        described, generator = read_generator(UNIVERSAL, network)
        assert described == read_generator_header(UNIVERSAL).generator.settings
        with torch.no_grad():
            logits = build_model(described, generator).eval()(network, torch.rand(4, 3, 16, 16)).logits
        assert logits.shape == (4, 3) and bool(torch.isfinite(logits).all())

    def test_a_file_of_that_name_wins(
        self, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, backbone: Backbone
    ) -> None:
        monkeypatch.chdir(tmp_path)
        (tmp_path / UNIVERSAL).mkdir()
        assert generator_path(UNIVERSAL).is_file()
        (tmp_path / UNIVERSAL).rmdir()
        file.rename(UNIVERSAL)
        assert read_card(UNIVERSAL) == a_card(backbone)


class Patches(nn.Module):
    """A transformer over patches of 8 x 8 pixels, with LayerNorm."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 8, 8, stride=8)
        self.before = nn.LayerNorm(8)
        self.mix = nn.Linear(8, 8)
        self.after = nn.LayerNorm(8)
        self.head = nn.Linear(8, 3)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        tokens = self.patches(images).flatten(2).transpose(1, 2)
        tokens = tokens + self.mix(self.before(tokens))
        logits: torch.Tensor = self.head(self.after(tokens).mean(dim=1))
        return logits
