from __future__ import annotations

from pathlib import Path

import pytest

from gformer_cli.errors import InputError
from gformer_cli.export.header import GRAPH_FORMAT, KEY, is_graph_file, read_graph_header
from tests.export.conftest import Made


def rewritten(made: Made, old: str, new: str, out: Path) -> Path:
    """The same file with its header changed; both texts are of one length."""
    assert len(old) == len(new)
    content = made.path.read_bytes()
    assert old.encode() in content
    out.write_bytes(content.replace(old.encode(), new.encode()))
    return out


def test_a_file_of_a_newer_format_is_refused(made: Made, tmp_path: Path) -> None:
    newer = rewritten(
        made, f'{{"format_version":{GRAPH_FORMAT},', f'{{"format_version":{GRAPH_FORMAT + 1},', tmp_path / "n.onnx"
    )
    with pytest.raises(InputError, match="has format 2; this gformer reads up to 1"):
        read_graph_header(newer)


def test_a_header_that_is_no_header_is_named(made: Made, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"damaged ONNX file .*: kind: "):
        read_graph_header(rewritten(made, '"kind":"adaptive"', '"kind":"Adaptive"', tmp_path / "n.onnx"))


def test_an_onnx_file_of_somebody_else_is_told_apart(made: Made, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="without gformer's metadata"):
        read_graph_header(rewritten(made, f"\n\x07{KEY}\x12", "\n\x07gfother\x12", tmp_path / "n.onnx"))


@pytest.mark.parametrize(
    "content", [b"", b"\x08", b"hello there", b"\x72\xff\xff\xff\xff\x0f", b"\xff" * 40, b"\x72\x02\x0a\x09"]
)
def test_what_is_no_onnx_file_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "x.onnx").write_bytes(content)
    with pytest.raises(InputError, match="no ONNX file, or damaged"):
        read_graph_header(tmp_path / "x.onnx")


def test_a_cut_file_is_refused_wherever_it_is_cut(made: Made, tmp_path: Path) -> None:
    content = made.path.read_bytes()
    for length in range(0, len(content), 997):
        (tmp_path / "x.onnx").write_bytes(content[:length])
        with pytest.raises(InputError):
            read_graph_header(tmp_path / "x.onnx")


def test_what_is_not_there_and_what_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such ONNX file"):
        read_graph_header(tmp_path / "x.onnx")
    (tmp_path / "d.onnx").mkdir()
    with pytest.raises(InputError, match="cannot read"):
        read_graph_header(tmp_path / "d.onnx")


def test_a_model_is_told_by_its_name() -> None:
    assert is_graph_file(Path("a/site.ONNX")) and not is_graph_file(Path("onnx/site.gformer"))
