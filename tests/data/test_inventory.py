from __future__ import annotations

import os
from pathlib import Path

import pytest

from gformer_cli.data.inventory import Inventory, Known, Status, Statuses, within, write_inventory
from gformer_cli.errors import InputError
from gformer_cli.folders.domains import ImageFile


def image(root: Path, name: str) -> ImageFile:
    return ImageFile(root / name, f"site/{name}", "cat")


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
    assert {name: found.get("site", Path("now"), image(Path("now"), name)) for name in names} == names
    assert found.get("other", Path("now"), image(Path("now"), "cat/a.png")) is None


def test_no_file_is_an_empty_inventory_and_a_broken_one_is_told(tmp_path: Path) -> None:
    assert len(Inventory(tmp_path / "none.csv")) == len(Inventory()) == 0
    (tmp_path / "inventory.csv").write_text("domain,path,size,mtime_ns,samples,sha256\nsite,a.png,many,1,,\n")
    with pytest.raises(InputError, match=r"cannot read .*inventory\.csv") as caught:
        Inventory(tmp_path / "inventory.csv")
    assert "Remove it" in caught.value.hint


def test_statuses_are_kept_in_their_order() -> None:
    statuses = Statuses()
    for number in range(3):
        statuses.append(Status(number, -number))
    assert len(statuses) == 3 and statuses[1] == Status(1, -1)
