from __future__ import annotations

import numpy as np
import pytest

from gformer_cli.adapt.clustering import clusters


def test_groups_that_lie_apart_are_found_and_the_distance_is_to_the_weighted_mean() -> None:
    points = np.array([[0.0, 0.0], [0.0, 4.0], [9.0, 0.0], [9.0, 1.0], [50.0, 0.0]])
    own, distances = clusters(points, np.array([3.0, 1.0, 1.0, 1.0, 1.0]), 3, seed=0)
    assert own[0] == own[1] != own[2] == own[3] and len(set(own.tolist())) == 3
    assert distances.tolist() == pytest.approx([1.0, 3.0, 0.5, 0.5, 0.0])


def test_points_on_each_other_are_one_cluster_and_many_points_are_cut_in_pieces() -> None:
    own, distances = clusters(np.ones((5, 2)), np.ones(5), 3, seed=0)
    assert set(own.tolist()) == {0} and not distances.any()
    points = np.random.default_rng(0).normal(size=(3000, 2)) + 100.0 * (np.arange(3000) % 2)[:, None]
    own, _ = clusters(points, np.ones(3000), 2, seed=0)
    assert len(set(own[::2].tolist())) == len(set(own[1::2].tolist())) == 1


def test_heavy_points_draw_the_centres_and_the_seed_decides() -> None:
    points = np.arange(200.0)[:, None]
    heavy = np.where(points[:, 0] < 20.0, 1.0, 1e-6)
    own, distances = clusters(points, heavy, 10, seed=0)
    assert len(set(own[:20].tolist())) >= 9
    again = clusters(points, heavy, 10, seed=0)
    assert np.array_equal(own, again[0]) and np.array_equal(distances, again[1])
    assert not np.array_equal(own, clusters(points, heavy, 10, seed=1)[0])
