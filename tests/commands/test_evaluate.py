from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gformer_cli.methods.gformer import Gformer

Evaluate = Callable[..., Any]
METHODS = ["source", "bn", "tent", "gformer"]


@pytest.fixture
def evaluate(gformer: Callable[..., Any], bundle: Path, data: Path) -> Evaluate:
    """`evaluate(*options)`: both targets unless `target` is given, 8 images a batch."""

    def call(*options: object, target: Path | None = None) -> Any:
        return gformer(
            "evaluate", "--model", bundle, "--target", target or data / "targets", "--batch-size", 8, *options
        )

    return call


@pytest.fixture(scope="session")
def results(bundle: Path, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """results.json of the four methods on both targets."""
    from gformer_cli.app import run

    out = tmp_path_factory.mktemp("evaluated") / "results"
    arguments = ["evaluate", "--model", bundle, "--target", data / "targets", "--batch-size", 8, "--out", out]
    assert run([str(argument) for argument in arguments]) == 0
    return json.loads((out / "results.json").read_text())


def accuracies(document: Any) -> dict[tuple[Any, ...], float]:
    return {(cell["method"], cell["target"], cell["seed"]): cell["accuracy"] for cell in document["cells"]}


def test_results_have_the_documented_form(results: Any, bundle: Path) -> None:
    import hashlib

    assert results["schema_version"] == 1
    assert results["bundle"]["file"] == "model.gformer"
    assert results["bundle"]["sha256"] == hashlib.sha256(bundle.read_bytes()).hexdigest()
    assert results["skipped"] == []
    fields = {"method", "stream", "target", "batch_size", "seed", "n", "accuracy", "seconds_per_image", "cost_ratio"}
    for cell in results["cells"]:
        assert fields <= set(cell)
        assert (cell["stream"], cell["batch_size"], cell["seed"], cell["n"]) == ("stationary", 8, 0, 30)
        assert cell["seconds_per_image"] > 0


def test_there_is_a_cell_per_method_and_target(results: Any) -> None:
    assert [(cell["target"], cell["method"]) for cell in results["cells"]] == [
        (target, method) for target in ("fog", "night") for method in METHODS
    ]


def test_averages_are_means_over_the_targets(results: Any) -> None:
    found = accuracies(results)
    for method in METHODS:
        expected = (found[method, "fog", 0] + found[method, "night", 0]) / 2
        assert results["averages"][method] == pytest.approx(expected)


def test_costs_are_multiples_of_a_plain_forward(results: Any) -> None:
    for target in ("fog", "night"):
        cells = {cell["method"]: cell for cell in results["cells"] if cell["target"] == target}
        assert cells["source"]["cost_ratio"] == 1.0
        for cell in cells.values():
            assert cell["cost_ratio"] == pytest.approx(cell["seconds_per_image"] / cells["source"]["seconds_per_image"])


def test_accuracy_of_one_whole_batch_is_that_of_adapt(
    gformer: Callable[..., Any], evaluate: Evaluate, bundle: Path, data: Path, tmp_path: Path, read_csv: Any
) -> None:
    # in a single batch the order of the images makes no difference
    found = accuracies(evaluate("--batch-size", 30, "--json").json)
    for target in ("fog", "night"):
        out = tmp_path / f"{target}.csv"
        gformer("adapt", "--model", bundle, "--target", data / "targets" / target, "--out", out, "--batch-size", 30)
        rows = read_csv(out)
        truth = [row["path"].split("/")[0] for row in rows]
        for method, column in (("gformer", "label"), ("source", "source_label")):
            right = sum(row[column] == label for row, label in zip(rows, truth, strict=True))
            assert found[method, target, 0] == pytest.approx(right / 30)


def test_method_chooses_what_is_measured(evaluate: Evaluate, results: Any) -> None:
    document = evaluate("--method", "tent", "--method", "bn", "--method", "tent", "--json").json
    assert [cell["method"] for cell in document["cells"]] == ["tent", "bn"] * 2
    assert list(document["averages"]) == ["tent", "bn"]
    assert accuracies(document).items() <= accuracies(results).items()


def test_batch_size_is_that_of_the_batches(evaluate: Evaluate, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    monkeypatch.setattr(Gformer, "predict", spy(Gformer.predict, seen))
    document = evaluate("--method", "gformer", "--batch-size", 12, "--json").json
    assert {cell["batch_size"] for cell in document["cells"]} == {12}
    assert seen == [12, 12, 12, 6] * 2  # each target begins with one batch that is not counted


def spy(original: Callable[..., Any], sizes: list[int]) -> Callable[..., Any]:
    def predict(self: Any, images: Any) -> Any:
        sizes.append(len(images))
        return original(self, images)

    return predict


def test_seeds_repeat_with_other_batches(evaluate: Evaluate, results: Any) -> None:
    document = evaluate("--seed", 0, "--seed", 5, "--json").json
    found = accuracies(document)
    assert len(found) == 16 and accuracies(results).items() <= found.items()
    for target in ("fog", "night"):  # without batch statistics the order makes no difference
        assert found["source", target, 0] == found["source", target, 5]
    assert any(found[method, target, 0] != found[method, target, 5] for method, target, _ in found)
    expected = sum(found["gformer", target, seed] for target in ("fog", "night") for seed in (0, 5)) / 4
    assert document["averages"]["gformer"] == pytest.approx(expected)


def test_labels_change_no_prediction(
    evaluate: Evaluate, own_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same files under shuffled labels: what is predicted stays, what is counted as right does not."""
    from gformer_cli.data import streams
    from gformer_cli.data.folders import Domain, ImageFile
    from gformer_cli.stages import evaluate as stage

    def by_name(domain: Domain, seed: int) -> list[ImageFile]:
        files = sorted(domain.files, key=lambda file: file.path.name)
        random.Random(seed).shuffle(files)
        return files

    assert stage.stationary is streams.stationary
    monkeypatch.setattr(stage, "stationary", by_name)
    logits: list[Any] = []
    original = Gformer.predict

    def predict(self: Gformer, images: Any) -> Any:
        logits.append(original(self, images))
        return logits[-1]

    monkeypatch.setattr(Gformer, "predict", predict)
    target = tmp_path / "mixed"
    files = sorted((own_data / "targets" / "fog").rglob("*.png"))
    accuracy = []
    for shift in (0, 7):
        shutil.rmtree(target, ignore_errors=True)
        for number, path in enumerate(files):
            label = files[(number + shift) % len(files)].parent.name
            (target / label).mkdir(parents=True, exist_ok=True)
            shutil.copy(path, target / label / f"{number:03d}.png")
        accuracy.append(evaluate("--json", target=target).json["averages"]["gformer"])
    half = len(logits) // 2
    assert all((a == b).all() for a, b in zip(logits[:half], logits[half:], strict=True))
    assert accuracy[0] != accuracy[1]


def test_a_target_may_lack_classes(evaluate: Evaluate, own_data: Path) -> None:
    shutil.rmtree(own_data / "targets" / "fog" / "circle")
    document = evaluate("--json", target=own_data / "targets" / "fog").json
    assert {cell["n"] for cell in document["cells"]} == {20}


def test_classes_are_matched_by_name(evaluate: Evaluate, results: Any, own_data: Path) -> None:
    """Without its first class a target's remaining labels keep their meaning."""
    fog = own_data / "targets" / "fog"
    right = 0.0
    for label in ("circle", "square", "stripes"):
        alone = own_data / f"only-{label}"
        shutil.copytree(fog / label, alone / label)
        right += evaluate("--method", "source", "--json", target=alone).json["averages"]["source"] * 10
    assert right / 30 == pytest.approx(accuracies(results)["source", "fog", 0])


def test_unreadable_images_count_for_no_method(evaluate: Evaluate, own_data: Path) -> None:
    (own_data / "targets" / "fog" / "circle" / "04.png").write_bytes(b"")
    done = evaluate("--json", "--seed", 0, "--seed", 1, target=own_data / "targets")
    assert done.status == 0
    assert {cell["n"] for cell in done.json["cells"] if cell["target"] == "fog"} == {29}
    (skipped,) = done.json["skipped"]
    assert skipped["path"].endswith("fog/circle/04.png") and skipped["reason"] == "the file is empty"
    assert "warning: 1 unreadable image skipped" in done.err


def test_strict_makes_an_unreadable_image_an_error(evaluate: Evaluate, own_data: Path, tmp_path: Path) -> None:
    (own_data / "targets" / "fog" / "circle" / "04.png").write_bytes(b"")
    done = evaluate("--strict", "--out", tmp_path / "results", target=own_data / "targets")
    assert done.status == 2 and "unreadable image" in done.err and "circle/04.png" in done.err
    assert not (tmp_path / "results").exists()


def test_fail_under_passes_and_misses(evaluate: Evaluate, tmp_path: Path) -> None:
    assert evaluate("--fail-under", "gformer=0", "--fail-under", "source=0.01").status == 0
    missed = evaluate("--fail-under", "gformer=1", "--out", tmp_path / "results", "--json")
    assert missed.status == 1
    assert missed.json == json.loads((tmp_path / "results" / "results.json").read_text())
    assert missed.err.splitlines()[-2] == (
        f"error: average accuracy under the limit: gformer {missed.json['averages']['gformer']:.4f} < 1.0000"
    )


def test_a_limit_that_is_just_met_passes(evaluate: Evaluate, results: Any) -> None:
    value = results["averages"]["bn"]
    assert evaluate("--method", "bn", "--fail-under", f"bn={value!r}").status == 0
    assert evaluate("--method", "bn", "--fail-under", f"bn={value + 1e-9!r}").status == 1


def test_the_table_shows_percentages_per_target(evaluate: Evaluate, results: Any) -> None:
    lines = [line.split() for line in evaluate("--method", "source").out.splitlines()]
    found = accuracies(results)
    expected = [found["source", "fog", 0], found["source", "night", 0], results["averages"]["source"]]
    assert lines[1][:4] == ["method", "fog", "night", "average"]
    assert lines[2][:4] == ["source", *(f"{100 * value:.1f}" for value in expected)]


def test_out_is_refused_when_it_holds_something(evaluate: Evaluate, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    refused = evaluate("--out", tmp_path)
    assert refused.status == 2 and f"output folder is not empty: {tmp_path}" in refused.err
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]
    assert evaluate("--out", tmp_path, "--overwrite").status == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["notes.txt", "results.json"]


def test_a_dry_run_touches_nothing(evaluate: Evaluate, tmp_path: Path) -> None:
    plan = evaluate("--dry-run", "--json", "--out", tmp_path / "r", "--seed", 4, "--method", "bn").json
    assert (plan["methods"], plan["seeds"], plan["batch_size"]) == (["bn"], [4], 8)
    assert plan["outputs"] == [str(tmp_path / "r" / "results.json")]
    assert list(tmp_path.iterdir()) == []
