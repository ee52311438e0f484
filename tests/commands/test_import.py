"""`gformer import`: a classifier that was trained elsewhere, and the owner's own code to compare with."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from safetensors.torch import save_file
from torchvision import transforms

from gformer_cli.bundle import load_bundle

Gformer = Callable[..., Any]
CLASSES = ["zebra", "ant", "moth"]
"""The owner's order, which is none of the alphabet's."""
MEAN, STD = (0.4, 0.5, 0.6), (0.3, 0.2, 0.25)
TRANSFORM = {"resize": 36, "crop": 32, "interpolation": "bilinear", "mean": MEAN, "std": STD}


class Owner:
    """A small network of torchvision, and the code that its owner evaluates it with."""

    def __init__(self, folder: Path) -> None:
        torch.manual_seed(0)
        self.network = torchvision.models.shufflenet_v2_x0_5(num_classes=len(CLASSES))
        self.prepare = transforms.Compose(
            [
                transforms.Resize(36),
                transforms.CenterCrop(32),
                transforms.ToTensor(),
                transforms.Normalize(MEAN, STD),
            ]
        )
        self.images = folder / "images"
        self._write_images(folder)
        self.weights = folder / "site.pth"
        torch.save({"state_dict": self.network.state_dict(), "epoch": 7}, self.weights)
        self.classes = folder / "classes.txt"
        self.classes.write_text("\n".join(CLASSES))
        self.transform = folder / "transform.json"
        self.transform.write_text(json.dumps(TRANSFORM))

    @torch.no_grad()
    def logits(self, paths: list[Path]) -> torch.Tensor:
        """Logits (B, 3), by torchvision and torch alone."""
        return self.network(torch.stack([self.prepare(Image.open(path).convert("RGB")) for path in paths]))

    def options(self) -> list[object]:
        own = ["--backbone", "shufflenet_v2_x0_5", "--weights", self.weights, "--classes", self.classes]
        return [*own, "--transform", self.transform]

    def _write_images(self, folder: Path) -> None:
        """24 images of many sizes under two sites; five in six lie in the folder of the owner's own answer."""
        rng, paths = np.random.default_rng(0), [folder / f"{number:02d}.png" for number in range(24)]
        for path in paths:
            height, width = (int(side) for side in rng.integers(30, 90, 2))
            pixels = rng.uniform(0.0, 255.0, 3) + rng.normal(0.0, 60.0, (height, width, 3))
            Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(path)
        for module in self.network.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.momentum = 1.0
        self.logits(paths)  # statistics of these images, as training would leave them
        self.network.eval()
        with torch.no_grad():  # untrained, it would answer the same to everything
            self.network.fc.bias -= self.logits(paths).mean(dim=0)
        for number, answer in enumerate(self.logits(paths).argmax(dim=1).tolist()):
            label = CLASSES[(answer + 1) % 3 if number % 6 == 5 else answer]
            place = self.images / ("north" if number % 4 < 2 else "south") / label
            place.mkdir(parents=True, exist_ok=True)
            shutil.move(paths[number], place)


@pytest.fixture(scope="session")
def owner(tmp_path_factory: pytest.TempPathFactory) -> Owner:
    return Owner(tmp_path_factory.mktemp("owner"))


