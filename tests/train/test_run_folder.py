from __future__ import annotations

import json
import resource
from pathlib import Path
from typing import Any

import pytest
import torch

from gformer_cli.config import validate
from gformer_cli.errors import InputError, WorkError
from gformer_cli.settings import Settings
from gformer_cli.train.checkpoint import Checkpoint
from gformer_cli.train.run_folder import RunFolder, SourceData

SOURCE = SourceData(["a", "犬"], {"photo": {"a": 2, "犬": 1}}, "abc", True, 0.5)


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    """A started run with a model in it."""
    run = RunFolder(tmp_path / "run")
    run.claim(Settings(), resume=False, overwrite=False)
    run.save_model("all", {"weight": torch.ones(2)})
    return run


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def assert_refused(run: RunFolder, settings: Settings, *, resume: bool, overwrite: bool) -> InputError:
    """Refused by `claim` and by `check_claim` alike, and nothing is touched."""
    before = contents(run.root)
    with pytest.raises(InputError) as checked:
        run.check_claim(settings, resume=resume, overwrite=overwrite)
    with pytest.raises(InputError) as claimed:
        run.claim(settings, resume=resume, overwrite=overwrite)
    assert str(checked.value) == str(claimed.value) and claimed.value.hint
    assert contents(run.root) == before
    return claimed.value


@pytest.mark.parametrize("exists", [True, False])
@pytest.mark.parametrize(("resume", "overwrite"), [(False, False), (True, False), (False, True)])
def test_an_empty_or_missing_folder_is_claimed(tmp_path: Path, exists: bool, resume: bool, overwrite: bool) -> None:
    run = RunFolder(tmp_path / "deep" / "run")
    if exists:
        run.root.mkdir(parents=True)
    settings = validate({"seed": 7})
    run.claim(settings, resume=resume, overwrite=overwrite)
    assert run.settings() == settings
    assert list(contents(run.root)) == ["settings.yaml"]


def test_checking_a_claim_touches_nothing(tmp_path: Path, run: RunFolder) -> None:
    before = contents(run.root)
    RunFolder(tmp_path / "new").check_claim(Settings(), resume=False, overwrite=False)
    run.check_claim(Settings(), resume=False, overwrite=True)
    assert not (tmp_path / "new").exists()
    assert contents(run.root) == before


def test_a_folder_with_contents_is_refused_naming_both_ways_on(run: RunFolder) -> None:
    error = assert_refused(run, Settings(), resume=False, overwrite=False)
    assert str(run.root) in error.message
    assert "--resume" in error.hint and "--overwrite" in error.hint


def test_resume_with_the_same_settings_keeps_everything(run: RunFolder) -> None:
    before = contents(run.root)
    run.claim(Settings(), resume=True, overwrite=False)
    assert contents(run.root) == before


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"seed": 1}, "seed=1"),
        ({"backbone": {"width": 0.5}}, "backbone.width=0.5"),
        # equal to another section's value of the same name
        ({"pretrain": {"learning_rate": 2e-3}}, "pretrain.learning_rate=0.002"),
        ({"shifts": {"families": ["blur"]}}, "shifts.families=['blur']"),
    ],
)
def test_resume_with_other_settings_is_refused_naming_them(run: RunFolder, change: dict[str, Any], named: str) -> None:
    error = assert_refused(run, validate(change), resume=True, overwrite=False)
    assert named in error.message


def test_resume_of_a_foreign_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    error = assert_refused(RunFolder(tmp_path), Settings(), resume=True, overwrite=False)
    assert "holds no run to resume" in error.message


