from __future__ import annotations

import copy
import gc
import hashlib
import math
import random
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from gformer_cli.bundle import Bundle, EstimatorsHeader, TemperaturesHeader
from gformer_cli.data.streams import SOURCE_AGAIN, STREAMS, Stream, StreamBatch
from gformer_cli.errors import InputError, Interrupted, WorkError
from gformer_cli.evaluate import Cell, Plan, measure
from gformer_cli.evaluate.parts import parts_of
from gformer_cli.evaluate.records import Records
from gformer_cli.evaluate.run import Harness
from gformer_cli.folders.domains import Domain, ImageFiles, find_domains
from gformer_cli.guard.rule import Verdict
from gformer_cli.methods import METHODS
from gformer_cli.metrics import Scores
from gformer_cli.progress import Silent

CPU = torch.device("cpu")
Run = Callable[..., Records]
ON_RESNETS = [name for name in METHODS if name != "foa"]
"""`foa` takes vision transformers alone."""


def by(records: Records, method: str) -> list[Cell]:
    return [cell for cell in records.cells if cell.method == method]


def test_a_method_that_answers_the_first_class_is_right_for_that_share(run: Run, fakes: dict[str, Any]) -> None:
    for cell in by(run("one"), "one"):
        assert (cell.n, cell.accuracy, cell.balanced_accuracy) == (10, 0.5, 0.5)
        assert cell.batch_images == [4, 4, 2] and sum(cell.batch_correct) == 5
        assert cell.predictions == hashlib.sha256(torch.zeros(10, dtype=torch.int64).numpy().tobytes()).hexdigest()


def test_the_calibration_error_is_told_at_the_temperature_of_what_predicted(
    run: Run, fakes: dict[str, Any], bundle: Bundle
) -> None:
    said = TemperaturesHeader(source=0.5, adapted=8.0, images=1)
    bundle.header = bundle.header.model_copy(update={"temperatures": said})
    fakes["one"].share = 0.5  # temperature 2; half of the images are of the class that it always answers
    found = run("one", "two")
    for cell in by(found, "one"):
        assert cell.ece == pytest.approx(1.0 / (1.0 + math.exp(-1.0)) - 0.5)
        assert cell.ece_calibrated == pytest.approx(1.0 / (1.0 + math.exp(-0.5)) - 0.5)
    assert all(math.isnan(cell.ece_calibrated) for cell in by(found, "two"))
    bundle.header = bundle.header.model_copy(update={"temperatures": None})
    assert all(math.isnan(cell.ece_calibrated) for cell in run("one").cells)


def test_each_estimator_guesses_what_a_method_gets_right(run: Run, fakes: dict[str, Any], bundle: Bundle) -> None:
    always = EstimatorsHeader(confidence=0.9, entropy=-1.0, dropout=0.5, accuracy=0.5)
    never = EstimatorsHeader(confidence=0.5, entropy=-0.1, dropout=0.5, accuracy=0.5)
    said = TemperaturesHeader(source=0.5, adapted=8.0, images=1, estimators={"source": always, "adapted": never})
    bundle.header = bundle.header.model_copy(update={"temperatures": said})
    fakes["one"].share = 1.0
    found = run("one", "two")
    for cell in by(found, "one"):  # one logit above the other, by 1 / 8
        assert cell.estimates["confidence"] == pytest.approx(1.0 / (1.0 + math.exp(-0.125)))
        assert (cell.estimates["atc_confidence"], cell.estimates["atc_entropy"]) == (1.0, 0.0)
    for cell in by(found, "two"):  # nothing is known of it: the source model's, 2
        assert cell.estimates["confidence"] == pytest.approx(1.0 / (1.0 + math.exp(-2.0)))
        assert (cell.estimates["atc_confidence"], cell.estimates["atc_entropy"]) == (0.0, 1.0)
        assert "aetta" not in cell.estimates, "no head made its answer"
    assert all(0.0 <= cell.estimates["aetta"] <= 1.0 for cell in by(found, "source"))
    bundle.header = bundle.header.model_copy(update={"temperatures": None})
    assert {tuple(cell.estimates) for cell in run("one").cells} == {("confidence",)}


