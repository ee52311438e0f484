"""Settings: which layer wins, and what is said about a key or a value that is wrong."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from gformer_cli import preset_files
from gformer_cli.config import keys, resolve, to_yaml, validate
from gformer_cli.errors import InputError
from gformer_cli.preset_files import read_preset
from gformer_cli.settings import IDLE, Settings


@pytest.fixture
def preset(tmp_path: Path) -> Any:
    """`preset(text)`: the path of a preset file."""

    def write(text: str) -> str:
        path = tmp_path / "mine.yaml"
        path.write_text(text, encoding="utf-8")
        return str(path)

    return write


@pytest.fixture
def shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A presets folder with `quick` and `thorough` in place of the shipped one."""
    folder = tmp_path / "presets"
    folder.mkdir()
    (folder / "quick.yaml").write_text("# For a first look\npretrain: {steps: 5}\n")
    (folder / "thorough.yaml").write_text("# For the record\npretrain: {steps: 9000}\n")
    monkeypatch.setattr(preset_files, "presets_folder", lambda: folder)
    return folder


def _error(**layers: Any) -> InputError:
    with pytest.raises(InputError) as caught:
        resolve(**layers)
    assert caught.value.exit_status == 2
    return caught.value


def test_without_layers_settings_are_the_defaults() -> None:
    assert resolve() == Settings()


def test_a_preset_wins_over_the_defaults_and_touches_nothing_else(preset: Any) -> None:
    settings = resolve(preset=preset("pretrain: {steps: 5}"))
    expected = Settings().model_dump()
    expected["pretrain"]["steps"] = 5
    assert settings.model_dump() == expected


def test_set_wins_over_a_preset(preset: Any) -> None:
    settings = resolve(preset=preset("pretrain: {steps: 5, batch_size: 6}"), assignments=["pretrain.steps=7"])
    assert (settings.pretrain.steps, settings.pretrain.batch_size) == (7, 6)


def test_flags_win_over_set() -> None:
    assert resolve(assignments=["seed=7"], flags={"seed": 8}).seed == 8


def test_a_flag_that_was_not_given_changes_nothing() -> None:
    assert resolve(assignments=["seed=7"], flags={"seed": None}).seed == 7


def test_a_flag_of_zero_or_false_is_given() -> None:
    settings = resolve(assignments=["seed=7"], flags={"seed": 0, "pretrain.flip": False})
    assert (settings.seed, settings.pretrain.flip) == (0, False)


def test_a_later_assignment_wins() -> None:
    assert resolve(assignments=["seed=1", "seed=2"]).seed == 2


def test_a_base_stands_in_for_the_defaults(preset: Any) -> None:
    base = resolve(assignments=["seed=3", "pretrain.steps=4"])
    settings = resolve(base=base, preset=preset("pretrain: {steps: 5}"))
    assert (settings.seed, settings.pretrain.steps) == (3, 5)
    assert base.pretrain.steps == 4


@pytest.mark.parametrize(
    ("assignment", "value"),
    [
        ("pretrain.learning_rate=1e-3", 1e-3),
        ("pretrain.flip=false", False),
        ("data.resize=stretch", "stretch"),
        ("data.mean=[0.1, 0.2, 0.3]", (0.1, 0.2, 0.3)),
        ("shifts.families=[blur, noise]", ("blur", "noise")),
        ("backbone.weights=none", "none"),
        ("backbone.weights=a=b.pt", "a=b.pt"),
        (" seed =5", 5),
    ],
)
def test_assignments_are_typed(assignment: str, value: object) -> None:
    settings: Any = resolve(assignments=[assignment])
    for part in assignment.partition("=")[0].strip().split("."):
        settings = getattr(settings, part)
    assert settings == value


@pytest.mark.parametrize("assignment", ["pretrain.steps", "=5", ""])
def test_what_is_no_assignment_is_shown_how(assignment: str) -> None:
    error = _error(assignments=[assignment])
    assert repr(assignment) in error.message
    assert "--set pretrain.steps=500" in error.hint


