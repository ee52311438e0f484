from __future__ import annotations

import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gformer_cli.errors import InputError
from gformer_cli.folders.columns import Columns, split_columns
from gformer_cli.folders.domains import Domain, find_images

MakeTable = Callable[..., Path]
ROWS = ["id,label,site,part", "1,cat,east,0", "2,dog,east,1", "3,cat,west,0", "4,dog,west,2"]
SPLITS = ("train", "validation")


@pytest.fixture(params=[".csv", ".parquet"])
def plant(request: pytest.FixtureRequest, tmp_path: Path, add_image: Any) -> Path:
    """A table whose columns have names of their own; its images lie in `photos`."""
    for number in range(1, 5):
        add_image(tmp_path / f"photos/{number}.png")
    path = tmp_path / f"plant{request.param}"
    path.write_text("\n".join(ROWS) + "\n")
    if request.param == ".parquet":
        import pyarrow.csv
        import pyarrow.parquet

        pyarrow.parquet.write_table(pyarrow.csv.read_csv(io.BytesIO(path.read_bytes())), path)
    return path


def with_columns(path: Path, columns: str) -> Path:
    return Path(f"{path}:{columns}")


def told(domains: list[Domain]) -> dict[str, list[tuple[str, str | None, str]]]:
    return {one.name: [(file.relative, file.label, file.split) for file in one.files] for one in domains}


def test_columns_are_named_behind_the_table(plant: Path) -> None:
    table = with_columns(plant, "path=photos/{id}.png,class=label,domain=site")
    assert told(find_images([table], splits=SPLITS).domains) == {
        "east": [("photos/1.png", "cat", ""), ("photos/2.png", "dog", "")],
        "west": [("photos/3.png", "cat", ""), ("photos/4.png", "dog", "")],
    }
    filled = with_columns(plant, "path=photos/{id}.png,class={site}-{label},domain=part")
    assert told(find_images([filled]).domains)["0"] == [
        ("photos/1.png", "east-cat", ""),
        ("photos/3.png", "west-cat", ""),
    ]


def test_rows_are_chosen_by_values(plant: Path) -> None:
    columns = "path=photos/{id}.png,class=label,site==west"
    assert told(find_images([with_columns(plant, columns)]).domains) == {
        "plant": [("photos/3.png", "cat", ""), ("photos/4.png", "dog", "")]
    }
    either = with_columns(plant, columns + ",site==east,part==0")
    assert [file.relative for file in find_images([either]).domains[0].files] == ["photos/1.png", "photos/3.png"]
    with pytest.raises(InputError, match=r"no row of .* has site==north") as caught:
        find_images([with_columns(plant, columns.replace("west", "north"))])
    assert caught.value.hint == "There, site is east, west."


def test_a_split_that_rows_are_chosen_by_counts_no_more(plant: Path) -> None:
    columns = "path=photos/{id}.png,class=label,split=part"
    with pytest.raises(InputError, match="unknown split '0'") as caught:
        find_images([with_columns(plant, columns)], splits=SPLITS)
    assert f"{plant}:split==0" in caught.value.hint
    for splits in (SPLITS, ("test",)):
        found = find_images([with_columns(plant, f"{columns},part==2")], splits=splits)
        assert told(found.domains) == {"plant": [("photos/4.png", "dog", "")]} and not found.left_out


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ("path=file", r"plant\.\w+ has no column 'file'; it has: id, label, site, part"),
        ("path=photos/{file}.png", "has no column 'file'"),
        ("path=id", "has no column 'class'"),
        ("path=id,class=label,when==1", "has no column 'when'"),
        ("", "'' names no column"),
        ("path", "'path' names no column"),
        ("path=", "'path=' names no column"),
        ("=id", "'=id' names no column"),
        ("path=id,,class=label", "'' names no column"),
        ("file=id", "'file' is nothing that a column says of an image: file=id"),
        ("path=id,path=label", "two columns for the path: id and label"),
        ("path=id,year>=2023", "rows are chosen by == alone, not by >=: year>=2023"),
        ("path=id,site!=east", "rows are chosen by == alone, not by !=: site!=east"),
        ("path=id,year < 3", "rows are chosen by == alone, not by <: year < 3"),
        ("path=photos/{file", "braces do not stand around a column: path=photos/{file"),
        ("path=photos/id}", "braces do not stand around a column"),
        ("path=id,class=label", r"row \d: no such file: .*/1$"),
    ],
)
def test_what_names_no_column_is_told(plant: Path, columns: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        find_images([with_columns(plant, columns)])
    assert re.search(message, caught.value.message) and caught.value.hint


def test_blanks_around_names_count_for_nothing(plant: Path) -> None:
    (domain,) = find_images([with_columns(plant, " path=photos/{id}.png , class = label, site == west ")]).domains
    assert [file.relative for file in domain.files] == ["photos/3.png", "photos/4.png"]


def test_hints_go_with_what_was_meant(plant: Path) -> None:
    hints = {
        "path=id,class=label,sit==east": "Did you mean 'site'?",
        "path=id,class=label,when==1": "Rows are chosen by COLUMN==VALUE.",
        "path=id,class=lable": "Did you mean 'label'?",
        "path=id": f"Say which is meant: {plant}:path=COLUMN,class=COLUMN,domain=COLUMN,split=COLUMN",
        "path={id},class=label": f"{plant}:path=FOLDER/{{id}}",
        "path=fotos/{id}.png,class=label": f"{plant}:path=FOLDER/{{id}}.png",
        "path=id,class=label": f"{plant}:path=FOLDER/{{id}}",
    }
    for columns, hint in hints.items():
        with pytest.raises(InputError) as caught:
            find_images([with_columns(plant, columns)])
        assert caught.value.hint.endswith(hint)


def test_a_colon_names_columns_behind_tables_and_lists_alone() -> None:
    for name in ("C:/data/plant.csv", "data/a:b/plant.csv", "site:path=x", "plant-{0..3}.tar:path=x"):
        assert split_columns(Path(name)) == (Path(name), Columns())
    file, columns = split_columns(Path("C:/data/Plant.CSV:path=a/{b}/c.png,split==x:y"))
    assert file == Path("C:/data/Plant.CSV") and columns.chosen == {"split": {"x:y"}}
    assert columns.named == {"path": "a/{b}/c.png"} and columns.used() == ["b", "split"]


def test_the_same_rows_twice_are_told_and_others_of_the_table_are_not(plant: Path) -> None:
    columns = "path=photos/{id}.png,class=label,domain=site,site=="
    with pytest.raises(InputError, match="is given twice"):
        find_images([with_columns(plant, f"{columns}west")] * 2)
    both = find_images([with_columns(plant, f"{columns}{site}") for site in ("west", "east")])
    assert [domain.name for domain in both.domains] == ["west", "east"]