def test_methods_know_how_much_of_what_was_generated_predicted(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = parts_of(bundle)
    shares = {name: METHODS[name].from_parts(parts).share for name in ON_RESNETS if name != "gformer-guard"}
    known = {"source": 0.0, "gformer": 1.0, "gformer-context": 1.0}
    assert {name: share for name, share in shares.items() if share is not None} == known
    monkeypatch.setattr(type(bundle.guard), "decide", lambda *_: Verdict("blended", 0.25))
    guarded = METHODS["gformer-guard"].from_parts(parts)
    guarded.predict(torch.rand(2, 3, 8, 8))
    assert guarded.share == 0.25


def test_each_stream_starts_anew_and_the_first_batch_of_a_size_is_warmed_up(
    run: Run, fakes: dict[str, Any], domains: list[Domain]
) -> None:
    run("one", targets=domains[:2])
    stream = [4, 4, 2]
    assert fakes["one"].shapes == ["reset", 4, "reset", *stream, "reset", *stream]


@pytest.mark.parametrize("name", STREAMS)
def test_all_methods_see_the_same_batches(
    run: Run, fakes: dict[str, Any], domains: list[Domain], make_plan: Callable[..., Plan], name: str
) -> None:
    options = {"streams": [name], "seeds": (0, 1), "targets": domains[:2], "source": domains[2:]}
    run("one", "two", **options)
    one, two = (fakes[method].calls for method in ("one", "two"))
    assert fakes["one"].shapes == fakes["two"].shapes
    assert all(a is b for a, b in zip(one, two, strict=True))
    planned = [len(batch.items) for _, stream in make_plan("one", **options).drawn() for batch in stream.batches]
    warm_ups = len({len(s.batches[0].items) for _, s in make_plan("one", **options).drawn()})
    assert len(fakes["one"].batches) == len(planned) + warm_ups


def test_a_stream_may_begin_with_a_batch_that_is_not_full(run: Run, domains: list[Domain]) -> None:
    small = replace(domains[0], files=domains[0].files[:1])
    for seed in range(4):  # some begin with the single image
        records = run("bn", targets=[small, domains[1]], streams=["dynamic"], seeds=[seed])
        assert {cell.target: cell.n for cell in by(records, "bn")} == {"blue": 1, "green": 10}


def test_measures_are_those_of_the_logits(run: Run, bundle: Bundle, domains: list[Domain]) -> None:
    (cell,) = by(run("gformer", targets=domains[:1], batch_size=10), "gformer")
    files = find_domains([domains[0].root])[0].files
    from gformer_cli.images.preprocessing import Decoded, read_images

    read = [r for r in read_images(files, bundle.preprocessing, workers=0) if isinstance(r, Decoded)]
    inputs = bundle.preprocessing.network_input(torch.stack([r.pixels for r in read]), CPU)
    labels = torch.tensor([bundle.header.classes.index(str(r.file.label)) for r in read])
    scores = Scores(len(bundle.header.classes))
    with torch.no_grad():
        scores.add(bundle.model(bundle.backbone, inputs).logits, labels)
    wanted = scores.measures()
    for name in ("n", "accuracy", "balanced_accuracy", "macro_f1", "nll", "ece", "brier"):
        assert getattr(cell, name) == pytest.approx(getattr(wanted, name), rel=1e-4), name
    assert sum(count for count, _, _ in cell.calibration) == 10


def test_the_reference_is_always_measured_and_costs_one(run: Run) -> None:
    records = run("bn")
    assert {cell.method for cell in records.cells} == {"source", "bn"}
    assert {cell.cost_ratio for cell in by(records, "source")} == {1.0}
    plain = {cell.target: cell.seconds_per_image for cell in by(records, "source")}
    for cell in by(records, "bn"):
        assert cell.cost_ratio == pytest.approx(cell.seconds_per_image / plain[cell.target])


def test_passes_are_counted_per_image(run: Run) -> None:
    records = run("tent", "gformer", "memo")
    found = {name: {(c.forwards, c.backwards) for c in by(records, name)} for name in ("source", "tent", "memo")}
    assert found["source"] == {(1.0, 0.0)} and found["tent"] == {(1.0, 1.0)}
    ((forwards, backwards),) = found["memo"]
    assert forwards > backwards > 1.0
    assert {c.forwards for c in by(records, "gformer")} == {1.0}
    memory = {name: {c.peak_mib for c in by(records, name)} for name in ("source", "tent")}
    assert 0.0 < min(memory["source"]) < min(memory["tent"])


def test_a_dear_method_is_asked_once_for_an_image(
    run: Run, fakes: dict[str, Any], domains: list[Domain], make_plan: Callable[..., Plan]
) -> None:
    fakes["one"].ask_once = True
    options = {"streams": ["mixed", "recurring", "gradual"], "targets": domains[:2], "source": domains[2:]}
    records = run("one", "two", **options)
    asked, always = (sum(shape for shape in fakes[name].shapes if shape != "reset") for name in ("one", "two"))
    assert asked < always
    # every image is counted and every cell has a cost of its own, remembered or not
    for one, two in zip(by(records, "one"), by(records, "two"), strict=True):
        assert (one.n, one.batch_images, one.predictions) == (two.n, two.batch_images, two.predictions)
        assert one.seconds_per_image > 0.0 and one.cost_ratio > 0.0


@pytest.mark.slow
def test_what_is_remembered_is_what_would_be_computed(run: Run, domains: list[Domain]) -> None:
    options = {"targets": domains[:2], "source": domains[2:]}
    streams = ["stationary", "mixed", "gradual", "batch-sizes", "forgetting"]
    together = {
        (c.stream, c.part, c.target, c.batch_size): c for c in by(run("memo", streams=streams, **options), "memo")
    }
    for name in streams:
        for cell in by(run("memo", streams=[name], **options), "memo"):
            other = together.pop((cell.stream, cell.part, cell.target, cell.batch_size))
            assert cell.predictions == other.predictions and cell.nll == pytest.approx(other.nll, rel=1e-5)
            assert (cell.forwards, cell.backwards) == pytest.approx((other.forwards, other.backwards))
    assert not together


def test_what_is_remembered_is_bounded(
    run: Run, fakes: dict[str, Any], domains: list[Domain], monkeypatch: pytest.MonkeyPatch
) -> None:
    from gformer_cli.evaluate import run as harness

    fakes["one"].ask_once = True
    monkeypatch.setattr(harness, "REMEMBERED", 0)
    run("one", "two", streams=["stationary", "mixed"], targets=domains[:2])
    assert fakes["one"].shapes == fakes["two"].shapes


def test_targets_of_one_stream_have_cells_of_their_own(run: Run, domains: list[Domain]) -> None:
    records = run("source", "bn", streams=["mixed", "recurring", "forgetting"], targets=domains[:2], source=domains[2:])
    found = {(c.stream, c.part, c.target): c.n for c in by(records, "bn")}
    assert found == {
        ("mixed", "all", "blue"): 10,
        ("mixed", "all", "green"): 10,
        ("recurring", "all", "blue"): 10,
        ("recurring", "all", "green"): 10,
        ("forgetting", "all", "blue"): 10,
        ("forgetting", "all", "green"): 10,
        ("forgetting", "all", SOURCE_AGAIN): 10,
    }
    # without batch statistics it does not matter which images come together
    for target in ("blue", "green"):
        assert len({c.accuracy for c in by(records, "source") if c.target == target}) == 1
    ratios = [c.cost_ratio for c in by(records, "bn") if c.stream == "mixed"]
    assert all(ratio > 0 for ratio in ratios)


def test_corruptions_change_what_is_seen_and_not_who_is_in_a_batch(
    run: Run, fakes: dict[str, Any], domains: list[Domain]
) -> None:
    run("one", streams=["stationary", "gradual"], targets=domains[:1])
    batches = fakes["one"].batches[1:]  # after the warm-up
    plain, changed = batches[:3], batches[3:]
    assert [len(b) for b in plain] == [len(b) for b in changed] == [4, 4, 2]
    assert not torch.equal(plain[1], changed[1])  # severity 5 in the middle


def test_noise_belongs_to_an_image_and_not_to_its_batch(
    run: Run, fakes: dict[str, Any], domains: list[Domain], make_plan: Callable[..., Plan]
) -> None:
    def seen(size: int) -> dict[Any, torch.Tensor]:
        fakes["one"].calls.clear()
        options = {"streams": ["shifts"], "targets": (), "source": domains[:1], "batch_size": size}
        run("one", **options)
        items = [
            (s.part, s.severity, item.file)
            for _, s in make_plan("one", **options).drawn()
            for batch in s.batches
            for item in batch.items
        ]
        images = torch.cat(fakes["one"].batches[1:])
        return dict(zip(items, images, strict=True))

    large, small = seen(10), seen(3)
    assert large.keys() == small.keys()
    assert all(torch.allclose(image, small[key], atol=1e-5) for key, image in large.items())
    one, two = domains[0].files[:2]
    noise = [large["gaussian-noise", 3, file] - large["(none)", 0, file] for file in (one, two)]
    assert not torch.allclose(noise[0], noise[1], atol=0.1)


def relabelled(domain: Domain, seed: int) -> Domain:
    """The same files under shuffled labels, and unique names so that no order depends on labels."""
    labels = [file.label for file in domain.files]
    random.Random(seed).shuffle(labels)
    files = [file._replace(label=label) for file, label in zip(domain.files, labels, strict=True)]
    return replace(domain, files=ImageFiles(files))


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted({*STREAMS} - {"label-shift", "bursts"}))
def test_shuffled_labels_change_no_prediction(run: Run, domains: list[Domain], name: str) -> None:
    methods = ON_RESNETS if name == "stationary" else ["bn", "tent", "lame", "rotta", "gformer"]
    options = {"streams": [name], "source": domains[2:]}
    before = run(*methods, targets=domains[:2], **options)
    after = run(*methods, targets=[relabelled(domain, 1) for domain in domains[:2]], **options)
    assert [cell.predictions for cell in before.cells] == [cell.predictions for cell in after.cells]
    assert [cell.batch_correct for cell in before.cells] != [cell.batch_correct for cell in after.cells]


