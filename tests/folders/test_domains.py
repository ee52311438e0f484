"""Which domains, classes and files are found below the folders a user names."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gformer_cli.errors import InputError
from gformer_cli.folders.domains import (
    Known,
    Layout,
    check_names,
    class_names,
    count_suffixes,
    find_domains,
    find_images,
)
from gformer_cli.folders.nesting import nfc
from gformer_cli.folders.walking import is_hidden


def test_a_folder_of_class_folders_is_one_domain(make_folder: Any) -> None:
    folder = make_folder("site", {"cat": 2, "dog": 1})
    (domain,) = find_domains([folder])
    assert (domain.name, domain.root, domain.classes) == ("site", folder, ("cat", "dog"))
    assert [(file.relative, file.label) for file in domain.files] == [
        ("cat/00.png", "cat"),
        ("cat/01.png", "cat"),
        ("dog/00.png", "dog"),
    ]
    assert all(file.path == folder / file.relative for file in domain.files)


def test_a_root_of_domains_gives_each_domain_by_name(make_folder: Any, tmp_path: Path) -> None:
    make_folder("root/north", {"cat": 1})
    make_folder("root/east", {"cat": 1, "dog": 2})
    domains = find_domains([tmp_path / "root"])
    assert [domain.name for domain in domains] == ["east", "north"]
    assert domains[0].root == tmp_path / "root" / "east"
    assert [file.relative for file in domains[0].files] == [
        "east/cat/00.png",
        "east/dog/00.png",
        "east/dog/01.png",
    ]
    assert domains[0].files[1].path == tmp_path / "root/east/dog/00.png"
    assert [file.label for file in domains[0].files] == ["cat", "dog", "dog"]


def test_a_domain_whose_name_begins_like_another_keeps_its_own_files(make_folder: Any, tmp_path: Path) -> None:
    make_folder("root/site", {"cat": 1})
    make_folder("root/site-2", {"cat": 2})
    assert [len(domain.files) for domain in find_domains([tmp_path / "root"])] == [1, 2]


def test_domains_of_several_folders_keep_the_order_given(make_folder: Any) -> None:
    folders = [make_folder("b", {"cat": 1}), make_folder("a", {"cat": 1})]
    assert [domain.name for domain in find_domains(folders)] == ["b", "a"]


def test_a_flat_folder_is_read_without_labels_when_asked(add_image: Any, tmp_path: Path) -> None:
    add_image(tmp_path / "inbox" / "b.png")
    add_image(tmp_path / "inbox" / "a.jpg")
    (domain,) = find_domains([tmp_path / "inbox"], unlabelled=True)
    assert domain.classes == ()
    assert [(file.relative, file.label) for file in domain.files] == [("a.jpg", None), ("b.png", None)]


def test_a_flat_folder_is_refused_where_labels_are_needed(add_image: Any, tmp_path: Path) -> None:
    add_image(tmp_path / "inbox" / "a.png")
    with pytest.raises(InputError, match="no class folders") as caught:
        find_domains([tmp_path / "inbox"])
    assert "DIR/class/image" in caught.value.hint


def test_layout_flat_is_refused_where_labels_are_needed(make_folder: Any) -> None:
    with pytest.raises(InputError, match="labels are needed"):
        find_domains([make_folder("site", {"cat": 1})], Layout.flat)


@pytest.mark.parametrize("unlabelled", [False, True])
def test_mixed_nesting_is_an_error_that_names_the_option(add_image: Any, tmp_path: Path, unlabelled: bool) -> None:
    add_image(tmp_path / "mixed/cat/a.png")
    add_image(tmp_path / "mixed/site/cat/a.png")
    add_image(tmp_path / "mixed/site/cat/b.png")
    with pytest.raises(InputError) as caught:
        find_domains([tmp_path / "mixed"], unlabelled=unlabelled)
    assert "1 at DIR/folder/image and 2 at DIR/folder/folder/image" in caught.value.message
    assert "--layout domain" in caught.value.hint
    assert ("--layout flat" in caught.value.hint) == unlabelled
    assert caught.value.exit_status == 2


def test_deep_nesting_is_an_error(add_image: Any, tmp_path: Path) -> None:
    add_image(tmp_path / "deep/a/b/c/d.png")
    with pytest.raises(InputError, match="lie deeper than DIR/domain/class/image, all of them in a") as caught:
        find_domains([tmp_path / "deep"])
    assert f"name it: {tmp_path / 'deep/a'}. " in caught.value.hint and "--layout domains" in caught.value.hint
    add_image(tmp_path / "deep/e/b/c/d.png")
    with pytest.raises(InputError, match=r"2 at DIR/\.\.\./image"):
        find_domains([tmp_path / "deep"])


def test_layout_flat_overrides_the_guess_and_takes_every_image(add_image: Any, tmp_path: Path) -> None:
    add_image(tmp_path / "mixed/a.png")
    add_image(tmp_path / "mixed/site/cat/a.png")
    (domain,) = find_domains([tmp_path / "mixed"], Layout.flat, unlabelled=True)
    assert [(file.relative, file.label) for file in domain.files] == [("a.png", None), ("site/cat/a.png", None)]


@pytest.mark.parametrize(("layout", "wanted"), [("domain", "DIR/class/image"), ("domains", "DIR/domain/class/image")])
def test_a_layout_that_does_not_fit_names_an_image_astray(
    add_image: Any, tmp_path: Path, layout: str, wanted: str
) -> None:
    add_image(tmp_path / "mixed/a.png")
    with pytest.raises(InputError) as caught:
        find_domains([tmp_path / "mixed"], Layout(layout))
    assert wanted in caught.value.message
    assert str(tmp_path / "mixed/a.png") in caught.value.message


def test_layout_is_obeyed_where_it_fits(make_folder: Any, tmp_path: Path) -> None:
    make_folder("root/site", {"cat": 1})
    assert [domain.name for domain in find_domains([tmp_path / "root"], Layout.domains)] == ["site"]
    (nested,) = find_domains([tmp_path / "root"], Layout.domain)
    assert (nested.name, nested.counts) == ("root", {"site": 1})


def test_naming_the_layout_settles_a_nesting_that_can_be_read_in_two_ways(add_image: Any, tmp_path: Path) -> None:
    add_image(tmp_path / "mixed/cat/a.png")
    add_image(tmp_path / "mixed/dog/puppies/a.png")
    (domain,) = find_domains([tmp_path / "mixed"], Layout.domain)
    assert domain.counts == {"cat": 1, "dog": 1}


def test_images_beside_class_folders_have_no_class(add_image: Any, tmp_path: Path) -> None:
    add_image(tmp_path / "mixed/a.png")
    add_image(tmp_path / "mixed/cat/a.png")
    with pytest.raises(InputError, match=r"1 image lies beside the folders of .*, in no class, such as a\.png"):
        find_domains([tmp_path / "mixed"])


@pytest.mark.parametrize("unlabelled", [False, True])
def test_a_domain_folder_without_images_is_told_and_the_others_are_found(
    make_folder: Any, tmp_path: Path, unlabelled: bool
) -> None:
    make_folder("root/site", {"cat": 1})
    (tmp_path / "root/empty/cat").mkdir(parents=True)
    found = find_images([tmp_path / "root"], unlabelled=unlabelled)
    assert [domain.name for domain in found.domains] == ["site"]
    assert found.empty == [tmp_path / "root/empty"]


def test_an_empty_folder_beside_others_is_told_where_no_labels_are_wanted(make_folder: Any, tmp_path: Path) -> None:
    site, empty = make_folder("site", {"cat": 1}), tmp_path / "empty"
    empty.mkdir()
    found = find_images([empty, site], unlabelled=True)
    assert ([domain.name for domain in found.domains], found.empty) == (["site"], [empty])
    with pytest.raises(InputError, match=r"no images below .*empty"):
        find_images([site, empty])
    with pytest.raises(InputError, match="no images below any of 2 folders"):
        find_images([empty, make_folder("bare", {"cat": 0})], unlabelled=True)


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no such folder: .*nowhere"):
        find_domains([tmp_path / "nowhere"])


def test_a_file_instead_of_a_folder_is_named(add_image: Any, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"not a folder: .*a\.png"):
        find_domains([add_image(tmp_path / "a.png")])


def test_a_folder_without_images_tells_how_many_other_files_it_holds(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no image")
    with pytest.raises(InputError, match=r"no images below .* \(other files: 1 \.txt\)") as caught:
        find_domains([tmp_path])
    assert ".png" in caught.value.hint


def test_an_empty_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no images below"):
        find_domains([tmp_path])


def test_folders_of_one_name_are_told_apart_by_the_folder_above(make_folder: Any) -> None:
    folders = [make_folder(name, {"cat": 1}) for name in ("one/train", "two/train", "two/test")]
    assert [domain.name for domain in find_domains(folders)] == ["one-train", "two-train", "test"]


def test_two_domains_of_one_name_are_refused_with_both_places(make_folder: Any, tmp_path: Path) -> None:
    root, site = make_folder("one/site", {"cat": 1}).parent, make_folder("two/site", {"cat": 1})
    with pytest.raises(InputError, match="two domains are called 'site'") as caught:
        find_domains([root, site])
    assert f"{root / 'site'} and {site}" in caught.value.message
    deeper = [make_folder(f"{name}/again/site", {"cat": 1}) for name in ("one", "two")]
    with pytest.raises(InputError, match="two domains are called 'site'"):
        find_domains(deeper)


def test_hidden_files_and_folders_are_passed_over(make_folder: Any, add_image: Any) -> None:
    folder = make_folder("site", {"cat": 1})
    add_image(folder / "cat" / "._00.png")
    add_image(folder / ".thumbnails" / "00.png")
    (domain,) = find_domains([folder])
    assert [file.relative for file in domain.files] == ["cat/00.png"]
    assert domain.classes == ("cat",)
    assert find_images([folder]).aside == []


def test_other_files_are_listed_not_dropped(make_folder: Any) -> None:
    folder = make_folder("site", {"cat": 1})
    for name in ("cat/notes.txt", "readme"):
        (folder / name).write_text("no image")
    found = find_images([folder])
    assert [file.path for file in found.aside] == [folder / "cat/notes.txt", folder / "readme"]
    assert count_suffixes(found.aside) == {"(none)": 1, ".txt": 1}


def test_a_suffix_in_capitals_is_an_image(make_folder: Any) -> None:
    (domain,) = find_domains([make_folder("site", {"cat": 1}, names="{}.JPG")])
    assert [file.relative for file in domain.files] == ["cat/0.JPG"]


def test_an_empty_class_folder_counts_zero(make_folder: Any) -> None:
    (domain,) = find_domains([make_folder("site", {"cat": 2, "dog": 0})])
    assert domain.counts == {"cat": 2, "dog": 0}


def test_a_link_that_forms_a_loop_is_walked_once(make_folder: Any) -> None:
    folder = make_folder("site", {"cat": 1})
    (folder / "cat" / "again").symlink_to(folder, target_is_directory=True)
    (domain,) = find_domains([folder])
    assert [file.relative for file in domain.files] == ["cat/00.png"]


def test_a_linked_class_folder_is_followed(make_folder: Any, tmp_path: Path) -> None:
    elsewhere = make_folder("store", {"cat": 1})
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "cat").symlink_to(elsewhere / "cat", target_is_directory=True)
    (domain,) = find_domains([tmp_path / "site"])
    assert domain.counts == {"cat": 1}


def test_a_folder_named_by_a_dot_takes_its_real_name(make_folder: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(make_folder("site", {"cat": 1}))
    assert find_domains([Path()])[0].name == "site"


def test_links_that_lead_to_themselves_end_nothing(make_folder: Any) -> None:
    folder = make_folder("site", {"cat": 1})
    (folder / "cat" / "loop.png").symlink_to("loop.png")
    (folder / "dog").symlink_to("dog")
    found = find_images([folder])
    (domain,) = found.domains
    assert [file.relative for file in domain.files] == ["cat/00.png", "cat/loop.png"]  # reading tells the reason
    assert (domain.classes, [file.path for file in found.aside]) == (("cat",), [folder / "dog"])


@pytest.mark.parametrize("error", [PermissionError(13, "Permission denied"), FileNotFoundError(2, "No such file")])
def test_a_folder_that_closes_or_goes_while_it_is_walked_is_named(
    make_folder: Any, monkeypatch: pytest.MonkeyPatch, error: OSError
) -> None:
    """Root may read everything, so the system's refusal is simulated."""
    folder = make_folder("root/site", {"cat": 1})
    original = os.scandir

    def refuse(path: Any) -> Any:
        if str(path) == str(folder):
            raise error
        return original(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(InputError) as caught:
        find_domains([folder])
    assert caught.value.message == f"cannot read folder {folder}: {error.strerror}"
    assert "permissions" in caught.value.hint


def test_names_that_no_bundle_can_hold_are_refused_for_training(make_folder: Any, add_image: Any) -> None:
    folder = make_folder("site", {"cat": 1})
    add_image(folder / os.fsdecode(b"caf\xe9") / "00.png")
    domains = find_domains([folder])
    with pytest.raises(InputError, match="not UTF-8: 'caf"):
        check_names(domains)
    check_names(find_domains([make_folder("犬", {"الف\n": 1})]))


AWKWARD = ["猫, \"a\" 'b'", "Ünï\nçode", "قطة", "a b;c&d", "100%", "-x", "😀"]


@pytest.mark.parametrize("name", AWKWARD)
def test_names_in_any_script_survive(add_image: Any, tmp_path: Path, name: str) -> None:
    path = add_image(tmp_path / "site" / name / f"{name}.png")
    (domain,) = find_domains([tmp_path / "site"])
    assert domain.classes == (nfc(name),)
    assert [(file.path, file.relative, file.label) for file in domain.files] == [
        (path, f"{name}/{name}.png", nfc(name))
    ]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    names=st.sets(
        st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=12)
        .filter(lambda name: not name.startswith("."))
        .filter(lambda name: len(name.encode()) < 100 and not is_hidden(name)),
        min_size=1,
        max_size=4,
    )
)
def test_any_set_of_class_names_is_found_as_it_is(tmp_path_factory: pytest.TempPathFactory, names: set[str]) -> None:
    folder = tmp_path_factory.mktemp("any") / "site"
    names = {nfc(name) for name in names}
    for name in names:
        (folder / name).mkdir(parents=True)
        (folder / name / "a.png").write_bytes(b"x")
    (domain,) = find_domains([folder], Layout.domain)
    assert class_names([domain]) == sorted(names)
    assert all(count == 1 for count in domain.counts.values())


