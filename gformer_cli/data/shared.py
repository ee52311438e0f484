"""Decoded images that several processes read without holding them several times: pixels in one mapped file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from gformer_cli.data.labelled import LabelledDomain
from gformer_cli.files import make_folder, writing_to


@dataclass(frozen=True)
class SharedImages:
    """Labelled domains whose kept pixels lie in the file `path`, one image behind the other."""

    path: Path
    domains: tuple[LabelledDomain, ...]
    """Without pixels."""
    kept: tuple[tuple[bool, ...], ...]
    """Per domain which images lie in the file; the others are decoded when they are needed."""

    @classmethod
    @contextmanager
    def of(cls, domains: Sequence[LabelledDomain], path: Path) -> Iterator[SharedImages]:
        """Write the pixels that `domains` keep to `path`, which is removed when the block ends."""
        make_folder(path.parent)
        try:
            yield cls._write(domains, path)
        finally:
            path.unlink(missing_ok=True)

    @classmethod
    def _write(cls, domains: Sequence[LabelledDomain], path: Path) -> SharedImages:
        with writing_to(path), path.open("wb") as file:
            for domain in domains:
                for pixels in domain.cached:
                    if pixels is not None:
                        file.write(pixels.contiguous().numpy().data)
        kept = tuple(tuple(pixels is not None for pixels in domain.cached) for domain in domains)
        return cls(path, tuple(replace(domain, cached=[]) for domain in domains), kept)

    def open(self) -> list[LabelledDomain]:
        """The domains, with views of the mapped file in the place of pixels of their own."""
        shapes = [(3, domain.preprocessing.image_size, domain.preprocessing.image_size) for domain in self.domains]
        count = sum(map(sum, self.kept))
        if not count:
            return [replace(d, cached=[None] * len(kept)) for d, kept in zip(self.domains, self.kept, strict=True)]
        size = count * shapes[0][0] * shapes[0][1] * shapes[0][2]
        mapped = torch.from_file(str(self.path), shared=True, size=size, dtype=torch.uint8).view(count, *shapes[0])
        images = iter(mapped.unbind())
        return [
            replace(domain, cached=[next(images) if there else None for there in kept])
            for domain, kept in zip(self.domains, self.kept, strict=True)
        ]
