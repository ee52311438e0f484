"""Small copies of what WILDS hands out: the headers are those of the real tables."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gformer_cli.errors import InputError
from gformer_cli.folders.domains import Layout, find_images

SOURCE, TARGET = ("train", "validation"), ("test",)


@pytest.fixture
def make_set(tmp_path: Path, add_image: Any) -> Any:
    """`make_set({"metadata.csv": rows}, images)`: a folder with these tables and images."""

    def make(tables: dict[str, list[str]], images: list[str]) -> Path:
        folder = tmp_path / "set_v1.0"
        for image in images:
            add_image(folder / image)
        for name, rows in tables.items():
            (folder / name).write_text("\n".join(rows) + "\n")
        (folder / "RELEASE_v1.0.txt").write_text("x")
        return folder

    return make


def told(path: Path, *, labelled: bool = True, **how: Any) -> list[tuple[str, str | None, str, str]]:
    """Domain, class, split and path of each image."""
    domains = find_images([path], unlabelled=not labelled, **how).domains
    return [(one.name, file.label, file.split, file.relative) for one in domains for file in one.files]


@pytest.fixture
def camelyon17(make_set: Any) -> Path:
    rows = [",patient,node,x_coord,y_coord,tumor,slide,center,split"]
    rows += [
        "0,004,4,3328,21792,1,0,0,0",
        "1,061,0,32,64,0,31,3,1",
        "2,020,2,1,2,1,10,1,0",
        "3,042,3,5,6,0,23,2,1",
    ]
    images = [
        "patches/patient_004_node_4/patch_patient_004_node_4_x_3328_y_21792.png",
        "patches/patient_061_node_0/patch_patient_061_node_0_x_32_y_64.png",
        "patches/patient_020_node_2/patch_patient_020_node_2_x_1_y_2.png",
        "patches/patient_042_node_3/patch_patient_042_node_3_x_5_y_6.png",
    ]
    folder: Path = make_set({"metadata.csv": rows}, images)
    return folder


def test_camelyon17_has_hospitals_as_domains(camelyon17: Path) -> None:
    first, second, _, last = sorted((camelyon17 / "patches").rglob("*.png"), key=lambda path: "_042_" in str(path))
    assert told(camelyon17, splits=SOURCE) == [
        ("center-0", "tumor", "train", f"patches/patient_004_node_4/{first.name}"),
        ("center-3", "normal", "validation", "patches/patient_061_node_0/patch_patient_061_node_0_x_32_y_64.png"),
    ]
    assert second.name == "patch_patient_020_node_2_x_1_y_2.png"
    tested = [("center-2", "normal", "test", f"patches/patient_042_node_3/{last.name}")]
    assert told(camelyon17, splits=TARGET) == told(camelyon17, splits=TARGET, labelled=False) == tested
    found = find_images([camelyon17], splits=SOURCE)
    assert found.left_out == 2 and not found.aside


def test_rows_and_columns_of_a_known_table_may_be_chosen(camelyon17: Path) -> None:
    table = camelyon17 / "metadata.csv"
    assert told(table, splits=TARGET) == told(camelyon17, splits=TARGET)
    (validated,) = told(Path(f"{table}:split==val"), splits=TARGET)
    assert validated[:3] == ("center-1", "tumor", "")
    (slide,) = told(Path(f"{table}:domain=slide,center==3"), splits=SOURCE)
    assert slide[:3] == ("31", "normal", "validation")
    named = Path(f"{table}:path=patches/patient_{{patient}}_node_{{node}}/a.png,class=tumor")
    with pytest.raises(InputError, match=r"row 2: no such file: .*patient_004_node_4/a\.png"):
        told(named)
    first = next((camelyon17 / "patches").rglob("*.png"))
    first.unlink()
    with pytest.raises(InputError, match="no such file") as caught:
        told(camelyon17)
    assert "{path}" not in caught.value.hint


def test_a_layout_that_is_named_is_obeyed(camelyon17: Path) -> None:
    (domain,) = find_images([camelyon17 / "patches"]).domains
    assert domain.name == "patches"
    assert len(find_images([camelyon17], Layout.flat, unlabelled=True).domains[0].files) == 4


def test_iwildcam_has_places_as_domains_and_names_of_animals(make_set: Any) -> None:
    header = ",split,location_remapped,location,sequence_remapped,seq_id,y,category_id,datetime,filename,image_id"
    rows = [header]
    for number, split in enumerate(("train", "val", "test", "id_val", "id_test")):
        rows.append(f"{number},{split},{number},9,0,s,{number % 2},7,2013-06-05 05:44:19.000,{number}.jpg,{number}")
    categories = ["y,category_id,name", "0,0,empty", "1,10,tayassu pecari", "99999,30,start"]
    images = [f"train/{number}.jpg" for number in range(5)]
    folder = make_set({"metadata.csv": rows, "categories.csv": categories}, images)
    assert told(folder, splits=SOURCE) == [
        ("location-0", "empty", "train", "train/0.jpg"),
        ("location-3", "tayassu pecari", "validation", "train/3.jpg"),
    ]
    assert told(folder, splits=TARGET) == [("location-2", "empty", "test", "train/2.jpg")]
    assert [row[0] for row in told(Path(f"{folder / 'metadata.csv'}:split==val,split==id_test"))] == [
        "location-1",
        "location-4",
    ]
    (folder / "categories.csv").write_text("y,name\n0,empty\n")
    with pytest.raises(InputError, match=r"metadata\.csv.*: y is '1', and categories\.csv has no such y"):
        told(folder)
    (folder / "categories.csv").write_text("id,name\n")
    with pytest.raises(InputError, match=r"categories\.csv has no column 'y'"):
        told(folder)
    (folder / "categories.csv").unlink()
    with pytest.raises(InputError, match=r"cannot read .*categories\.csv"):
        told(folder)


def test_fmow_is_split_by_years_and_has_regions_as_domains(make_set: Any) -> None:
    header = "split,img_filename,category,country_code,cloud_cover,timestamp"
    parts = {
        "train": "train",
        "val": "validation",
        "test": "other",
        "seq": "other",
    }
    rows = [header]
    for split in parts:
        rows += [f"{split},x.jpg,zoo,{code},0,{year}-02-02T12:01:40Z" for year, code in ((2012, "FRA"), (2015, "XKX"))]
        rows.append(f"{split},x.jpg,dam,JPN,0,2016-01-01T00:00:00Z")
    countries = ["name,alpha-2,alpha-3,region", "France,FR,FRA,Europe", "Japan,JP,JPN,Asia"]
    images = [f"images/rgb_img_{number}.png" for number in range(12)]
    folder = make_set({"rgb_metadata.csv": rows, "country_code_mapping.csv": countries}, images)
    assert told(folder, splits=SOURCE) == [
        ("Europe", "zoo", "train", "images/rgb_img_0.png"),
        ("Europe", "zoo", "validation", "images/rgb_img_3.png"),
    ]
    assert told(folder, splits=TARGET) == [("Asia", "dam", "test", "images/rgb_img_8.png")]
    table = folder / "rgb_metadata.csv"
    assert told(Path(f"{table}:split==val")) == [("Other", "zoo", "", "images/rgb_img_4.png")]
    assert told(Path(f"{table}:split==id_test")) == [("Europe", "zoo", "", "images/rgb_img_6.png")]
    assert len(told(folder)) == 12


def test_rxrx1_has_experiments_as_domains(make_set: Any) -> None:
    rows = ["site_id,well_id,cell_type,dataset,experiment,plate,well,site,well_type,sirna,sirna_id"]
    for dataset, site in (("train", 1), ("train", 2), ("val", 1), ("test", 2)):
        rows.append(f"a,b,HEPG2,{dataset},HEPG2-{site}-{dataset},4,B03,{site},treatment,s21721,513")
    images = [f"images/{row.split(',')[4]}/Plate4/B03_s{row.split(',')[7]}.png" for row in rows[1:]]
    folder = make_set({"metadata.csv": rows}, images)
    assert told(folder, splits=SOURCE) == [("HEPG2-1-train", "513", "train", images[0])]
    assert told(folder, splits=TARGET) == [("HEPG2-2-test", "513", "test", images[3])]
    assert told(Path(f"{folder / 'metadata.csv'}:split==id_test"))[0][3] == images[1]


def test_domainnet_of_wilds_is_split_as_it_says(make_set: Any) -> None:
    rows = [
        "image_path,domain,split,category,y",
        "sketch/ant/1.jpg,sketch,train,ant,2",
        "real/ant/2.jpg,real,test,ant,2",
    ]
    folder = make_set({"metadata.csv": rows}, ["sketch/ant/1.jpg", "real/ant/2.jpg"])
    assert told(folder, splits=SOURCE) == [("sketch", "ant", "train", "sketch/ant/1.jpg")]
    assert told(folder, splits=TARGET) == [("real", "ant", "test", "real/ant/2.jpg")]
    sources = Path(f"{folder / 'metadata.csv'}:domain==real")
    assert told(sources, splits=TARGET) == [("real", "ant", "test", "real/ant/2.jpg")]


def test_a_table_that_is_not_used_is_told(camelyon17: Path) -> None:
    table = camelyon17 / "metadata.csv"
    assert find_images([camelyon17]).unused == []
    table.write_text(table.read_text().replace("tumor", "tumour"))
    (camelyon17 / "patches" / "metadata.csv").write_text("path\n")
    (camelyon17 / "list.csv").write_text("File,y\n")
    (camelyon17 / "prices.csv").write_text("name,price\n")
    (camelyon17 / "broken_metadata.parquet").write_bytes(b"none")
    found = find_images([camelyon17], Layout.auto)
    assert [path.name for path in found.unused] == ["broken_metadata.parquet", "list.csv", "metadata.csv"]
    assert find_images([camelyon17], Layout.domains).unused == []  # it was said what the folder is


@pytest.mark.parametrize(("column", "old", "new"), [("tumor", "64,0,31", "64,9,31"), ("split", "31,3,1", "31,3,4")])
def test_a_value_that_the_data_set_has_not_is_told_with_its_row(
    camelyon17: Path, column: str, old: str, new: str
) -> None:
    table = camelyon17 / "metadata.csv"
    table.write_text(table.read_text().replace(old, new))
    for labelled in (True, False):
        with pytest.raises(InputError, match=rf"row 3: {column} is '[94]', and the data set has 0 and 1"):
            told(camelyon17, labelled=labelled, splits=SOURCE)


def test_a_table_of_another_header_leaves_the_folder_a_tree(make_set: Any) -> None:
    folder = make_set({"metadata.csv": ["file_name,y", "cat/1.png,0"]}, ["cat/1.png", "dog/2.png"])
    found = find_images([folder])
    assert found.domains[0].classes == ("cat", "dog") and len(found.aside) == 2