@pytest.fixture(scope="session")
def _imported(owner: Owner, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from gformer_cli.app import run

    root = tmp_path_factory.mktemp("imported") / "run"
    call = ("import", *owner.options(), "--generator", "none", "--out", root, "--quiet")
    assert run([str(item) for item in call]) == 0
    return root


@pytest.fixture
def imported(_imported: Path, tmp_path: Path) -> Path:
    """An imported run, its generator untrained, that a test may change."""
    return Path(shutil.copytree(_imported, tmp_path / "run"))


def paths(owner: Owner) -> list[Path]:
    return sorted(owner.images.rglob("*.png"))


@pytest.mark.slow
def test_the_bundles_source_model_answers_as_the_owners_code(owner: Owner, imported: Path) -> None:
    from gformer_cli.folders.domains import ImageFile
    from gformer_cli.images.preprocessing import Decoded, read_image

    bundle = load_bundle(imported / "model.gformer")
    reads = [read_image(ImageFile(path.parent, path.name), bundle.preprocessing) for path in paths(owner)]
    pixels = torch.stack([read.pixels for read in reads if isinstance(read, Decoded)])
    inputs = bundle.preprocessing.network_input(pixels, torch.device("cpu"))
    with torch.no_grad():
        logits = bundle.backbone(inputs)
    torch.testing.assert_close(logits, owner.logits(paths(owner)), atol=1e-5, rtol=0.0)
    assert bundle.header.classes == CLASSES


def test_its_accuracy_is_the_owners_exactly(owner: Owner, gformer: Gformer, tmp_path: Path) -> None:
    right = [CLASSES[int(owner.logits([path]).argmax())] == path.parent.name for path in paths(owner)]
    expected = sum(right) / len(right)
    call = ["import", *owner.options(), "--out", tmp_path / "run", "--check", owner.images, "--json"]
    done = gformer(*call, "--expect", f"{expected:.4f}")
    assert done.status == 0, done.err
    accuracy = done.json["accuracy"]
    assert accuracy["accuracy"] == expected
    assert accuracy["images"] == 24
    assert set(accuracy["domains"]) == {"north", "south"}
    assert set(accuracy["classes"]) == set(CLASSES)
    assert done.json["suspicion"] is None


def test_another_accuracy_than_the_expected_is_an_error_and_nothing_is_written(
    owner: Owner, gformer: Gformer, tmp_path: Path
) -> None:
    done = gformer("import", *owner.options(), "--out", tmp_path / "run", "--check", owner.images, "--expect", "0.9")
    assert done.status == 1
    assert "of 24 images, and --expect says 0.9" in done.err
    assert not (tmp_path / "run").exists()


def test_an_expected_accuracy_needs_images(owner: Owner, gformer: Gformer, tmp_path: Path) -> None:
    done = gformer("import", *owner.options(), "--out", tmp_path / "run", "--expect", "0.9")
    assert done.status == 2 and "--check" in done.err
    (tmp_path / "flat").mkdir()
    shutil.copy(paths(owner)[0], tmp_path / "flat")
    call = ["import", *owner.options(), "--source", tmp_path / "flat", "--out", tmp_path / "run"]
    done = gformer(*call, "--expect", "0.9")
    assert done.status == 2 and "needs labelled images" in done.err


@pytest.mark.slow
def test_labelled_sources_calibrate_its_confidences_and_images_to_check_on_do_not(
    owner: Owner, gformer: Gformer, tmp_path: Path
) -> None:
    told = {}
    for option in ("--source", "--check"):
        run = tmp_path / option.strip("-")
        done = gformer("import", *owner.options(), option, owner.images, "--run", run)
        found = load_bundle(run / "model.gformer").header.temperatures
        told[option] = done.out, found
    text, found = told["--source"]
    assert found is not None and found.images > 24 and {found.source, found.adapted} != {1.0}
    assert f"temperature {found.source:g} (source), {found.adapted:g} (adapted)" in text
    shown = " ".join(gformer("inspect", "--run", tmp_path / "source").out.split())
    assert f"temperatures source {found.source:g} (ECE" in shown
    text, found = told["--check"]
    assert found is None and "not calibrated (temperature 1)" in text
    assert "temperatures 1: not calibrated" in " ".join(gformer("inspect", "--run", tmp_path / "check").out.split())
    gformer("import", "--run", tmp_path / "check", "--source", owner.images, "--generator", "universal", "--overwrite")
    assert load_bundle(tmp_path / "check" / "model.gformer").header.temperatures is not None


def test_it_says_what_it_took_the_model_for(owner: Owner, gformer: Gformer, tmp_path: Path) -> None:
    done = gformer("import", *owner.options(), "--out", tmp_path / "run", "--check", owner.images)
    assert done.status == 0
    assert "Weights: site.pth, entry state_dict" in done.err
    assert "Classes: 3 (zebra, ant, moth), from classes.txt" in done.err
    assert "shorter side to 36" in done.err and "from transform.json" in done.err
    assert "The generator is universal, which comes with gformer" in done.out
    assert f"Next: gformer adapt --target DIR --run {tmp_path / 'run'}" in done.out


def test_swapped_classes_are_told(owner: Owner, gformer: Gformer, tmp_path: Path) -> None:
    (tmp_path / "sorted.txt").write_text("\n".join(sorted(CLASSES)))
    call = [*owner.options(), "--classes", tmp_path / "sorted.txt", "--out", tmp_path / "run"]
    done = gformer("import", *call, "--check", owner.images)
    assert done.status == 0
    assert "are the classes in the order of the model's head?" in done.err
    assert "is read as" in done.err


@pytest.mark.slow
def test_it_adapts_at_once_as_bn_mix_does(owner: Owner, imported: Path, gformer: Gformer, tmp_path: Path) -> None:
    out = tmp_path / "rows.csv"
    done = gformer("adapt", "--run", imported, "--target", owner.images, "--out", out, "--probabilities")
    assert done.status == 0, done.err
    with out.open(newline="") as file:
        assert len(list(csv.DictReader(file))) == 24
    measured = gformer(
        "evaluate", "--run", imported, "--target", owner.images, "--methods", "source,bn-mix,gformer", "--json"
    )
    assert measured.status == 0, measured.err
    found = {item["method"]: item["targets"] for item in measured.json["summaries"]}
    assert found["gformer"] == found["bn-mix"]


@pytest.mark.slow
def test_it_is_measured_under_simulated_shifts(owner: Owner, imported: Path, gformer: Gformer) -> None:
    call = ["--run", imported, "--shifts", "--source", owner.images, "--methods", "source,gformer"]
    done = gformer("evaluate", *call, "--limit", "4", "--json")
    assert done.status == 0, done.err
    assert "not known which images the imported model was trained on" in done.err


@pytest.mark.slow
def test_meta_train_leaves_the_model_as_it_is(owner: Owner, imported: Path, gformer: Gformer, preset: Path) -> None:
    before = load_bundle(imported / "model.gformer").backbone.network.state_dict()
    call = ["--source", owner.images, "--run", imported, "--preset", preset, "--set", "meta_train.constant=false"]
    done = gformer("meta-train", *call, "--steps", "1", "--json")
    assert done.status == 0, done.err
    assert "simulated shifts only" in done.err and "--leave-one-domain-out N" in done.err
    after = load_bundle(imported / "model.gformer")
    assert all(torch.equal(tensor, before[name]) for name, tensor in after.backbone.network.state_dict().items())
    assert set(done.json["validation_accuracy"]) == {"gformer", "source", "bn"}
    assert after.header.lineage is not None and after.header.lineage.stage == "meta-train"


@pytest.mark.slow
def test_the_seed_of_an_imported_model_is_free(owner: Owner, imported: Path, gformer: Gformer, preset: Path) -> None:
    call = ["--source", owner.images, "--run", imported, "--preset", preset, "--set", "meta_train.constant=false"]
    assert gformer("meta-train", *call, "--steps", "1", "--seed", "7", "--quiet").status == 0
    assert load_bundle(imported / "model.gformer").header.settings.seed == 7


@pytest.mark.slow
def test_meta_train_makes_copies_without_each_domain(
    owner: Owner, imported: Path, gformer: Gformer, preset: Path
) -> None:
    call = ["--source", owner.images, "--run", imported, "--preset", preset, "--set", "meta_train.constant=false"]
    done = gformer("meta-train", *call, "--steps", "1", "--leave-one-domain-out", "1", "--quiet")
    assert done.status == 0, done.err
    assert {path.stem for path in (imported / "models").iterdir()} == {"all", "without-north", "without-south"}


@pytest.mark.slow
def test_unlabelled_images_are_enough_to_meta_train(
    owner: Owner, imported: Path, gformer: Gformer, preset: Path, tmp_path: Path
) -> None:
    flat = tmp_path / "flat"
    flat.mkdir()
    for path in paths(owner):
        shutil.copy(path, flat)
    call = ["--source", flat, "--run", imported, "--preset", preset, "--set", "meta_train.constant=false"]
    done = gformer("meta-train", *call, "--steps", "1")
    assert done.status == 0, done.err
    assert "domain flat has no labels: the model's answers to its images stand in for them" in done.err
    assert "Agreement with the model's answers" in done.out and "Accuracy" not in done.out


@pytest.mark.slow
def test_a_map_names_the_classes_of_folders(owner: Owner, gformer: Gformer, tmp_path: Path) -> None:
    renamed = Path(shutil.copytree(owner.images, tmp_path / "renamed"))
    for site in ("north", "south"):
        for number, label in enumerate(CLASSES):
            if (renamed / site / label).exists():
                (renamed / site / label).rename(renamed / site / f"n{number}")
    call = ["import", *owner.options(), "--out", tmp_path / "run", "--check", renamed, "--json"]
    refused = gformer(*call)
    assert refused.status == 2 and "--class-map" in refused.err
    table = tmp_path / "map.csv"
    table.write_text("folder,class\nn0,zebra\nn1,ant\nn2,moth\n")
    done = gformer(*call, "--class-map", table)
    assert done.status == 0, done.err
    plain = gformer("import", *owner.options(), "--out", tmp_path / "plain", "--check", owner.images, "--json")
    assert done.json["accuracy"] == plain.json["accuracy"]
    measured = [
        gformer("evaluate", "--run", run, "--target", images, "--methods", "source", "--json").json["summaries"]
        for run, images in ((tmp_path / "run", renamed), (tmp_path / "plain", owner.images))
    ]
    assert measured[0][0]["targets"] == measured[1][0]["targets"]  # the bundle keeps the map
    again = gformer(
        *("evaluate", "--run", tmp_path / "plain", "--target", renamed, "--methods", "source", "--json"),
        *("--class-map", table, "--out", tmp_path / "results"),
    )
    assert again.json["summaries"][0]["targets"] == measured[0][0]["targets"]


def test_inspect_tells_where_the_model_is_from(owner: Owner, imported: Path, gformer: Gformer) -> None:
    import hashlib

    done = gformer("inspect", "--run", imported)
    assert done.status == 0
    assert f"site.pth, entry state_dict (SHA-256 {hashlib.sha256(owner.weights.read_bytes()).hexdigest()})" in done.out
    assert "from classes.txt" in done.out and "from transform.json" in done.out
    assert "untrained" in done.out and "gformer import" in done.out


def test_a_generator_from_elsewhere(owner: Owner, bundle: Path, gformer: Gformer, tmp_path: Path) -> None:
    call = ["import", *owner.options(), "--out", tmp_path / "run", "--generator", bundle]
    done = gformer(*call)
    assert done.status == 0, done.err
    made, given = load_bundle(tmp_path / "run" / "model.gformer"), load_bundle(bundle)
    found = made.model.generator.state_dict()  # type: ignore[union-attr]
    wanted = given.model.generator.state_dict()  # type: ignore[union-attr]
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)
    verified = gformer("inspect", "--run", tmp_path / "run", "--parent", bundle)
    assert verified.status == 0, verified.err


