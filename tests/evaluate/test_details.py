from __future__ import annotations

import base64
import io
from collections.abc import Callable
from math import exp, hypot
from typing import Any

import pytest
import torch
from PIL import Image

from gformer_cli.bundle import Bundle, TemperaturesHeader
from gformer_cli.core.change import measure_change
from gformer_cli.data.streams import Stream
from gformer_cli.evaluate import Plan
from gformer_cli.evaluate import details as module
from gformer_cli.evaluate.details import BATCHES, MOST_PICTURES, PICTURES, Examiner
from gformer_cli.evaluate.loading import Loaded
from gformer_cli.evaluate.records import Records
from gformer_cli.evaluate.results import Details
from gformer_cli.folders.domains import Domain

Run = Callable[..., Records]


def timeless(records: Records) -> list[dict[str, Any]]:
    left_out = ("seconds_per_image", "cost_ratio", "details")
    return [{name: value for name, value in vars(cell).items() if name not in left_out} for cell in records.cells]


def test_looking_changes_no_figure_and_keeps_details_of_gformer_alone(run: Run) -> None:
    plain, examined = run("bn", "gformer"), run("bn", "gformer", examine=True)
    assert timeless(plain) == timeless(examined)
    assert all(cell.details is None for cell in plain.cells)
    assert {cell.method for cell in examined.cells if cell.details is not None} == {"gformer"}


def test_without_gformer_there_is_nothing_to_look_at(run: Run) -> None:
    assert all(cell.details is None for cell in run("bn", examine=True).cells)


def test_streams_beyond_the_first_are_not_looked_into(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    from gformer_cli.evaluate import run as running

    monkeypatch.setattr(running, "STREAMS", 1)
    found = [cell for cell in run("gformer", examine=True, seeds=(0, 1)).cells if cell.details is not None]
    assert [(cell.part, cell.seed) for cell in found] == [(found[0].part, 0)]


class Case:
    """A stream of `count` batches of two-class images, and an examiner of it."""

    def __init__(self, bundle: Bundle, count: int) -> None:
        stream = Stream("stationary", "fog", 4, tuple([None] * count))  # type: ignore[arg-type]
        self.examiner = Examiner(bundle, stream, lambda file: f"fog/{file}")
        self.size = bundle.preprocessing.image_size

    def look(self, number: int, labels: list[int], before: list[int], after: list[int], target: str = "fog") -> None:
        images = torch.rand(len(labels), 3, self.size, self.size, generator=torch.Generator().manual_seed(number))
        files: Any = [f"{number}-{row}.png" for row in range(len(labels))]
        loaded = Loaded(images, torch.tensor(labels), [target] * len(labels), [], files, [])
        one, other = (torch.nn.functional.one_hot(torch.tensor(kept), 2).float() for kept in (before, after))
        self.examiner.look(number, loaded, one, other)
        self.images = images


def test_figures_are_those_of_the_change_of_each_batch(bundle: Bundle) -> None:
    case = Case(bundle, 2)
    case.look(0, [0, 1], [0, 1], [0, 1])
    inside = case.examiner.details("fog").inside
    change = measure_change(bundle.model(bundle.backbone, case.images)).layers
    assert inside.layers == list(bundle.backbone.layer_names) and inside.batches == [0]
    for layer, (gamma, beta, mixing, _, mean, spread) in enumerate(change.tolist()):
        assert inside.change[0][layer] == pytest.approx(hypot(gamma, beta), abs=1e-5)
        assert inside.moved[0][layer] == pytest.approx(hypot(mean, spread), abs=1e-5)
        assert inside.mixing[0][layer] == pytest.approx(mixing, abs=1e-5)


def test_long_streams_are_looked_into_here_and_there(bundle: Bundle) -> None:
    case = Case(bundle, 3 * BATCHES)
    for number in range(3 * BATCHES):
        case.look(number, [0], [0], [0])
    assert case.examiner.details("fog").inside.batches == list(range(0, 3 * BATCHES, 3))


def test_only_images_whose_label_changed_are_kept(bundle: Bundle) -> None:
    said = TemperaturesHeader(source=2.0, adapted=4.0, images=1)
    bundle.header = bundle.header.model_copy(update={"temperatures": said})
    case = Case(bundle, 1)
    case.look(0, [0, 0, 1, 1], [0, 1, 1, 0], [0, 0, 0, 0])
    gained, lost = case.examiner.details("fog").pictures
    told = [(one.before, one.after, one.images, one.gained, one.lost) for one in case.examiner.details("fog").answers]
    names = bundle.header.classes
    assert told == [(names[0], names[0], 2, 0, 0), (names[1], names[0], 2, 1, 1)]
    assert (gained.path, gained.label, gained.before, gained.after) == ("fog/0-1.png", names[0], names[1], names[0])
    assert (lost.path, lost.label, lost.before, lost.after) == ("fog/0-2.png", names[1], names[1], names[0])
    assert gained.before_confidence == pytest.approx(1 / (1 + exp(-0.5)))
    assert gained.after_confidence == pytest.approx(1 / (1 + exp(-0.25)))


def test_pictures_are_few_and_of_every_kind(bundle: Bundle) -> None:
    case = Case(bundle, 40)
    for number in range(40):
        case.look(number, [0, 1], [1, 1], [0, 0], target=f"target-{number // 4}")
    kept = [case.examiner.details(f"target-{number}").pictures for number in range(10)]
    assert len(kept[0]) == 2 * PICTURES and sum(map(len, kept)) == MOST_PICTURES
    assert case.examiner.details("elsewhere") == Details(module.Inside([], [], [], [], []), [])


def test_a_thumbnail_shows_the_image(bundle: Bundle) -> None:
    case = Case(bundle, 1)
    case.look(0, [0], [1], [0])
    (picture,) = case.examiner.details("fog").pictures
    kind, _, content = picture.thumbnail.partition(";base64,")
    image = Image.open(io.BytesIO(base64.b64decode(content)))
    assert kind == "data:image/jpeg" and max(image.size) <= 64
    assert len(picture.thumbnail) < 10_000


def test_pixels_are_those_that_were_read(bundle: Bundle, domains: list[Domain]) -> None:
    pixels = torch.randint(0, 256, (2, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    preprocessing = bundle.preprocessing
    assert torch.equal(preprocessing.pixels(preprocessing.network_input(pixels, torch.device("cpu"))), pixels)


def test_an_evaluation_that_keeps_details_is_another_one(make_plan: Callable[..., Plan]) -> None:
    from gformer_cli.evaluate.records import identity

    plain, examined = (identity({"sha256": "x"}, make_plan("gformer", examine=e), tune=False) for e in (False, True))
    assert plain != examined
