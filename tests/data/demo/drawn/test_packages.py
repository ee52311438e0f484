"""Packages: which of a folder are found, how missing ones are fetched, and what is said where they cannot be."""

from __future__ import annotations

import gzip
import io
import shutil
import sys
import tarfile
from pathlib import Path

import pytest

from gformer_cli.data.demo.drawn.fonts import font_files, has_signs
from gformer_cli.data.demo.drawn.packages import UNKNOWN_VERSION, Packages, cache_folder, debian_version, npm_version
from gformer_cli.errors import InputError

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the clients of these tests are shell scripts")


@pytest.fixture
def clients(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of programs; no others are found."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    return folder


def client(folder: Path, name: str, script: str) -> None:
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)


def npm_archive(path: Path) -> Path:
    content = b'{"name": "@a/b"}'
    member = tarfile.TarInfo("package/package.json")
    member.size = len(content)
    with tarfile.open(path, "w:gz") as archive:
        archive.addfile(member, io.BytesIO(content))
    return path


@pytest.mark.usefixtures("clients")
def test_what_is_unpacked_is_taken_as_it_lies(tmp_path: Path) -> None:
    (tmp_path / "fonts-x" / "usr").mkdir(parents=True)
    (tmp_path / "fonts-x" / "usr" / "x.ttf").write_bytes(b"")
    (tmp_path / "@a" / "b").mkdir(parents=True)
    (tmp_path / "@a" / "b" / "package.json").write_text("{}")
    packages = Packages(tmp_path)
    assert packages.debian("fonts-x") == tmp_path / "fonts-x"
    assert packages.npm("@a/b") == tmp_path / "@a" / "b"


@pytest.mark.usefixtures("clients")
def test_a_given_archive_is_unpacked_once_and_stays(tmp_path: Path) -> None:
    archive = npm_archive(tmp_path / "a-b-1.0.0.tgz")
    folder = Packages(tmp_path).npm("@a/b")
    assert (folder / "package.json").read_text() == '{"name": "@a/b"}'
    assert archive.is_file()
    (folder / "package.json").write_text("{}")
    assert (Packages(tmp_path).npm("@a/b") / "package.json").read_text() == "{}"


def test_what_is_missing_is_fetched_at_once_told_and_kept_unpacked_alone(clients: Path, tmp_path: Path) -> None:
    client(clients, "apt-get", 'shift 2; for name; do : > "${name}_1_all.deb"; done')
    client(clients, "dpkg", '/bin/mkdir -p "$3/usr"; : > "$3/usr/${2##*/}"')
    (tmp_path / "fonts-x").mkdir()
    (tmp_path / "fonts-x" / "x.ttf").write_bytes(b"")
    told: list[str] = []
    packages = Packages(tmp_path, told.append)
    found = packages.debians(["fonts-x", "fonts-y", "fonts-z"])
    assert found == [tmp_path / "fonts-x", tmp_path / "debian" / "fonts-y", tmp_path / "debian" / "fonts-z"]
    assert (found[1] / "usr" / "fonts-y_1_all.deb").is_file()
    assert told == [f"Fetching Debian's fonts-y and 1 more into {tmp_path}"]
    assert packages.debians(["fonts-y", "fonts-z"]) == found[1:] and len(told) == 1
    assert not list((tmp_path / "archives").iterdir())


def test_npm_packs_what_is_missing(clients: Path, tmp_path: Path) -> None:
    source = npm_archive(tmp_path / "source.tgz")
    client(clients, "npm", f'[ "$4" = @a/b ] && /bin/cp {source} a-b-2.1.0.tgz')
    assert Packages(tmp_path / "cache").npm("@a/b") == tmp_path / "cache" / "npm" / "@a+b" / "package"


@pytest.mark.parametrize(
    ("kind", "program", "hint"), [("debian", "apt-get", "Only Debian"), ("npm", "npm", "It comes with Node.js")]
)
@pytest.mark.usefixtures("clients")
def test_a_missing_client_is_named_and_the_way_out(tmp_path: Path, kind: str, program: str, hint: str) -> None:
    told: list[str] = []
    with pytest.raises(InputError) as caught:
        getattr(Packages(tmp_path / "cache", told.append), kind)("thing")
    assert caught.value.message.endswith(f"thing: there is no {program} on this machine")
    assert caught.value.hint.startswith(hint) and "--packages DIR" in caught.value.hint
    assert not told and not (tmp_path / "cache").exists()


