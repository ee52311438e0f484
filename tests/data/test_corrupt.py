from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from gformer_cli.data.corrupt import RECORD, Corrupted, Wish, check_corrupted, write_corrupted
from gformer_cli.data.corruptions import CORRUPTIONS
from gformer_cli.errors import InputError, WorkError
from gformer_cli.folders.domains import Layout, find_domains, find_images

WISH = Wish(["fog", "gaussian-noise"], [1, 5], 3)


def write(folders: list[Path], out: Path, wish: Wish = WISH, **how: Any) -> Corrupted:
    return write_corrupted(find_domains(folders), wish, out, **{"workers": 0, "strict": False, **how})


def test_each_kind_and_severity_is_a_domain_of_the_same_classes(make_folder: Any, tmp_path: Path) -> None:
    site = make_folder("site", {"cat": 2, "dog": 1})
    done = write([site], tmp_path / "out")
    names = ["fog-1", "fog-5", "gaussian-noise-1", "gaussian-noise-5"]
    assert done == Corrupted(dict.fromkeys(names, 3))
    found = find_images([tmp_path / "out"])
    assert [(domain.name, domain.counts) for domain in found.domains] == [
        (name, {"cat": 2, "dog": 1}) for name in names
    ]
    assert not found.aside
    assert json.loads((tmp_path / "out" / RECORD).read_text()) == {
        "corruptions": ["fog", "gaussian-noise"],
        "severities": [1, 5],
        "seed": 3,
        "domains": names,
    }
    assert not (tmp_path / "out" / ".part").exists()


def test_an_image_is_what_the_catalogue_makes_of_it_as_in_shifts(add_image: Any, tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (20, 33, 3), dtype=np.uint8)
    path = tmp_path / "site" / "cat" / "wide.png"
    path.parent.mkdir(parents=True)
    Image.fromarray(pixels).save(path)
    write([tmp_path / "site"], tmp_path / "out")
    position = int(hashlib.sha256(path.read_bytes()).hexdigest()[:8], 16)
    given = torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 255.0
    for name in WISH.corruptions:
        wanted = CORRUPTIONS[name](given, severity=5, seed=3, positions=[position])[0]
        with Image.open(tmp_path / "out" / f"{name}-5" / "cat" / "wide.png") as image:
            found = np.asarray(image)
        assert np.array_equal(found, (wanted * 255.0).round().byte().permute(1, 2, 0).numpy())


def test_the_same_call_writes_the_same_bytes_in_however_many_threads(
    make_folder: Any, tmp_path: Path, contents: Any
) -> None:
    sites = [make_folder(name, {"cat": 3}) for name in ("east", "west")]
    for name, how in (("a", {"workers": 0}), ("b", {"workers": 3}), ("c", {"wish": Wish(["fog"], [2], 4)})):
        write(sites, tmp_path / name, **how)
    first, again, other = (contents(tmp_path / name) for name in "abc")
    assert first == again and {*other} == {
        RECORD,
        *(f"{s}-fog-2/cat/0{n}.png" for s in ("east", "west") for n in "012"),
    }
    assert len({content for name, content in first.items() if "gaussian-noise-5" in name}) == 6


@pytest.fixture
def contents() -> Any:
    return lambda root: {p.relative_to(root).as_posix(): p.read_bytes() for p in root.rglob("*") if p.is_file()}


def test_names_that_would_meet_are_numbered(add_image: Any, tmp_path: Path) -> None:
    for name in ("cat/a.png", "cat/A.bmp", "cat/mon/a.png", "dog/a.png"):
        add_image(tmp_path / "site" / name)
    domains = find_domains([tmp_path / "site"], Layout.domain)
    write_corrupted(domains, WISH, tmp_path / "out", workers=0, strict=True)
    assert sorted(path.name for path in (tmp_path / "out" / "fog-1" / "cat").iterdir()) == [
        "A.png",
        "a-2.png",
        "a-3.png",
    ]
    assert [path.name for path in (tmp_path / "out" / "fog-1" / "dog").iterdir()] == ["a.png"]


def test_what_cannot_be_read_is_skipped_and_told(make_folder: Any, tmp_path: Path) -> None:
    site = make_folder("site", {"cat": 2})
    broken = site / "cat" / "00.png"
    broken.write_bytes(b"x")
    done = write([site], tmp_path / "out")
    assert done.images["fog-1"] == 1 and [item.path for item in done.skipped] == [str(broken)]
    with pytest.raises(InputError, match=r"cannot use .*00\.png"):
        write([site], tmp_path / "strict", strict=True)
    (site / "cat" / "01.png").write_bytes(b"")
    with pytest.raises(WorkError, match=r"no image can be used, such as .*00\.png: "):
        write([site], tmp_path / "none")
    assert not (tmp_path / "strict").exists() and not (tmp_path / "none").exists()


def test_images_that_are_too_small_are_skipped(make_folder: Any, tmp_path: Path) -> None:
    with pytest.raises(WorkError, match=r"no image can be used, such as .*\.png: .* \d+ < 32 pixels"):
        write([make_folder("site", {"cat": 1})], tmp_path / "out", Wish(["imagenet-c:fog"], [1], 0))


def test_what_is_there_is_replaced_on_request_and_nothing_else(make_folder: Any, tmp_path: Path) -> None:
    site, out = make_folder("site", {"cat": 1}), tmp_path / "out"
    check_corrupted(out, overwrite=False)
    write([site], out)
    with pytest.raises(InputError, match="output folder is not empty"):
        check_corrupted(out, overwrite=False)
    check_corrupted(out, overwrite=True)
    (out / ".part" / "old").mkdir(parents=True)  # as a kill leaves it
    check_corrupted(out, overwrite=True)
    write([site], out, Wish(["rain"], [3], 0))
    assert sorted(path.name for path in out.iterdir()) == [RECORD, "rain-3"]
    (out / "mine").mkdir()
    with pytest.raises(InputError, match=r"holds more than corrupted copies, .*: mine"):
        check_corrupted(out, overwrite=True)
    with pytest.raises(InputError, match="holds more than"):
        check_corrupted(site, overwrite=True)
    with pytest.raises(InputError, match="is a file, not a folder"):
        check_corrupted(site / "cat" / "00.png", overwrite=True)


def test_copies_lie_beside_what_is_read(make_folder: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site = make_folder("site", {"cat": 1})
    monkeypatch.chdir(tmp_path)
    for out in (site / "inside", site, Path("site/cat/../deeper")):
        with pytest.raises(InputError, match=r"lies inside .*site, which is read"):
            check_corrupted(out, [site], overwrite=False)
    with pytest.raises(InputError, match=r"holds .*site, which is read"):
        check_corrupted(site.parent, [site], overwrite=True)
    check_corrupted(tmp_path / "site-corrupted", [site, tmp_path / "site.csv:path=file"], overwrite=True)


@pytest.mark.parametrize("name", ["../elsewhere", "a/b", ".hidden"])
@pytest.mark.parametrize("column", ["class", "domain"])
def test_names_of_a_table_lead_nowhere_else(add_image: Any, tmp_path: Path, name: str, column: str) -> None:
    add_image(tmp_path / "1.png")
    table = tmp_path / "plant.csv"
    table.write_text(f"path,class,domain\n1.png,{'x,' + name if column == 'domain' else name + ',x'}\n")
    with pytest.raises(InputError, match="cannot be the name of a folder"):
        write([table], tmp_path / "out")
    assert not (tmp_path / "out").exists()