def test_shuffled_labels_change_no_prediction_under_a_given_label_shift(
    bundle: Bundle, make_plan: Callable[..., Plan], domains: list[Domain], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the stream `label-shift` draws depends on labels; given its order, predictions do not."""
    plan = make_plan("bn", "tent", "lame", "gformer", streams=["label-shift"], targets=domains[:1], skew=0.0)
    ((seed, stream),) = plan.drawn()
    labels = {file.path: file.label for file in relabelled(domains[0], 1).files}
    batches = [
        tuple(replace(item, file=item.file._replace(label=labels[item.file.path])) for item in batch.items)
        for batch in stream.batches
    ]
    other = replace(stream, batches=tuple(StreamBatch(items) for items in batches))
    found = []
    for given in (stream, other):
        monkeypatch.setattr(Plan, "drawn", lambda _, given=given: [(seed, given)])
        found.append(measure(lambda: bundle, plan, device=CPU, workers=0).cells)
    assert [cell.predictions for cell in found[0]] == [cell.predictions for cell in found[1]]
    assert [cell.batch_correct for cell in found[0]] != [cell.batch_correct for cell in found[1]]


@pytest.mark.parametrize("name", ON_RESNETS)
def test_a_cell_does_not_depend_on_the_other_methods_or_streams(run: Run, domains: list[Domain], name: str) -> None:
    alone = run(name, targets=domains[1:2])
    together = run("tent", "bn", name, targets=domains[:2])
    digests = [[c.predictions for c in by(found, name) if c.target == "green"] for found in (alone, together)]
    assert digests[0] == digests[1] and digests[0]


def test_measuring_writes_to_no_model(run: Run, bundle: Bundle, domains: list[Domain]) -> None:
    before = copy.deepcopy(bundle.backbone.state_dict())
    run(*ON_RESNETS, targets=domains[:1], source=domains[1:])
    assert all(torch.equal(tensor, before[name]) for name, tensor in bundle.backbone.state_dict().items())


def test_settings_reach_the_method(run: Run, fakes: dict[str, Any], domains: list[Domain]) -> None:
    run("one", settings={"one": {"learning_rate": 0.5}, "two": {"rho": 1.0}})
    assert fakes["one"].settings == {"learning_rate": 0.5} and fakes["one"].prepared == []
    found = [
        [cell.nll for cell in by(run("tent", settings=settings), "tent")]
        for settings in ({}, {"tent": {"learning_rate": 1.0}})
    ]
    assert found[0] != found[1]


def test_a_method_may_look_at_held_out_source_images_first(
    run: Run, fakes: dict[str, Any], domains: list[Domain], monkeypatch: pytest.MonkeyPatch
) -> None:
    run("one", targets=domains[:1], source=domains[1:])
    assert [len(images) for images in fakes["one"].prepared] == [4] * 5
    assert fakes["one"].prepared[0].shape == (4, 3, 8, 8)
    monkeypatch.setattr("gformer_cli.evaluate.run.PREPARED", 6)
    fakes["two"].calls.clear()
    run("two", targets=domains[:1], source=domains[1:])
    assert [len(images) for images in fakes["two"].prepared] == [4, 2]


def test_unreadable_images_count_for_no_method_and_are_named_without_a_machines_path(
    run: Run, own_domains: list[Domain]
) -> None:
    (own_domains[0].root / "dark" / "2.png").write_bytes(b"")
    records = run("bn", targets=own_domains[:2], streams=["stationary", "mixed"])
    assert {(c.stream, c.target): c.n for c in by(records, "bn")} == {
        ("stationary", "blue"): 9,
        ("stationary", "green"): 10,
        ("mixed", "blue"): 9,
        ("mixed", "green"): 10,
    }
    (skipped,) = records.skipped.values()
    assert (skipped.path, skipped.reason) == ("blue/dark/2.png", "the file is empty")
    with pytest.raises(InputError, match=r"unreadable image: blue/dark/2\.png \(the file is empty\)"):
        run("bn", targets=own_domains[:1], strict=True)


def test_a_batch_without_a_readable_image_is_left_out(run: Run, own_domains: list[Domain]) -> None:
    (own_domains[0].root / "dark" / "2.png").write_bytes(b"")
    (cell,) = by(run("bn", targets=own_domains[:1], batch_size=1), "bn")
    assert cell.batch_images == [1] * 9


def test_a_stream_without_a_readable_image_is_a_failure(run: Run, tmp_path: Path) -> None:
    (tmp_path / "t" / "dark").mkdir(parents=True)
    (tmp_path / "t" / "dark" / "a.png").write_bytes(b"")
    with pytest.raises(WorkError, match="no readable image in stationary stream 't'"):
        run("source", targets=find_domains([tmp_path / "t"]))


def test_what_is_recorded_is_not_measured_again(run: Run, fakes: dict[str, Any], domains: list[Domain]) -> None:
    records = run("one", targets=domains[:2])
    calls = len(fakes["one"].calls)
    run("one", targets=domains[:2], records=records)
    assert len(fakes["one"].calls) == calls
    assert run("one", targets=domains, records=records) is records
    assert [cell.target for cell in by(records, "one")] == ["blue", "green", "red"]


def test_ctrl_c_stops_between_two_streams(
    bundle: Bundle, make_plan: Callable[..., Plan], fakes: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    import os
    import signal

    predict = fakes["one"].predict

    def interrupted(images: torch.Tensor) -> torch.Tensor:
        if len(fakes["one"].batches) == 3:  # in the middle of the first stream
            os.kill(os.getpid(), signal.SIGINT)
        return predict(images)

    monkeypatch.setattr(fakes["one"], "predict", interrupted)
    records = Records()
    with pytest.raises(Interrupted, match="stopped after 1 of 3 streams"):
        measure(lambda: bundle, make_plan("one"), device=CPU, workers=0, records=records)
    assert [cell.n for cell in by(records, "one")] == [10]


@pytest.mark.slow
def test_memory_is_flat_over_ten_thousand_batches(
    bundle: Bundle, make_plan: Callable[..., Plan], fakes: dict[str, Any], domains: list[Domain]
) -> None:
    """Between the 1,000th batch and the 10,000th nothing grows but the list of counts."""
    held: list[tuple[int, int]] = []
    count = 10_000

    class Forgetful:
        reads_source = False
        ask_once = False
        share = None
        batches = 0

        def reset(self) -> None: ...

        def predict(self, images: torch.Tensor) -> torch.Tensor:
            self.batches += 1
            if self.batches in (1_000, count):
                gc.collect()
                tensors = sum(issubclass(type(thing), torch.Tensor) for thing in gc.get_objects())
                held.append((sys.getallocatedblocks(), tensors))
            return images.mean(dim=(2, 3))[:, :2]

    plan = make_plan("one", targets=domains[:1])
    ((_, stream),) = plan.drawn()
    long = Stream("stationary", "blue", 4, tuple(stream.batches[n % 2] for n in range(count)))
    harness = Harness(bundle, plan, device=CPU, workers=0, strict=False)
    runners: Any = {"source": Forgetful()}
    passes: Any = type("Passes", (), {"take": lambda _: (1, 0)})()
    harness._peaks["source", 4] = 0
    ((cell,), _) = harness._stream(long, 0, runners, passes, Silent())
    assert cell.n == 4 * count and math.isfinite(cell.nll)
    (early, early_tensors), (late, late_tensors) = held
    assert late_tensors <= early_tensors + 2
    assert late <= early + 500  # blocks of memory: not even one for ten batches