def test_a_client_that_fails_is_quoted_and_leaves_nothing(clients: Path, tmp_path: Path) -> None:
    client(clients, "apt-get", ': > fonts-x_1_all.deb; echo "W: sandbox" >&2; echo "E: No such package" >&2; exit 100')
    with pytest.raises(InputError) as caught:
        Packages(tmp_path).debian("fonts-x")
    assert caught.value.message == "Debian's fonts-x: apt-get failed: E: No such package"
    assert "apt-get update" in caught.value.hint and "--packages DIR" in caught.value.hint
    assert not list((tmp_path / "archives").iterdir())


@pytest.mark.usefixtures("clients")
def test_a_broken_archive_is_named(tmp_path: Path) -> None:
    npm_archive(tmp_path / "a-b-1.0.0.tgz")
    whole = (tmp_path / "a-b-1.0.0.tgz").read_bytes()
    for content in (b"no archive", whole[: len(whole) // 2]):
        (tmp_path / "a-b-1.0.0.tgz").write_bytes(content)
        with pytest.raises(InputError, match=r"cannot unpack .*a-b-1\.0\.0\.tgz: it is broken, or no archive of npm\n"):
            Packages(tmp_path).npm("@a/b")
        assert not list((tmp_path / "npm").iterdir())


def test_fetched_packages_are_kept_in_the_users_folder_of_caches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert cache_folder() == Path("/somewhere/gformer/packages")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/home/me")
    assert cache_folder() == Path("/home/me/.cache/gformer/packages")
    monkeypatch.setattr(sys, "platform", "darwin")
    assert cache_folder() == Path("/home/me/Library/Caches/gformer/packages")
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setenv("LOCALAPPDATA", "/local")
    assert cache_folder() == Path("/local/gformer/packages")


def test_a_broken_archive_of_debian_is_told_before_others_are_fetched(clients: Path, tmp_path: Path) -> None:
    client(clients, "dpkg", 'echo "not a Debian format archive" >&2; exit 2')
    (tmp_path / "fonts-y_1_all.deb").write_bytes(b"junk")
    with pytest.raises(InputError) as caught:
        Packages(tmp_path).debians(["fonts-x", "fonts-y"])
    assert caught.value.message == f"{tmp_path / 'fonts-y_1_all.deb'}: dpkg failed: not a Debian format archive"


@pytest.mark.parametrize("inside", [".", "usr/share/fonts"])
@pytest.mark.parametrize("place", ["fonts-x", "debian/fonts-x"])
@pytest.mark.usefixtures("clients")
def test_a_folder_without_a_file_is_no_package(tmp_path: Path, place: str, inside: str) -> None:
    (tmp_path / place / inside).mkdir(parents=True)
    with pytest.raises(InputError) as caught:
        Packages(tmp_path).debian("fonts-x")
    assert caught.value.message == f"{tmp_path / place} is empty"
    assert caught.value.hint.startswith("Remove that folder")


@pytest.mark.parametrize("place", ["@a/b", "npm/@a+b/package"])
@pytest.mark.usefixtures("clients")
def test_a_folder_without_a_package_json_is_no_package_of_npm(tmp_path: Path, place: str) -> None:
    (tmp_path / place).mkdir(parents=True)
    with pytest.raises(InputError) as caught:
        Packages(tmp_path).npm("@a/b")
    assert caught.value.message == f"{tmp_path / place} is not the whole package: it has no package.json"


def test_versions_are_in_the_package_json_and_in_the_changelog(tmp_path: Path) -> None:
    (tmp_path / "package.json").write_text('{"version": "2.1.0"}')
    assert npm_version(tmp_path) == "2.1.0"
    for content in ("{}", "[", "[]"):
        (tmp_path / "package.json").write_text(content)
        assert npm_version(tmp_path) == UNKNOWN_VERSION
    assert debian_version(tmp_path) == UNKNOWN_VERSION
    told = tmp_path / "usr/share/doc/fonts-x"
    told.mkdir(parents=True)
    (told / "changelog.gz").write_bytes(gzip.compress(b"fonts (9.9) by its author;\n"))
    (told / "changelog.Debian.gz").write_bytes(gzip.compress(b"fonts (1:0.18+dfsg-19) unstable; urgency=low\n"))
    assert debian_version(tmp_path) == "1:0.18+dfsg-19"
    (told / "changelog.Debian.gz").write_bytes(b"no gzip")
    (told / "changelog.gz").unlink()
    assert debian_version(tmp_path) == UNKNOWN_VERSION


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("apt-get"), reason="there is no apt-get")
def test_a_font_of_debian_is_fetched_unpacked_and_read(tmp_path: Path) -> None:
    try:
        root = Packages(tmp_path).debian("fonts-amiga")
    except InputError as error:  # no network, or no list of packages
        pytest.skip(str(error))
    (font,) = font_files(root, ["*"])
    assert has_signs(str(font), "abc")
