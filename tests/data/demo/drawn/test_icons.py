"""Which families of icons may be used, and how an icon is drawn."""

from __future__ import annotations

import numpy as np
import pytest

from gformer_cli.data.demo.drawn.icons import EMOJI_FAMILIES, admitted, drawn


def test_no_set_of_emoji_is_admitted_and_none_without_an_open_licence() -> None:
    free = {"license": {"spdx": "MIT"}}
    assert admitted("tabler", free)
    assert not any(admitted(family, free) for family in EMOJI_FAMILIES)
    assert not admitted("fluent-emoji-flat", free)
    assert not admitted("faces", free | {"name": "Best Emoji Ever"})
    assert not admitted("faces", free | {"category": "Emoji"})
    assert not admitted("tabler", {"license": {"spdx": "CC-BY-NC-4.0"}})
    assert not admitted("tabler", {})


def test_an_icon_is_a_shape_or_a_picture_of_its_own_colours_cut_to_what_is_drawn() -> None:
    pytest.importorskip("resvg_py")
    bar = {"body": '<path fill="currentColor" d="M4 10h16v4H4z"/>'}
    red = {"body": '<path fill="#f00" d="M0 0h24v12H0z"/>'}
    family = {"width": 24, "height": 24}
    shape = drawn(bar, family, coloured=False)
    assert shape is not None and (shape.mode, shape.size) == ("L", (96, 24))
    assert np.asarray(shape)[4:-4, 4:-4].min() == 255
    picture = drawn(red, family, coloured=True, side=48)
    assert picture is not None and (picture.mode, picture.size) == ("RGBA", (48, 24))
    assert np.asarray(picture)[12, 24].tolist() == [255, 0, 0, 255]


def test_an_icon_that_cannot_be_drawn_or_is_empty_is_none() -> None:
    pytest.importorskip("resvg_py")
    assert drawn({"body": "<path"}, {}, coloured=False) is None
    assert drawn({"body": '<path d="M0 0"/>'}, {}, coloured=False) is None