def test_an_unknown_key_of_set_names_the_nearest() -> None:
    error = _error(assignments=["pretrain.step=5"])
    assert error.message == "--set: unknown setting 'pretrain.step'"
    assert "'pretrain.steps'" in error.hint


def test_an_unknown_key_of_a_preset_names_preset_and_nearest(preset: Any) -> None:
    path = preset("pretrain: {learning_rte: 1}")
    error = _error(preset=path)
    assert path in error.message
    assert "'pretrain.learning_rte'" in error.message
    assert "'pretrain.learning_rate'" in error.hint


RENAMED = [
    ("generator.constant", "generator.on_constant", True),
    ("meta_train.control", "meta_train.constant", False),
    ("pretrain.leave_one_out", "pretrain.leave_one_domain_out", False),
]


@pytest.mark.parametrize(("before", "now", "value"), RENAMED)
def test_a_setting_under_its_earlier_name_is_read_from_files_and_refused_from_users(
    preset: Any, before: str, now: str, value: bool
) -> None:
    (section, old), new = before.split("."), now.partition(".")[2]
    tree = Settings().model_dump(mode="json")
    assert tree[section].pop(new) is not value
    saved = validate(tree | {section: tree[section] | {old: value}})
    assert getattr(getattr(saved, section), new) is value
    for error in (
        _error(assignments=[f"{before}={value}"]),
        _error(preset=preset(f"{section}: {{{old}: {str(value).lower()}}}")),
    ):
        assert f"unknown setting {before!r}" in error.message and f"It is called {now} now." in error.hint


def test_an_earlier_name_beside_the_one_of_now_is_refused() -> None:
    with pytest.raises(InputError, match=r"generator\.constant"):
        validate({"generator": {"constant": True, "on_constant": True}})


def test_an_unknown_section_is_an_unknown_key(preset: Any) -> None:
    assert "unknown setting 'pretraining.steps'" in _error(preset=preset("pretraining: {steps: 1}")).message


@pytest.mark.parametrize("layers", [{"assignments": ["shifts=5"]}, {"flags": {"shifts": 5}}])
def test_a_section_instead_of_a_setting_lists_what_it_holds(layers: Any) -> None:
    error = _error(**layers)
    assert "'shifts' is a section" in error.message
    assert "shifts.probability, shifts.strength, shifts.families" in error.hint


def test_a_setting_instead_of_a_section_is_an_unknown_key(preset: Any) -> None:
    assert "unknown setting 'seed.value'" in _error(preset=preset("seed: {value: 1}")).message


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("pretrain.steps", "many"),
        ("pretrain.steps", "0"),
        ("pretrain.steps", "1.5"),
        ("pretrain.steps", "null"),
        ("pretrain.flip", "perhaps"),
        ("pretrain.label_smoothing", "1.5"),
        ("pretrain.learning_rate", "-1"),
        ("pretrain.learning_rate", ".nan"),
        ("data.resize", "squeeze"),
        ("data.mean", "[0.5, 0.5]"),
        ("data.validation_fraction", "0"),
        ("shifts.families", "[]"),
        ("seed", "-1"),
    ],
)
def test_a_wrong_value_names_its_key(key: str, value: str) -> None:
    error = _error(assignments=[f"{key}={value}"])
    assert error.message.startswith(f"wrong value for setting {key}")
    assert error.hint


def test_a_wrong_member_of_a_list_is_shown() -> None:
    error = _error(assignments=["shifts.families=[blur, rain]"])
    assert "'rain'" in error.message
    assert "'photometric'" in error.hint


def test_heads_must_divide_the_width() -> None:
    error = _error(assignments=["generator.width=10", "generator.heads=4"])
    assert error.message == "generator.width 10 is not divisible by generator.heads 4"
    assert resolve(assignments=["generator.width=12", "generator.heads=4"]).generator.width == 12


NO_EFFECT = [(kind, name) for kind, idle in IDLE.items() for name in idle]


