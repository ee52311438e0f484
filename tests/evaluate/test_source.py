from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from PIL import Image

from gformer_cli.bundle import Bundle
from gformer_cli.data.labelled import load_labelled
from gformer_cli.errors import InputError
from gformer_cli.evaluate.source import held_out
from gformer_cli.folders.domains import Domain
from gformer_cli.progress import Silent


class Listener(Silent):
    def __init__(self) -> None:
        self.warnings: list[str] = []

    def warning(self, text: str) -> None:
        self.warnings.append(text)


@pytest.fixture
def find(bundle: Bundle) -> Callable[..., tuple[dict[str, set[str]], list[str]]]:
    """Per domain the files that are found, and warnings."""

    def call(domains: list[Domain], *, strict: bool = False) -> tuple[dict[str, set[str]], list[str]]:
        listener = Listener()
        found = held_out(bundle, domains, workers=0, strict=strict, progress=listener)
        return {d.name: {f"{f.label}/{f.path.name}" for f in d.files} for d in found}, listener.warnings

    return call


def test_it_is_exactly_the_validation_split_of_training(
    find: Callable[..., tuple[dict[str, set[str]], list[str]]], bundle: Bundle, domains: list[Domain]
) -> None:
    settings = bundle.header.settings
    loaded, _ = load_labelled(
        domains,
        bundle.header.classes,
        bundle.preprocessing,
        validation_fraction=settings.data.validation_fraction,
        seed=settings.seed,
        workers=0,
    )
    found, warnings = find(domains)
    wanted = {d.name: {f"{d.files[i].label}/{d.files[i].path.name}" for i in d.validation} for d in loaded}
    assert found == wanted and not warnings
    assert all(0 < len(names) < 10 for names in found.values())


def test_the_order_of_the_folders_does_not_matter(
    find: Callable[..., tuple[dict[str, set[str]], list[str]]], domains: list[Domain]
) -> None:
    assert find(domains[::-1]) == find(domains)


def test_other_images_are_used_whole_with_a_warning(
    find: Callable[..., tuple[dict[str, set[str]], list[str]]], own_domains: list[Domain], domains: list[Domain]
) -> None:
    for others in (own_domains[:2], domains[1:], [replace(own_domains[0], name="new"), *own_domains[1:]]):
        found, (warning,) = find(others)
        assert {name: len(files) for name, files in found.items()} == {domain.name: 10 for domain in others}
        assert "does not hold the images that this bundle was trained on" in warning
    Image.new("RGB", (8, 8)).save(own_domains[0].root / "dark" / "0.png")
    found, (warning,) = find(own_domains)
    assert len(found["blue"]) == 10


def test_unreadable_images_and_unknown_classes(
    find: Callable[..., tuple[dict[str, set[str]], list[str]]], own_domains: list[Domain]
) -> None:
    (own_domains[0].root / "dark" / "0.png").write_bytes(b"")
    found, _ = find(own_domains)
    assert "dark/0.png" not in found["blue"] and len(found["blue"]) == 9
    with pytest.raises(InputError, match="unreadable image"):
        find(own_domains, strict=True)
    with pytest.raises(InputError, match="does not know: bright"):
        find([replace(own_domains[0], classes=("dark", "bright"))])
