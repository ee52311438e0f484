"""Images in WebDataset shards: tar files, each of samples whose files follow one another and share a name.

A sample is an image (`0001.jpg`) and what is said of it: its class as text in `0001.cls` or `0001.txt`, or class,
domain and split in `0001.json`. Shards are local and not compressed, so that any image can be read by itself.
No torch here.
"""

from __future__ import annotations

import json
import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from gformer_cli.errors import InputError
from gformer_cli.folders.gathering import Gathering, Named
from gformer_cli.folders.image_files import Aside, ImageFile, Part
from gformer_cli.folders.sniffing import IMAGE_SUFFIXES

SHARDS = (".tar",)
"""Suffixes of archives of images."""
_CLASSES = ("cls", "txt")
_LARGEST = 1 << 20
"""Bytes of a text that says what an image is."""
_BLOCK = 512
_NUMBERS = re.compile(r"[-_. ]*(\{[^}]*\}|\d+)$")
_COMPRESSED = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd")


@dataclass
class _Sample:
    """The files of one name."""

    key: str
    image: tarfile.TarInfo | None = None
    told: dict[str, str] = field(default_factory=dict)


def name_of(path: Path) -> str:
    """The domain of shards that name none: what their names have before the number."""
    return _NUMBERS.sub("", path.stem) or path.stem


def read_shards(path: Path, gathering: Gathering) -> None:
    """Add the images of the shards that the pattern `path` stands for. Raises `InputError` for what is wrong there."""
    for shard in _expanded(path):
        for sample in _samples(shard, gathering.aside):
            if sample.image is None:
                raise InputError(f"{shard}: sample {sample.key!r} holds no image", "Each needs one, such as .jpg.")
            part = Part(shard, sample.image.offset_data, sample.image.size)
            file = ImageFile(shard.parent, f"{shard.name}/{sample.image.name}", part=part)
            told = [sample.told.get(name, "") for name in ("class", "domain", "split")]
            gathering.add(Named(f"{shard}, sample {sample.key}", file, *told))


def _expanded(path: Path) -> list[Path]:
    try:
        from webdataset.shardlists import expand_urls
    except ImportError:
        raise InputError(f"{path} needs webdataset", "Install it: pip install 'gformer[shards]'") from None
    found = [Path(name) for name in expand_urls(str(path))]
    for shard in found:
        if not shard.is_file():
            if not found[1:]:
                raise InputError(f"no such file: {shard}", "Check the path; it must be a shard of images.")
            raise InputError(
                f"no such shard: {shard} (one of {len(found)} that {path} stands for)", "Check the range in braces."
            )
    return found


def _samples(shard: Path, aside: list[Aside]) -> Iterator[_Sample]:
    """The samples of one shard; files that are of none are noted."""
    from webdataset.tariterators import base_plus_ext

    sample: _Sample | None = None
    try:
        with shard.open("rb") as stream:
            if stream.read(8).startswith(_COMPRESSED):
                raise InputError(f"{shard} is compressed", "Unpack it: images are read from any place in it.")
        with tarfile.open(shard, "r:") as archive:
            for member in archive:
                if not member.isfile():
                    continue
                key, ending = base_plus_ext(member.name)
                if key is None:
                    aside.append(Aside(shard / member.name, ""))
                    continue
                if sample is None or key != sample.key:
                    if sample is not None:
                        yield sample
                    sample = _Sample(key)
                if not _take(sample, member, ending.lower(), archive, shard):
                    aside.append(Aside(shard / member.name, ""))
            end = archive.offset
    except (OSError, tarfile.TarError) as error:
        raise InputError(f"cannot read {shard}: {error}", "Is it whole? Copy or make it again.") from None
    if shard.stat().st_size < end + _BLOCK or sample is None:
        raise InputError(f"cannot read {shard}: it is cut off", "Copy or make it again.")
    yield sample


def _take(sample: _Sample, member: tarfile.TarInfo, ending: str, archive: tarfile.TarFile, shard: Path) -> bool:
    """Whether a file says something of its sample that is not known yet, or is its image."""
    if f".{ending}" in IMAGE_SUFFIXES and sample.image is None:
        sample.image = member
        return True
    if ending not in (*_CLASSES, "json") or member.size > _LARGEST:
        return False
    opened = archive.extractfile(member)
    assert opened is not None
    text = opened.read().decode("utf-8", "replace").strip()
    if ending in _CLASSES:
        sample.told.setdefault("class", text)
        return True
    try:
        told = json.loads(text)
    except ValueError as error:
        raise InputError(f"{shard}: {member.name} is not JSON: {error}", "Make the shard again.") from None
    if not isinstance(told, dict):
        return False
    sample.told |= {name: str(told[name]) for name in ("class", "domain", "split") if told.get(name) not in (None, "")}
    return True
