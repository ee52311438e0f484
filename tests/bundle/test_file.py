from __future__ import annotations

import json
import re
import resource
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from gformer_cli.bundle import (
    FORMAT_VERSION,
    DataHeader,
    GuardHeader,
    build_generator,
    build_model,
    constant_settings,
    library_versions,
    load_bundle,
    read_header,
    save_bundle,
)
from gformer_cli.config import validate
from gformer_cli.core.backbone import Backbone
from gformer_cli.core.generalizeformer import GeneralizeFormer
from gformer_cli.core.generators import ChannelGenerator, ConstantGenerator, Generator, Reads
from gformer_cli.errors import InputError, WorkError
from gformer_cli.guard.rule import Guard, Score
from gformer_cli.guard.signals import WEIGHED
from gformer_cli.networks.build import build_network
from gformer_cli.settings import Settings

CLASSES = ["cat", "dog", "犬"]
DATA = DataHeader(domains={"photo": {"cat": 2, "dog": 3, "犬": 4}}, fingerprint="abc")
VALIDATION = {"gformer": 0.75, "source": 0.5}
HERE = "/home/somebody/secret-folder"


def make_settings(**sections: Any) -> Settings:
    return validate(
        {
            "data": {"image_size": 16, "resize": "stretch"},
            "backbone": {"stem": "small", "width": 0.125, "weights": f"{HERE}/resnet.pth"},
            "generator": {"width": 16, "heads": 2, "channel_width": 8, "prior_count": 5.0},
            **sections,
        }
    )


def make_model(settings: Settings) -> tuple[Backbone, Generator]:
    torch.manual_seed(0)
    options = settings.backbone
    backbone = Backbone(build_network(options.name, 3, stem=options.stem, width=options.width)).freeze()
    generator = build_generator(settings.generator, backbone)
    with torch.no_grad():
        for parameter in generator.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.1)
    return backbone, generator


def save(
    path: Path, settings: Settings, constant: Generator | None = None, guard: GuardHeader | None = None
) -> tuple[Backbone, Generator]:
    backbone, generator = make_model(settings)
    save_bundle(
        path,
        backbone=backbone,
        generator=generator,
        constant=constant,
        settings=settings,
        classes=CLASSES,
        data=DATA,
        validation=VALIDATION,
        guard=guard,
    )
    return backbone, generator


@pytest.fixture(scope="session")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bundle") / "model.gformer"
    save(path, make_settings())
    return path


@pytest.fixture
def bundle(saved: Path, tmp_path: Path) -> Path:
    """A whole bundle that a test may damage."""
    return Path(shutil.copy(saved, tmp_path / "model.gformer"))


def rewrite(path: Path, change: Callable[[dict[str, torch.Tensor], dict[str, Any]], None]) -> None:
    """Change a bundle's tensors and header in place."""
    with safe_open(path, framework="pt") as file:
        header = json.loads(file.metadata()["gformer"])
    tensors = load_file(path)
    change(tensors, header)
    save_file(tensors, path, metadata={"gformer": json.dumps(header)})


def remove(path: Path, name: str) -> None:
    def change(tensors: dict[str, torch.Tensor], _: dict[str, Any]) -> None:
        del tensors[name]

    rewrite(path, change)


def assert_refused(path: Path, match: str, read: Callable[[Path], object] = load_bundle) -> InputError:
    with pytest.raises(InputError, match=match) as caught:
        read(path)
    assert caught.value.exit_status == 2 and caught.value.hint
    assert "\n" not in caught.value.message
    return caught.value


@pytest.mark.parametrize("kind", ["channel", "constant"])
@pytest.mark.parametrize("probe", ["none", "forward", "backward"])
def test_a_loaded_bundle_predicts_bit_equally(tmp_path: Path, kind: str, probe: str) -> None:
    generator_settings = {"kind": kind, "width": 16, "heads": 2, "probe": probe, "prior_count": 5.0}
    settings = make_settings(generator=generator_settings)
    backbone, generator = save(tmp_path / "model.gformer", settings)
    model = build_model(settings.generator, generator).eval().requires_grad_(False)
    images = torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(1))

    loaded = load_bundle(tmp_path / "model.gformer")

    assert torch.equal(loaded.backbone(images), backbone(images))
    assert torch.equal(loaded.model(loaded.backbone, images).logits, model(backbone, images).logits)
    assert not torch.equal(backbone(images), model(backbone, images).logits)


def test_a_loaded_bundle_is_frozen_and_in_eval_mode(saved: Path) -> None:
    loaded = load_bundle(saved, torch.device("cpu"))
    for part in (loaded.backbone, loaded.model):
        assert not any(module.training for module in part.modules())
        assert not any(parameter.requires_grad for parameter in part.parameters())


