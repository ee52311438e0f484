"""What a simulated camera does to a picture."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from gformer_cli.data.demo.drawn.camera import TROUBLES, Camera, draw_cameras

PLAIN = Camera(ink=(1.0, 1.0, 1.0), plate=(0.0, 0.0, 0.0))


def test_a_picture_has_the_same_pose_at_every_size() -> None:
    picture = Image.new("L", (96, 96), 255)
    small_one = PLAIN.photograph(picture, 32, np.random.default_rng(3), posed=True)
    large = PLAIN.photograph(picture, 64, np.random.default_rng(3), posed=True)
    shrunk = large.reshape(32, 2, 32, 2, 3).mean(axis=(1, 3))
    assert np.abs(small_one - shrunk).mean() < 0.02


def test_a_shape_is_printed_in_the_cameras_ink_and_a_coloured_picture_in_its_own_colours() -> None:
    green = Camera(ink=(0.0, 1.0, 0.0), plate=(0.0, 0.0, 0.0))
    shape = green.photograph(Image.new("L", (8, 8), 255), 32, np.random.default_rng(0), posed=False)
    coloured = green.photograph(Image.new("RGBA", (8, 8), (255, 0, 0, 255)), 32, np.random.default_rng(0), posed=False)
    assert shape.mean(axis=(0, 1)).argmax() == 1
    assert coloured.mean(axis=(0, 1)).argmax() == 0


@pytest.mark.parametrize(
    ("change", "darker"),
    [
        ({"light": 0.4}, True),
        ({"gradient": 0.9}, True),
        ({"cast": (1.0, 0.5, 0.2)}, True),
        ({"haze": 0.6}, False),
        ({"glare": 0.9}, False),
        ({"negative": True}, False),
    ],
)
def test_light_and_air_make_a_dark_plate_darker_or_brighter(change: dict[str, object], darker: bool) -> None:
    plate = Image.new("L", (8, 8), 0)
    camera = replace(PLAIN, plate=(0.3, 0.3, 0.3))
    usual = camera.photograph(plate, 32, np.random.default_rng(0), posed=False).mean()
    changed = replace(camera, **change).photograph(plate, 32, np.random.default_rng(0), posed=False).mean()
    assert (changed < 0.8 * usual) if darker else (changed > 1.2 * usual)


@pytest.mark.parametrize(
    "change",
    [{"noise": 0.1}, *({"surface": surface, "texture": 0.3} for surface in ("stripes", "weave", "blotches"))],
)
def test_noise_and_surface_roughen_a_plate(change: dict[str, object]) -> None:
    plate, camera = Image.new("L", (8, 8), 0), replace(PLAIN, plate=(0.5, 0.5, 0.5))
    usual = camera.photograph(plate, 32, np.random.default_rng(0), posed=False)
    rough = replace(camera, **change).photograph(plate, 32, np.random.default_rng(0), posed=False)
    assert rough[..., 0].std() > usual[..., 0].std() + 0.03


def test_defocus_softens_edges() -> None:
    half = Image.new("L", (8, 8), 0)
    half.paste(255, (0, 0, 4, 8))
    sharp = PLAIN.photograph(half, 32, np.random.default_rng(0), posed=False)
    soft = replace(PLAIN, blur=2.0).photograph(half, 32, np.random.default_rng(0), posed=False)
    assert np.abs(np.diff(soft, axis=1)).max() < 0.5 * np.abs(np.diff(sharp, axis=1)).max()


def test_turn_is_how_far_pictures_are_turned() -> None:
    bar = Image.new("L", (96, 12), 255)

    def height(turn: float) -> float:
        seen = [
            replace(PLAIN, turn=turn).photograph(bar, 32, np.random.default_rng(seed), posed=True) for seed in range(20)
        ]
        return float(np.mean([(one.max(axis=(1, 2)) > 0.5).sum() for one in seen]))

    assert height(30.0) > 1.5 * height(0.0)


def test_every_target_has_a_trouble_of_its_own_and_no_two_tasks_share_a_camera() -> None:
    sources, targets = draw_cameras(4, len(TROUBLES), seed=1)
    assert len(set(targets)) == len(TROUBLES)
    assert all(camera.light > 0.8 and not camera.glare and not camera.negative for camera in sources)
    others = draw_cameras(4, len(TROUBLES), seed=2)
    assert not set(sources + targets) & set(others[0] + others[1])
