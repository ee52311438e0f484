from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from gformer_cli.adapt import Predictor
from gformer_cli.bundle import load_bundle
from gformer_cli.folders.domains import ImageFile
from gformer_cli.images.preprocessing import Decoded, read_image

Adapt = Callable[..., Any]
ReadCsv = Callable[[Path], list[dict[str, str]]]
COLUMNS = ["path", "label", "confidence", "batch", "source_label", "decision"]
CLASSES = ["circle", "square", "stripes"]


@pytest.fixture
def adapt(gformer: Callable[..., Any], bundle: Path, data: Path) -> Adapt:
    """`adapt(out, *options)`: the fog domain unless `target` is given, 8 images a batch, without the guard."""

    def call(out: Path, *options: object, target: Path | None = None) -> Any:
        target = target or data / "targets" / "fog"
        fixed = ("--model", bundle, "--target", target, "--out", out, "--batch-size", 8, "--guard", "off")
        return gformer("adapt", *fixed, *options)

    return call


@pytest.fixture
def flat(data: Path, tmp_path: Path) -> Path:
    """A folder of six images without class folders."""
    folder = tmp_path / "incoming"
    folder.mkdir()
    for label in CLASSES:
        for number in range(2):
            shutil.copy(data / "targets" / "fog" / label / f"{number:02d}.png", folder / f"{label}-{number}.png")
    return folder


def predicted(rows: list[dict[str, str]]) -> list[tuple[str, str]]:
    return [(row["path"], row["label"]) for row in rows]


@pytest.mark.slow
def test_csv_has_these_columns_and_a_row_per_image_in_name_order(
    adapt: Adapt, tmp_path: Path, read_csv: ReadCsv
) -> None:
    assert adapt(tmp_path / "a.csv").status == 0
    rows = read_csv(tmp_path / "a.csv")
    assert list(rows[0]) == COLUMNS
    assert [row["path"] for row in rows] == [f"{label}/{n:02d}.png" for label in CLASSES for n in range(10)]
    assert {row["label"] for row in rows} <= set(CLASSES)
    assert all(1 / 3 <= float(row["confidence"]) <= 1 for row in rows)


def test_json_lines_hold_the_same_as_csv(adapt: Adapt, tmp_path: Path, read_csv: ReadCsv) -> None:
    adapt(tmp_path / "a.csv")
    assert adapt(tmp_path / "a.jsonl").status == 0
    records = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text().splitlines()]
    assert [list(record) for record in records] == [COLUMNS] * 30
    assert [{key: str(value) for key, value in record.items()} for record in records] == read_csv(tmp_path / "a.csv")


@pytest.mark.slow
def test_a_context_is_of_the_batches_before_and_the_log_is_replayed_with_it(
    gformer: Callable[..., Any], bundle: Path, data: Path, tmp_path: Path, read_csv: ReadCsv
) -> None:
    def call(name: str, *options: object) -> list[str]:
        fixed = ("--model", bundle, "--target", data / "targets", "--batch-size", 1, "--guard", "off")
        log = ("--audit", tmp_path / f"{name}.jsonl")
        assert gformer("adapt", *fixed, "--out", tmp_path / f"{name}.csv", *log, *options).status == 0
        rows = read_csv(tmp_path / f"{name}.csv")
        return [row["confidence"] for row in sorted(rows, key=lambda row: int(row["batch"]))]

    alone, together = call("alone"), call("together", "--context", 4)
    assert alone[0] == together[0] and alone[1:] != together[1:]
    replay = ["audit", tmp_path / "together.jsonl", "--replay", "--model", bundle, "--target", data / "targets"]
    assert gformer(*replay).status == 0
    golden = Path(__file__).parents[1] / "golden" / "bundles" / "static.gformer"
    refused = gformer(
        "adapt", "--model", golden, "--target", data / "targets", "--context", 1, "--out", tmp_path / "x.csv"
    )
    assert refused.status == 2 and "--context has no effect on a static bundle" in refused.err