def test_the_header_tells_where_the_model_came_from(saved: Path) -> None:
    header = read_header(saved)
    _, generator = make_model(make_settings())
    assert header.format_version == FORMAT_VERSION
    assert header.classes == CLASSES and header.data == DATA and header.validation == VALIDATION
    assert header.versions == library_versions() and header.versions["torch"] == torch.__version__
    assert header.generator.settings == make_settings().generator
    assert header.generator.parameters == sum(parameter.numel() for parameter in generator.parameters())
    assert header == load_bundle(saved).header


def test_preprocessing_comes_from_the_bundle(saved: Path) -> None:
    preprocessing = load_bundle(saved).preprocessing
    assert (preprocessing.image_size, preprocessing.resize) == (16, "stretch")
    assert preprocessing.mean == (0.485, 0.456, 0.406) and preprocessing.std == (0.229, 0.224, 0.225)


def test_only_the_name_of_a_weights_file_is_stored(saved: Path) -> None:
    header = read_header(saved)
    assert header.backbone.weights == header.settings.backbone.weights == "resnet.pth"
    assert b"secret-folder" not in saved.read_bytes()


@pytest.mark.parametrize("weights", ["none", "default"])
def test_weights_that_are_no_file_are_stored_as_they_are(tmp_path: Path, weights: str) -> None:
    save(tmp_path / "model.gformer", make_settings(backbone={"stem": "small", "width": 0.125, "weights": weights}))
    assert read_header(tmp_path / "model.gformer").backbone.weights == weights


def test_two_saves_give_identical_bytes(tmp_path: Path) -> None:
    for name in ("a.gformer", "b.gformer"):
        save(tmp_path / name, make_settings())
    assert (tmp_path / "a.gformer").read_bytes() == (tmp_path / "b.gformer").read_bytes()


def test_another_seed_in_the_settings_changes_the_bytes(tmp_path: Path, saved: Path) -> None:
    save(tmp_path / "a.gformer", make_settings(seed=1))
    assert (tmp_path / "a.gformer").read_bytes() != saved.read_bytes()


def test_saving_leaves_no_temporary_file(saved: Path) -> None:
    assert [path.name for path in saved.parent.iterdir()] == ["model.gformer"]


def test_saving_into_a_missing_folder_is_refused(tmp_path: Path) -> None:
    assert_refused(tmp_path / "missing" / "model.gformer", "cannot write", lambda path: save(path, make_settings()))


def test_a_full_disk_is_refused_and_keeps_the_old_bundle(bundle: Path) -> None:
    before = bundle.read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))  # the system refuses larger files
    try:
        with pytest.raises(WorkError, match=r"cannot write .*File too large"):
            save(bundle, make_settings(seed=1))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert bundle.read_bytes() == before
    assert [path.name for path in bundle.parent.iterdir()] == ["model.gformer"]


@pytest.mark.parametrize("read", [read_header, load_bundle])
def test_what_is_no_bundle_is_refused_by_both_readers(
    tmp_path: Path, bundle: Path, read: Callable[[Path], object]
) -> None:
    assert_refused(tmp_path / "missing.gformer", "no such bundle: .*missing.gformer", read)
    assert_refused(tmp_path, "not a bundle", read)

    text = tmp_path / "notes.txt"
    text.write_text("This is no bundle at all.\n" * 10)
    assert_refused(text, r"not a bundle: .*notes.txt \(it is text\)", read)
    for zipped in (True, False):
        torch.save({"a": torch.zeros(2)}, tmp_path / "mine.pth", _use_new_zipfile_serialization=zipped)
        assert_refused(tmp_path / "mine.pth", "not a bundle: .*mine.pth is a checkpoint", read)

    empty = tmp_path / "empty.gformer"
    empty.touch()
    assert_refused(empty, "not a bundle: .*empty.gformer", read)

    foreign = tmp_path / "foreign.safetensors"
    save_file({"weight": torch.zeros(2)}, foreign)
    assert_refused(foreign, "without gformer's header", read)
    save_file({"weight": torch.zeros(2)}, foreign, metadata={"format": "pt"})
    assert_refused(foreign, "without gformer's header", read)

    bundle.write_bytes(bundle.read_bytes()[:-100])
    assert_refused(bundle, "not a bundle", read)


def test_a_newer_format_is_refused_before_the_rest_of_the_header_is_read(bundle: Path) -> None:
    def make_newer(_: dict[str, torch.Tensor], header: dict[str, Any]) -> None:
        header.clear()
        header.update(format_version=FORMAT_VERSION + 1, something="new")

    rewrite(bundle, make_newer)
    error = assert_refused(bundle, f"has format {FORMAT_VERSION + 1}; this gformer reads up to {FORMAT_VERSION}")
    assert "Upgrade gformer" in error.hint


