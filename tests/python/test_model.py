"""A model in a Python program: the numbers of the command line, in whichever form images come."""

from __future__ import annotations

import csv
import json
import math
import pickle
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

import gformer_cli as gformer
from gformer_cli.app import run
from gformer_cli.core.generalizeformer import GeneralizeFormer
from tests.python.conftest import GOLDEN

LIMITS = {"smallest-batch": 4.0, "strangeness": -4.0, "strangeness-far": -1.0}
"""Of a guard that decides in every way on the golden images."""


def adapted(out: Path, *options: object) -> list[dict[str, Any]]:
    """The rows that `gformer adapt` writes for the golden images, in batches of five, and `out/parameters`."""
    arguments = ["adapt", "--model", GOLDEN / "bundles" / "guarded.gformer", "--target", GOLDEN / "images"]
    arguments += [
        "--out",
        out / "p.jsonl",
        "--save-parameters",
        out / "parameters",
        "--batch-size",
        5,
        "--order",
        "name",
    ]
    common = ["--probabilities", "--quiet", "--device", "cpu", "--threads", 1]
    assert run([str(word) for word in [*arguments, *common, *options]]) == 0
    return [json.loads(line) for line in (out / "p.jsonl").read_text().splitlines()]


def rounded(probabilities: torch.Tensor) -> list[list[float]]:
    return [[round(value, 6) for value in row] for row in probabilities.tolist()]


@pytest.mark.parametrize("guard", ["on", "warn", "off"])
def test_it_has_the_numbers_of_adapt_to_the_bit(guard: Any, tmp_path: Path) -> None:
    limits = {} if guard == "off" else LIMITS
    rows = adapted(tmp_path, "--guard", guard, *(f"--guard-limit={name}={value}" for name, value in limits.items()))
    model = gformer.load(
        GOLDEN / "bundles" / "guarded.gformer", device="cpu", guard=guard, guard_limits=limits, workers=2
    )
    seen = set()
    for number in range(8):
        batch = [row for row in rows if row["batch"] == number]
        result = model.predict([GOLDEN / "images" / row["path"] for row in batch])
        assert rounded(result.probabilities) == [[*row["probabilities"].values()] for row in batch]
        assert [round(value, 6) for value in result.confidence.tolist()] == [row["confidence"] for row in batch]
        assert result.labels == [row["label"] for row in batch]
        assert result.source_labels == [row["source_label"] for row in batch]
        assert {result.decision} == {row["decision"] for row in batch}
        written = load_file(tmp_path / "parameters" / f"batch-{number:06d}.safetensors")
        assert written.keys() == result.parameters.keys()
        assert all(torch.equal(written[name], tensor) for name, tensor in result.parameters.items())
        seen.add(result.decision)
    assert seen == ({"generated"} if guard == "off" else {"generated", "blended", "source"})