def test_labels_are_those_of_the_bundle_on_the_listed_batches(
    adapt: Adapt, bundle: Path, data: Path, tmp_path: Path, read_csv: ReadCsv
) -> None:
    adapt(tmp_path / "a.csv", "--order", "name", "--probabilities")
    rows, model = read_csv(tmp_path / "a.csv")[8:16], load_bundle(bundle)
    assert {row["batch"] for row in rows} == {"1"}
    pixels = []
    for row in rows:
        item = read_image(ImageFile(data / "targets/fog", row["path"]), model.preprocessing)
        assert isinstance(item, Decoded)
        pixels.append(item.pixels)
    images = model.preprocessing.network_input(torch.stack(pixels), torch.device("cpu"))
    expected = (model.model(model.backbone, images).logits / model.temperatures.adapted).softmax(1)
    shown = torch.tensor([[float(row[f"probability:{name}"]) for name in CLASSES] for row in rows])
    torch.testing.assert_close(shown, expected, atol=1e-6, rtol=0)
    assert [row["label"] for row in rows] == [CLASSES[i] for i in expected.argmax(1)]
    assert [float(row["confidence"]) for row in rows] == pytest.approx(expected.max(1).values.tolist(), abs=1e-6)
    assert [row["source_label"] for row in rows] == [CLASSES[i] for i in model.backbone(images).argmax(1)]


def test_probabilities_name_the_classes_and_sum_to_one(adapt: Adapt, tmp_path: Path, read_csv: ReadCsv) -> None:
    adapt(tmp_path / "a.csv", "--probabilities")
    names = [f"probability:{name}" for name in CLASSES]
    rows = read_csv(tmp_path / "a.csv")
    assert list(rows[0]) == COLUMNS + names
    assert all(sum(float(row[name]) for name in names) == pytest.approx(1, abs=3e-6) for row in rows)
    adapt(tmp_path / "a.jsonl", "--probabilities")
    first = json.loads((tmp_path / "a.jsonl").read_text().splitlines()[0])
    assert list(first) == [*COLUMNS, "probabilities"]
    assert {name: f"{value:.6f}" for name, value in first["probabilities"].items()} == {
        name: rows[0][f"probability:{name}"] for name in CLASSES
    }


def test_a_temperature_changes_confidences_and_no_label_and_the_log_is_replayed_with_it(
    adapt: Adapt, gformer: Callable[..., Any], bundle: Path, data: Path, tmp_path: Path, read_csv: ReadCsv
) -> None:
    rows = {}
    for said in (None, 1, 50):
        log = tmp_path / f"{said}.jsonl"
        option = [] if said is None else ["--temperature", said]
        adapt(tmp_path / f"{said}.csv", *option, "--audit", log)
        rows[said] = read_csv(tmp_path / f"{said}.csv")
        found = gformer("audit", log, "--replay", "--model", bundle, "--target", data / "targets", "--json").json
        assert found["same"] and found["identical_batches"] == found["batches"]
    labels = [[(row["label"], row["source_label"]) for row in table] for table in rows.values()]
    assert labels[0] == labels[1] == labels[2]
    plain, cold = ([float(row["confidence"]) for row in rows[said]] for said in (None, 50))
    assert max(cold) < 0.5 and plain != [float(row["confidence"]) for row in rows[1]]
    for wrong in ("0", "nan", "warm", "1000"):
        refused = gformer("adapt", "--target", data / "targets", "--temperature", wrong)
        assert refused.status == 2 and "is not a number from 0.01 to 100" in refused.err