@pytest.mark.parametrize(("kind", "name"), NO_EFFECT)
def test_a_setting_without_effect_is_refused_where_it_is_named(kind: str, name: str) -> None:
    value = getattr(Settings().generator, name)  # whatever it is: it asks for what does not happen
    assignments = ["generator.probe=forward", f"generator.{name}={str(value).lower()}"]
    for layers in (
        {"assignments": [*assignments, f"generator.kind={kind}"]},
        {"assignments": ["generator.probe=forward"], "flags": {f"generator.{name}": value, "generator.kind": kind}},
    ):
        error = _error(**layers)
        assert error.message == f"setting generator.{name} has no effect with generator.kind={kind}"
        assert "Leave it out, or choose generator.kind=channel" in error.hint
    assert getattr(resolve(assignments=assignments).generator, name) == value


def test_a_preset_and_a_run_may_hold_settings_without_effect(preset: Any) -> None:
    path = preset("generator: {channel_width: 4, on_constant: true, width: 12, probe: forward}")
    for kind in ("vector", "constant"):
        settings = resolve(preset=path, assignments=[f"generator.kind={kind}"])
        assert settings.generator.channel_width == 4
        assert resolve(base=settings, assignments=["meta_train.steps=2"]).generator == settings.generator


def test_only_keeps_a_preset_to_the_sections_given(preset: Any) -> None:
    path = preset("seed: 9\npretrain: {steps: 5}\nmeta_train: {clip: 6}")
    settings = resolve(preset=path, only=["meta_train", "shifts"])
    assert settings.meta_train.clip == 6.0
    assert settings.pretrain.steps == Settings().pretrain.steps
    assert settings.seed == Settings().seed


def test_only_refuses_assignments_to_other_sections() -> None:
    error = _error(assignments=["pretrain.steps=5"], only=["meta_train", "shifts"])
    assert "--set pretrain.steps" in error.message
    assert "meta_train, shifts" in error.hint
    assert resolve(assignments=["shifts.strength=2"], only=["shifts"]).shifts.strength == 2.0


def test_only_still_tells_an_unknown_key_from_a_fixed_one() -> None:
    assert "unknown setting" in _error(assignments=["pretrain.step=5"], only=["meta_train"]).message


def test_an_unknown_key_of_a_preset_is_an_error_outside_only_too(preset: Any) -> None:
    assert "unknown setting" in _error(preset=preset("pretrain: {step: 5}"), only=["meta_train"]).message


def test_settings_survive_yaml(preset: Any) -> None:
    settings = resolve(
        assignments=["seed=3", "pretrain.learning_rate=1e-5", "backbone.weights=none", "shifts.families=[blur]"]
    )
    assert resolve(preset=preset(to_yaml(settings))) == settings


def test_yaml_is_in_the_order_of_the_settings() -> None:
    assert list(yaml.safe_load(to_yaml(Settings()))) == list(Settings.model_fields)


def test_keys_are_dotted_and_complete() -> None:
    assert "seed" in keys()
    assert "pretrain.steps" in keys()
    assert "pretrain" not in keys()
    for key in keys():
        settings: Any = Settings()
        for part in key.split("."):
            settings = getattr(settings, part)


def test_settings_cannot_be_changed_in_place() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Settings().seed = 3  # type: ignore[misc]


def test_validate_refuses_a_key_that_it_does_not_know() -> None:
    with pytest.raises(InputError, match="sed"):
        validate({"sed": 3})


def test_a_shipped_preset_is_found_by_name(shipped: Path) -> None:
    assert resolve(preset="quick").pretrain.steps == 5
    assert preset_files.preset_names() == ["quick", "thorough"]


def test_an_unknown_preset_names_the_nearest(shipped: Path) -> None:
    error = _error(preset="quik")
    assert error.message == "unknown preset: 'quik'"
    assert "'quick'" in error.hint


def test_a_preset_file_need_not_be_called_yaml(tmp_path: Path) -> None:
    path = tmp_path / "settings"
    path.write_text("seed: 4")
    assert resolve(preset=str(path)).seed == 4


