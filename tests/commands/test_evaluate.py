from __future__ import annotations

import csv
import importlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from PIL import Image

from gformer_cli.bundle import load_bundle
from gformer_cli.data.corruptions import CORRUPTIONS
from gformer_cli.data.streams import STREAMS
from gformer_cli.errors import WorkError
from gformer_cli.methods.gformer import Gformer
from gformer_cli.methods.source import Source

Evaluate = Callable[..., Any]
DEFAULTS = ["source", "bn", "tent", "constant", "gformer"]


@pytest.fixture
def evaluate(gformer: Callable[..., Any], bundle: Path, data: Path) -> Evaluate:
    """`evaluate(*options)`: both targets unless `target` is given (None: no target), 8 images a batch."""

    def call(*options: object, target: Path | None = data / "targets") -> Any:
        targets = [] if target is None else ["--target", target]
        return gformer("evaluate", "--model", bundle, *targets, "--batch-size", 8, *options)

    return call


@pytest.fixture(scope="session")
def results(bundle: Path, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """results.json of the default methods on both targets."""
    from gformer_cli.app import run

    out = tmp_path_factory.mktemp("evaluated") / "results"
    arguments = ["evaluate", "--model", bundle, "--target", data / "targets", "--batch-size", 8, "--out", out]
    assert run([str(argument) for argument in arguments]) == 0
    return json.loads((out / "results.json").read_text())


@pytest.fixture
def results_file(results: Any, tmp_path: Path) -> Path:
    path = tmp_path / "before.json"
    path.write_text(json.dumps(results))
    return path


def accuracies(document: Any) -> dict[tuple[Any, ...], float]:
    return {(cell["method"], cell["target"], cell["seed"]): cell["accuracy"] for cell in document["cells"]}


def averages(document: Any) -> dict[str, float]:
    return {summary["method"]: summary["accuracy"] for summary in document["summaries"]}


def test_results_have_the_documented_form(results: Any, bundle: Path) -> None:
    import hashlib

    assert results["schema_version"] == 2
    assert results["bundle"]["file"] == "model.gformer"
    assert results["bundle"]["sha256"] == hashlib.sha256(bundle.read_bytes()).hexdigest()
    assert results["skipped"] == [] and results["tuned"] == {}
    fields = {"method", "stream", "part", "target", "batch_size", "seed", "severity", "n", "accuracy", "nll", "ece"}
    fields |= {"balanced_accuracy", "macro_f1", "brier", "seconds_per_image", "cost_ratio", "forwards", "backwards"}
    for cell in results["cells"]:
        assert fields <= set(cell)
        assert (cell["stream"], cell["batch_size"], cell["seed"], cell["n"]) == ("stationary", 8, 0, 30)
        assert cell["batch_images"] == [8, 8, 8, 6]
    fields = {"targets", "to_source", "to_best_other", "worst_target", "harm", "harmed_batches", "standard_error"}
    assert all(fields <= set(summary) for summary in results["summaries"])


def test_defaults_are_five_methods_on_each_target_alone(results: Any) -> None:
    assert [(cell["target"], cell["method"]) for cell in results["cells"]] == [
        (target, method) for target in ("fog", "night") for method in DEFAULTS
    ]
    assert [summary["method"] for summary in results["summaries"]] == DEFAULTS


def test_summaries_are_means_over_the_targets(results: Any) -> None:
    found = accuracies(results)
    for method in DEFAULTS:
        expected = (found[method, "fog", 0] + found[method, "night", 0]) / 2
        assert averages(results)[method] == pytest.approx(expected)


def test_accuracy_of_one_whole_batch_is_that_of_adapt(
    gformer: Callable[..., Any], evaluate: Evaluate, bundle: Path, data: Path, tmp_path: Path, read_csv: Any
) -> None:
    # in a single batch the order of the images makes no difference
    found = accuracies(evaluate("--batch-size", 30, "--json").json)
    for target in ("fog", "night"):
        out = tmp_path / f"{target}.csv"
        options = ["--batch-size", 30, "--guard", "off"]
        gformer("adapt", "--model", bundle, "--target", data / "targets" / target, "--out", out, *options)
        rows = read_csv(out)
        truth = [row["path"].split("/")[0] for row in rows]
        for method, column in (("gformer", "label"), ("source", "source_label")):
            right = sum(row[column] == label for row, label in zip(rows, truth, strict=True))
            assert found[method, target, 0] == pytest.approx(right / 30)


def test_methods_choose_what_is_measured(evaluate: Evaluate, results: Any) -> None:
    document = evaluate("--methods", "tent,bn", "--methods", "tent", "--json").json
    assert [cell["method"] for cell in document["cells"]] == ["tent", "bn"] * 2
    assert list(averages(document)) == ["tent", "bn"]
    assert accuracies(document).items() <= accuracies(results).items()


def test_streams_choose_in_which_order_images_come(evaluate: Evaluate) -> None:
    document = evaluate("--methods", "source", "--streams", "mixed,recurring", "--json").json
    assert {(c["stream"], c["target"], c["n"]) for c in document["cells"]} == {
        ("mixed", "fog", 30),
        ("mixed", "night", 30),
        ("recurring", "fog", 30),
        ("recurring", "night", 30),
    }
    assert [s["stream"] for s in document["summaries"]] == ["mixed", "recurring"]


def test_all_streams_without_source_leave_out_forgetting_and_say_so(evaluate: Evaluate) -> None:
    done = evaluate("--methods", "source", "--streams", "all", "--limit", 8, "--json")
    assert {s["stream"] for s in done.json["summaries"]} == set(STREAMS) - {"forgetting", "arrival"}
    assert "left out: forgetting. It needs the source images: add --source DIR." in done.err


def test_forgetting_ends_at_home(evaluate: Evaluate, data: Path) -> None:
    done = evaluate(
        "--methods", "source,tent", "--streams", "forgetting", "--source", data / "sources", "--json", "--strict"
    )
    assert {c["target"]: c["n"] for c in done.json["cells"]} == {"fog": 30, "night": 30, "(source again)": 18}


def test_the_same_folder_may_be_target_and_source(evaluate: Evaluate, data: Path) -> None:
    folder = data / "sources"
    options = ("--methods", "source", "--streams", "forgetting", "--limit", 4, "--dry-run")
    assert evaluate(*options, "--source", folder, target=folder).status == 0


def test_the_source_models_own_figures_are_given(evaluate: Evaluate, finished_pretrain: Path) -> None:
    trained = json.loads((finished_pretrain / "source.json").read_text())
    done = evaluate("--methods", "source", "--limit", 4, "--json")
    known = {name: done.json["bundle"][name] for name in ("validation_accuracy", "still_rising")}
    assert known == {name: trained[name] for name in known} and None not in known.values()
    assert ("still rising" in done.err) == known["still_rising"]


def test_every_cell_is_printed_with_verbose_alone(evaluate: Evaluate) -> None:
    options = ("--methods", "source,bn", "--limit", 8, "--streams", "stationary,mixed")
    whole, every = "Lost to source over 4 cells", "Lost to source in points, every cell"
    brief, verbose = evaluate(*options).out, evaluate(*options, "--verbose").out
    assert whole in brief and every not in brief
    assert whole in verbose and every in verbose


@pytest.mark.slow
def test_all_methods_are_measured_and_eata_without_source_is_told(evaluate: Evaluate, bundle: Path, data: Path) -> None:
    from gformer_cli.methods import METHODS

    done = evaluate("--methods", "all", "--limit", 8, "--json", target=data / "targets" / "fog")
    assert load_bundle(bundle).constant is not None
    assert list(averages(done.json)) == [name for name in METHODS if name != "foa"]
    assert "without --source eata is ETA, which nothing holds near the source model" in done.err


def test_batch_size_is_that_of_the_batches(evaluate: Evaluate, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    monkeypatch.setattr(Gformer, "predict", spy(Gformer.predict, seen))
    document = evaluate("--methods", "gformer", "--batch-size", 12, "--json").json
    assert {cell["batch_size"] for cell in document["cells"]} == {12}
    assert seen == [12, *[12, 12, 6] * 2]  # the first is not counted


def spy(original: Callable[..., Any], sizes: list[int]) -> Callable[..., Any]:
    def predict(self: Any, images: Any) -> Any:
        sizes.append(len(images))
        return original(self, images)

    return predict


def test_limit_takes_so_many_images_of_each_target(evaluate: Evaluate) -> None:
    document = evaluate("--methods", "source", "--limit", 12, "--json").json
    assert [cell["batch_images"] for cell in document["cells"]] == [[8, 4]] * 2


def test_fewer_images_than_a_batch_work_and_are_told(evaluate: Evaluate) -> None:
    done = evaluate("--methods", "bn", "--batch-size", 64, "--json")
    assert {cell["n"] for cell in done.json["cells"]} == {30}
    assert "fewer images than one batch of 64, so batches are smaller: fog (30), night (30)" in done.err


def test_one_class_alone_works_and_is_told(evaluate: Evaluate, own_data: Path) -> None:
    for label in ("circle", "square"):
        shutil.rmtree(own_data / "targets" / "fog" / label)
    done = evaluate("--methods", "bn", "--json", target=own_data / "targets" / "fog")
    assert [cell["n"] for cell in done.json["cells"]] == [10]
    assert "images of one class only, so statistics of a batch mislead: fog" in done.err


def test_streams_are_joined_and_images_come_as_they_arrived(evaluate: Evaluate, data: Path, tmp_path: Path) -> None:
    fog = data / "targets" / "fog"
    names = sorted(path.relative_to(fog).as_posix() for path in fog.rglob("*.png"))
    table, found = tmp_path / "times.csv", []
    for order in (names, names[::3] + names[1::3] + names[2::3]):
        table.write_text("\n".join(["path", *order]))
        done = evaluate(
            "--methods", "bn", "--streams", "arrival,mixed+bursts", "--arrival", table, "--json", target=fog
        )
        cells = [cell for cell in done.json["cells"] if cell["method"] == "bn"]
        assert [cell["stream"] for cell in cells] == ["arrival", "mixed+bursts"]
        found.append([cell["predictions"] for cell in cells])
    assert found[0][0] != found[1][0] and found[0][1] == found[1][1]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--streams", "mixed+waves"), "unknown stream: 'mixed+waves'"),
        (("--streams", "batch-sizes+label-shift"), "unknown stream: 'batch-sizes+label-shift'"),
        (("--arrival", "times.csv"), "--arrival is for streams in the order of arrival"),
        (("--streams", "arrival", "--arrival", "none.csv"), "no such table: none.csv"),
        (("--severity", "3"), "no images of severity 3"),
    ],
)
def test_a_stream_that_is_none_is_told(evaluate: Evaluate, options: tuple[str, ...], told: str) -> None:
    done = evaluate(*options)
    assert done.status == 2 and told in done.err