@pytest.mark.parametrize("more", [[], ["--dry-run"]])
def test_a_generator_that_is_none_is_told_before_anything_is_measured(
    owner: Owner, gformer: Gformer, tmp_path: Path, more: list[str]
) -> None:
    call = ["import", *owner.options(), "--out", tmp_path / "run", "--generator", owner.classes, *more]
    done = gformer(*call, "--check", owner.images)
    assert done.status == 2 and "not a generator file" in done.err
    assert "measuring" not in done.err and not (tmp_path / "run").exists()


def test_dry_run_touches_nothing(owner: Owner, gformer: Gformer, tmp_path: Path) -> None:
    done = gformer("import", *owner.options(), "--out", tmp_path / "run", "--check", owner.images, "--dry-run")
    assert done.status == 0 and "Dry run: nothing was touched." in done.out
    assert not (tmp_path / "run").exists()


def test_of_a_table_the_images_of_other_splits_are_no_sources(owner: Owner, gformer: Gformer, tmp_path: Path) -> None:
    rows = [
        f"{path},{('train', 'test')[number % 2]}" for number, path in enumerate(sorted(owner.images.rglob("*.png")))
    ]
    table = tmp_path / "plant.csv"
    table.write_text("\n".join(["path,split", *rows]))
    done = gformer("import", *owner.options(), "--out", tmp_path / "run", "--source", table, "--dry-run")
    assert done.status == 0 and "12 images are left out: of another split than train and validation" in done.err


