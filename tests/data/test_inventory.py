from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import pytest

from gformer_cli.data.inventory import Facts, Inventory, Known, Status, within, write_inventory
from gformer_cli.errors import InputError
from gformer_cli.folders.domains import ImageFile


def image(root: Path, name: str) -> ImageFile:
    return ImageFile(root, name, "cat")


def known_of(number: int) -> Known:
    return Known(Status(number, -number), "8 bits", f"{number:064x}" if number % 2 else None)


def matched(found: Inventory, domain: str, names: Iterable[str]) -> list[Known | None]:
    root = Path("now")
    return list(found.match(domain, root, [image(root, name) for name in names]))


def test_what_is_known_of_a_file_comes_back_wherever_its_domain_lies_now(tmp_path: Path) -> None:
    names = {
        "cat/a.png": Known(Status(12, 1_700_000_000_123_456_789), "8 bits", "ab" * 32),
        'cat/odd, "name"\n.png': Known(Status(2**40, 5), "float"),
        os.fsdecode(b"cat/caf\xe9.png"): Known(Status(3, 4)),
    }
    rows = [("site", within(Path("before"), image(Path("before"), name)), known) for name, known in names.items()]
    write_inventory(tmp_path / "inventory.csv", rows)
    found = Inventory(tmp_path / "inventory.csv")
    assert len(found) == 3
    assert matched(found, "site", names) == [*names.values()]
    assert matched(found, "other", ["cat/a.png"]) == [None]


@pytest.mark.parametrize("order", [[0, 1, 2, 3], [3, 2, 1, 0], [0, 9, 1, 2, 3], [8, 9], [9, 3], [1, 3]], ids=str)
def test_files_are_known_in_whatever_order_they_come_and_new_ones_are_not(tmp_path: Path, order: list[int]) -> None:
    write_inventory(
        tmp_path / "inventory.csv", [("site", f"cat/{number}.png", known_of(number)) for number in range(4)]
    )
    found = matched(Inventory(tmp_path / "inventory.csv"), "site", [f"cat/{number}.png" for number in order])
    assert found == [known_of(number) if number < 4 else None for number in order]


@pytest.mark.parametrize(
    ("root", "file"),
    [
        (Path("/data/site"), ImageFile(Path("/data"), "site/cat/a.png")),
        (Path("/data/site"), ImageFile(Path("/data/site"), "cat/a.png")),
        (Path("site"), ImageFile(Path(), "site/cat/a.png")),
        (Path(), ImageFile(Path(), "cat/a.png")),
        (Path("/data"), ImageFile(Path("/elsewhere"), "/data/cat/a.png")),
    ],
)
def test_paths_are_those_within_the_domain(root: Path, file: ImageFile) -> None:
    assert within(root, file) == "cat/a.png"


def test_no_file_is_an_empty_inventory_and_a_broken_one_is_told(tmp_path: Path) -> None:
    assert len(Inventory(tmp_path / "none.csv")) == len(Inventory()) == 0
    (tmp_path / "inventory.csv").write_text("domain,path,size,mtime_ns,samples,sha256\nsite,a.png,many,1,,\n")
    with pytest.raises(InputError, match=r"cannot read .*inventory\.csv") as caught:
        Inventory(tmp_path / "inventory.csv")
    assert "Remove it" in caught.value.hint


def test_facts_are_kept_in_their_order_and_digests_come_later() -> None:
    facts = Facts()
    for number in range(3):
        facts.append(known_of(number))
    assert [*facts] == [known_of(number) for number in range(3)]
    assert facts.unhashed() == [0, 2]
    facts.set_digest(2, "cd" * 32)
    assert facts[2] == Known(Status(2, -2), "8 bits", "cd" * 32) and facts.unhashed() == [0]
    with pytest.raises(ValueError, match="not a SHA-256"):
        facts.set_digest(0, "cd")