def test_class_names_are_the_sorted_union_over_domains(make_folder: Any) -> None:
    domains = find_domains([make_folder("a", {"dog": 1, "cat": 1}), make_folder("b", {"ant": 1, "dog": 1})])
    assert class_names(domains) == ["ant", "cat", "dog"]


COMPOSED, DECOMPOSED = "d\u00e9faut", "de\u0301faut"


def test_one_name_in_two_spellings_is_one_class(make_folder: Any) -> None:
    folders = [make_folder("a", {COMPOSED: 1, "ok": 1}), make_folder("b", {DECOMPOSED: 2, "ok": 1})]
    domains = find_domains(folders)
    assert class_names(domains) == [COMPOSED, "ok"]
    assert domains[1].counts == {COMPOSED: 2, "ok": 1}
    assert domains[1].files[0].path == folders[1] / DECOMPOSED / "00.png"


@pytest.mark.parametrize("known", [COMPOSED, DECOMPOSED])
def test_names_are_spelled_as_they_are_known(make_folder: Any, known: str) -> None:
    folders = [make_folder(f"{name}/{name}", {name: 1}) for name in (COMPOSED, DECOMPOSED)]
    for folder in folders:
        (domain,) = find_domains([folder], known=Known({known, "ok"}, [known]))
        assert (domain.name, domain.classes, domain.files[0].label) == (known, (known,), known)


