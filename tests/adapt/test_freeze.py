from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from gformer_cli.adapt import Predictor
from gformer_cli.adapt.freeze import FreezeResult, check_freeze, freeze
from gformer_cli.bundle import Bundle, file_hash, library_versions, load_bundle, read_header, save_static_bundle, verify
from gformer_cli.core.static import StaticModel
from gformer_cli.data.streams import arrival_order
from gformer_cli.errors import InputError, WorkError
from gformer_cli.evaluate.cost import peak_memory
from gformer_cli.folders.domains import Domain, ImageFiles
from gformer_cli.images.preprocessing import Batch, read_batches

CPU = torch.device("cpu")
Freeze = Callable[..., FreezeResult]


@pytest.fixture
def moved(bundle: Bundle, _bundle_file: Path) -> Bundle:
    """The tiny bundle with a generator far from its zeros."""
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in bundle.model.generator.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.3)
    return bundle


@pytest.fixture
def run(moved: Bundle, _bundle_file: Path, domains: list[Domain], tmp_path: Path) -> Freeze:
    def call(name: str = "static.gformer", **changes: object) -> FreezeResult:
        options = {"batch_size": 64, "limit": 100, "seed": 0, "device": CPU, "workers": 0} | changes
        domain = options.pop("domain", domains[0])
        return freeze(_bundle_file, moved, domain, tmp_path / name, **options)  # type: ignore[arg-type]

    return call


def sample(bundle: Bundle, domain: Domain) -> Batch:
    return next(read_batches(arrival_order(domain, 0), bundle.preprocessing, batch_size=64, workers=0, skipped=[]))


def test_on_its_sample_the_bundle_predicts_what_was_generated(
    run: Freeze, moved: Bundle, domains: list[Domain], tmp_path: Path
) -> None:
    run()
    batch = sample(moved, domains[0])
    generated = Predictor(moved, CPU).predict(batch, "blue")
    static = Predictor(load_bundle(tmp_path / "static.gformer"), CPU).predict(batch, "blue")
    torch.testing.assert_close(static.probabilities, generated.probabilities, rtol=1e-4, atol=1e-6)
    assert torch.equal(static.source_probabilities, generated.source_probabilities)
    assert (static.probabilities - static.source_probabilities).abs().max() > 0.01


def test_the_header_tells_sample_parent_and_all_that_the_parent_told(
    run: Freeze, moved: Bundle, _bundle_file: Path, tmp_path: Path
) -> None:
    done = run(batch_size=4)
    header = read_header(tmp_path / "static.gformer")
    assert header.static == done.static
    assert (done.static.target, done.static.images, done.static.batches) == ("blue", 10, 3)
    assert (done.static.batch_size, done.static.seed, done.skipped) == (4, 0, [])
    assert header.lineage is not None and header.lineage.stage == "freeze"
    assert header.lineage.parent == file_hash(_bundle_file) and header.lineage.parent_name == "model.gformer"
    assert verify(tmp_path / "static.gformer", _bundle_file).problems == ()
    assert header.versions == library_versions()
    own = {"static", "lineage", "guard", "part_hashes", "content_hash", "versions"}
    assert header.model_dump(exclude=own) == moved.header.model_dump(exclude=own)
    assert set(header.part_hashes) == {"backbone", "static"}
    assert str(tmp_path).encode() not in (tmp_path / "static.gformer").read_bytes()


def test_meta_train_records_its_lineage(_bundle_file: Path) -> None:
    header = read_header(_bundle_file)
    assert header.static is None and header.lineage is not None
    assert (header.lineage.stage, header.lineage.parent) == ("meta-train", None)
    assert verify(_bundle_file).problems == ()


def test_the_same_call_gives_the_same_bytes(run: Freeze, tmp_path: Path) -> None:
    for name in ("a.gformer", "b.gformer"):
        run(name)
    assert (tmp_path / "a.gformer").read_bytes() == (tmp_path / "b.gformer").read_bytes()


def test_the_limit_draws_from_the_whole_folder_by_the_seed(run: Freeze, tmp_path: Path) -> None:
    found = [run(limit=4, seed=seed).static for seed in (0, 1)]
    assert [static.images for static in found] == [4, 4]
    assert found[0].fingerprint != found[1].fingerprint
    assert run(limit=5).static.fingerprint != found[0].fingerprint


