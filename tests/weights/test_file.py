"""Files of weights as the training scripts of others write them."""

from __future__ import annotations

import argparse
import hashlib
import os
import pathlib
from collections import OrderedDict, defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from gformer_cli.errors import InputError
from gformer_cli.weights.file import WeightsFile, read_weights

State = dict[str, torch.Tensor]


def tensors(seed: int = 0) -> State:
    generator = torch.Generator().manual_seed(seed)
    return {"conv.weight": torch.rand(2, 3, 1, 1, generator=generator), "fc.bias": torch.rand(2, generator=generator)}


def equal(found: State, expected: State) -> bool:
    return list(found) == list(expected) and all(torch.equal(found[name], expected[name]) for name in expected)


@pytest.fixture(params=[True, False], ids=["zip", "old"])
def zipped(request: pytest.FixtureRequest) -> bool:
    """Both formats of `torch.save`."""
    return bool(request.param)


@pytest.fixture
def file(tmp_path: Path, zipped: bool) -> Any:
    """Saves what it is given and reads it again."""

    def call(content: Any, entry: str | None = None, **options: Any) -> WeightsFile:
        torch.save(content, tmp_path / "site.pth", _use_new_zipfile_serialization=zipped, **options)
        return read_weights(tmp_path / "site.pth", entry=entry)

    return call


def refused(match: str, call: Any, *arguments: Any, **options: Any) -> InputError:
    with pytest.raises(InputError, match=match) as caught:
        call(*arguments, **options)
    assert caught.value.hint and "\033" not in str(caught.value) and len(str(caught.value)) < 500
    return caught.value


# --- tensors


def test_a_plain_state_dict(file: Any, tmp_path: Path) -> None:
    found = file(tensors())
    assert equal(found.tensors, tensors())
    assert (found.entry, found.others, found.classes) == (None, (), None)
    assert found.sha256 == hashlib.sha256((tmp_path / "site.pth").read_bytes()).hexdigest()


def test_safetensors_whatever_the_suffix(tmp_path: Path) -> None:
    save_file(tensors(), tmp_path / "weights.bin")
    assert read_weights(tmp_path / "weights.bin").tensors.keys() == tensors().keys()
    assert torch.equal(read_weights(tmp_path / "weights.bin").tensors["fc.bias"], tensors()["fc.bias"])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64, torch.int64, torch.uint8, torch.bool])
def test_types_are_kept(file: Any, dtype: torch.dtype) -> None:
    value = (tensors()["conv.weight"] * 9).to(dtype)
    assert equal(file({"w": value}).tensors, {"w": value})


def test_views_parameters_and_empty_tensors(file: Any) -> None:
    base = torch.arange(12.0).reshape(3, 4)
    tagged = nn.Parameter(base.clone())
    tagged.note = "kept by torch as state"  # type: ignore[attr-defined]
    content = {"whole": base, "turned": base.T, "row": base[1], "parameter": nn.Parameter(base), "none": base[:0]}
    assert equal(file(content | {"tagged": tagged}).tensors, content | {"tagged": tagged})


def test_a_state_dicts_own_extras_are_no_tensors(file: Any) -> None:
    network = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    assert equal(file(network.state_dict()).tensors, network.state_dict())


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_every_protocol(file: Any, protocol: int) -> None:
    assert equal(file({"model": tensors()}, pickle_protocol=protocol).tensors, tensors())


# --- wrappers

WRAPPERS = (
    *("state_dict", "model", "model_state_dict", "model_dict", "net", "network", "params"),
    *("ema", "model_ema", "state_dict_ema", "weights"),
)


@pytest.mark.parametrize("key", WRAPPERS)
def test_wrappers_are_opened(tmp_path: Path, key: str) -> None:
    torch.save({"epoch": 3, key: tensors(), "loss": torch.tensor(0.5)}, tmp_path / "w.pth")
    found = read_weights(tmp_path / "w.pth")
    assert equal(found.tensors, tensors()) and (found.entry, found.others) == (key, ())