def test_two_class_folders_of_one_name_are_refused_with_both_spellings(make_folder: Any) -> None:
    folder = make_folder("site", {COMPOSED: 1, DECOMPOSED: 1})
    with pytest.raises(InputError) as caught:
        find_domains([folder])
    assert r"'d\xe9faut'" in caught.value.message and r"'de\u0301faut'" in caught.value.message
    assert find_domains([folder], Layout.flat, unlabelled=True)[0].files


def test_two_domain_folders_of_one_name_are_refused(make_folder: Any, tmp_path: Path) -> None:
    for name in (COMPOSED, DECOMPOSED):
        make_folder(f"root/{name}", {"ok": 1})
    with pytest.raises(InputError, match="two domains are called"):
        find_domains([tmp_path / "root"])


def test_a_class_folder_that_several_links_lead_to_is_found_under_each(make_folder: Any, tmp_path: Path) -> None:
    make_folder("root/east", {"cat": 1, "dog": 2})
    (tmp_path / "root/west").mkdir()
    for name in ("cat", "dog"):
        (tmp_path / "root/west" / name).symlink_to(f"../east/{name}")
    assert [domain.counts for domain in find_domains([tmp_path / "root"])] == [{"cat": 1, "dog": 2}] * 2


def test_a_link_gives_its_own_name_to_what_it_leads_to(make_folder: Any, tmp_path: Path) -> None:
    for name in ("a", "b"):
        folder = make_folder(f"store/{name}/images", {"cat": 1})
        (tmp_path / f"site-{name}").symlink_to(folder)
    assert [d.name for d in find_domains([tmp_path / "site-a", tmp_path / "site-b"])] == ["site-a", "site-b"]


