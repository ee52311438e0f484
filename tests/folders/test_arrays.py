from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from gformer_cli.errors import InputError
from gformer_cli.folders.domains import Known, Layout, find_domains, find_images
from gformer_cli.images.opening import open_file, size_of, status_of


@pytest.fixture
def benchmark(tmp_path: Path) -> Path:
    """A folder like CIFAR-10-C: two corruptions of four images under five severities."""
    folder = tmp_path / "CIFAR-C"
    folder.mkdir()
    np.save(folder / "labels.npy", np.tile(np.array([3, 0, 3, 1], dtype=np.uint8), 5))
    random = np.random.default_rng(0)
    for name in ("fog", "snow"):
        np.save(folder / f"{name}.npy", random.integers(0, 256, (20, 6, 8, 3), dtype=np.uint8))
    return folder


def test_a_domain_is_a_corruption_under_a_severity(benchmark: Path) -> None:
    found = find_domains([benchmark])
    assert [domain.name for domain in found] == [f"{name}-{n}" for name in ("fog", "snow") for n in range(1, 6)]
    assert all(domain.counts == {"0": 1, "1": 1, "3": 2} for domain in found)
    pixels = np.load(benchmark / "snow.npy")
    domain = found[7]
    assert (domain.name, domain.severity) == ("snow-3", 3)
    for number, file in enumerate(domain.files, 8):
        with open_file(file) as stream, Image.open(stream) as image:
            assert np.array_equal(np.asarray(image), pixels[number])
        assert file.relative == f"snow.npy/{number:06d}.ppm"
        with open_file(file) as stream:
            assert size_of(file) == status_of(file).size == len(stream.read())


def test_one_severity_alone_and_names_that_a_model_knows(benchmark: Path) -> None:
    known = Known(classes=["cat", "plane", "car"], class_map={"3": "cat", "0": "plane", "1": "car"})
    found = find_images([benchmark], known=known, severity=5)
    assert [domain.name for domain in found.domains] == ["fog-5", "snow-5"]
    assert found.domains[0].classes == ("car", "cat", "plane")
    with pytest.raises(InputError, match="no images of severity 6"):
        find_images([benchmark], severity=6)


def test_labels_that_do_not_repeat_make_one_domain(benchmark: Path) -> None:
    np.save(benchmark / "labels.npy", np.arange(20))
    found = find_domains([benchmark])
    assert [(domain.name, domain.severity, len(domain.files)) for domain in found] == [
        ("fog", None, 20),
        ("snow", None, 20),
    ]
    with pytest.raises(InputError, match="no images of severity 5") as caught:
        find_images([benchmark], severity=5)
    assert caught.value.hint == "These folders know no severities."


@pytest.mark.parametrize(
    ("name", "array", "message"),
    [
        ("fog", np.zeros((20, 6, 8), np.uint8), r"fog\.npy holds no images: uint8 \(20, 6, 8\)"),
        ("fog", np.zeros((20, 6, 8, 3), np.float32), r"holds no images: float32"),
        ("fog", np.zeros((19, 6, 8, 3), np.uint8), r"holds 19 images, and labels\.npy 20 labels"),
        ("labels", np.zeros((20, 2), np.uint8), r"labels\.npy holds no labels: uint8 \(20, 2\)"),
        ("labels", np.zeros(20, np.float32), r"labels\.npy holds no labels: float32"),
        ("labels", np.array(["a"] * 20, dtype=object), r"cannot read .*labels\.npy"),
    ],
)
def test_what_is_no_such_benchmark_is_told(benchmark: Path, name: str, array: Any, message: str) -> None:
    np.save(benchmark / f"{name}.npy", array)
    with pytest.raises(InputError, match=message):
        find_domains([benchmark])


def test_a_file_that_is_cut_off_is_told(benchmark: Path) -> None:
    path = benchmark / "fog.npy"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(InputError, match="cut off"):
        find_domains([benchmark])
    path.write_bytes(b"no array")
    with pytest.raises(InputError, match=r"cannot read .*fog\.npy"):
        find_domains([benchmark])
    for one in (path, benchmark / "snow.npy"):
        one.unlink()
    with pytest.raises(InputError, match="no images beside"):
        find_domains([benchmark])


def tree(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")
    return root


def test_severities_in_folders_are_read_as_imagenet_c_has_them(tmp_path: Path) -> None:
    names = [f"{c}/{s}/{k}/1.JPEG" for c in ("fog", "snow") for s in (1, 3, 5) for k in ("n01", "n02")]
    found = find_images([tree(tmp_path, *names)], severity=3).domains
    assert [(domain.name, domain.classes) for domain in found] == [
        ("fog-3", ("n01", "n02")),
        ("snow-3", ("n01", "n02")),
    ]
    assert [file.relative for file in found[0].files] == ["fog/3/n01/1.JPEG", "fog/3/n02/1.JPEG"]
    assert found[0].root == tmp_path / "fog" / "3"
    assert len(find_domains([tmp_path])) == 6


def test_numbers_that_are_classes_are_no_severities(tmp_path: Path) -> None:
    folder = tree(tmp_path, *(f"site-{s}/{k}/day-1/1.png" for s in "ab" for k in (1, 2)))
    known = Known(classes=["1", "2"])
    assert [domain.classes for domain in find_domains([folder], known=known)] == [("1", "2"), ("1", "2")]
    with pytest.raises(InputError, match="do not all lie at DIR/corruption/severity/class/image"):
        find_domains([tree(tmp_path / "more", "fog/1/1.png")], Layout.severities)