def test_accuracy_is_guessed_where_there_is_something_to_go_by(
    adapt: Adapt, gformer: Callable[..., Any], bundle: Path, data: Path, tmp_path: Path
) -> None:
    document = adapt(tmp_path / "a.csv", "--json", target=data / "targets").json["estimates"]
    found = document["targets"]
    off = load_bundle(bundle).header.temperatures.estimators["adapted"].missed
    assert off[document["estimator"]] == min(off.values())
    assert set(found) == {"fog", "night"} and found["fog"]["images"] == 30
    for one in found.values():
        assert 0.0 <= one["low"] <= one["accuracy"] <= one["high"] <= 1.0
    done = adapt(tmp_path / "b.csv", target=data / "targets")
    assert "Accuracy in %, guessed without labels by" in done.out
    for target, one in found.items():
        name, images, accuracy, low, _, high = next(
            line.split() for line in done.out.splitlines() if line.startswith(target)
        )
        assert (name, int(images)) == (target, one["images"])
        shown = [float(figure) / 100 for figure in (accuracy, low, high)]
        assert shown == pytest.approx([one["accuracy"], one["low"], one["high"]], abs=6e-4)
    said = adapt(tmp_path / "c.csv", "--temperature", 2)
    assert "No accuracy is guessed: with --temperature nothing that was fitted holds." in said.out
    before = Path(__file__).parents[1] / "golden" / "bundles" / "channel-none.gformer"
    old = gformer("adapt", "--model", before, "--target", data / "targets" / "fog", "--out", tmp_path / "d.csv")
    assert old.status == 0 and "No accuracy is guessed: this bundle holds nothing to go by." in old.out


def test_pick_lists_images_to_label_beside_the_predictions(adapt: Adapt, tmp_path: Path, read_csv: ReadCsv) -> None:
    done = adapt(tmp_path / "a.csv", "--pick", 7)
    rows = read_csv(tmp_path / "picked.csv")
    assert "picked.csv: 7 images to label next" in done.out and [row["rank"] for row in rows] == [*"1234567"]
    known = {row["path"]: row for row in read_csv(tmp_path / "a.csv")}
    for row in rows:
        same = known[row["path"]]
        assert (row["label"], row["source_label"]) == (same["label"], same["source_label"])
        assert row["confidence"] == pytest.approx(same["confidence"]) and Path(row["file"]).is_file()
        assert (row["why"] == "labels differ") == (row["label"] != row["source_label"])
    adapt(tmp_path / "b.csv")
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()  # picking changes no prediction
    other = tmp_path / "other.csv"
    adapt(tmp_path / "c.csv", "--pick", 7, "--pick-out", other, "--seed", 1)
    assert [row["path"] for row in read_csv(other)] != [row["path"] for row in rows]
    everything = adapt(tmp_path / "d.csv", "--pick", 9999, "--pick-out", tmp_path / "all.csv", "--json").json
    assert len(everything["picked"]) == everything["images"] == len(read_csv(tmp_path / "all.csv"))
    for options, message in (
        (["--pick", 7], "list file exists"),
        (["--pick-out", other], "--pick-out names the list of --pick"),
        (["--pick", 7, "--pick-out", tmp_path / "list.txt"], "cannot be called"),
        (["--pick", 7, "--pick-out", tmp_path / "x.csv"], "would hold predictions and images to label"),
    ):
        refused = adapt(tmp_path / "x.csv", *options)
        assert refused.status == 2 and message in refused.err, refused.err
    assert not (tmp_path / "x.csv").exists()


