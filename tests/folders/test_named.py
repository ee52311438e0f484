"""Images that are named one by one: in a table, or in shards."""

from __future__ import annotations

import io
import json
import sys
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from gformer_cli.data.labelled import fingerprint, load_labelled, split
from gformer_cli.errors import InputError
from gformer_cli.folders.domains import Domain, Known, find_images
from gformer_cli.images.decoding import read_bytes
from gformer_cli.images.preprocessing import Decoded, Preprocessing, read_image

MakeTable = Callable[..., Path]
ROWS = [
    "path,class,domain,split",
    "a/1.png,cat,east,train",
    "a/2.png,dog,east,validation",
    "b/3.png,cat,west,",
    '"b/4, odd.png",dog,,test',
]
SPLITS = ("train", "validation")


@pytest.fixture
def make_table(tmp_path: Path, add_image: Any) -> MakeTable:
    """`make_table(rows)`: a table beside the images that it names."""
    for name in ("a/1.png", "a/2.png", "b/3.png", "b/4, odd.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        add_image(tmp_path / name)

    def make(rows: list[str] = ROWS, suffix: str = ".csv") -> Path:
        path = tmp_path / f"plant{suffix}"
        if suffix == ".csv":
            path.write_text("\n".join(rows) + "\n", encoding="utf-8-sig")
        else:
            import pyarrow.csv
            import pyarrow.parquet

            table = pyarrow.csv.read_csv(io.BytesIO("\n".join(rows).encode()))
            pyarrow.parquet.write_table(table, path)
        return path

    return make


def told(domains: list[Domain]) -> dict[str, list[tuple[str, str | None, str]]]:
    return {one.name: [(file.relative, file.label, file.split) for file in one.files] for one in domains}


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_table_names_images_classes_domains_and_splits(make_table: MakeTable, suffix: str) -> None:
    table = make_table(suffix=suffix)
    found = find_images([table], splits=SPLITS)
    assert told(found.domains) == {
        "east": [("a/1.png", "cat", "train"), ("a/2.png", "dog", "validation")],
        "west": [("b/3.png", "cat", "")],
    }
    assert found.left_out == 1 and found.domains[0].classes == ("cat", "dog")
    assert found.domains[0].files[0].path == table.parent / "a/1.png"
    tested = find_images([table], splits=("test",), unlabelled=True)
    assert told(tested.domains) == {"plant": [("b/4, odd.png", "dog", "test")], "west": [("b/3.png", "cat", "")]}
    assert len(find_images([table]).domains) == 3


def test_the_path_alone_is_enough_where_no_label_is_wanted(make_table: MakeTable) -> None:
    found = find_images([make_table(["path", "a/1.png"])], unlabelled=True)
    assert told(found.domains) == {"plant": [("a/1.png", None, "")]} and found.domains[0].classes == ()


def test_names_are_spelled_as_they_are_known(make_table: MakeTable) -> None:
    known = Known(classes=["cafe\u0301"], class_map={"tomcat": "cafe\u0301"})
    table = make_table(["path,class", "a/1.png,caf\u00e9", "a/2.png,tomcat"])
    assert find_images([table], known=known).domains[0].classes == ("cafe\u0301",)


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (["file,class", "a/1.png,cat"], "has no column 'path'; it has: file, class"),
        (["path,class", "a/1.png,cat", "a/9.png,dog"], r"row \d: no such file: .*a/9\.png"),
        (["path,class,split", "a/1.png,cat,dev"], r"row \d: unknown split 'dev'"),
        (["path,class,split", "a/1.png,,"], r"row \d: no class is named"),
        (["path,class,domain", "a/1.png,cat,.."], r"row \d: '\.\.' cannot be the name of a domain"),
        (["path,class", "a/1.png,."], r"row \d: '\.' cannot be the name of a class"),
        (["path,class", "a/1.png,cat", "a/1.png,cat"], r"row \d: a/1\.png was named before, in row \d"),
        (["path,class,split", "a/1.png,cat,test"], "no images in .* of the split train or validation"),
    ],
)
def test_what_is_wrong_in_a_table_is_told_with_its_row(
    make_table: MakeTable, suffix: str, rows: list[str], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        find_images([make_table(rows, suffix)], splits=SPLITS)


def test_what_is_no_table_is_told(make_table: MakeTable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = make_table()
    for content, message in (("path,class\na/1.png\n", "not as many values"), ("", "no column 'path'; it has: none")):
        table.write_text(content)
        with pytest.raises(InputError, match=message):
            find_images([table])
    table.write_bytes(b"path\n\xff\xfe")
    with pytest.raises(InputError, match="cannot read"):
        find_images([table])
    with pytest.raises(InputError, match="no such file"):
        find_images([tmp_path / "none.csv"])
    (tmp_path / "readme.txt").write_text("no image")
    table.write_text("path,class\nreadme.txt,cat\n")
    with pytest.raises(InputError, match=r"no images in .*plant\.csv: .*readme\.txt is none"):
        find_images([table])
    (tmp_path / "x.parquet").write_bytes(b"not parquet")
    with pytest.raises(InputError, match=r"cannot read .*x\.parquet"):
        find_images([tmp_path / "x.parquet"])
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(InputError, match="needs pyarrow") as caught:
        find_images([tmp_path / "x.parquet"])
    assert "gformer[parquet]" in caught.value.hint


def test_a_split_that_is_named_is_kept_and_part_of_the_fingerprint(
    make_table: MakeTable, preprocessing: Preprocessing
) -> None:
    rows = ["path,class,split", "a/1.png,cat,train", "a/2.png,cat,val", "b/3.png,cat,train", "b/4, odd.png,cat,train"]
    rows[-1] = '"b/4, odd.png",cat,train'
    prints = set()
    for changed in (rows, [*rows[:2], "a/2.png,cat,train", *rows[3:]]):
        domains = find_images([make_table(changed)]).domains
        how: Mapping[str, Any] = {"validation_fraction": 0.5, "seed": 0, "workers": 0}
        prints.add(fingerprint(load_labelled(domains, ["cat"], preprocessing, **how)[0]))
        ((train, validation),) = split([domains[0].files], 0.5, 0)
        assert [domains[0].files[one].relative for one in validation] == (["a/2.png"] if changed is rows else [])
        assert len(train) + len(validation) == 4
    assert len(prints) == 2


@pytest.fixture
def make_shards(tmp_path: Path, encode: Any) -> Callable[..., Path]:
    """`make_shards({"0001.json": {...}})`: two shards of two samples each, with those files in the first."""

    def make(others: Mapping[str, Any] | None = None, name: str = "site-a-{000..001}.tar") -> Path:
        from PIL import Image

        for number in range(2):
            with tarfile.open(tmp_path / f"site-a-{number:03d}.tar", "w") as archive:
                for sample in range(2):
                    key = f"{number}{sample}"
                    image = encode(Image.new("RGB", (8, 8), (50 * number, 100 * sample, 7)))
                    label = ("cat", "dog")[sample].encode()
                    for member, content in ((f"{key}.png", image), (f"{key}.cls", label)):
                        _add(archive, member, content)
                    if number == 0:
                        for member, content in (others or {}).items():
                            if member.startswith(key):
                                _add(archive, member, content)
        return tmp_path / name

    return make


def _add(archive: tarfile.TarFile, name: str, content: Any) -> None:
    if not isinstance(content, bytes):
        content = json.dumps(content).encode()
    member = tarfile.TarInfo(name)
    member.size = len(content)
    archive.addfile(member, io.BytesIO(content))


def test_shards_hold_samples_that_are_read_where_they_lie(
    make_shards: Callable[..., Path], preprocessing: Preprocessing
) -> None:
    other = {"domain": "east", "split": "test"}
    found = find_images([make_shards({"01.json": other, "01.seg.png": b"mask", "00.txt": b"second"})], splits=SPLITS)
    assert told(found.domains) == {
        "site-a": [
            ("site-a-000.tar/00.png", "cat", ""),
            ("site-a-001.tar/10.png", "cat", ""),
            ("site-a-001.tar/11.png", "dog", ""),
        ]
    }
    assert found.left_out == 1 and [file.path.name for file in found.aside] == ["01.seg.png"]
    for file, pixel in zip(found.domains[0].files, ([0, 0, 7], [50, 0, 7], [50, 100, 7]), strict=True):
        read = read_image(file, preprocessing)
        assert isinstance(read, Decoded) and read.pixels[:, 0, 0].tolist() == pixel
        assert file.part is not None and len(read_bytes(file)) == file.part.size


def test_shards_that_are_large_are_looked_at_by_their_headers(
    make_shards: Callable[..., Path], preprocessing: Preprocessing, monkeypatch: pytest.MonkeyPatch
) -> None:
    from gformer_cli.data import labelled

    domains = find_images([make_shards()]).domains
    how: Mapping[str, Any] = {"validation_fraction": 0.5, "seed": 0, "workers": 0}
    kept, _ = load_labelled(domains, ["cat", "dog"], preprocessing, **how)
    monkeypatch.setattr(labelled, "CACHE_BYTES", 0)
    streamed, skipped = load_labelled(domains, ["cat", "dog"], preprocessing, **how)
    assert not skipped and labelled.hash_all(streamed, workers=0) == []
    assert fingerprint(streamed) == fingerprint(kept)
    assert (streamed[0].pixels([3, 1]) == kept[0].pixels([3, 1])).all()


def test_what_is_wrong_in_shards_is_told(make_shards: Callable[..., Path], tmp_path: Path) -> None:
    pattern = make_shards()
    first = tmp_path / "site-a-000.tar"
    whole = first.read_bytes()
    end = max(place for place in range(0, len(whole), 512) if whole[place : place + 512].strip(b"\0")) + 512
    for size in (end, end - 512, end - 700, 100, 0):
        first.write_bytes(whole[:size])
        with pytest.raises(InputError, match=r"cannot read .*site-a-000\.tar"):
            find_images([pattern])
    first.write_bytes(b"\x1f\x8b" + whole)
    with pytest.raises(InputError, match=r"site-a-000\.tar is compressed"):
        find_images([pattern])
    with pytest.raises(InputError, match=r"no such shard: .*site-a-002\.tar \(one of 3"):
        make_shards()
        find_images([tmp_path / "site-a-{000..002}.tar"])
    for others, message in (
        ({"00.json": b"{"}, "00.json is not JSON"),
        ({"00.json": {"split": "dev"}}, "sample 00: unknown split 'dev'"),
    ):
        with pytest.raises(InputError, match=message):
            find_images([make_shards(others)])
