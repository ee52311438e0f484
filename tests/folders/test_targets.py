from __future__ import annotations

from typing import Any

import pytest

from gformer_cli.errors import InputError
from gformer_cli.folders.domains import Known, find_domains
from gformer_cli.folders.targets import check_known_classes

NAMES = ["Zebra", "ant", "great white shark"]


def test_a_domain_may_lack_classes_in_any_order(make_folder: Any) -> None:
    check_known_classes(find_domains([make_folder("site", {"ant": 1, "Zebra": 1})]), NAMES)


def test_folders_that_are_no_class_are_named_with_what_is_near(make_folder: Any) -> None:
    folder = make_folder("site", {"ZEBRA": 1, "ant": 1, "great_white_shark": 1, "n01440764": 1})
    with pytest.raises(InputError) as error:
        check_known_classes(find_domains([folder]), NAMES)
    assert error.value.message.endswith("the model does not know: ZEBRA, great_white_shark, n01440764")
    assert "Did you mean 'Zebra', 'great white shark'?" in error.value.hint
    assert "--class-map FILE.csv (folder,class)" in error.value.hint


def test_many_folders_that_are_no_class_are_counted(make_folder: Any) -> None:
    folder = make_folder("site", dict.fromkeys([f"n0{number}" for number in range(8)], 1))
    with pytest.raises(InputError) as error:
        check_known_classes(find_domains([folder]), NAMES)
    assert error.value.message.endswith("n00, n01, n02, n03, n04 and 3 more")
    assert "Did you mean" not in error.value.hint


def test_folders_that_the_map_names_are_known(make_folder: Any) -> None:
    known = Known(NAMES, (), {"n01": "ant", "n02": "Zebra"})
    folder = make_folder("site", {"n01": 1, "n02": 1, "ant": 1})
    check_known_classes(find_domains([folder], known=known), NAMES)
    with pytest.raises(InputError, match="does not know: n01, n02"):
        check_known_classes(find_domains([folder]), NAMES)