def test_a_wrapper_in_a_wrapper(file: Any) -> None:
    assert file({"checkpoint": {"model": {"state_dict": tensors()}}}).entry == "checkpoint.model.state_dict"


def test_a_sole_wrapper_of_an_unusual_name(file: Any) -> None:
    assert file({"my_classifier": tensors(), "step": 3}).entry == "my_classifier"


def test_the_plain_model_is_taken_and_the_average_named(file: Any) -> None:
    content = {"state_dict_ema": tensors(1), "state_dict": tensors(0), "optimizer": {"state": tensors(2)}}
    found = file(content)
    assert equal(found.tensors, tensors(0)) and found.entry == "state_dict" and found.others == ("state_dict_ema",)
    other = file(content, "state_dict_ema")
    assert equal(other.tensors, tensors(1)) and other.entry == "state_dict_ema" and other.others == ("state_dict",)


def test_an_average_under_a_prefix_can_be_taken(file: Any) -> None:
    flat = {
        f"{prefix}.{name}": value for n, prefix in enumerate(["net", "ema_model"]) for name, value in tensors(n).items()
    }
    found = file({"state_dict": flat})
    assert equal(found.tensors, flat) and found.others == ("state_dict.ema_model",)
    assert equal(file({"state_dict": flat}, "state_dict.ema_model").tensors, tensors(1))
    assert equal(file(flat, "net").tensors, tensors(0))


def test_an_optimizers_tensors_are_never_taken(file: Any) -> None:
    parameter = nn.Parameter(torch.ones(2, 2))
    optimizer = torch.optim.Adam([parameter])
    parameter.sum().backward()
    optimizer.step()
    found = file({"optimizer_state_dict": optimizer.state_dict(), "opt": optimizer.state_dict(), "body": tensors()})
    assert found.entry == "body" and found.others == ()


def test_two_sets_alike_must_be_told_apart(file: Any) -> None:
    content = {"student": tensors(0), "teacher": tensors(1)}
    error = refused("several sets of weights: student, teacher", file, content)
    assert "--weights-key student" in error.hint
    assert equal(file(content, "teacher").tensors, tensors(1))


@pytest.mark.parametrize("entry", ["state_dic", "state_dict.ema", "", "optimizer"])
def test_an_entry_that_is_not_there(file: Any, entry: str) -> None:
    content = {"state_dict": tensors(), "model_ema": tensors(1)}
    assert "There are: state_dict, model_ema" in refused("no weights under", file, content, entry).hint


def test_a_checkpoint_that_holds_itself(file: Any) -> None:
    content: dict[str, Any] = {"model": tensors()}
    content["again"] = content
    assert file(content).entry == "model"


# --- what lies beside the weights


class Unknown(dict[str, Any]):
    """A class that only the training script knew: as a mapping, a list, with attributes."""


class UnknownList(list[Any]):
    pass


BESIDE: dict[str, Any] = {
    "args": argparse.Namespace(lr=0.1, output=pathlib.PurePosixPath("out")),
    "hyper_parameters": Unknown(classes=3, inner=Unknown(a=1)),
    "history": UnknownList([np.float64(0.3), np.arange(3)]),
    "counts": defaultdict(list, {"a": [1]}),
    "order": OrderedDict(a=1),
    "function": os.path.join,
    "set": {1, 2, Path},
    "bytes": b"abc",
    "keys": {Path: 3, (Path, 1): 4},
}


@pytest.mark.parametrize("what", BESIDE)
def test_objects_beside_the_weights_do_no_harm(file: Any, what: str) -> None:
    assert equal(file({what: BESIDE[what], "model": tensors()}).tensors, tensors())


def test_weights_in_a_mapping_of_an_unknown_class(file: Any) -> None:
    assert equal(file(Unknown(state_dict=Unknown(tensors()))).tensors, tensors())