def test_dry_run_downloads_nothing(gformer: Gformer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gformer_cli.weights.published.Published.load", lambda _: pytest.fail("downloaded"))
    done = gformer("import", "--backbone", "resnet18", "--weights", "default", "--out", tmp_path / "run", "--dry-run")
    assert done.status == 0, done.err
    assert "IMAGENET1K_V1, which would be downloaded" in done.err


def test_a_run_is_replaced_when_that_is_said(owner: Owner, imported: Path, gformer: Gformer) -> None:
    refused = gformer("import", *owner.options(), "--out", imported)
    assert refused.status == 2 and "--overwrite" in refused.err
    done = gformer("import", *owner.options(), "--out", imported, "--overwrite")
    assert done.status == 0, done.err
    assert not (imported / "next").exists()


def test_the_same_call_writes_the_same_bundle(owner: Owner, imported: Path, gformer: Gformer, tmp_path: Path) -> None:
    call = ["import", *owner.options(), "--generator", "none", "--out", tmp_path / "again"]
    assert gformer(*call).status == 0
    assert (tmp_path / "again" / "model.gformer").read_bytes() == (imported / "model.gformer").read_bytes()


def test_set_wins_over_the_transform(owner: Owner, gformer: Gformer, tmp_path: Path) -> None:
    done = gformer(
        *("import", *owner.options(), "--out", tmp_path / "run", "--set", "data.interpolation=nearest", "--json")
    )
    assert done.status == 0 and done.json["preprocessing"]["interpolation"] == "nearest"


class TestBadInput:
    def call(self, gformer: Gformer, owner: Owner, tmp_path: Path, **changed: object) -> Any:
        options = {"backbone": "shufflenet_v2_x0_5", "weights": owner.weights, "classes": owner.classes}
        options |= {"transform": owner.transform} | changed
        given = [item for name, value in options.items() if value for item in (f"--{name}", value)]
        done = gformer("import", *given, "--out", tmp_path / "run")
        assert not (tmp_path / "run").exists() or done.status == 0
        return done

    def test_two_classes_for_a_head_of_three(self, owner: Owner, gformer: Gformer, tmp_path: Path) -> None:
        (tmp_path / "two.txt").write_text("a\nb")
        done = self.call(gformer, owner, tmp_path, classes=tmp_path / "two.txt")
        assert done.status == 2 and "two.txt names 2 classes, and the model has 3 outputs" in done.err

    def test_a_list_of_classes_with_a_header(self, owner: Owner, gformer: Gformer, tmp_path: Path) -> None:
        (tmp_path / "headed.txt").write_text("\n".join(["name", *CLASSES]))
        done = self.call(gformer, owner, tmp_path, classes=tmp_path / "headed.txt")
        assert done.status == 2 and "headed.txt names 4 classes, and the model has 3 outputs" in done.err
        assert "'name' at its beginning looks like a header" in done.err

    def test_another_network(self, owner: Owner, gformer: Gformer, tmp_path: Path) -> None:
        done = self.call(gformer, owner, tmp_path, backbone="resnet50")
        assert done.status == 2 and "are of another network" in done.err

    def test_no_head(self, owner: Owner, gformer: Gformer, tmp_path: Path) -> None:
        state = {name: value for name, value in owner.network.state_dict().items() if not name.startswith("fc.")}
        save_file(state, tmp_path / "body.safetensors")
        done = self.call(gformer, owner, tmp_path, weights=tmp_path / "body.safetensors")
        assert done.status == 2 and "fc.weight" in done.err

    def test_a_truncated_file(self, owner: Owner, gformer: Gformer, tmp_path: Path) -> None:
        (tmp_path / "cut.pth").write_bytes(owner.weights.read_bytes()[:100_000])
        done = self.call(gformer, owner, tmp_path, weights=tmp_path / "cut.pth")
        assert done.status == 2 and "cut.pth" in done.err

    def test_a_whole_pickled_model_is_not_run(self, owner: Owner, gformer: Gformer, tmp_path: Path) -> None:
        torch.save(owner.network, tmp_path / "whole.pth")
        done = self.call(gformer, owner, tmp_path, weights=tmp_path / "whole.pth")
        assert done.status == 2 and "torch.save(model.state_dict()" in done.err and "\x1b" not in done.err

    def test_no_classes_anywhere(self, owner: Owner, gformer: Gformer, tmp_path: Path) -> None:
        done = self.call(gformer, owner, tmp_path, classes=None)
        assert done.status == 2 and "--classes FILE" in done.err

    def test_an_empty_list_of_classes(self, owner: Owner, gformer: Gformer, tmp_path: Path) -> None:
        (tmp_path / "none.txt").write_text("\n")
        done = self.call(gformer, owner, tmp_path, classes=tmp_path / "none.txt")
        assert done.status == 2 and "names no class" in done.err

    def test_one_name_twice(self, owner: Owner, gformer: Gformer, tmp_path: Path) -> None:
        (tmp_path / "twice.txt").write_text("a\nb\na")
        done = self.call(gformer, owner, tmp_path, classes=tmp_path / "twice.txt")
        assert done.status == 2 and "'a' is line 1 and line 3" in done.err

    @pytest.mark.parametrize("lacking", ["backbone", "weights"])
    def test_what_is_missing(self, owner: Owner, gformer: Gformer, tmp_path: Path, lacking: str) -> None:
        done = self.call(gformer, owner, tmp_path, **{lacking: None})
        assert done.status == 2 and f"--{lacking} is missing" in done.err

    def test_a_network_that_knows_nothing(self, owner: Owner, gformer: Gformer, tmp_path: Path) -> None:
        done = self.call(gformer, owner, tmp_path, weights="none")
        assert done.status == 2 and "gformer pretrain" in done.err

    def test_own_code_has_no_transform_of_its_own(self, owner: Owner, gformer: Gformer, tmp_path: Path) -> None:
        code = tmp_path / "own.py"
        code.write_text(
            "import torchvision\n\ndef own(n):\n    return torchvision.models.shufflenet_v2_x0_5(num_classes=n)\n"
        )
        done = self.call(gformer, owner, tmp_path, backbone=f"{code}:own", transform=None)
        assert done.status == 2 and "--transform" in done.err
        done = self.call(gformer, owner, tmp_path, backbone=f"{code}:own")
        assert done.status == 0, done.err


def test_classes_that_the_checkpoint_names(owner: Owner, gformer: Gformer, tmp_path: Path) -> None:
    index = {name: number for number, name in enumerate(CLASSES)}
    torch.save({"model": owner.network.state_dict(), "class_to_idx": index}, tmp_path / "named.pth")
    call = ["--backbone", "shufflenet_v2_x0_5", "--weights", tmp_path / "named.pth", "--transform", owner.transform]
    done = gformer("import", *call, "--out", tmp_path / "run", "--json")
    assert done.status == 0, done.err
    assert done.json["classes"] == CLASSES and done.json["origin"]["classes"] == "named.pth"


def test_averaged_weights_are_taken_when_they_are_named(owner: Owner, gformer: Gformer, tmp_path: Path) -> None:
    plain = owner.network.state_dict()
    average = {name: value + 0.5 if name == "fc.bias" else value for name, value in plain.items()}
    torch.save({"state_dict": plain, "state_dict_ema": average}, tmp_path / "both.pth")
    call = ["--backbone", "shufflenet_v2_x0_5", "--weights", tmp_path / "both.pth", "--classes", owner.classes]
    done = gformer("import", *call, "--out", tmp_path / "plain")
    assert done.status == 0 and "it also holds: state_dict_ema (--weights-key takes another)" in done.err
    done = gformer("import", *call, "--out", tmp_path / "ema", "--weights-key", "state_dict_ema")
    assert done.status == 0, done.err
    found = load_bundle(tmp_path / "ema" / "model.gformer").backbone.network.state_dict()
    assert torch.equal(found["fc.bias"], average["fc.bias"])


def test_indices_come_before_a_list_that_may_be_sorted(owner: Owner, gformer: Gformer, tmp_path: Path) -> None:
    index = {name: number for number, name in enumerate(CLASSES)}
    state = owner.network.state_dict()
    torch.save({"state_dict": state, "classes": sorted(CLASSES), "class_to_idx": index}, tmp_path / "both.pth")
    call = ["--backbone", "shufflenet_v2_x0_5", "--weights", tmp_path / "both.pth", "--out", tmp_path / "run", "--json"]
    assert gformer("import", *call).json["classes"] == CLASSES


def test_classes_that_are_not_those_of_the_file_are_told(owner: Owner, gformer: Gformer, tmp_path: Path) -> None:
    index = {name: number for number, name in enumerate(CLASSES)}
    torch.save({"state_dict": owner.network.state_dict(), "class_to_idx": index}, tmp_path / "named.pth")
    (tmp_path / "sorted.txt").write_text("\n".join(sorted(CLASSES)))
    call = ["--backbone", "shufflenet_v2_x0_5", "--weights", tmp_path / "named.pth", "--classes"]
    done = gformer("import", *call, tmp_path / "sorted.txt", "--out", tmp_path / "run")
    assert done.status == 0
    assert "warning: named.pth itself names other classes, or in another order: zebra, ant, moth" in done.err
    assert "itself names" not in gformer("import", *call, owner.classes, "--out", tmp_path / "own").err


def test_images_of_16_bits_are_told(owner: Owner, gformer: Gformer, tmp_path: Path) -> None:
    path = tmp_path / "deep" / "ant" / "a.png"
    path.parent.mkdir(parents=True)
    Image.fromarray(np.full((40, 40), 3000, dtype=np.uint16)).save(path)
    done = gformer("import", *owner.options(), "--check", tmp_path / "deep", "--out", tmp_path / "run")
    assert done.status == 0, done.err
    assert "Code that converts them to RGB as they are reads them otherwise" in done.err
