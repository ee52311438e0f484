"""Random folders for `fuzz.py`: nesting, links, depths, spellings, suffixes, sizes, and images of known pixels.

Whatever is there must be found, or named as left aside, or the call refused with a reason; nothing may vanish. What is
there is counted here by other means than the package's own: `os.listdir` and paths without links.
"""

from __future__ import annotations

import io
import os
import random
import unicodedata
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from PIL import Image

from gformer_cli.data.decoding import Skipped
from gformer_cli.data.folders import Found, Known, Layout, find_images
from gformer_cli.data.images import Decoded, Preprocessing, read_image
from gformer_cli.data.walking import DEEPEST
from gformer_cli.files import remove_tree
from gformer_cli.stages.adapt.incoming import Incoming

COLOURS = ((255, 0, 0), (0, 128, 0), (12, 34, 56), (250, 240, 230), (0, 0, 0))
FORMATS = ("BMP", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP")
RIGHT = {"BMP": ".bmp", "GIF": ".gif", "JPEG": ".jpg", "JPEG2000": ".jp2", "PNG": ".png", "PPM": ".ppm", "TIFF": ".tif",
         "WEBP": ".webp"}  # fmt: skip
SUFFIXES = [".jpg", ".JPG", ".jfif", ".jpe", ".png", ".tiff", ".webp", ".dat", ".heic", ".txt", ".part", ".tmp", "",
            ".", ".jpg~", ".dng", ".001", ".avif", ".jpg.png", ".\u00e9"]  # fmt: skip
UNTOUCHED = {".part", ".tmp"}
CLASSES = ["ok", "scratch", "d\u00e9faut", "de\u0301faut", "0", "cat"]
DOMAINS = ["site-a", "site-b", "nord\u00e9", "norde\u0301", "cam 1", "-x"]
SESSIONS = ["mon", "tue", "2024-05-01", "session-1", "run 2"]
PARTS = ["train", "test", "val", "ground_truth", "masks"]
ODD = ["\x1b[2J", "a\nb", "[bold]x", ":b:", "\u202e", "x" * 200, "100%", "a.png", os.fsdecode(b"caf\xe9"), "~1", "@"]
HIDDEN = [".hidden", "@eaDir", "#recycle", "__MACOSX", "lost+found", "Thumbs.db", "Temporary Items", "._a.png"]
OTHERS = (b"", b"text", b"\0" * 600, b"PK\3\4", b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", b"BM is a text", b"P5")


class Broken(Exception):
    """Something that is there was lost, or came out as something else."""


def encoded(name: str, colour: tuple[int, int, int], side: int) -> bytes:
    stream = io.BytesIO()
    options = {"lossless": True} if name == "WEBP" else {}
    Image.new("RGB", (side, max(1, side - 1)), colour).save(stream, name, **options)
    return stream.getvalue()


class Tree:
    """One random folder, made below `place`. `pixels` has the colour of every whole image."""

    def __init__(self, place: Path, rng: random.Random) -> None:
        self.place = place
        self.rng = rng
        self.root = place / rng.choice(["root", "images", "r\u00e9", "re\u0301"])
        self.pixels: dict[Path, tuple[int, int, int]] = {}
        self.folders: list[Path] = []
        self._folder(self.root)
        self.shape = rng.choice(("flat", "classes", "domains", "sessions", "parts", "any", "any"))
        getattr(self, f"_{self.shape}")()
        for trick in rng.choices(TRICKS, k=rng.choice((0, 1, 1, 2, 3))):
            with suppress(FileExistsError):
                trick(self)

    def _folder(self, path: Path) -> Path:
        path.mkdir(parents=True, exist_ok=True)
        self.folders.append(path)
        return path

    def _some(self, names: list[str], least: int = 1) -> list[str]:
        return self.rng.sample(names, self.rng.randint(least, min(3, len(names))))

    def _flat(self) -> None:
        self._files(self.root, 6)

    def _classes(self) -> None:
        for name in self._some(CLASSES):
            self._files(self._folder(self.root / name), 3)

    def _domains(self) -> None:
        classes = self._some(CLASSES, 2)
        for domain in self._some(DOMAINS):
            for name in classes:
                self._files(self._folder(self.root / domain / name), 2)

    def _sessions(self) -> None:
        for name in self._some(CLASSES):
            for session in self._some(SESSIONS):
                self._files(self._folder(self.root / name / session), 2)

    def _parts(self) -> None:
        for part in self._some(PARTS):
            for name in self._some([*CLASSES, ""]):
                self._files(self._folder(self.root / part / name), 2)

    def _any(self) -> None:
        names = [*CLASSES, *DOMAINS, *SESSIONS, *PARTS, *ODD]
        for _ in range(self.rng.randint(1, 4)):
            parts = self.rng.choices(names, k=self.rng.choice((0, 1, 1, 2, 2, 3, 5)))
            self._files(self._folder(self.root.joinpath(*parts)), 3)

    def _files(self, folder: Path, most: int) -> None:
        for number in range(self.rng.randint(0 if self.rng.random() < 0.1 else 1, most)):
            self.file(folder, number)

    def file(self, folder: Path, number: int) -> None:
        rng = self.rng
        stem = rng.choice([f"{number:03d}", f"{number} \u00e9", f"{number}e\u0301", f"-{number}", f"{number}\n"])
        format_ = rng.choice(FORMATS)
        path = folder / (stem + (rng.choice(SUFFIXES) if rng.random() < 0.4 else RIGHT[format_]))
        kind = rng.random()
        with suppress(FileExistsError, IsADirectoryError):
            if kind < 0.75:
                colour = rng.choice(COLOURS)
                data = encoded(format_, colour, rng.choice((1, 2, 8, 33)))
                with path.open("xb") as file:
                    file.write(data)
                self.pixels[path] = colour
            elif kind < 0.92:
                with path.open("xb") as file:
                    file.write(rng.choice(OTHERS))
            elif kind < 0.95:
                os.mkfifo(path)
            else:
                path.symlink_to(rng.choice(["nowhere", path.name, "/dev/zero", "/dev/null", ".."]))


def hide(tree: Tree) -> None:
    folder = tree.rng.choice(tree.folders)
    name = tree.rng.choice(HIDDEN)
    if tree.rng.random() < 0.5:
        tree._files(tree._folder(folder / name), 2)
    else:
        with (folder / name).open("xb") as file:
            file.write(encoded("PNG", COLOURS[0], 2))


def link(tree: Tree) -> None:
    """A folder under another name: beside it, above it, elsewhere, in circles."""
    target = tree.rng.choice([*tree.folders, tree.place])
    folder = tree.rng.choice(tree.folders)
    path = folder / tree.rng.choice([*CLASSES, *DOMAINS, "again"])
    path.symlink_to(target if tree.rng.random() < 0.5 else os.path.relpath(target, folder), target_is_directory=True)


def link_file(tree: Tree) -> None:
    if tree.pixels:
        target = tree.rng.choice(sorted(tree.pixels))
        path = tree.rng.choice(tree.folders) / f"link{target.suffix}"
        path.symlink_to(target)
        tree.pixels[path] = tree.pixels[target]


def outside(tree: Tree) -> None:
    folder = tree.place / "elsewhere" / "store"
    folder.mkdir(parents=True)
    tree._files(folder, 2)
    (tree.rng.choice(tree.folders) / tree.rng.choice(CLASSES)).symlink_to(folder, target_is_directory=True)


def deep(tree: Tree) -> None:
    folder = tree.rng.choice(tree.folders)
    for _ in range(tree.rng.choice((20, DEEPEST - 5, DEEPEST + 3, 300))):
        folder = folder / "d"
        folder.mkdir()
    tree._files(folder, 2)


def empty(tree: Tree) -> None:
    tree._folder(tree.rng.choice(tree.folders) / tree.rng.choice([*CLASSES, *DOMAINS]))


TRICKS: list[Callable[[Tree], None]] = [hide, link, link, link_file, outside, deep, empty]


def there(root: Path) -> tuple[Counter[str], int]:
    """Every file below `root` by its path, and how many folders lie too deep; by other means than the package's."""
    found: Counter[str] = Counter()
    unseen = 0
    waiting = [("", [os.path.realpath(root)])]
    while waiting:
        relative, above = waiting.pop()
        for name in os.listdir(root / relative):  # noqa: PTH208
            if name.startswith(".") or name in HIDDEN:
                continue
            path = f"{relative}/{name}" if relative else name
            if not (root / path).is_dir():
                found[path] += 1
                continue
            real = os.path.realpath(root / path)
            if real in above:
                continue
            if len(above) > DEEPEST:
                unseen += 1
            else:
                waiting.append((path, [*above, real]))
    return found, unseen


def check(place: Path, seed: str) -> str:
    """Make the tree of `seed` and read it in every way; raises `Broken`, or what the package raises.

    Returns `read`, or the `InputError` where all ways were refused is left to the caller.
    """
    rng = random.Random(seed)
    tree = Tree(place, rng)
    try:
        unlabelled = rng.random() < 0.6
        layout = rng.choice((Layout.auto, Layout.auto, *Layout))
        known = rng.choice((None, Known(("ok", "scratch", "d\u00e9faut"), ("site-a", "site-b"))))
        _check_watching(tree)
        found = find_images([tree.root], layout, unlabelled=unlabelled, known=known)
        _check_found(tree, found)
        _check_pixels(tree, found)
        return f"read as {layout.value}"
    finally:
        remove_tree(place)


def _check_found(tree: Tree, found: Found) -> None:
    wanted, unseen = there(tree.root)
    images = Counter(file.relative for domain in found.domains for file in domain.files)
    aside = Counter(str(file.path.relative_to(tree.root)) for file in found.aside)
    if images + aside != wanted:
        lost, more = wanted - images - aside, images + aside - wanted
        raise Broken(f"lost {sorted(lost)}, found beside that {sorted(more)}")
    if unseen != len(found.unseen):
        raise Broken(f"{unseen} folders too deep, {len(found.unseen)} told")
    for path in tree.pixels:
        relative = str(path.relative_to(tree.root)) if path.is_relative_to(tree.root) else ""
        if relative in aside and path.suffix not in UNTOUCHED | {".jpg~", ".dng"}:
            raise Broken(f"an image was left aside: {relative!r}")
    for domain in found.domains:
        names = [domain.name, *domain.classes]
        composed = [unicodedata.normalize("NFC", name) for name in names]
        if names != composed or len(set(domain.classes)) < len(domain.classes):
            raise Broken(f"names of {domain.root}: {names}")
        for file in domain.files:
            folders = [unicodedata.normalize("NFC", part) for part in file.relative.split("/")[:-1]]
            if file.label is not None and file.label not in folders[:2]:
                raise Broken(f"{file.relative} is taken for {file.label}")
            if not os.path.lexists(file.path):
                raise Broken(f"no such file: {file.path}")


def _check_pixels(tree: Tree, found: Found) -> None:
    reading = Preprocessing(1, "stretch", (0.5,) * 3, (0.5,) * 3)
    for domain in found.domains:
        for file in domain.files:
            item = read_image(file, reading)
            colour = tree.pixels.get(file.path)
            if colour is None:
                continue
            if isinstance(item, Skipped):
                raise Broken(f"{file.relative}: {item.reason}")
            assert isinstance(item, Decoded)
            seen = item.pixels.flatten().tolist()
            if max(abs(one - other) for one, other in zip(seen, colour, strict=True)) > 3:
                raise Broken(f"{file.relative} is {seen}, not {colour}")


def _check_watching(tree: Tree) -> None:
    incoming = Incoming(tree.root, settle=0.0, known=())
    names = Counter(incoming.names())
    wanted, _ = there(tree.root)
    if names.total() + sum(incoming.left_aside.values()) != wanted.total() or names - wanted:
        raise Broken(
            f"watching: {names.total()} images and {dict(incoming.left_aside)}, there are {wanted.total()} files"
        )
    incoming.scan(0.0)
    incoming.update(0.0)
    if incoming.waiting != names.total():
        raise Broken(f"watching: {incoming.waiting} of {names.total()} wait")