def test_overwrite_refuses_a_foreign_folder(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    error = assert_refused(RunFolder(tmp_path), Settings(), resume=False, overwrite=True)
    assert "is not a run of gformer" in error.message


def test_overwrite_clears_a_run(run: RunFolder) -> None:
    run.checkpoint("pretrain-all").save({"step": 1})
    run.claim(validate({"seed": 9}), resume=False, overwrite=True)
    assert list(contents(run.root)) == ["settings.yaml"]
    assert run.settings().seed == 9


def test_overwrite_clears_a_run_behind_a_link(tmp_path: Path, run: RunFolder) -> None:
    link = tmp_path / "link"
    link.symlink_to(run.root, target_is_directory=True)
    RunFolder(link).claim(validate({"seed": 9}), resume=False, overwrite=True)
    assert link.is_symlink() and list(contents(run.root)) == ["settings.yaml"]
    assert run.settings().seed == 9


def test_overwrite_does_not_follow_links_inside_the_run(tmp_path: Path, run: RunFolder) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.png").write_bytes(b"pixels")
    (run.root / "images").symlink_to(tmp_path / "images", target_is_directory=True)
    run.claim(Settings(), resume=False, overwrite=True)
    assert (tmp_path / "images" / "a.png").read_bytes() == b"pixels"
    assert not (run.root / "images").exists()


def test_a_run_whose_replacement_was_killed_while_it_moved_in_is_still_a_run(tmp_path: Path, run: RunFolder) -> None:
    run.root.rename(tmp_path / "next")
    run.root.mkdir()
    (tmp_path / "next").rename(run.root / "next")  # all that is left of both
    run.claim(Settings(), resume=False, overwrite=True)
    assert set(contents(run.root)) == {"settings.yaml"}


def test_a_file_in_the_folders_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("text")
    error = assert_refused(RunFolder(tmp_path / "run"), Settings(), resume=False, overwrite=True)
    assert "is a file, not a folder" in error.message


@pytest.mark.parametrize("text", ["{", "seed: many", "3", "unknown: 1"])
def test_broken_settings_are_an_input_error(run: RunFolder, text: str) -> None:
    run.settings_path.write_text(text)
    with pytest.raises(InputError):
        run.settings()


def test_missing_settings_say_to_run_pretrain(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not a finished run of gformer pretrain"):
        RunFolder(tmp_path).settings()


def test_source_data_survive_the_round_trip(run: RunFolder) -> None:
    run.write_source(SOURCE)
    assert run.source() == SOURCE
    assert "犬" in run.source_path.read_text(encoding="utf-8")


@pytest.mark.parametrize("text", [None, "", "[]", "{}", json.dumps({"classes": []})])
def test_missing_or_broken_source_data_say_to_run_pretrain(run: RunFolder, text: str | None) -> None:
    if text is not None:
        run.source_path.write_text(text)
    with pytest.raises(InputError, match="not a finished run of gformer pretrain") as caught:
        run.source()
    assert "--resume" in caught.value.hint


def test_models_survive_the_round_trip(run: RunFolder) -> None:
    state = {"a": torch.randn(3, 2).t(), "b": torch.tensor(3)}
    run.save_model("without-photo", state)
    found = run.load_model("without-photo")
    assert sorted(found) == ["a", "b"] and all(torch.equal(found[name], state[name]) for name in state)
    assert run.model_path("without-photo") == run.root / "models" / "without-photo.safetensors"
    assert sorted(path.name for path in run.models.iterdir()) == ["all.safetensors", "without-photo.safetensors"]


def test_missing_and_broken_models_are_input_errors(run: RunFolder) -> None:
    run.model_path("broken").write_bytes(b"no tensors")
    for label in ("missing", "broken"):
        with pytest.raises(InputError, match=f"cannot read .*{label}.safetensors"):
            run.load_model(label)


def test_a_full_disk_is_told_and_keeps_the_old_files(run: RunFolder) -> None:
    run.checkpoint("pretrain").save({"step": 3})
    before = contents(run.root)
    large = {"weight": torch.zeros(100_000)}
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))  # the system refuses larger files
    try:
        with pytest.raises(WorkError, match=r"cannot write .*all\.safetensors: File too large"):
            run.save_model("all", large)
        with pytest.raises(WorkError, match=r"cannot write .*pretrain\.pt: File too large"):
            run.checkpoint("pretrain").save(large)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert contents(run.root) == before


BROKEN = {"weight": torch.tensor([1.0, float("inf")])}


def test_a_model_that_is_not_finite_is_refused(run: RunFolder) -> None:
    run.save_model("all", BROKEN)
    with pytest.raises(InputError, match=r"all\.safetensors: weight holds values that are not finite"):
        run.put_model("all", torch.nn.Linear(2, 1, bias=False))


NAMES = [
    "site",
    "Site",
    "SITE",
    "x" * 245,
    "x" * 244 + "y",
    "犬" * 80,
    "a b",
    "a/b",
    "a\\b",
    "CON",
    "con.",
    "é",
    "all",
    "",
    "..",
]


def test_every_domain_has_a_file_of_its_own_whatever_it_is_called(run: RunFolder) -> None:
    paths = [run.model_path(f"without-{name}") for name in NAMES]
    assert {path.parent for path in paths} == {run.models}
    assert len({path.name.lower() for path in paths}) == len(NAMES)  # also where case tells no files apart
    assert all(path.name.isascii() and len(path.name) < 150 for path in paths)
    assert paths[0].name == "without-site.safetensors"
    for number, name in enumerate(NAMES):
        run.save_model(f"without-{name}", {"number": torch.tensor(number)})
        run.checkpoint(f"without-{name}").save({"step": number})
    for number, name in enumerate(NAMES):
        assert run.load_model(f"without-{name}")["number"] == number
        assert run.checkpoint(f"without-{name}").load() == {"step": number}


def test_models_of_earlier_versions_are_found_under_their_names(run: RunFolder) -> None:
    run.model_path("all").rename(run.models / "without-Site A.safetensors")
    assert run.model_path("without-Site A").name == "without-Site A.safetensors"
    assert run.model_path("without-SITE A").name != "without-SITE A.safetensors"


def test_a_checkpoint_of_the_constant_generator_is_found_under_its_earlier_name(run: RunFolder) -> None:
    assert run.checkpoint("constant").path.name == "constant.pt"
    Checkpoint(run.checkpoints / "control.pt").save({"step": 3})
    assert run.checkpoint("constant").load() == {"step": 3}
    Checkpoint(run.checkpoints / "constant.pt").save({"step": 4})
    assert run.checkpoint("constant").load() == {"step": 4}


def test_a_source_json_with_the_earlier_name_of_leave_one_domain_out_is_read(run: RunFolder) -> None:
    run.write_source(SourceData(["a"], {"x": {"a": 2}}, "f", leave_one_domain_out=False, validation_accuracy=0.5))
    document = json.loads(run.source_path.read_text())
    now = run.source()
    document["leave_one_out"] = document.pop("leave_one_domain_out")
    run.source_path.write_text(json.dumps(document))
    assert run.source() == now and not now.leave_one_domain_out