def test_what_is_named_twice_is_said_to_be(make_folder: Any, tmp_path: Path) -> None:
    site = make_folder("root/site", {"cat": 1})
    with pytest.raises(InputError, match="folder given twice"):
        find_domains([site, site.parent / "." / "site"])
    with pytest.raises(InputError, match="domain 'site' is given twice"):
        find_domains([tmp_path / "root", site], Layout.auto)


def test_a_map_names_the_class_of_folders(make_folder: Any) -> None:
    folder = make_folder("site", {"n01": 2, "n02": 1, "ant": 1, "n03": 1})
    known = Known(["zebra", "ant"], (), {"n01": "zebra", "n02": "ant", "elsewhere": "zebra"})
    (domain,) = find_domains([folder], known=known)
    assert domain.counts == {"ant": 2, "n03": 1, "zebra": 2}  # a folder of the class's own name is of it as well
    labels = {file.relative: file.label for file in domain.files}
    assert (labels["n01/00.png"], labels["n02/00.png"], labels["ant/00.png"]) == ("zebra", "ant", "ant")


def test_folders_of_one_class_are_that_class(make_folder: Any) -> None:
    folder = make_folder("site", {"left": 2, "right": 3, "empty": 0, "moth": 1})
    known = Known(["moth", "ant"], (), {"left": "ant", "right": "ant", "empty": "ant"})
    (domain,) = find_domains([folder], known=known)
    assert domain.classes == ("ant", "moth") and domain.counts == {"ant": 5, "moth": 1}
    assert [file.relative for file in domain.files] == sorted(file.relative for file in domain.files)


