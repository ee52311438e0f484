from __future__ import annotations

from pathlib import Path

import pytest

from gformer_cli.data.arrival import read_arrivals
from gformer_cli.data.orders import Item
from gformer_cli.errors import InputError
from gformer_cli.folders.domains import Domain, ImageFile, ImageFiles

TARGETS = Path("/data/targets")


@pytest.fixture
def night() -> Domain:
    names = ("night/a.png", "night/b.png", "night/c.png")
    return Domain("night", TARGETS / "night", ImageFiles(ImageFile(TARGETS, name) for name in names), ())


def read(folder: Path, text: str, *domains: Domain) -> list[str]:
    """Names in the order of arrival."""
    table = folder / "times.csv"
    table.write_text(text)
    time = read_arrivals(table, domains)
    items = [Item(domain.name, file) for domain in domains for file in domain.files]
    return [item.file.name for item in sorted(items, key=time)]


def test_rows_are_in_their_order_where_there_is_no_time(tmp_path: Path, night: Domain) -> None:
    assert read(tmp_path, "path\nnight/c.png\nb.png\nnight/a.png\nelsewhere.png\n", night) == [
        "c.png",
        "b.png",
        "a.png",
    ]


@pytest.mark.parametrize("times", [("30", "4.5", "7"), ("2025-03-01T10:00", "2025-02-01", "2025-03-01T09:00+01:00")])
def test_times_are_numbers_or_dates(tmp_path: Path, night: Domain, times: tuple[str, ...]) -> None:
    rows = [f"{name},{time}" for name, time in zip(("a.png", "b.png", "c.png"), times, strict=True)]
    assert read(tmp_path, "\n".join(["path,time", *rows]), night) == ["b.png", "c.png", "a.png"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path\na.png\nb.png\n", r"does not name 1 image, such as /data/targets/night/c\.png"),
        ("path\na.png\na.png\n", "row 3: a.png was named before"),
        ("path,time\na.png,soon\n", "row 2: 'soon' is no time"),
        ("name\na.png\n", "no column 'path'; it has: name"),
    ],
)
def test_what_is_wrong_in_the_table_is_told(tmp_path: Path, night: Domain, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read(tmp_path, text, night)


def test_no_table_is_told(tmp_path: Path, night: Domain) -> None:
    for path in (tmp_path / "none.csv", tmp_path):
        with pytest.raises(InputError, match="no such table"):
            read_arrivals(path, [night])
