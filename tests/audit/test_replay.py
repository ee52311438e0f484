from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from gformer_cli.adapt import adapt
from gformer_cli.adapt.predictor import Outcome, Predictor
from gformer_cli.audit.records import BatchRecord, read_log
from gformer_cli.audit.replay import TOLERANCE, Replay, _threads_of, replay
from gformer_cli.audit.writer import AuditLog, environment
from gformer_cli.bundle import file_hash, load_bundle
from gformer_cli.errors import InputError
from gformer_cli.folders.domains import Domain, find_domains

CPU = torch.device("cpu")
Write = Callable[..., Path]


@pytest.fixture
def images(domains: list[Domain], tmp_path: Path) -> Path:
    """A copy of the three domains that a test may change."""
    return Path(shutil.copytree(domains[0].root.parent, tmp_path / "images"))


@pytest.fixture(scope="module")
def written(
    told_one_thread: None, _bundle_file: Path, domains: list[Domain], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Nine batches of at most four images, logged here with the bundle. Not to be written to."""
    settings: dict[str, Any] = {"batch_size": 4} | environment(CPU)
    bundle, path = load_bundle(_bundle_file), tmp_path_factory.mktemp("audit") / "audit.jsonl"
    with AuditLog(path, bundle, file_hash(_bundle_file), settings) as sink:
        adapt(
            bundle,
            domains,
            batch_size=4,
            order="shuffle",
            seed=0,
            device=CPU,
            workers=0,
            sinks=[sink],
        )
    return path


@pytest.fixture
def log(written: Path, images: Path, tmp_path: Path) -> Path:
    """A copy of the log of `images` that a test may change."""
    return Path(shutil.copy(written, tmp_path / "audit.jsonl"))


@pytest.fixture
def again(log: Path, images: Path, _bundle_file: Path) -> Callable[..., Replay]:
    def call(*folders: Path, models: list[Path] | None = None, **options: Any) -> Replay:
        domains = find_domains(folders or [images], unlabelled=True)
        return replay(log, models or [_bundle_file], domains, device=CPU, workers=0, **options)

    return call


Again = Callable[..., Replay]


@pytest.mark.parametrize("there", ["another picture", "nothing"])
def test_a_file_that_was_moved_to_another_name_is_found_by_its_content(
    log: Path, images: Path, again: Again, there: str
) -> None:
    first = next(iter(read_log(log)))[1]
    path = next(file for file in (images / first.target).rglob("*") if file.name == Path(first.images[0].path).name)
    path.rename(path.with_name(f"{path.stem}~12{path.suffix}"))
    if there == "another picture":
        Image.new("RGB", (32, 32), (200, 10, 10)).save(path)
    found = again()
    assert found.differences == [] and found.identical == found.batches
    path.with_name(f"{path.stem}~12{path.suffix}").write_bytes(b"changed")
    assert [difference.kind for difference in again().differences] == [
        "content" if there == "another picture" else "missing"
    ]


@pytest.fixture
def change(log: Path, write_records: Write) -> Callable[..., None]:
    """`change(2, decision="source")`: writes other values into the third line."""

    def call(number: int, **values: Any) -> None:
        records = [record for _, record in read_log(log)]
        records[number] = records[number].model_copy(update=values)
        write_records(log, *records)

    return call


def record(log: Path, number: int) -> BatchRecord:
    return [record for _, record in read_log(log)][number]


def kinds(found: Replay) -> list[tuple[int, str]]:
    return [(difference.line, difference.kind) for difference in found.differences]


def test_the_same_files_give_the_same_bits(again: Again) -> None:
    found = again()
    assert (found.batches, found.images, found.equal, found.identical) == (9, 30, 9, 9)
    assert (found.largest, found.tolerances, found.differences, found.elsewhere) == (0.0, {0.0}, [], [])
    assert found.to_json()["same"] is True


def test_the_order_within_a_batch_is_the_logs_not_that_of_names(again: Again, log: Path) -> None:
    orders = [[image.path for image in logged.images] for _, logged in read_log(log)]
    assert any(order != sorted(order) for order in orders)
    assert again().identical == 9


def test_domains_named_one_by_one_are_the_same_files(again: Again, images: Path) -> None:
    assert again(*sorted(images.iterdir())).identical == 9


def test_a_renamed_domain_is_found_while_its_paths_are_unique(again: Again, images: Path, log: Path) -> None:
    (images / "red").rename(images / "moved")
    found = again()
    assert found.equal == 6 and {kind for _, kind in kinds(found)} == {"missing"}  # other domains have such names too
    for name in ("blue", "green"):
        shutil.rmtree(images / name)
    (images / "moved").rename(images / "red")
    assert again(images / "red").equal == 3


def test_a_missing_file_is_named_with_its_batch(again: Again, images: Path, log: Path) -> None:
    gone = record(log, 4).images[1]
    (images / gone.path).unlink()
    found = again()
    (difference,) = found.differences
    assert (difference.line, difference.batch, difference.kind, difference.path) == (5, 4, "missing", gone.path)
    assert found.equal == found.identical == 8


def test_a_file_of_other_content_is_named_with_both_hashes(again: Again, images: Path, log: Path) -> None:
    changed = record(log, 0).images[2]
    Image.new("RGB", (8, 8), "red").save(images / changed.path)
    (difference,) = again().differences
    now = hashlib.sha256((images / changed.path).read_bytes()).hexdigest()
    assert (difference.kind, difference.path) == ("content", changed.path)
    assert (difference.logged, difference.now) == (changed.sha256[:12], now[:12])


def test_a_file_that_became_unreadable_is_other_content(again: Again, images: Path, log: Path) -> None:
    (images / record(log, 0).images[0].path).write_bytes(b"")
    (difference,) = again().differences
    assert (difference.kind, difference.now) == ("content", "the file is empty")


def test_another_bundle_is_told_for_each_of_its_batches(again: Again, change: Callable[..., None]) -> None:
    change(3, bundle="f" * 64)
    found = again()
    assert kinds(found) == [(4, "bundle")] and found.equal == 8
    assert found.differences[0].logged == "f" * 12


def test_a_log_of_two_bundles_is_replayed_with_both(
    again: Again, change: Callable[..., None], _bundle_file: Path, tmp_path: Path
) -> None:
    from safetensors.torch import load_file, save_file

    from gformer_cli.bundle import read_header

    other = tmp_path / "other.gformer"
    header = read_header(_bundle_file).model_copy(update={"validation": {"other": 0.0}})
    save_file(load_file(_bundle_file), other, metadata={"gformer": header.model_dump_json()})
    change(3, bundle=file_hash(other))
    assert again(models=[_bundle_file, other]).identical == 9
    assert kinds(again(models=[other])) == [(line, "bundle") for line in range(1, 10) if line != 4]


@pytest.mark.parametrize("name", ["label", "source_label"])
def test_another_label_is_told(again: Again, log: Path, change: Callable[..., None], name: str) -> None:
    images = list(record(log, 1).images)
    before = getattr(images[2], name)
    other = {"dark": "light", "light": "dark"}[before]
    images[2] = images[2].model_copy(update={name: other})
    change(1, images=images)
    (difference,) = again(tolerance=1.0).differences
    assert (difference.line, difference.kind, difference.path) == (2, name, images[2].path)
    assert (difference.logged, difference.now) == (other, before)


@pytest.mark.parametrize("name", ["confidence", "source_confidence"])
def test_a_confidence_is_held_to_the_tolerance(again: Again, log: Path, change: Callable[..., None], name: str) -> None:
    images = list(record(log, 1).images)
    images[0] = images[0].model_copy(update={name: getattr(images[0], name) + 1e-6})
    change(1, images=images)
    found = again()
    assert kinds(found) == [(2, name)] and found.identical == 8
    assert found.largest == pytest.approx(1e-6, rel=1e-3)
    assert again(tolerance=1e-5).equal == 9
    assert kinds(again(tolerance=1e-7)) == [(2, name)]


@pytest.mark.parametrize(("size", "equal"), [(0.5 * TOLERANCE, 9), (2.0 * TOLERANCE, 8)])
def test_what_was_written_elsewhere_may_differ_by_the_stated_tolerance(
    again: Again, log: Path, change: Callable[..., None], size: float, equal: int
) -> None:
    before = record(log, 1)
    images = list(before.images)
    images[0] = images[0].model_copy(update={"confidence": float(images[0].confidence or 0.0) + size})
    change(1, images=images, settings=before.settings | {"hardware": "another"})
    found = again()
    assert found.equal == equal
    assert found.tolerances == {0.0, TOLERANCE}
    assert len(found.elsewhere) == 1 and found.elsewhere[0].startswith("hardware another -> ")


def test_another_decision_is_told(again: Again, change: Callable[..., None]) -> None:
    change(8, decision="source")
    found = again()
    assert kinds(found) == [(9, "decision")]
    assert (found.differences[0].logged, found.differences[0].now) == ("source", "generated")


def test_a_missing_bundle_is_told(again: Again, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such bundle"):
        again(models=[tmp_path / "none.gformer"])


def test_a_file_that_is_no_bundle_is_told(again: Again, log: Path) -> None:
    with pytest.raises(InputError, match="not a bundle"):
        again(models=[log])


def test_an_empty_log_proves_nothing(again: Again, log: Path) -> None:
    log.write_text("")
    with pytest.raises(InputError, match="no batch yet"):
        again()


@pytest.mark.slow
def test_each_batch_is_replayed_on_as_many_threads_as_it_was_predicted_on(
    log: Path, again: Again, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = [1, 2, 1, 2, 1, 1, 1, 1, 1]
    records = [json.loads(line) for line in log.read_text().splitlines()]
    for record, threads in zip(records, wanted, strict=True):
        assert record["threads"] == torch.get_num_threads()
        record["threads"] = threads
    log.write_text("".join(json.dumps(record) + "\n" for record in records))
    used: list[int] = []
    predict = Predictor._predict

    def watch(self: Predictor, *arguments: Any) -> Outcome:
        used.append(torch.get_num_threads())
        return predict(self, *arguments)

    monkeypatch.setattr(Predictor, "_predict", watch)
    again(tolerance=1e-4)
    assert used == wanted


@pytest.mark.parametrize(("own", "settings", "used"), [(None, 2, 2), (None, None, 1), (10**9, None, 1), (-3, None, 1)])
def test_threads_of_older_logs_stand_in_the_settings_and_nonsense_counts_for_nothing(
    log: Path, own: int | None, settings: int | None, used: int
) -> None:
    record = next(iter(read_log(log)))[1]
    record = record.model_copy(update={"threads": own, "settings": {**record.settings, "threads": settings}})
    assert (_threads_of(record) or 1) == used


def test_names_that_another_system_spells_anew_are_found(
    log: Path, images: Path, again: Again, write_records: Write
) -> None:
    """The log is of a system that decomposes names; the files were copied to one that composes them."""
    spelled = [
        logged.model_copy(
            update={
                "target": logged.target.replace("red", "re\u0301d"),
                "images": [
                    image.model_copy(update={"path": image.path.replace("red/", "re\u0301d/")})
                    for image in logged.images
                ],
            }
        )
        for _, logged in read_log(log)
    ]
    write_records(log, *spelled)
    (images / "red").rename(images / "r\u00e9d")
    found = again()
    assert found.differences == [] and found.equal == 9