def test_a_stream_with_a_context_has_the_numbers_of_watch() -> None:
    with (GOLDEN / "predictions" / "channel-none-5-context.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    model = gformer.load(GOLDEN / "bundles" / "channel-none.gformer", device="cpu")
    for target in ("fog", "night"):
        wanted = [row for row in rows if row["target"] == target]
        images = [GOLDEN / "images" / target / Path(row["path"]).name.replace("-", "/") for row in wanted]
        results = list(model.stream(images, batch_size=5, context=2))
        assert [len(result) for result in results] == [5, 5, 2]
        found = torch.cat([result.probabilities for result in results])
        columns = [[float(row[f"probability:{name}"]) for name in model.classes] for row in wanted]
        assert torch.allclose(found, torch.tensor(columns), atol=1e-5)
        plain = torch.cat([result.probabilities for result in model.stream(images, batch_size=5)])
        assert not torch.allclose(found, plain, atol=1e-3)


def test_every_form_of_an_image_gives_the_same(model: gformer.Model, files: list[Path]) -> None:
    files = files[:4]
    arrays = [np.asarray(Image.open(file)) for file in files]
    forms: dict[str, Any] = {
        "texts": [str(file) for file in files],
        "contents": [file.read_bytes() for file in files],
        "Pillow": [Image.open(file) for file in files],
        "arrays": iter(arrays),
        "one array": np.stack(arrays),
        "tensors": [torch.from_numpy(array.copy()).permute(2, 0, 1) for array in arrays],
        "one tensor": torch.from_numpy(np.stack(arrays)).permute(0, 3, 1, 2),
        "input": torch.stack([model.preprocessing(file) for file in files]),
        "inputs": [model.preprocessing(array) for array in arrays],
        "mixed": [files[0], arrays[1], Image.open(files[2]), files[3].read_bytes()],
    }
    wanted = model.predict(files)
    for name, images in forms.items():
        found = model.predict(images)
        assert torch.equal(found.probabilities, wanted.probabilities), name
        assert found.positions == (0, 1, 2, 3)


def test_images_of_other_sizes_and_modes_are_prepared_as_their_files_are(model: gformer.Model, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    images = [
        Image.fromarray(random.integers(0, 256, (20, 30, 3), dtype=np.uint8)),
        Image.fromarray(random.integers(0, 256, (33, 17), dtype=np.uint8)),
        Image.fromarray(random.integers(0, 256, (16, 40, 4), dtype=np.uint8)),
        Image.fromarray(random.integers(0, 65536, (24, 24), dtype=np.uint16)),
    ]
    turned = Image.Exif()
    turned[0x0112] = 6  # a quarter turn
    for number, image in enumerate(images):
        image.save(tmp_path / f"{number}.png", exif=turned)
    opened = [Image.open(tmp_path / f"{number}.png") for number in range(4)]
    sizes = [image.size for image in opened]
    wanted = [model.preprocessing(tmp_path / f"{number}.png") for number in range(4)]
    assert all(torch.equal(model.preprocessing(image), tensor) for image, tensor in zip(opened, wanted, strict=True))
    assert [image.size for image in opened] == sizes and [image.mode for image in opened][2] == "RGBA"


def test_a_stream_asks_for_no_image_before_it_is_due(model: gformer.Model, files: list[Path]) -> None:
    asked = []

    def camera() -> Iterator[Path]:
        for number in range(10**9):
            asked.append(number)
            yield files[number % len(files)]

    results = model.stream(camera(), batch_size=3)
    assert not asked
    first, second = next(results), next(results)
    assert len(asked) == 6
    assert (first.number, second.number, second.positions) == (0, 1, (3, 4, 5))
    assert torch.equal(first.probabilities, model.predict(files[:3]).probabilities)


def test_a_stream_goes_on_without_what_cannot_be_read(model: gformer.Model, files: list[Path]) -> None:
    images = [files[0], b"nonsense", files[1], files[2], b"", files[3], "no-such-file.png"]
    told: list[tuple[int, str]] = []
    results = list(model.stream(images, batch_size=3, on_unreadable=lambda place, why: told.append((place, why))))
    assert [result.positions for result in results] == [(0, 2, 3), (5,)]
    assert torch.equal(results[0].probabilities, model.predict(files[:3]).probabilities)
    assert [place for place, _ in told] == [1, 4, 6]
    assert told[1][1] == "the file is empty" and told[2][1].startswith("no-such-file.png: ")
    assert not list(model.stream([b"nonsense"], on_unreadable=lambda *_: None))
    with pytest.raises(gformer.InputError, match="image 1, not an image"):
        list(model.stream(images, batch_size=3))


def test_threads_share_one_model(model: gformer.Model, files: list[Path]) -> None:
    groups = [files[start : start + 3] for start in range(0, 15, 3)]
    wanted = [model.predict(group).probabilities for group in groups]
    pooled = [result.probabilities for result in model.stream(files, 4, context=2)]

    def stream(_: int) -> list[torch.Tensor]:
        return [result.probabilities for result in model.stream(files, 4, context=2)]

    with ThreadPoolExecutor(6) as pool:
        streams = [pool.submit(stream, number) for number in range(2)]
        found = list(pool.map(lambda group: model.predict(group).probabilities, groups * 2))
    assert all(torch.equal(*pair) for pair in zip(found, wanted * 2, strict=True))
    assert all(torch.equal(*pair) for each in streams for pair in zip(each.result(), pooled, strict=True))


def test_the_module_drops_into_an_evaluation_loop(model: gformer.Model, files: list[Path]) -> None:
    before = {name: tensor.clone() for name, tensor in model.module.state_dict().items()}
    images = torch.stack([model.preprocessing(file) for file in files[:6]])
    module = model.module.train().to("cpu")
    logits = module(images)
    assert not any(part.training for part in module.modules()) and not logits.requires_grad
    heat = model._bundle.temperatures.adapted
    assert torch.equal((logits / heat).softmax(dim=1), model.predict(files[:6]).probabilities)
    assert all(torch.equal(tensor, before[name]) for name, tensor in module.state_dict().items())
    with pytest.raises(gformer.InputError, match=r"\(B, 3, S, S\)"):
        module(images[0])


def test_the_guard_is_obeyed_or_heard_or_off(files: list[Path]) -> None:
    path, never = GOLDEN / "bundles" / "guarded.gformer", {"strangeness": -1e9, "strangeness-far": -1e9}
    on, warn, off = (
        gformer.load(path, device="cpu", guard=mode, guard_limits=limits)
        for mode, limits in [("on", never), ("warn", never), ("off", None)]
    )
    assert [model.guard for model in (on, warn, off)] == ["on", "warn", "off"]
    obeyed, heard, alone = (model.predict(files[:6]) for model in (on, warn, off))
    assert torch.equal(obeyed.probabilities, obeyed.source_probabilities)
    assert torch.equal(heard.probabilities, alone.probabilities)
    assert not torch.equal(alone.probabilities, alone.source_probabilities)
    assert obeyed.decision == heard.decision == "source" and "strangeness" in heard.reasons
    assert (obeyed.share, alone.decision, alone.signals) == (0.0, "generated", {})
    assert {"strangeness", "expected_loss", "entropy"} <= heard.signals.keys()


ARRAY = np.zeros((8, 8, 3), np.uint8)


@pytest.mark.parametrize(
    ("images", "told"),
    [
        ([], "there are no images"),
        ("photo.jpg", "a str is one image, not a batch"),
        (ARRAY, r"an array \(8, 8, 3\) is one image"),
        (torch.zeros(16, 16), r"a tensor \(16, 16\) is one image"),
        (3, "an object of type int holds no images"),
        ({"a": ARRAY}, "an object of type dict holds no images"),
        ([ARRAY, 3], "image 1, an object of type int is no image"),
        ([ARRAY[..., :2]], r"image 0, an array \(8, 8, 2\) is no image"),
        ([ARRAY.astype(np.float32)], "image 0, an array of float32 is no image"),
        (["nope.png", ARRAY, b"x"], "image 0, nope.png: No such file or directory; image 2, not an image"),
        ([Image.new("RGBA", (4, 4))], "wholly transparent"),
        (torch.zeros(2, 3, 9, 9), r"\(3, 9, 9\) is not the network's input, \(3, 16, 16\)"),
        (torch.full((1, 3, 16, 16), float("nan")), "not finite"),
        ([torch.zeros(3, 16, 16), ARRAY], "some images of a batch are the network's input already"),
        ([b""] * 9, "image 4, the file is empty; and 4 more"),
    ],
)
def test_images_that_cannot_be_used_are_told(model: gformer.Model, images: Any, told: str) -> None:
    with pytest.raises(gformer.InputError, match=told):
        model.predict(images)


@pytest.mark.parametrize(
    ("options", "kind", "told"),
    [
        ({"guard": "maybe"}, ValueError, "on, warn, off"),
        ({"precision": "half"}, ValueError, "float32"),
        ({"white_level": 0}, ValueError, "above 0"),
        ({"temperature": 0.0}, ValueError, "from 0.01 to 100"),
        ({"device": "gpu"}, gformer.InputError, "no such device"),
        ({"guard_limits": {"strange": 1.0}}, gformer.InputError, "Did you mean 'strangeness'"),
        ({"guard_limits": {"smallest-batch": -1.0}}, gformer.InputError, "between 0 and"),
        ({"guard_limits": {"strangeness": 1.0}, "guard": "off"}, gformer.InputError, "guard is off"),
        ({"backbone": "net.py:build"}, gformer.InputError, "does not go with"),
        ({"path": "no-such-file.gformer"}, gformer.InputError, "no such bundle"),
        ({"path": GOLDEN}, gformer.InputError, "model.gformer"),
    ],
)
def test_a_model_that_cannot_be_loaded_is_told(options: dict[str, Any], kind: type[Exception], told: str) -> None:
    path = options.pop("path", GOLDEN / "bundles" / "guarded.gformer")
    with pytest.raises(kind, match=told):
        gformer.load(path, **options)


def test_a_run_folder_is_loaded_by_its_bundle_and_a_static_one_takes_no_context(
    files: list[Path], tmp_path: Path
) -> None:
    (tmp_path / "model.gformer").write_bytes((GOLDEN / "bundles" / "static.gformer").read_bytes())
    model = gformer.load(tmp_path, device="cpu")
    assert (model.guard, model.predict(files[:3]).decision) == ("off", "generated")
    with pytest.raises(gformer.InputError, match="static"):
        model.stream(files, context=2)
    for wrong in ({"batch_size": 0}, {"context": -1}):
        with pytest.raises(ValueError, match="or more"):
            model.stream(files, **wrong)


def test_loading_is_quiet_and_leaves_the_random_numbers_alone(
    files: list[Path], capfd: pytest.CaptureFixture[str]
) -> None:
    torch.manual_seed(7)
    wanted = torch.rand(3)
    torch.manual_seed(7)
    gformer.load(GOLDEN / "bundles" / "guarded.gformer", device="cpu").predict(files[:2])
    assert torch.equal(torch.rand(3), wanted)
    assert capfd.readouterr() == ("", "")


def test_a_batch_that_overflows_is_forgotten_by_its_stream(files: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    model = gformer.load(GOLDEN / "bundles" / "channel-none.gformer", device="cpu")
    wanted = model.predict(files[:4]).probabilities
    forward, calls = GeneralizeFormer.forward, []

    def overflowing(*arguments: Any) -> Any:
        calls.append(arguments)
        found = forward(*arguments)
        return replace(found, logits=found.logits * math.nan) if len(calls) == 1 else found

    monkeypatch.setattr(GeneralizeFormer, "forward", overflowing)
    broken, after = model.stream([*files[4:8], *files[:4]], 4, context=3)
    assert (broken.decision, broken.reasons) == ("source", ("overflow",))
    assert torch.equal(broken.probabilities, broken.source_probabilities)
    assert torch.allclose(after.probabilities, wanted, atol=1e-6)


def test_a_batch_that_cannot_fit_is_refused(
    model: gformer.Model, files: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gformer_cli.bundle.described.free_memory", lambda device: 100_000)
    with pytest.raises(gformer.InputError, match="Predict fewer together"):
        model.predict(files)


def test_precision_white_level_and_temperature_take_effect(
    model: gformer.Model, files: list[Path], tmp_path: Path
) -> None:
    path = GOLDEN / "bundles" / "guarded.gformer"
    rough = gformer.load(path, device="cpu", precision="bfloat16").predict(files[:4])
    exact = model.predict(files[:4])
    cool = gformer.load(path, device="cpu", temperature=100).predict(files[:4])
    assert (cool.labels, cool.source_labels) == (exact.labels, exact.source_labels)
    assert float(cool.confidence.max()) < 0.55 < float(exact.confidence.max())
    assert not torch.equal(rough.probabilities, exact.probabilities)
    assert torch.allclose(rough.probabilities, exact.probabilities, atol=0.05)
    deep = np.full((16, 16), 4095, np.uint16)
    Image.fromarray(deep).save(tmp_path / "deep.png")
    said = gformer.load(path, device="cpu", white_level=4095)
    for image in (tmp_path / "deep.png", Image.open(tmp_path / "deep.png"), (tmp_path / "deep.png").read_bytes()):
        assert float(model.preprocessing(image).max()) < -1.0 < 2.0 < float(said.preprocessing(image).max())


def test_its_preprocessing_goes_to_the_processes_of_a_data_loader(model: gformer.Model, files: list[Path]) -> None:
    sent = pickle.loads(pickle.dumps(model.preprocessing))
    assert torch.equal(sent(files[0]), model.preprocessing(files[0]))


def test_importing_it_imports_no_torch_until_it_is_used() -> None:
    code = (
        "import sys, gformer_cli as gformer\n"
        "assert {'load', 'wrap', 'Model', 'Result', 'InputError'} <= set(dir(gformer))\n"
        "gformer.InputError\n"
        "assert not hasattr(gformer, 'nonsense')\n"
        "sys.exit('torch' in sys.modules)\n"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