def test_order_name_fills_batches_in_name_order_and_shuffle_mixes_them(
    adapt: Adapt, tmp_path: Path, read_csv: ReadCsv
) -> None:
    adapt(tmp_path / "name.csv", "--order", "name")
    adapt(tmp_path / "shuffle.csv")
    by_name, shuffled = ([int(row["batch"]) for row in read_csv(tmp_path / f)] for f in ("name.csv", "shuffle.csv"))
    assert by_name == [position // 8 for position in range(30)]
    assert sorted(shuffled) == by_name and shuffled != by_name


def test_the_seed_chooses_the_shuffle(adapt: Adapt, tmp_path: Path, read_csv: ReadCsv) -> None:
    for seed in (0, 1):
        adapt(tmp_path / f"{seed}.csv", "--seed", seed)
    adapt(tmp_path / "default.csv")
    assert (tmp_path / "0.csv").read_bytes() == (tmp_path / "default.csv").read_bytes()
    first, second = ([row["batch"] for row in read_csv(tmp_path / f"{seed}.csv")] for seed in (0, 1))
    assert first != second


def test_batch_size_changes_batches_and_what_is_generated(adapt: Adapt, tmp_path: Path, read_csv: ReadCsv) -> None:
    adapt(tmp_path / "8.csv", "--order", "name")
    adapt(tmp_path / "30.csv", "--order", "name", "--batch-size", 30)
    whole, parts = read_csv(tmp_path / "30.csv"), read_csv(tmp_path / "8.csv")
    assert {row["batch"] for row in whole} == {"0"}
    assert [row["source_label"] for row in whole] == [row["source_label"] for row in parts]
    assert [row["confidence"] for row in whole] != [row["confidence"] for row in parts]


def test_bfloat16_rounds_and_changes_little(adapt: Adapt, tmp_path: Path, read_csv: ReadCsv) -> None:
    adapt(tmp_path / "full.csv")
    assert adapt(tmp_path / "half.csv", "--precision", "bfloat16").status == 0
    adapt(tmp_path / "auto.csv", "--precision", "auto", "--device", "cpu")
    assert (tmp_path / "auto.csv").read_bytes() == (tmp_path / "full.csv").read_bytes()
    full, half = ([float(row["confidence"]) for row in read_csv(tmp_path / f"{name}.csv")] for name in ("full", "half"))
    assert full != half
    assert half == pytest.approx(full, abs=0.05)


def test_the_same_command_writes_the_same_bytes(adapt: Adapt, tmp_path: Path) -> None:
    adapt(tmp_path / "a.csv")
    adapt(tmp_path / "b.csv", "--workers", 0)
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()


def test_a_flat_folder_is_a_target(adapt: Adapt, flat: Path, tmp_path: Path, read_csv: ReadCsv) -> None:
    assert adapt(tmp_path / "a.csv", target=flat).status == 0
    assert [row["path"] for row in read_csv(tmp_path / "a.csv")] == sorted(path.name for path in flat.iterdir())


def test_layout_flat_reads_any_nesting(adapt: Adapt, flat: Path, tmp_path: Path, read_csv: ReadCsv) -> None:
    (flat / "later").mkdir()
    (flat / "circle-0.png").rename(flat / "later" / "circle-0.png")
    refused = adapt(tmp_path / "a.csv", target=flat)
    assert refused.status == 2 and "--layout flat" in refused.err
    assert adapt(tmp_path / "a.csv", "--layout", "flat", target=flat).status == 0
    assert [row["path"] for row in read_csv(tmp_path / "a.csv")][-3:] == [
        "square-1.png",
        "stripes-0.png",
        "stripes-1.png",
    ]
    assert "later/circle-0.png" in [row["path"] for row in read_csv(tmp_path / "a.csv")]


def test_a_root_of_domains_never_mixes_them_in_a_batch(
    adapt: Adapt, data: Path, tmp_path: Path, read_csv: ReadCsv
) -> None:
    assert adapt(tmp_path / "a.csv", target=data / "targets").status == 0
    rows = read_csv(tmp_path / "a.csv")
    assert list(rows[0]) == [*COLUMNS, "target"]
    assert [row["path"] for row in rows] == sorted(row["path"] for row in rows)
    assert len({(row["batch"], row["target"]) for row in rows}) == len({row["batch"] for row in rows}) == 8
    assert all(row["path"].startswith(row["target"] + "/") for row in rows)


def test_a_domain_is_predicted_the_same_alone_and_among_others(
    adapt: Adapt, data: Path, tmp_path: Path, read_csv: ReadCsv
) -> None:
    adapt(tmp_path / "night.csv", target=data / "targets" / "night")
    adapt(tmp_path / "both.csv", target=data / "targets")
    alone = [(f"night/{row['path']}", row["confidence"]) for row in read_csv(tmp_path / "night.csv")]
    assert alone == [(row["path"], row["confidence"]) for row in read_csv(tmp_path / "both.csv")[30:]]


def test_one_image_is_enough(adapt: Adapt, flat: Path, tmp_path: Path, read_csv: ReadCsv) -> None:
    for path in sorted(flat.iterdir())[1:]:
        path.unlink()
    assert adapt(tmp_path / "a.csv", target=flat).status == 0
    (row,) = read_csv(tmp_path / "a.csv")
    assert row["path"] == "circle-0.png" and row["label"] in CLASSES


def test_class_folders_are_not_read_as_labels(adapt: Adapt, own_data: Path, tmp_path: Path, read_csv: ReadCsv) -> None:
    adapt(tmp_path / "a.csv", "--order", "name")
    fog = own_data / "targets" / "fog"
    for before, after in (("circle", "a-giraffe"), ("square", "b-lion"), ("stripes", "c-zebra")):
        (fog / before).rename(fog / after)
    assert adapt(tmp_path / "b.csv", "--order", "name", target=fog).status == 0
    before, after = read_csv(tmp_path / "a.csv"), read_csv(tmp_path / "b.csv")
    assert after[0]["path"] == "a-giraffe/00.png"
    assert [list(row.values())[1:] for row in after] == [list(row.values())[1:] for row in before]


def test_unreadable_images_are_skipped_and_listed(adapt: Adapt, flat: Path, tmp_path: Path, read_csv: ReadCsv) -> None:
    (flat / "broken.png").write_bytes(b"no image")
    done = adapt(tmp_path / "a.csv", "--json", target=flat)
    assert done.status == 0
    assert done.json["images"] == len(read_csv(tmp_path / "a.csv")) == 6
    assert done.json["skipped"] == [{"path": "broken.png", "reason": "not an image that Pillow can read"}]
    assert "warning: 1 unreadable image skipped\n  broken.png: not an image" in done.err


def test_many_unreadable_images_are_listed_in_full_with_verbose(adapt: Adapt, flat: Path, tmp_path: Path) -> None:
    for number in range(7):
        (flat / f"broken-{number}.png").write_bytes(b"")
    short = adapt(tmp_path / "a.csv", target=flat).err
    assert "broken-4.png" in short and "broken-5.png" not in short and "and 2 more: --verbose" in short
    assert "broken-6.png" in adapt(tmp_path / "b.csv", "--verbose", target=flat).err


def test_nothing_readable_is_a_failure(adapt: Adapt, flat: Path, tmp_path: Path) -> None:
    for path in flat.iterdir():
        path.write_bytes(b"")
    done = adapt(tmp_path / "a.csv", target=flat)
    assert done.status == 1
    assert "error: no readable image: 6 skipped" in done.err
    assert not (tmp_path / "a.csv").exists()


def test_strict_makes_an_unreadable_image_an_error(adapt: Adapt, flat: Path, tmp_path: Path) -> None:
    (flat / "broken.png").write_bytes(b"no image")
    done = adapt(tmp_path / "a.csv", "--strict", target=flat)
    assert done.status == 2 and "error: unreadable image: broken.png" in done.err
    assert not (tmp_path / "a.csv").exists()


def test_an_existing_file_is_kept_unless_overwritten(adapt: Adapt, flat: Path, tmp_path: Path) -> None:
    out = tmp_path / "a.csv"
    out.write_text("mine")
    done = adapt(out, target=flat)
    assert done.status == 2 and f"output file exists: {out}" in done.err
    assert out.read_text() == "mine"
    assert adapt(out, "--overwrite", target=flat).status == 0
    assert out.read_text().startswith("path,")


def test_out_may_lie_in_a_new_folder(adapt: Adapt, flat: Path, tmp_path: Path) -> None:
    assert adapt(tmp_path / "new" / "folder" / "a.csv", target=flat).status == 0
    assert [path.name for path in (tmp_path / "new" / "folder").iterdir()] == ["a.csv"]


def test_weird_file_names_survive(adapt: Adapt, flat: Path, tmp_path: Path, read_csv: ReadCsv) -> None:
    names = ['a,"b".png', "line\nbreak.png", "[red]犬 é.png", " leading.png", "=1+1.png", "plain.png"]
    for path, name in zip(sorted(flat.iterdir()), names, strict=True):
        path.rename(flat / name)
    (flat / "bad\n[bold].png").write_bytes(b"")
    for out in (tmp_path / "a.csv", tmp_path / "a.jsonl"):
        done = adapt(out, target=flat)
        assert done.status == 0
        assert "  bad\\n[bold].png: the file is empty\n" in done.err
    assert [row["path"] for row in read_csv(tmp_path / "a.csv")] == sorted(names)
    lines = (tmp_path / "a.jsonl").read_text(encoding="utf-8").split("\n")[:-1]
    assert [json.loads(line)["path"] for line in lines] == sorted(names)


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_a_file_name_that_is_not_utf_8_does_not_end_the_run(
    adapt: Adapt, flat: Path, tmp_path: Path, suffix: str
) -> None:
    import os

    os.rename(os.fsencode(flat / "circle-0.png"), os.fsencode(flat) + b"/\xff.png")  # noqa: PTH104
    os.rename(os.fsencode(flat / "circle-1.png"), os.fsencode(flat) + b"/\xfe.png")  # noqa: PTH104
    (flat / "\udcfe.png").write_bytes(b"")
    done = adapt(tmp_path / f"a.{suffix}", "--json", target=flat)
    assert done.status == 0, done.err
    assert done.json["skipped"][0]["path"] == "\udcfe.png"
    assert len((tmp_path / f"a.{suffix}").read_bytes().splitlines()) == 5 + (suffix == "csv")


def test_json_sums_up(adapt: Adapt, tmp_path: Path, read_csv: ReadCsv) -> None:
    document = adapt(tmp_path / "a.csv", "--json").json
    rows = read_csv(tmp_path / "a.csv")
    assert (document["images"], document["batches"], document["out"]) == (30, 4, str(tmp_path / "a.csv"))
    assert document["changed"] == sum(row["label"] != row["source_label"] for row in rows)
    assert sum(document["counts"].values()) == 30
    for name, count in document["counts"].items():
        assert count == sum(row["label"] == name for row in rows)


def test_a_dry_run_touches_nothing(adapt: Adapt, tmp_path: Path, data: Path) -> None:
    plan = adapt(tmp_path / "new" / "a.csv", "--dry-run", "--json", "--order", "name", target=data / "targets").json
    assert (plan["batch_size"], plan["order"], plan["device"]) == (8, "name", "cpu")
    assert plan["domains"]["fog"] == {"circle": 10, "square": 10, "stripes": 10}
    assert plan["outputs"] == [str(tmp_path / "new" / "a.csv")]
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_has_come_meanwhile_is_not_replaced_unasked(
    gformer: Callable[..., Any], bundle: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "p.csv"
    real = Predictor.predict

    def come(self: Predictor, *arguments: Any) -> Any:
        out.write_text("mine")
        return real(self, *arguments)

    monkeypatch.setattr(Predictor, "predict", come)
    done = gformer("adapt", "--model", bundle, "--target", data / "targets" / "fog", "--out", out)
    assert done.status == 2 and "output file exists" in done.err and out.read_text() == "mine"


def test_predictions_are_written_through_a_link(
    gformer: Callable[..., Any], bundle: Path, data: Path, tmp_path: Path
) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "p.csv").symlink_to("real/today.csv")
    command = ["adapt", "--model", bundle, "--target", data / "targets" / "fog", "--out", tmp_path / "p.csv"]
    assert gformer(*command).status == 0
    assert (tmp_path / "p.csv").is_symlink() and (tmp_path / "real" / "today.csv").read_text().startswith("path,label")
    (tmp_path / "real" / "today.csv").write_text("old")
    assert gformer(*command).status == 2
    assert gformer(*command, "--overwrite").status == 0
    assert (tmp_path / "p.csv").is_symlink() and (tmp_path / "real" / "today.csv").read_text().startswith("path,label")
