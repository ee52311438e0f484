"""Fetches packages with the ordinary clients (`apt-get download`, `npm pack`) and unpacks them in a cache folder."""

from __future__ import annotations

import gzip
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zlib
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from gformer_cli.errors import InputError, reason
from gformer_cli.files import make_folder, writing_to

ARCHIVES = "archives"
UNKNOWN_VERSION = "of unknown version"
_REFILL = "Remove that folder, and the package is fetched. Or unpack the package there."
_MISSING = {
    "apt-get": "Only Debian and its kin have it. Fetch the packages there, and give them with --packages DIR.",
    "npm": "It comes with Node.js. Or give the package with --packages DIR.",
    "dpkg": "Unpack the archive yourself, into a folder of the package's name beside it.",
}
"""What to do where the program is missing."""
_FAILED = {
    "apt-get": "Run apt-get update, or give the packages with --packages DIR.",
    "npm": "Is there a network? Or give the package with --packages DIR.",
    "dpkg": "Remove the archive, and it is fetched again.",
}


def cache_folder() -> Path:
    """Where fetched packages are kept for the next time: below the user's folder of caches."""
    if sys.platform == "win32":
        own = os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local"
    elif sys.platform == "darwin":
        own = Path.home() / "Library" / "Caches"
    else:
        own = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(own) / "gformer" / "packages"


class Packages:
    """Packages unpacked below the folder `cache`, each fetched once; `tell` gets a line before a download.

    What lies in `cache` is used first: an unpacked package in a folder of its name (as in `node_modules`), or an
    archive as `apt-get download` or `npm pack` name it.
    """

    def __init__(self, cache: Path, tell: Callable[[str], None] = lambda _: None) -> None:
        self.cache = cache.absolute()
        self._tell = tell

    def debian(self, name: str) -> Path:
        """Root of the unpacked files of a Debian package. Raises `InputError` where it cannot be had."""
        return self.debians([name])[0]

    def debians(self, names: Iterable[str]) -> list[Path]:
        """Like `debian`, of several: those that are missing are fetched at once."""
        wanted = list(names)
        for name in wanted:  # a broken archive is told before anything is fetched
            if not self._debian(name) and self._archive(f"{name}_*.deb"):
                self._unpack(name, f"{name}_*.deb", "debian")
        missing = [name for name in wanted if not self._debian(name)]
        if missing:
            more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
            self._fetch(["apt-get", "download", "--quiet", *missing], f"Debian's {missing[0]}{more}")
        return [self._debian(name) or self._unpack(name, f"{name}_*.deb", "debian") for name in wanted]

    def npm(self, name: str) -> Path:
        """Folder of an npm package, with its package.json in it. Raises `InputError` where it cannot be had."""
        flat = name.replace("/", "+")
        for folder in (self.cache / "npm" / flat / "package", self.cache / name):
            if (folder / "package.json").is_file():
                return folder
            if folder.is_dir():
                raise not_whole(folder, "package.json")
        pattern = f"{name.removeprefix('@').replace('/', '-')}-[0-9]*.tgz"
        if not self._archive(pattern):
            self._fetch(["npm", "pack", "--loglevel", "error", name], f"npm's {name}")
        return self._unpack(flat, pattern, "npm") / "package"

    def _debian(self, name: str) -> Path | None:
        """Raises `InputError` for a folder without a file."""
        places = (self.cache / "debian" / name, self.cache / name)
        found = next((place for place in places if place.is_dir()), None)
        if found and not any(path.is_file() for path in found.rglob("*")):
            raise InputError(f"{found} is empty", _REFILL)
        return found

    def _archive(self, pattern: str) -> Path | None:
        """The last by name, of those that the user gave and of those that were fetched."""
        found = [file for folder in (self.cache / ARCHIVES, self.cache) for file in sorted(folder.glob(pattern))]
        return found[-1] if found else None

    def _fetch(self, command: list[str], which: str) -> None:
        """Archives come whole or not at all."""
        _find(command[0], which)
        folder = make_folder(self.cache / ARCHIVES)
        self._tell(f"Fetching {which} into {self.cache}")
        with writing_to(folder), TemporaryDirectory(dir=folder, prefix=".part-") as part:
            _run(command, Path(part), which)
            for file in Path(part).iterdir():
                file.replace(folder / file.name)

    def _unpack(self, name: str, pattern: str, kind: str) -> Path:
        """A fetched archive goes when it is unpacked; one that the user gave stays."""
        archive = self._archive(pattern)
        if archive is None:
            raise InputError(f"no {pattern} came into {self.cache / ARCHIVES}", _FAILED["npm"])
        folder = make_folder(self.cache / kind) / name
        with writing_to(folder), TemporaryDirectory(dir=folder.parent, prefix=".part-") as part:
            place = Path(part) / name
            if kind == "debian":
                _run(["dpkg", "-x", str(archive), str(place)], Path(part), str(archive))
            else:
                _extract(archive, place)
            with suppress(OSError) if folder.is_dir() else writing_to(folder):  # another process was faster
                place.rename(folder)
        if archive.parent.name == ARCHIVES:
            archive.unlink(missing_ok=True)
        return folder


def _extract(archive: Path, folder: Path) -> None:
    try:
        with tarfile.open(archive) as opened:
            opened.extractall(folder, filter="data")
    except (tarfile.TarError, EOFError, zlib.error) as error:
        raise InputError(f"cannot unpack {archive}: it is broken, or no archive of npm", _FAILED["dpkg"]) from error


def not_whole(root: Path, what: str) -> InputError:
    """A package without `what`, in the folder `root`."""
    return InputError(f"{root} is not the whole package: it has no {what}", _REFILL)


def npm_version(folder: Path) -> str:
    """As the package's package.json has it."""
    try:
        return str(json.loads((folder / "package.json").read_text(encoding="utf-8"))["version"])
    except (OSError, ValueError, KeyError, TypeError):
        return UNKNOWN_VERSION


def debian_version(root: Path) -> str:
    """As the newest entry of the package's changelog has it, the only place that unpacking leaves it in."""
    for file in sorted(root.glob("usr/share/doc/*/changelog*.gz")):  # changelog.Debian.gz comes before changelog.gz
        try:
            with gzip.open(file, "rt", encoding="utf-8", errors="replace") as opened:
                found = re.match(r"\S+ \(([^)\s]+)\) \S+;", opened.readline(1000))
        except (OSError, EOFError, zlib.error):
            continue
        if found:
            return found[1]
    return UNKNOWN_VERSION


def _find(program: str, what: str) -> str:
    found = shutil.which(program)
    if found is None:
        raise InputError(f"{what}: there is no {program} on this machine", _MISSING[program])
    return found


def _run(command: list[str], folder: Path, what: str) -> None:
    """Raises `InputError` where the program is missing or fails."""
    program = _find(command[0], what)
    done = subprocess.run([program, *command[1:]], cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        told = [line.removeprefix("npm error ") for line in done.stderr.splitlines() if not line.startswith("W:")]
        why = reason(Exception(" ".join(" ".join(told).split()) or f"status {done.returncode}"))
        raise InputError(f"{what}: {command[0]} failed: {why}", _FAILED[command[0]])