def test_a_map_wins_over_a_folder_that_is_called_like_another_class(make_folder: Any) -> None:
    folder = make_folder("site", {"ant": 1, "moth": 1})
    (domain,) = find_domains([folder], known=Known(["ant", "moth"], (), {"ant": "moth", "moth": "ant"}))
    assert {file.relative: file.label for file in domain.files} == {"ant/00.png": "moth", "moth/00.png": "ant"}


def test_a_map_holds_for_every_domain_of_a_root_and_tells_how_it_is_nested(make_folder: Any) -> None:
    for site in ("a", "b", "c"):
        # of sessions alone, nothing but the map tells that these are classes
        make_folder(f"root/{site}", {"day-1": 1, "day-2": 2})
    root = make_folder("root/d", {"day-1": 1}).parent
    with pytest.raises(InputError, match="more than one way"):
        find_domains([root])
    found = find_domains([root], known=Known(["ant", "moth"], (), {"day-1": "moth", "day-2": "ant"}))
    assert [domain.name for domain in found] == ["a", "b", "c", "d"]
    assert [domain.counts for domain in found] == [{"ant": 2, "moth": 1}] * 3 + [{"moth": 1}]


def test_a_map_tells_classes_from_parts_and_masks(make_folder: Any) -> None:
    folder = make_folder("site", {"train": 1, "test": 1, "masks": 1, "images": 1})
    with pytest.raises(InputError):
        find_domains([folder])
    known = Known(["ant"], (), dict.fromkeys(("train", "test", "masks", "images"), "ant"))
    (domain,) = find_domains([folder], known=known)
    assert domain.counts == {"ant": 4}


@pytest.mark.parametrize("on_disk", [COMPOSED, DECOMPOSED])
@pytest.mark.parametrize("in_map", [COMPOSED, DECOMPOSED])
@pytest.mark.parametrize("in_model", [COMPOSED, DECOMPOSED])
def test_a_map_is_read_in_composed_spelling(on_disk: str, in_map: str, in_model: str, make_folder: Any) -> None:
    folder = make_folder("site", {on_disk: 1, "n01": 1})
    known = Known(["bar", in_model], (), {in_map: "bar", "n01": nfc(in_model)})
    (domain,) = find_domains([folder], known=known)
    assert {file.relative: file.label for file in domain.files} == {f"{on_disk}/00.png": "bar", "n01/00.png": in_model}


def test_two_spellings_that_the_map_does_not_name_are_an_error_still(make_folder: Any) -> None:
    folder = make_folder("site", {COMPOSED: 1, DECOMPOSED: 1, "n01": 1})
    with pytest.raises(InputError, match="two class folders called"):
        find_domains([folder], known=Known(["bar"], (), {"n01": "bar"}))
    (domain,) = find_domains([folder], known=Known(["bar"], (), {COMPOSED: "bar"}))
    assert domain.counts == {"bar": 2, "n01": 1}