def test_a_missing_tensor_is_refused_by_name(bundle: Path) -> None:
    remove(bundle, "backbone.fc.bias")
    assert "fc.bias" in assert_refused(bundle, "damaged bundle").message


def test_a_missing_generator_tensor_is_refused_by_name(bundle: Path) -> None:
    remove(bundle, "generator.mix_head.bias")
    assert "mix_head.bias" in assert_refused(bundle, "damaged bundle").message


def test_a_tensor_of_the_wrong_shape_is_refused_by_name(bundle: Path) -> None:
    rewrite(bundle, lambda tensors, _: tensors.update({"backbone.fc.weight": torch.zeros(4, 64)}))
    assert "fc.weight" in assert_refused(bundle, "damaged bundle").message


@pytest.mark.parametrize("name", ["backbone.extra", "foreign.tensor"])
def test_a_tensor_too_many_is_refused(bundle: Path, name: str) -> None:
    rewrite(bundle, lambda tensors, _: tensors.update({name: torch.zeros(1)}))
    assert_refused(bundle, "damaged bundle")


def test_another_number_of_classes_in_the_header_is_refused(bundle: Path) -> None:
    rewrite(bundle, lambda _, header: header["classes"].append("bird"))
    assert_refused(bundle, "damaged bundle")


@pytest.mark.parametrize(
    ("key", "value", "named"), [("classes", 3, "classes"), ("backbone", {"width": -1}, "backbone.width")]
)
def test_a_wrong_header_value_is_refused_by_key(bundle: Path, key: str, value: object, named: str) -> None:
    rewrite(bundle, lambda _, header: header.update({key: value}))
    assert_refused(bundle, f"damaged bundle .*: {named}: ", read_header)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}"])
def test_a_header_that_is_no_header_is_refused(tmp_path: Path, text: str) -> None:
    save_file({"weight": torch.zeros(2)}, tmp_path / "model.gformer", metadata={"gformer": text})
    assert_refused(tmp_path / "model.gformer", "damaged bundle", read_header)


def test_settings_choose_the_generator() -> None:
    backbone, _ = make_model(make_settings())
    constant = build_generator(make_settings(generator={"kind": "constant"}).generator, backbone)
    options = {"width": 24, "depth": 3, "heads": 3, "channel_width": 5, "probe": "forward"}
    channel = build_generator(make_settings(generator=options).generator, backbone)
    assert isinstance(constant, ConstantGenerator) and isinstance(channel, ChannelGenerator)
    expected = ChannelGenerator(width=24, depth=3, heads=3, channel_width=5, reads=Reads(gradients=False))
    assert {n: t.shape for n, t in channel.state_dict().items()} == {
        n: t.shape for n, t in expected.state_dict().items()
    }
    assert channel.transformer.layers[0].self_attn.num_heads == 3
    assert not channel.reads_gradients


# --- the constant generator


def test_a_constant_generator_comes_back_bit_equally_frozen_and_beside_the_generator(tmp_path: Path) -> None:
    settings = make_settings()
    backbone, _ = make_model(settings)
    constant = build_generator(constant_settings(settings.generator), backbone)
    assert isinstance(constant, ConstantGenerator)
    with torch.no_grad():
        for parameter in constant.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.1)
    _, generator = save(tmp_path / "both.gformer", settings, constant)

    loaded = load_bundle(tmp_path / "both.gformer", torch.device("cpu"))

    assert loaded.constant is not None
    images = torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    wanted = GeneralizeFormer(constant, prior_count=5.0).eval()(backbone, images).logits
    assert torch.equal(loaded.constant(loaded.backbone, images).logits, wanted)
    assert not any(p.requires_grad for p in loaded.constant.parameters()) and not loaded.constant.training
    state = loaded.model.generator.state_dict()
    assert all(torch.equal(tensor, state[name]) for name, tensor in generator.state_dict().items())


def test_the_constant_generator_of_an_older_file_is_read(tmp_path: Path) -> None:
    settings = make_settings()
    path, (backbone, _) = tmp_path / "both.gformer", make_model(settings)
    constant = build_generator(constant_settings(settings.generator), backbone)
    constant.load_state_dict({name: torch.rand_like(value) for name, value in constant.state_dict().items()})
    save(path, settings, constant)
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
    older = {re.sub("^constant[.]", "control.", name): tensor for name, tensor in load_file(path).items()}
    save_file(older, path, metadata)
    loaded = load_bundle(path).constant
    assert loaded is not None and any(name.startswith("control.") for name in older)
    assert all(torch.equal(value, loaded.generator.state_dict()[name]) for name, value in constant.state_dict().items())


def test_a_bundle_may_have_no_constant_generator(saved: Path) -> None:
    assert load_bundle(saved).constant is None