def test_a_benchmark_of_arrays_is_measured_at_one_severity(evaluate: Evaluate, data: Path, tmp_path: Path) -> None:
    paths = sorted((data / "targets" / "fog").rglob("*.png"))
    names = sorted({path.parent.name for path in paths})
    pixels = np.stack([np.asarray(Image.open(path)) for path in paths])
    benchmark, class_map = tmp_path / "C", tmp_path / "map.csv"
    benchmark.mkdir()
    np.save(benchmark / "labels.npy", np.tile([names.index(path.parent.name) for path in paths], 5))
    np.save(benchmark / "dark.npy", np.concatenate([pixels // severity for severity in range(1, 6)]))
    class_map.write_text("\n".join(["folder,class", *(f"{number},{name}" for number, name in enumerate(names))]))
    options = ("--class-map", class_map, "--methods", "source", "--json")
    plain = evaluate(*options, target=data / "targets" / "fog").json["cells"]
    for severity, same in ((1, True), (4, False)):
        (cell,) = evaluate(*options, "--severity", severity, target=benchmark).json["cells"]
        assert cell["target"] == f"dark-{severity}" and cell["n"] == len(paths)
        assert (cell["accuracy"] == plain[0]["accuracy"] and cell["nll"] == pytest.approx(plain[0]["nll"])) is same


@pytest.mark.slow
def test_label_skew_decides_how_classes_come(evaluate: Evaluate) -> None:
    options = ("--methods", "bn", "--streams", "label-shift", "--json")
    digests = [
        [cell["predictions"] for cell in evaluate(*options, "--label-skew", skew).json["cells"]]
        for skew in (0, 0, 0.1, 100)
    ]
    assert digests[0] == digests[1] and len({str(digest) for digest in digests}) == 3
    assert evaluate(*options).json["cells"][0]["predictions"] == digests[2][0]


@pytest.mark.slow
def test_seeds_repeat_with_other_batches(evaluate: Evaluate, results: Any) -> None:
    document = evaluate("--seed", 0, "--seed", 5, "--seed", 0, "--json").json
    found = accuracies(document)
    assert len(found) == len(document["cells"]) == 20 and accuracies(results).items() <= found.items()
    for target in ("fog", "night"):  # without batch statistics the order makes no difference
        assert found["source", target, 0] == found["source", target, 5]
    assert any(found[method, target, 0] != found[method, target, 5] for method, target, _ in found)
    expected = sum(found["gformer", target, seed] for target in ("fog", "night") for seed in (0, 5)) / 4
    assert averages(document)["gformer"] == pytest.approx(expected)
    assert results["summaries"][1]["standard_error"] is None
    assert all(summary["standard_error"] is not None for summary in document["summaries"])


def test_a_target_may_lack_classes(evaluate: Evaluate, own_data: Path) -> None:
    shutil.rmtree(own_data / "targets" / "fog" / "circle")
    document = evaluate("--methods", "source,gformer", "--json", target=own_data / "targets" / "fog").json
    assert [cell["n"] for cell in document["cells"]] == [20, 20]


def test_classes_are_matched_by_name(evaluate: Evaluate, results: Any, own_data: Path) -> None:
    """Without its first class a target's remaining labels keep their meaning."""
    fog = own_data / "targets" / "fog"
    right = 0.0
    for label in ("circle", "square", "stripes"):
        alone = own_data / f"only-{label}"
        shutil.copytree(fog / label, alone / label)
        right += averages(evaluate("--methods", "source", "--json", target=alone).json)["source"] * 10
    assert right / 30 == pytest.approx(accuracies(results)["source", "fog", 0])


@pytest.mark.slow
def test_a_class_map_gives_what_renamed_folders_give(evaluate: Evaluate, own_data: Path, tmp_path: Path) -> None:
    targets, options = own_data / "targets", ["--methods", "source,bn,gformer", "--json"]
    for path in sorted(targets.glob("*/*/*.png")):  # images of one name stand in the order of their folders
        path.rename(path.with_name(f"{path.parent.name}-{path.name}"))
    expected = accuracies(evaluate(*options, target=targets).json)
    for domain in targets.iterdir():
        (domain / "square").rename(domain / "n01")
        (domain / "circle").rename(domain / "rond cafe\u0301")
        (domain / "small").mkdir()
        for path in sorted((domain / "rond cafe\u0301").iterdir())[:4]:
            path.rename(domain / "small" / path.name)
    refused = evaluate(*options, target=targets)
    assert refused.status == 2 and "--class-map FILE.csv (folder,class)" in refused.err
    lines = ["folder,class", "n01,square", "rond caf\u00e9,circle", "small,circle", "elsewhere,circle"]
    (tmp_path / "map.csv").write_text("\n".join(lines), encoding="utf-8")
    mapped = ["--class-map", tmp_path / "map.csv"]
    assert accuracies(evaluate(*options, *mapped, target=targets).json) == expected
    plan = evaluate(*mapped, "--dry-run", "--json", target=targets).json
    assert plan["domains"]["fog"] == {"circle": 10, "square": 10, "stripes": 10}


def test_a_class_map_is_for_source_images_as_well(
    evaluate: Evaluate, own_data: Path, data: Path, tmp_path: Path
) -> None:
    for domain in (own_data / "sources").iterdir():
        (domain / "square").rename(domain / "n01")
    (tmp_path / "map.csv").write_text("n01,square")
    options = ["--methods", "source", "--streams", "forgetting", "--json"]
    expected = evaluate("--source", data / "sources", *options)
    refused = evaluate("--source", own_data / "sources", *options)
    assert refused.status == 2 and "does not know: n01" in refused.err
    found = evaluate("--source", own_data / "sources", "--class-map", tmp_path / "map.csv", *options)
    known = [(cell["target"], cell["n"]) for cell in found.json["cells"]]
    assert known == [(cell["target"], cell["n"]) for cell in expected.json["cells"]]


@pytest.mark.parametrize(
    ("content", "told"),
    [("n01,squares", "gives folder 'n01' the class 'squares'"), ("n01", "line 1: 'n01' is not a folder and a class")],
)
def test_a_class_map_that_is_wrong_is_told(evaluate: Evaluate, tmp_path: Path, content: str, told: str) -> None:
    (tmp_path / "map.csv").write_text(content)
    done = evaluate("--class-map", tmp_path / "map.csv")
    assert done.status == 2 and told in done.err and done.out == ""


@pytest.mark.slow
def test_unreadable_images_count_for_no_method(evaluate: Evaluate, own_data: Path) -> None:
    (own_data / "targets" / "fog" / "circle" / "04.png").write_bytes(b"")
    options = ("--methods", "source,bn,gformer", "--seed", 0, "--seed", 1, "--json")
    done = evaluate(*options, target=own_data / "targets")
    assert done.status == 0
    assert {cell["n"] for cell in done.json["cells"] if cell["target"] == "fog"} == {29}
    assert done.json["skipped"] == [{"path": "fog/circle/04.png", "reason": "the file is empty"}]
    assert "warning: 1 unreadable image skipped" in done.err and "fog/circle/04.png" in done.err


def test_strict_makes_an_unreadable_image_an_error_and_resume_goes_on_once_it_is_repaired(
    evaluate: Evaluate, own_data: Path, tmp_path: Path
) -> None:
    broken = own_data / "targets" / "night" / "circle" / "04.png"
    whole = broken.read_bytes()
    broken.write_bytes(b"")
    options = ("--strict", "--methods", "bn", "--out", tmp_path / "results")
    done = evaluate(*options, target=own_data / "targets")
    assert done.status == 2 and "unreadable image: night/circle/04.png" in done.err
    assert not (tmp_path / "results" / "results.json").exists()
    broken.write_bytes(whole)
    assert evaluate(*options, "--resume", target=own_data / "targets").status == 0


# --- source images


def test_corruptions_and_a_severity_are_chosen(evaluate: Evaluate, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shifts = ("--shifts", "--methods", "source", "--source", data / "sources", "--json")
    done = evaluate(*shifts, "--corruptions", "blur,fog", "--severity", 3, target=None)
    assert done.status == 0, done.err
    chosen = ["defocus", "motion-blur", "zoom-blur", "fog"]
    assert [(c["target"], c["severity"]) for c in done.json["cells"]] == [
        ("(none)", 0),
        *((name, 3) for name in chosen),
    ]
    assert done.json["run"]["corruptions"] == chosen and done.json["run"]["severities"] == [3]
    unknown = evaluate(*shifts, "--corruptions", "blurr", target=None)
    assert unknown.status == 2 and "Did you mean 'blur'?" in unknown.err
    monkeypatch.setitem(sys.modules, "imagecorruptions", ModuleType("imagecorruptions"))
    small = evaluate(*shifts, "--corruptions", "imagenet-c", target=None)
    assert small.status == 2 and "images of 32 pixels or more, and the model takes 16" in small.err
    monkeypatch.setitem(sys.modules, "imagecorruptions", None)
    missing = evaluate(*shifts, "--corruptions", "imagenet-c", target=None)
    assert missing.status == 2 and "pip install 'gformer[corruptions]'" in missing.err


def test_corruptions_are_those_of_shifts(evaluate: Evaluate) -> None:
    done = evaluate("--corruptions", "fog")
    assert done.status == 2 and "--corruptions are those of --shifts" in done.err


def test_shifts_measure_source_images_under_every_corruption(evaluate: Evaluate, data: Path, tmp_path: Path) -> None:
    done = evaluate("--shifts", "--methods", "source", "--source", data / "sources", "--out", tmp_path, target=None)
    assert done.status == 0
    document = json.loads((tmp_path / "results.json").read_text())
    assert {(c["target"], c["severity"]) for c in document["cells"]} == {
        ("(none)", 0),
        *((name, severity) for name in CORRUPTIONS for severity in range(1, 6)),
    }
    assert {c["n"] for c in document["cells"]} == {18}  # two of ten images a class and domain are held out
    (summary,) = document["summaries"]
    assert list(summary["targets"]) == ["(none)", *CORRUPTIONS]
    header = next(line for line in done.out.splitlines() if line.startswith("method"))
    for group in ("(none)", "noise", "blur", "weather", "digital", "photometric", "geometric"):
        assert group in header


def test_tune_chooses_on_source_images_and_records_it(evaluate: Evaluate, data: Path) -> None:
    options = ("--methods", "bn-mix,source", "--json")
    tuned = evaluate(*options, "--tune", "--source", data / "sources").json
    assert set(tuned["tuned"]) == {"bn-mix"}
    assert set(tuned["tuned"]["bn-mix"]) == {"settings", "accuracy", "default_accuracy", "tried"}
    plain = evaluate(*options).json
    chosen = tuned["tuned"]["bn-mix"]["settings"]
    same = [t["predictions"] == p["predictions"] for t, p in zip(tuned["cells"], plain["cells"], strict=True)]
    assert all(same) or chosen
    assert plain["tuned"] == {}


def test_the_table_of_tuned_settings_comes_first(evaluate: Evaluate, data: Path) -> None:
    shown = evaluate("--methods", "source", "--limit", 8, "--tune", "--source", data / "sources").out
    assert shown.startswith("Chosen on held-out source images, accuracy in %")


def test_a_source_that_was_not_trained_on_is_told(evaluate: Evaluate, data: Path) -> None:
    options = ("--methods", "source", "--streams", "forgetting", "--json")
    done = evaluate(*options, "--source", data / "targets" / "night", target=data / "targets" / "fog")
    assert "does not hold the images that this bundle was trained on" in done.err
    assert {c["target"]: c["n"] for c in done.json["cells"]} == {"fog": 30, "(source again)": 30}


# --- limits


def test_fail_under_passes_and_misses(evaluate: Evaluate, tmp_path: Path) -> None:
    two = ("--methods", "source,gformer")
    assert evaluate(*two, "--fail-under", "gformer=0", "--fail-under", "source=0.01").status == 0
    missed = evaluate(*two, "--fail-under", "gformer=1", "--out", tmp_path / "results", "--json")
    assert missed.status == 1
    written = json.loads((tmp_path / "results" / "results.json").read_text())
    assert missed.json == written | {"left_aside": {}}
    assert missed.err.splitlines()[-2] == (
        "error: limits missed: gformer on stationary in batches of 8: "
        f"accuracy {averages(missed.json)['gformer']:.4f} < 1.0000 (--fail-under)"
    )


def test_a_limit_that_is_just_met_passes(evaluate: Evaluate, results: Any) -> None:
    value = averages(results)["bn"]
    assert evaluate("--methods", "bn", "--fail-under", f"bn={value!r}").status == 0
    assert evaluate("--methods", "bn", "--fail-under", f"bn={value + 1e-9!r}").status == 1


def test_fail_harm_judges_the_worst_target(
    evaluate: Evaluate, own_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On images that `source` has right in part, a `gformer` that turns its answers round does harm."""
    monkeypatch.setattr(Gformer, "predict", lambda self, images: -Source.predict(self, images))
    for label in ("circle", "square", "stripes"):
        shutil.copytree(own_data / "targets" / "fog" / label, tmp_path / "alone" / f"only-{label}" / label)
    options = ("--methods", "gformer", "--json")
    (summary,) = evaluate(*options, target=tmp_path / "alone").json["summaries"]
    assert summary["harm"] > 0.3
    assert evaluate(*options, "--fail-harm", summary["harm"], target=tmp_path / "alone").status == 0
    done = evaluate(*options, "--fail-harm", summary["harm"] - 0.01, target=tmp_path / "alone")
    assert done.status == 1
    assert (
        f"harm on {summary['worst_target']} {summary['harm']:.4f} > {summary['harm'] - 0.01:.4f} (--fail-harm)"
        in done.err
    )


@pytest.mark.slow
def test_a_baseline_shows_what_changed(evaluate: Evaluate, results: Any, results_file: Path) -> None:
    same = evaluate("--baseline", results_file)
    assert same.status == 0
    rows = [line.split() for line in same.out.split("Compared with the baseline")[1].splitlines()[2:7]]
    assert [row[2] for row in rows] == DEFAULTS and {row[5] for row in rows} == {"+0.0"}
    for summary in results["summaries"]:
        summary["accuracy"] += 0.1 * (summary["method"] == "bn")
    results_file.write_text(json.dumps(results))
    worse = evaluate("--methods", "source,bn", "--baseline", results_file, "--json")
    for summary in results["summaries"]:
        summary["accuracy"] -= 0.1 * (summary["method"] == "bn")
    assert (
        worse.status == 1 and "bn on stationary in batches of 8: accuracy" in worse.err and "(--baseline)" in worse.err
    )
    assert {c["method"]: round(c["now"] - c["before"], 6) for c in worse.json["changes"]} == {
        "source": 0.0,
        "bn": -0.1,
    }


# --- what is shown and written


def test_the_table_shows_percentages_per_target(evaluate: Evaluate, results: Any) -> None:
    lines = [line.split() for line in evaluate("--methods", "source").out.splitlines()]
    found = accuracies(results)
    expected = [found["source", "fog", 0], found["source", "night", 0], averages(results)["source"]]
    assert lines[1][:4] == ["method", "fog", "night", "average"]
    assert lines[2][:4] == ["source", *(f"{100 * value:.1f}" for value in expected)]


def test_the_csv_has_the_cells(evaluate: Evaluate, tmp_path: Path) -> None:
    evaluate("--methods", "source,bn", "--out", tmp_path / "r")
    document = json.loads((tmp_path / "r" / "results.json").read_text())
    with (tmp_path / "r" / "results.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["method"], row["target"], float(row["accuracy"])) for row in rows] == [
        (cell["method"], cell["target"], cell["accuracy"]) for cell in document["cells"]
    ]


def test_out_is_refused_when_it_holds_something(evaluate: Evaluate, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    refused = evaluate("--out", tmp_path)
    assert refused.status == 2 and f"output folder is not empty: {tmp_path}" in refused.err
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]
    assert evaluate("--methods", "bn", "--out", tmp_path, "--overwrite").status == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["notes.txt", "results.csv", "results.json"]


def test_a_dry_run_touches_nothing(evaluate: Evaluate, tmp_path: Path) -> None:
    plan = evaluate(
        "--dry-run", "--json", "--out", tmp_path / "r", "--seed", 4, "--methods", "bn", "--streams", "mixed"
    ).json
    assert (plan["methods"], plan["streams"], plan["seeds"], plan["batch_size"]) == (["bn"], ["mixed"], [4], 8)
    assert plan["outputs"] == [str(tmp_path / "r" / name) for name in ("results.json", "results.csv")]
    assert list(tmp_path.iterdir()) == []


def untimed(path: Path) -> Any:
    document = json.loads(path.read_text())
    del document["run"]  # the command differs
    for row in (*document["cells"], *document["summaries"]):
        for name in ("seconds_per_image", "cost_ratio", "peak_mib"):
            row.pop(name, None)
    return document


@pytest.mark.slow
def test_a_process_that_was_killed_resumes_to_the_same_results(
    evaluate: Evaluate, bundle: Path, data: Path, tmp_path: Path
) -> None:
    options = ["--methods", "bn,tent,rotta", "--streams", "stationary,mixed,recurring,dynamic"]
    assert evaluate(*options, "--out", tmp_path / "whole").status == 0
    command = ["evaluate", "--model", bundle, "--target", data / "targets", "--batch-size", "8", *options]
    command += ["--out", tmp_path / "broken", "--quiet"]
    cells = tmp_path / "broken" / "cells.jsonl"
    with subprocess.Popen([sys.executable, "-m", "gformer_cli", *map(str, command)]) as process:
        while not (cells.exists() and len(cells.read_bytes().splitlines()) > 2):
            assert process.poll() is None
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
    assert not (tmp_path / "broken" / "results.json").exists()
    refused = evaluate(*options, "--out", tmp_path / "broken")
    assert refused.status == 2 and "--resume" in refused.err
    assert evaluate(*options, "--out", tmp_path / "broken", "--resume").status == 0
    assert untimed(tmp_path / "broken" / "results.json") == untimed(tmp_path / "whole" / "results.json")
    again = evaluate(*options, "--out", tmp_path / "broken", "--resume")
    assert again.status == 2 and "is finished" in again.err


@pytest.mark.slow
def test_a_bundle_without_a_constant_generator_is_measured_without_it(
    gformer: Callable[..., Any], pretrained: Path, data: Path
) -> None:
    options = ("--set", "meta_train.constant=false", "--steps", 1)
    gformer("meta-train", "--source", data / "sources", "--run", pretrained, *options)
    command = ("evaluate", "--model", pretrained / "model.gformer", "--target", data / "targets" / "fog", "--json")
    assert list(averages(gformer(*command).json)) == ["source", "bn", "tent", "gformer"]
    done = gformer(*command, "--methods", "constant")
    assert done.status == 2 and "the method 'constant' cannot be measured here" in done.err
    assert "meta_train.constant=true" in done.err


def test_jobs_are_run_at_once(evaluate: Evaluate, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    module = importlib.import_module("gformer_cli.evaluate.measuring")
    monkeypatch.setattr(module, "measure_in_parallel", lambda *_, jobs, **__: asked.append(jobs))
    assert evaluate("--methods", "source", "--jobs", 2).status == 130  # no stream was measured
    assert asked == [2]
    assert evaluate("--methods", "source").status == 0 and asked == [2]


def test_an_overwrite_that_fails_keeps_the_old_results(
    gformer: Evaluate, bundle: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ["evaluate", "--model", bundle, "--target", data / "targets" / "fog", "--out", tmp_path / "results"]
    assert gformer(*command, "--methods", "bn").status == 0
    before = {path.name: path.read_bytes() for path in (tmp_path / "results").iterdir()}
    with monkeypatch.context() as patch:
        patch.setattr("gformer_cli.evaluate.run.Harness._stream", _fail)
        assert gformer(*command, "--methods", "bn", "--overwrite").status == 1
    after = {path.name: path.read_bytes() for path in (tmp_path / "results").iterdir()}
    assert {name: after[name] for name in before} == before
    assert gformer(*command, "--methods", "bn", "--resume").status == 0
    assert "cells.jsonl" not in {path.name for path in (tmp_path / "results").iterdir()}


def _fail(*_: object) -> None:
    raise WorkError("the power went")


@pytest.mark.parametrize("option", ["--out", "--report"])
def test_what_cannot_be_written_is_told_before_the_work_and_in_a_dry_run(
    gformer: Evaluate, bundle: Path, data: Path, tmp_path: Path, option: str
) -> None:
    (tmp_path / "file").write_text("old")
    for place in ("/proc/nothing.html", tmp_path / "file" / "x.html"):
        for extra in ([], ["--dry-run"]):
            done = gformer("evaluate", "--model", bundle, "--target", data / "targets" / "fog", option, place, *extra)
            assert done.status == 2 and f"error: cannot write {place}" in done.err
            assert "evaluating" not in done.err and done.out == ""


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_baseline_that_an_editor_has_saved_is_read(
    gformer: Evaluate, bundle: Path, data: Path, tmp_path: Path, encoding: str
) -> None:
    command = ["evaluate", "--model", bundle, "--target", data / "targets" / "fog", "--methods", "bn", "--limit", 6]
    assert gformer(*command, "--out", tmp_path / "results").status == 0
    saved = tmp_path / "saved.json"
    saved.write_text((tmp_path / "results" / "results.json").read_text(encoding="utf-8"), encoding=encoding)
    assert gformer(*command, "--baseline", saved).status == 0


@pytest.mark.parametrize("place", ["pipe", "zero"])
def test_a_baseline_without_an_end_is_told(
    gformer: Evaluate, bundle: Path, data: Path, tmp_path: Path, place: str
) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "zero").symlink_to("/dev/zero")
    command = ["evaluate", "--model", bundle, "--target", data / "targets" / "fog", "--methods", "bn"]
    done = gformer(*command, "--baseline", tmp_path / place)
    assert done.status == 2 and f"cannot read baseline {tmp_path / place}: not a regular file" in done.err
