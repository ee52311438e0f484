"""Random trees of image folders: nesting, names, links, depths, and what else lies in folders of images."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

from fuzzing.pictures import Album, Picture
from fuzzing.trees import HIDDEN, HIDDEN_FILES, File, Folder, Link, Node, Pipe, Tree, nfc, words

READ = words(
    ".apng .bmp .dib .gif .j2k .jfif .jp2 .jpe .jpeg .jpg .jpx .pbm .pgm .png .pnm .ppm .tif .tiff .webp",
)
"""Suffixes of images, whatever is in the file."""
OTHER = ["", ".dat", ".img", ".bin", ".jpg_large", ".png.txt", ".001", ".JPG2", ".heic", ".tga", ".psd"]
"""Of files whose content tells what they are."""
UNFINISHED = words(".part .tmp .crdownload .bak .filepart .jpg~")
NAMES = words(
    "cat dog owl Cat défaut de\u0301faut \u212bngstrom \u00c5ngstrom ﬁsch 한글 \u1112\u1161\u11ab :b: [red]x -dash",
    'katze 7|a b|a  b| leading|trailing |tab\there|bell\x07|esc\x1b[2J|two\nlines|quote"s',
    "back\\slash it's %s {x} $HOME * ? ~home 犬 🐈 e\u0301\u0323 a\u0323\u0301 \u202eevil zero\u200bwidth",
    "bad\udcff \udce9t\udce9 :smile: --out",
    "NUL|com1|x,y|=1+1|a;b|&amp;|<b>|#1|!|@|(1)|i\u0307|ß|SS|ı|ω|\u2126|0|00|007|nan|null|true|class|domain|unknown|other",
)
SESSIONS = ["mon", "tue", "2024-05-01", "2024-05-02", "session 1", "session_2", "Run3", "week7", "clip-12"]
PARTS = ["train", "val", "test", "Training", "validation", "dev"]
MASKS = ["ground_truth", "masks", "annotations", "Ground Truth", "gt"]


class Maker:
    """One tree, from its own random numbers."""

    def __init__(self, rng: random.Random, album: Album) -> None:
        self.rng = rng
        self.album = album
        self.white = rng.choice((0, 0, 4095, 65535))
        """Of images of more than 8 bits: one in a tree, which each of them reaches."""
        self.plain = rng.random() < 0.4
        """Nothing but whole images under plain names."""

    def make(self) -> Tree:
        shape = self.rng.choice(
            ("flat", "domain", "domain", "domains", "domains", "sessions", "apart", "parts", "masks", "mixed", "deep")
        )
        tree: Tree = getattr(self, f"_{shape}")()
        if not self.plain:
            anywhere = tree.layout == "flat"
            for folder in list(_folders(tree.folder)):
                holds_images = any(isinstance(node, File) for node in folder.inside.values())
                self._litter(folder, range(11) if anywhere or holds_images else (0, 3, 4, 5, 6))
        return self._named(tree)

    def _named(self, tree: Tree) -> Tree:
        """Sometimes the folder is named by a link, or is hidden itself: the user named it, so it is read."""
        kind = self.rng.random()
        if kind < 0.1:
            tree.holder.inside["by link"] = Link(tree.folder)
            tree.root = "by link"
        elif kind < 0.2:
            name = self.rng.choice((".data", "lost+found", "bad\udcffroot", "e\u0301", ":b: root", "new\nline"))
            tree.holder.inside[name] = tree.holder.inside.pop(tree.root)
            tree.root = name
        return tree

    def _tree(self, shape: str, folder: Folder, layout: str, **more: object) -> Tree:
        outside = Folder({"other": Folder({self._name(".png"): self._image()})})
        return Tree(shape, Folder({"root": folder, "outside": outside}), "root", layout, **more)  # type: ignore[arg-type]

    # shapes

    def _flat(self) -> Tree:
        return self._tree("flat", self._images(), "flat")

    def _domain(self) -> Tree:
        return self._tree("domain", self._classes(self._words(self.rng.randint(1, 5))), "domain")

    def _domains(self) -> Tree:
        classes = self._words(self.rng.randint(2, 4))
        root = Folder({name: self._classes(classes) for name in self._words(self.rng.randint(1, 4), classes)})
        self._alias(root)
        return self._tree("domains", root, "domains", classes=frozenset(map(nfc, classes)))

    def _sessions(self) -> Tree:
        """Class folders, in each of them folders of when the images were taken."""
        classes = self._words(self.rng.randint(2, 4))
        root = Folder()
        for name in classes:
            sessions = self.rng.sample(SESSIONS, self.rng.randint(1, 3))
            root.inside[name] = Folder({session: self._images() for session in sessions})
        return self._tree("sessions", root, "domain", classes=frozenset(map(nfc, classes)), asks=True)

    def _apart(self) -> Tree:
        """Domains that have no class in common."""
        words = self._words(8)
        root = Folder({words[0]: self._classes(words[2:5]), words[1]: self._classes(words[5:8])})
        return self._tree("apart", root, "domains", classes=frozenset(map(nfc, words[2:])), asks=True)

    def _parts(self) -> Tree:
        classes = self._words(self.rng.randint(1, 3))
        parts = self.rng.sample(PARTS, self.rng.randint(2, 4))
        if self.rng.random() < 0.5:
            return self._tree("parts", Folder({part: self._classes(classes) for part in parts}), "domains", asks=True)
        inner = {name: Folder({part: self._classes(classes) for part in parts}) for name in self._words(2, classes)}
        return self._tree("parts", Folder(dict(inner)), "domains", asks=True)

    def _masks(self) -> Tree:
        folder = self._classes(self._words(self.rng.randint(1, 3)))
        folder.inside[self.rng.choice(MASKS)] = self._images()
        return self._tree("masks", folder, "domain", asks=True)

    def _mixed(self) -> Tree:
        """Anything, with links to anywhere."""
        root = Folder({self._name(".png"): self._image()})
        folders = [root]
        for number in range(self.rng.randint(1, 7)):
            inside = self._images()
            self.rng.choice(folders[-4:]).inside[f"{self.rng.choice(NAMES)}{number}"] = inside
            folders.append(inside)
        tree = self._tree("mixed", root, "flat")
        places = [*folders, tree.holder, tree.holder.inside["outside"]]
        for _ in range(self.rng.randint(0, 3)):
            target = self.rng.choice(places)
            assert isinstance(target, Folder)
            self.rng.choice(folders).inside[f"link {self.rng.randint(0, 99)}"] = Link(target)
        return tree

    def _deep(self) -> Tree:
        """A chain of folders; few are hundreds of levels long, because of what they cost."""
        inner = self._images()
        for _ in range(self.rng.choice((95, 97, 98, 99, 100, 101, 102, 130, 300)) if self.rng.random() < 0.2 else 8):
            inner = Folder({self.rng.choice("dé"): inner})
        inner.inside[self._name(".png")] = self._image()
        return self._tree("deep", inner, "flat")

    # what is in them

    def _classes(self, names: list[str]) -> Folder:
        folder = Folder({name: self._images() for name in names})
        self._alias(folder)
        if self.rng.random() < 0.1:
            folder.inside["empty"] = Folder()
        return folder

    def _alias(self, folder: Folder) -> None:
        """Sometimes a second name, by a link, for one of the folders in it, or for one elsewhere."""
        if not self.plain and self.rng.random() < 0.15:
            target = self.rng.choice(list(folder.inside.values()))
            assert isinstance(target, Folder)
            folder.inside["alias"] = Link(target)

    def _images(self) -> Folder:
        folder = Folder()
        for _ in range(self.rng.choice((1, 1, 2, 3, 4))):
            file = self._image()
            assert file.picture is not None
            folder.inside[self._name(self._suffix(file))] = file
        return folder

    def _image(self) -> File:
        picture = self.album.draw(self.rng, self.white)
        return File(picture.data, picture, True)

    def _suffix(self, file: File) -> str:
        picture = file.picture
        assert picture is not None
        kind = self.rng.random()
        if kind < 0.6 or (not picture.sniffed and kind < 0.7):
            return picture.suffix
        if kind < 0.7:
            return picture.suffix.upper()
        if kind < 0.8 or not picture.sniffed:
            return self.rng.choice(READ)  # not what the content is
        return self.rng.choice(OTHER)

    def _name(self, suffix: str) -> str:
        return f"{self.rng.randint(0, 999)}{'' if self.plain else self.rng.choice(('', ' ', *NAMES))}{suffix}"

    def _word(self) -> str:
        if self.plain:
            return f"{self.rng.choice('abcdefgh')}{self.rng.randint(0, 99)}"
        return self.rng.choice(NAMES) if self.rng.random() < 0.97 else "long" * 60

    def _words(self, count: int, others: list[str] | None = None) -> list[str]:
        """So many names of folders that are no spellings of one; rarely two are."""
        alike = not self.plain and count > 1 and self.rng.random() < 0.04
        found: list[str] = ["d\u00e9faut", "de\u0301faut"] if alike and not others else []
        taken = {nfc(name) for name in (*found, *(others or ()))}
        while len(found) < count:
            name = self._word()
            if nfc(name) not in taken:
                found.append(name)
                taken.add(nfc(name))
        return found

    def _litter(self, folder: Folder, kinds: Sequence[int]) -> None:
        """What else lies in folders of images."""
        for _ in range(self.rng.choice((0, 0, 1, 2))):
            name, node = self._odd(self.rng.choice(kinds))
            folder.inside.setdefault(name, node)

    def _odd(self, kind: int) -> tuple[str, Node]:  # noqa: PLR0911
        whole = self._image()
        text = self.rng.choice((b"a text\n", "Größe\n".encode(), b"\0" * 700, b"{}", b"BM", b"P", b"II*", b"RIFF"))
        if kind == 0:
            return self._name(self.rng.choice((".txt", ".csv", "", ".json", ".png.txt", ".zip", ".heic"))), File(text)
        if kind == 1:
            return self._name(self.rng.choice((*READ, ".JPG"))), File(text, is_image=True)
        if kind == 2:
            return self._name(self.rng.choice((*READ, ".PNG"))), File(b"", is_image=True)
        if kind == 3:
            return self._name(self.rng.choice(("", ".txt"))), File(b"")
        if kind == 4:
            return self._name(self.rng.choice(UNFINISHED)), File(whole.data)
        if kind == 5:
            return self.rng.choice(HIDDEN_FILES), whole
        if kind == 6:
            return self.rng.choice(HIDDEN), Folder({self._name(".png"): whole})
        if kind == 7:
            return self._name(self.rng.choice((".png", ""))), Pipe()
        if kind == 8:
            return self._name(self.rng.choice((".png", ""))), Link(None)
        assert whole.picture is not None
        if kind == 9:
            return self._name(whole.picture.suffix), Link(whole)
        return self._cut(whole.picture)

    def _cut(self, picture: Picture) -> tuple[str, Node]:
        """A file that was not copied to its end."""
        while not picture.cuts:
            picture = self.album.draw(self.rng, self.white)
        data = picture.data[: int(len(picture.data) * self.rng.random() ** 0.5)]
        is_read = self.rng.random() < 0.7
        suffix = picture.suffix if is_read else ""
        return self._name(suffix), File(data, None, True if is_read else None, picture)


def make(seed: int, number: int, album: Album) -> Tree:
    """Tree `number`: of the seed and its number alone."""
    return Maker(random.Random(f"{seed} trees {number}"), album).make()


def _folders(folder: Folder) -> Iterator[Folder]:
    waiting = [folder]
    while waiting:
        inner = waiting.pop()
        yield inner
        waiting += [node for node in inner.inside.values() if isinstance(node, Folder)]