def test_a_constant_generator_in_part_is_refused(tmp_path: Path) -> None:
    settings = make_settings()
    backbone, _ = make_model(settings)
    save(tmp_path / "both.gformer", settings, build_generator(constant_settings(settings.generator), backbone))
    remove(
        tmp_path / "both.gformer",
        next(name for name in load_file(tmp_path / "both.gformer") if name.startswith("constant.")),
    )
    assert_refused(tmp_path / "both.gformer", "damaged bundle")


# --- the guard


@pytest.fixture
def guarded(tmp_path: Path) -> tuple[Path, Guard]:
    rule = Guard(
        sizes=(1, 64),
        typical=dict.fromkeys(WEIGHED, (0.1, 1 / 3)),
        spread=dict.fromkeys(WEIGHED, (0.2, 0.7)),
        strangeness=Score(dict.fromkeys(WEIGHED, 0.3), -1.0, 2.0, 4.0),
        expected_loss=Score({"agreement": 1.0}, 0.0, 0.1, 0.2),
        smallest_batch=1.0,
    )
    save(tmp_path / "guarded.gformer", make_settings(), guard=GuardHeader(rule=rule, figures={"gain": 0.1}))
    return tmp_path / "guarded.gformer", rule


def test_a_guard_comes_back_as_it_was(guarded: tuple[Path, Guard]) -> None:
    path, rule = guarded
    loaded = load_bundle(path)
    assert loaded.guard == rule
    assert loaded.header.guard is not None and loaded.header.guard.figures == {"gain": 0.1}


def test_a_bundle_without_a_guard_has_none(saved: Path, bundle: Path) -> None:
    assert load_bundle(saved).guard is None

    def older(_: dict[str, torch.Tensor], header: dict[str, Any]) -> None:
        del header["guard"]

    rewrite(bundle, older)
    assert load_bundle(bundle).guard is None


@pytest.mark.parametrize("part", ["sizes", "typical", "strangeness"])
def test_a_guard_in_part_is_refused(guarded: tuple[Path, Guard], part: str) -> None:
    def damage(_: dict[str, torch.Tensor], header: dict[str, Any]) -> None:
        header["guard"]["rule"][part] = type(header["guard"]["rule"][part])()

    rewrite(guarded[0], damage)
    assert_refused(guarded[0], "damaged bundle .*guard", read_header)


# --- a user's own network


@pytest.fixture
def own(tmp_path: Path) -> Path:
    path = tmp_path / "elsewhere" / "own.py"
    path.parent.mkdir()
    path.write_text(
        "from torch import nn\n\n"
        "def small(num_classes):\n"
        "    body = [nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.AdaptiveAvgPool2d(1), nn.Flatten()]\n"
        "    return nn.Sequential(*body, nn.Linear(4, num_classes))\n"
    )
    return path


@pytest.fixture
def own_bundle(tmp_path: Path, own: Path) -> Path:
    path = tmp_path / "own.gformer"
    save(path, make_settings(backbone={"name": f"{own}:small", "weights": "none"}))
    return path


def test_a_bundle_alone_never_runs_code(own_bundle: Path, monkeypatch: pytest.MonkeyPatch, own: Path) -> None:
    monkeypatch.chdir(own.parent)  # the file that the header names would be found here
    with pytest.raises(InputError, match=r"own\.py:small, which is run only when the command line names it") as caught:
        load_bundle(own_bundle)
    assert "--backbone FILE.py:FUNCTION" in caught.value.hint


def test_a_bundle_of_own_code_is_loaded_with_the_users_file(own_bundle: Path, own: Path) -> None:
    bundle = load_bundle(own_bundle, own_backbone=f"{own}:small")
    assert bundle.backbone(torch.zeros(1, 3, 8, 8)).shape == (1, 3)
    assert str(own.parent) not in own_bundle.read_bytes().decode("latin-1")


def test_own_code_is_refused_for_a_bundle_of_a_known_network(tmp_path: Path, own: Path) -> None:
    save(tmp_path / "plain.gformer", make_settings())
    with pytest.raises(InputError, match="does not go with bundle"):
        load_bundle(tmp_path / "plain.gformer", own_backbone=f"{own}:small")


@pytest.mark.parametrize("kind", ["vector", "channel", "constant"])
def test_every_kind_of_generator_comes_back(tmp_path: Path, kind: str) -> None:
    _, generator = save(tmp_path / "kind.gformer", make_settings(generator={"kind": kind, "probe": "forward"}))
    loaded = load_bundle(tmp_path / "kind.gformer").model.generator
    assert type(loaded) is type(generator)
    assert all(torch.equal(t, loaded.state_dict()[name]) for name, t in generator.state_dict().items())