def test_batches_matter(run: Freeze, tmp_path: Path) -> None:
    kept = []
    for size in (2, 64):
        run(batch_size=size)
        kept.append(load_bundle(tmp_path / "static.gformer").model.theta.weight)
    assert not torch.equal(*kept)


def test_labels_are_not_read(run: Freeze, domains: list[Domain]) -> None:
    blind = replace(domains[0], classes=(), files=ImageFiles(file._replace(label=None) for file in domains[0].files))
    assert run().static == run(domain=blind).static


def test_unreadable_images_are_skipped_or_an_error(run: Freeze, domains: list[Domain], tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_bytes(b"no image")
    bad = domains[0].files[0]._replace(folder=tmp_path, relative="bad.png")
    some = replace(domains[0], files=ImageFiles([bad, *domains[0].files[1:]]))
    done = run(domain=some)
    assert done.static.images == 9 and len(done.skipped) == 1
    with pytest.raises(InputError, match=r"unreadable image: .*bad\.png"):
        run("strict.gformer", domain=some, strict=True)
    with pytest.raises(WorkError, match="no readable image: 1 skipped"):
        run("none.gformer", domain=replace(domains[0], files=ImageFiles([bad])))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bad.png", "static.gformer"]


def test_what_is_not_finite_is_not_written(run: Freeze, moved: Bundle, tmp_path: Path) -> None:
    with torch.no_grad():
        next(iter(moved.model.generator.parameters())).fill_(float("nan"))
    with pytest.raises(WorkError, match="not every generated parameter is finite"):
        run()
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_memory_does_not_grow_with_the_folder(run: Freeze, domains: list[Domain]) -> None:
    def most(times: int) -> int:
        many = replace(domains[0], files=ImageFiles([*domains[0].files] * times))
        return peak_memory(lambda: run(domain=many, batch_size=10, limit=10 * times), CPU)

    batch = 10 * 3 * 8 * 8 * 4
    assert most(12) < most(3) + batch


def test_what_is_refused_beforehand(moved: Bundle, _bundle_file: Path, run: Freeze, tmp_path: Path) -> None:
    out = tmp_path / "static.gformer"

    def check(bundle: Bundle = moved, where: Path = out, **changes: object) -> None:
        options = {"batch_size": 64, "limit": 9, "overwrite": False} | changes
        check_freeze(_bundle_file, bundle, where, **options)  # type: ignore[arg-type]

    check()
    for changes, match in (
        ({"batch_size": 0}, "batch size must be 1 or more"),
        ({"limit": 0}, "--limit must be 1 or more"),
        ({"where": tmp_path}, "is a folder"),
        ({"where": _bundle_file, "overwrite": True}, "is the bundle itself"),
    ):
        with pytest.raises(InputError, match=match):
            check(**changes)  # type: ignore[arg-type]
    run()
    with pytest.raises(InputError, match="output file exists"):
        check()
    check(overwrite=True)
    with pytest.raises(InputError, match="is static already") as caught:
        check(load_bundle(out), tmp_path / "again.gformer")
    assert "model.gformer" in caught.value.hint


def test_a_damaged_static_bundle_is_neither_written_nor_read(
    moved: Bundle, run: Freeze, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run()
    good = load_bundle(tmp_path / "static.gformer")
    assert isinstance(good.model, StaticModel) and good.constant is None
    assert good.header.static is not None and good.header.lineage is not None
    theta = replace(good.model.theta, bias=torch.zeros(3))
    parts = {"lineage": good.header.lineage, "static": good.header.static, "theta": theta}
    with pytest.raises(WorkError, match=r"cannot be used, .*bad\.gformer: fc\.bias has shape"):
        save_static_bundle(tmp_path / "bad.gformer", parent=moved, **parts)
    assert not list(tmp_path.glob("*bad*"))
    monkeypatch.setattr("gformer_cli.bundle.file.load_bundle", lambda *_, **__: None)  # as if it were not read back
    save_static_bundle(tmp_path / "bad.gformer", parent=moved, **parts)
    with pytest.raises(InputError, match=r"damaged bundle .*fc\.bias has shape") as caught:
        load_bundle(tmp_path / "bad.gformer")
    assert "gformer freeze" in caught.value.hint
