from __future__ import annotations

import pytest

from gformer_cli.data.check import CheckReport, DomainCounts
from gformer_cli.report.check import check_summary


@pytest.mark.parametrize(
    ("classes", "told"),
    [
        ({"cat": 1}, "1 class, 1 image"),
        ({"cat": 3}, "1 class, 3 images"),
        ({"cat": 2, "dog": 2}, "2 classes, 2 images each"),
        ({"cat": 0, "dog": 2}, "2 classes, 0 to 2 images each"),
        ({}, "unlabelled"),
    ],
)
def test_one_is_told_as_one(classes: dict[str, int], told: str) -> None:
    domain = DomainCounts("site", "site", sum(classes.values()), classes, ())
    report = CheckReport((domain,), (), (), {"CMYK": ("a.jpg",)}, None, ("a.txt",), {".txt": 1})
    counts, *lines = check_summary(report, verbose=False)
    assert not isinstance(counts, str) and [str(cell) for cell in counts.columns[1].cells] == [told]
    assert {"  1 image with CMYK", "  1 file that is no image"} <= {line for line in lines if isinstance(line, str)}
