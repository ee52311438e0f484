from __future__ import annotations

from pathlib import Path

import pytest

from gformer_cli.errors import InputError
from gformer_cli.report.page import files


def test_what_is_missing_is_named_with_the_command_that_installs_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(files, "find_spec", lambda name: None if name == "matplotlib" else object())
    with pytest.raises(InputError) as error:
        files.check_report(tmp_path / "page.html", overwrite=False)
    assert error.value.message == "a report needs matplotlib"
    assert "pip install 'gformer[report]'" in error.value.hint


def test_where_a_page_may_go(tmp_path: Path) -> None:
    page = tmp_path / "new" / "page.html"
    files.check_report(page, overwrite=False)
    files.write_report(page, "<p>犬\udc80")
    assert page.read_text(encoding="utf-8") == "<p>犬\\udc80"
    with pytest.raises(InputError, match="report file exists"):
        files.check_report(page, overwrite=False)
    files.check_report(page, overwrite=True)
    with pytest.raises(InputError, match="cannot be called"):
        files.check_report(tmp_path / "page.pdf", overwrite=False)
    (tmp_path / "folder.html").mkdir()
    with pytest.raises(InputError, match="is a folder"):
        files.check_report(tmp_path / "folder.html", overwrite=True)