def test_dotted_keys_in_a_preset_are_read_like_nested_ones(preset: Any) -> None:
    assert resolve(preset=preset("pretrain.steps: 7")).pretrain.steps == 7


@pytest.mark.parametrize("text", ["", "# only a comment\n", "pretrain: {}\n"])
def test_an_empty_preset_changes_nothing(preset: Any, text: str) -> None:
    assert resolve(preset=preset(text)) == Settings()


@pytest.mark.parametrize(
    ("text", "message"), [("a: [1", "is not valid YAML"), ("- 1\n- 2\n", "is not a mapping"), ("5", "is not a mapping")]
)
def test_a_broken_preset_is_an_error_that_names_it(preset: Any, text: str, message: str) -> None:
    path = preset(text)
    error = _error(preset=path)
    assert path in error.message
    assert message in error.message


def test_a_missing_preset_file_is_an_error_that_names_it(tmp_path: Path) -> None:
    assert str(tmp_path / "gone.yaml") in _error(preset=str(tmp_path / "gone.yaml")).message


def test_a_preset_that_is_not_text_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_bytes(b"\xff\xfe\xff")
    assert "cannot read preset file" in _error(preset=str(path)).message


def test_the_presets_folder_is_found_from_any_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = preset_files.presets_folder()
    monkeypatch.chdir(tmp_path)
    assert preset_files.presets_folder() == here
    assert here.is_absolute()
    assert here.is_dir()
    assert here.name == "presets"


@pytest.mark.parametrize("name", preset_files.preset_names())
def test_every_shipped_preset_is_valid_and_changes_something(name: str) -> None:
    assert resolve(preset=name) != Settings()
    assert read_preset(name)


# --- files and assignments that are made to do harm


LAUGHS = "\n".join(
    ["a: &a0 {x: 1}"]
    + [f"b{n}: &a{n} {{p: *a{n - 1}, q: *a{n - 1}, r: *a{n - 1}, s: *a{n - 1}}}" for n in range(1, 40)]
)
LISTS = "\n".join(["- &a0 [1, 2, 3]"] + [f"- &a{n} [*a{n - 1}, *a{n - 1}, *a{n - 1}, *a{n - 1}]" for n in range(1, 40)])


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (LAUGHS, "unknown setting 'a.x'"),
        (f"seed:\n{LISTS}", "wrong value for setting seed"),
        ("pretrain: &a {pretrain: *a}", "unknown setting 'pretrain.pretrain.pretrain'"),
        ("unknown: {}", "unknown setting 'unknown'"),
        ("- " * 10_000, "is not valid YAML"),
        ("seed: 2026-13-45", "wrong value for setting seed"),
        ("seed: " + "9" * 5000, "is not valid YAML"),
        ("seed: !!python/object/apply:os.getcwd []", "is not valid YAML"),
        ("seed: " + "x" * 100_000, "wrong value for setting seed"),
        ("? {a: 1}\n: 2", "is not valid YAML"),
    ],
    ids=range(10),
)
def test_a_hostile_preset_is_refused_in_one_short_line(preset: Any, text: str, told: str) -> None:
    message = _error(preset=preset(text)).message
    assert told in message and "\n" not in message and len(message) < 800


def test_a_preset_of_any_size_or_kind_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "large.yaml").touch()
    os.truncate(tmp_path / "large.yaml", 1 << 40)
    assert "larger than 1 MiB" in _error(preset=str(tmp_path / "large.yaml")).message
    os.mkfifo(tmp_path / "pipe.yaml")
    assert "not a regular file" in _error(preset=str(tmp_path / "pipe.yaml")).message


@pytest.mark.parametrize("value", [".inf", "-.inf", "1e999"])
def test_no_setting_is_infinite(value: str) -> None:
    assert "pretrain.weight_decay" in _error(assignments=[f"pretrain.weight_decay={value}"]).message


@pytest.mark.parametrize("key", ["width", "depth", "heads", "feed_forward", "channel_width"])
def test_a_generator_has_a_largest_size(key: str) -> None:
    assert f"generator.{key}" in _error(assignments=[f"generator.{key}=1000000"]).message