class Runs:
    """Unpickled, it calls `function`."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


@pytest.mark.parametrize("protocol", [2, 4])
def test_code_that_starts_a_program_is_refused_and_not_run(file: Any, tmp_path: Path, protocol: int) -> None:
    content = {"model": tensors(), "x": Runs(os.system, f"touch {tmp_path / 'marker'}")}
    error = refused(
        "not safe: it calls (posix|nt).system.*Nothing of it was run", file, content, pickle_protocol=protocol
    )
    assert "Do not use" in error.hint
    assert not (tmp_path / "marker").exists()


@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("key", ["model", "x"])
def test_code_of_any_other_kind_is_not_run(file: Any, tmp_path: Path, protocol: int, key: str) -> None:
    """Neither imported nor called, wherever it stands."""
    content = {"model": tensors()} | {key: Runs(Path.touch, tmp_path / "marker")}
    if key == "x":
        assert equal(file(content, pickle_protocol=protocol).tensors, tensors())
    else:
        refused("holds no state dict", file, content, pickle_protocol=protocol)
    assert not (tmp_path / "marker").exists()


def test_code_through_what_puts_tensors_together_is_not_run(file: Any, tmp_path: Path) -> None:
    """The function that makes a tensor of a given kind calls a function that the file names."""
    call = torch._tensor._rebuild_from_type_v2  # type: ignore[attr-defined]
    hostile = Runs(call, Path.touch, torch.Tensor, (tmp_path / "marker",), None)
    assert equal(file({"model": tensors(), "x": hostile}).tensors, tensors())
    assert not (tmp_path / "marker").exists()


def test_nothing_that_is_named_is_imported(file: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = tmp_path / "marks_its_import.py"
    module.write_text("class A: pass\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    import marks_its_import  # type: ignore[import-not-found]

    torch.save({"model": tensors(), "x": marks_its_import.A()}, tmp_path / "w.pth")
    monkeypatch.delitem(__import__("sys").modules, "marks_its_import")
    module.write_text(f"open({str(tmp_path / 'marker')!r}, 'w')\nclass A: pass\n")
    assert equal(read_weights(tmp_path / "w.pth").tensors, tensors())
    assert not (tmp_path / "marker").exists()


# --- files without weights


def test_a_whole_pickled_model(file: Any) -> None:
    error = refused(
        "no state dict, but a pickled object of torch.nn.modules.container.Sequential", file, nn.Sequential()
    )
    assert 'torch.save(model.state_dict(), "site.pth")' in error.hint and "run code" in error.hint
    refused("a pickled object of torch.nn.modules.linear.Linear", file, {"epoch": 3, "model": nn.Linear(2, 2)})


@pytest.mark.parametrize(
    "content", [3, [torch.zeros(2, 2)], {"weight": 3}, {}, torch.zeros(2, 2), {"b": torch.ones(3)}]
)
def test_other_content(file: Any, content: Any) -> None:
    refused("holds no state dict", file, content)


def test_a_missing_file_and_a_folder(tmp_path: Path) -> None:
    refused("no such weights file", read_weights, tmp_path / "no.pth")
    refused("no such weights file", read_weights, tmp_path)


@pytest.mark.parametrize("part", [0.1, 0.5, 0.99])
def test_a_truncated_file(tmp_path: Path, zipped: bool, part: float) -> None:
    path = tmp_path / "w.pth"
    torch.save(nn.Linear(50, 50).state_dict(), path, _use_new_zipfile_serialization=zipped)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * part)])
    assert "again" in refused("cannot read weights .* cut short", read_weights, path).hint


def test_a_damaged_file(tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    torch.save({"w": torch.full((50, 50), 1.5)}, path)
    content = path.read_bytes()
    path.write_bytes(content.replace(torch.full((9,), 1.5).numpy().tobytes(), bytes(36), 1))
    refused("damaged", read_weights, path)