@settings(max_examples=60, deadline=None)
@given(key=st.sampled_from(keys()) | st.text(max_size=12), value=st.text(max_size=20) | st.floats().map(str))
def test_any_assignment_is_taken_or_refused(key: str, value: str) -> None:
    try:
        resolve(assignments=[f"{key}={value}"])
    except InputError as error:
        assert error.message and error.hint


@settings(max_examples=60, deadline=None)
@given(text=st.text(st.sampled_from("seed: pretrain{}[]&*a-\n1?!|>\"'%@`#,.0x"), max_size=40))
def test_any_preset_is_taken_or_refused(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = tmp_path_factory.getbasetemp() / "any.yaml"
    path.write_text(text, encoding="utf-8")
    try:
        resolve(preset=str(path))
    except InputError as error:
        assert error.message and error.hint


@settings(max_examples=40, deadline=None)
@given(
    tree=st.dictionaries(st.sampled_from(["seed", "data", "pretrain", "x"]), st.none() | st.integers() | st.floats())
)
def test_any_tree_validates_or_is_refused(tree: dict[str, Any]) -> None:
    try:
        assert to_yaml(validate(tree))
    except InputError as error:
        assert error.message and error.hint


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("pretrain.steps=010", 10),
        ("pretrain.steps=1_000", 1000),
        ("pretrain.steps=1e3", 1000),
        ("pretrain.flip=off", False),
        ("pretrain.flip=no", False),
        ("pretrain.flip=yes", True),
        ("pretrain.learning_rate=1e-3", 0.001),
        ("data.mean=[010, .2, 1e-1]", (10.0, 0.2, 0.1)),
        ("meta_train.patience=~", None),
        ("meta_train.patience=007", 7),
        ("backbone.weights=no", "no"),
        ("backbone.weights=010", "010"),
        ("backbone.weights=1e3", "1e3"),
        ("backbone.weights=true", "true"),
        ("backbone.weights=2020-01-01", "2020-01-01"),
        ("backbone.weights=1:30", "1:30"),
    ],
)
def test_a_value_means_what_a_person_reads_and_is_written_so(text: str, expected: object, preset: Any) -> None:
    settings = resolve(assignments=[text])
    section, name = text.partition("=")[0].split(".")
    assert getattr(getattr(settings, section), name) == expected
    assert resolve(preset=preset(to_yaml(settings))) == settings
    assert validate(yaml.safe_load(to_yaml(settings))) == settings  # the library's own reading agrees


def test_a_preset_means_what_a_person_reads(preset: Any) -> None:
    settings = resolve(preset=preset("pretrain: {steps: 010, flip: off}\nbackbone: {weights: no}"))
    assert (settings.pretrain.steps, settings.pretrain.flip, settings.backbone.weights) == (10, False, "no")


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("pretrain.steps=0x10", "It must be a whole number."),
        ("pretrain.steps=1:30", "It must be a whole number."),
        ("pretrain.steps=0o17", "It must be a whole number."),
        ("pretrain.steps=0b11", "It must be a whole number."),
        ("pretrain.steps=yes", "It must be a whole number."),
        ("pretrain.steps=true", "It must be a number or text, not true or false."),
        ("pretrain.learning_rate=true", "It must be a number or text, not true or false."),
        ("pretrain.learning_rate=0,001", "It must be a number."),
        ("pretrain.learning_rate=1e30", "It must be less than or equal to 1000000000."),
        ("pretrain.flip=2", "It must be true or false."),
        ("data.mean=0.5", "It must be a list, such as [1, 2, 3]."),
        ("data.std=[0, 1, 1]", "It must be greater than or equal to 0.000000001."),
        ("seed=99999999999999999999", "It must be less than or equal to 2147483647."),
        ("seed=-1", "It must be greater than or equal to 0."),
    ],
)
def test_what_no_person_reads_as_that_kind_of_value_is_refused(text: str, hint: str) -> None:
    assert _error(assignments=[text]).hint == hint
