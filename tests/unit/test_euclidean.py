"""Nearest vectors, and the overlap of two clouds, against plain definitions in double precision."""

import numpy as np
import pytest

from synthmill.neighbours import euclidean, manifold, nearest_euclidean, prdc


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    """So that a few hundred vectors lie in many blocks, the last ones cut short."""
    monkeypatch.setattr(euclidean, "_BLOCK", 32)


def cloud(seed: int, rows: int, d: int = 5, centre: float = 0.0) -> np.ndarray:
    return (np.random.default_rng(seed).normal(size=(rows, d)) + centre).astype(np.float32)


def all_pairs(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.linalg.norm(x[:, None].astype(float) - y[None], axis=2)


@pytest.mark.parametrize(
    "centre", [0, 1000, 1e6]
)  # the further off, the more of single precision the products would lose
@pytest.mark.parametrize("d", [1, 5, 60])
def test_nearest_vectors_are_what_all_pairs_say(centre, d):
    queries, points = cloud(0, 70, d, centre), cloud(1, 90, d, centre)
    found, expected = nearest_euclidean(queries, points, 4), all_pairs(queries, points)
    assert found.distances == pytest.approx(np.sort(expected, axis=1)[:, :4], abs=1e-12)
    assert np.take_along_axis(expected, found.indices, axis=1) == pytest.approx(found.distances, abs=1e-12)


def test_close_vectors_far_from_the_centre_are_found_in_double_precision():
    """Two clumps a million apart: in single precision every distance within one drowns in rounding."""
    clumps = np.concatenate([cloud(0, 60, centre=-1e4), cloud(1, 60, centre=1e4)])
    found, expected = nearest_euclidean(clumps, clumps, 3, exclude="self"), all_pairs(clumps, clumps)
    np.fill_diagonal(expected, np.inf)
    assert found.distances == pytest.approx(np.sort(expected, axis=1)[:, :3], abs=1e-9)


def test_vectors_on_a_grid_find_the_first_of_equals():
    points = np.array([[0, 0], [1, 0], [0, 1], [1, 1], [0, 0]], dtype=np.float32)
    found = nearest_euclidean(points, points, 3, exclude="self")
    assert found.indices[0].tolist() == [4, 1, 2]
    assert found.indices[3].tolist() == [1, 2, 0]
    assert found.distances[0].tolist() == [0, 1, 1]


def test_too_few_points_are_refused():
    with pytest.raises(ValueError, match="only 3 points"):
        nearest_euclidean(cloud(0, 3), cloud(0, 3), 3, exclude="self")


def plain_prdc(real, fake, k):
    """The authors' definitions, word for word."""
    radius = [np.sort(all_pairs(side, side), axis=1)[:, k] for side in (real, fake)]
    apart = all_pairs(real, fake)
    in_real, in_fake = apart < radius[0][:, None], apart < radius[1][None]
    return in_real.any(0).mean(), in_fake.any(1).mean(), in_real.sum(0).mean() / k, in_real.any(1).mean()


def values(found: manifold.Overlap) -> tuple[float, ...]:
    return found.precision, found.recall, found.density, found.coverage


@pytest.mark.parametrize("shift", [0, 1, 4])
@pytest.mark.parametrize("k", [1, 5])
def test_prdc_is_what_its_definition_says(shift, k):
    real, fake = cloud(0, 150), cloud(1, 130) * np.float32(0.7) + np.float32(shift)
    assert values(prdc(real, fake, k)) == pytest.approx(plain_prdc(real, fake, k), abs=1e-12)


def test_prdc_of_clouds_far_from_the_centre_is_decided_in_double_precision():
    """In single precision distances within a clump are off by more than they are apart."""
    real, fake = (
        np.concatenate([cloud(seed, 60, centre=-1e4), cloud(seed + 1, 60, centre=1e4)]).astype(np.float32)
        for seed in (0, 2)
    )
    assert values(prdc(real, fake, 3)) == pytest.approx(plain_prdc(real, fake, 3), abs=1e-12)


@pytest.mark.parametrize("few", [0, 1])  # ties computed again as one product, and pair by pair
def test_prdc_does_not_count_what_lies_on_a_sphere(few, monkeypatch):
    monkeypatch.setattr(manifold, "_FEW", few)
    rng = np.random.default_rng(0)
    real, fake = (np.eye(6, dtype=np.float32)[rng.integers(6, size=(200, 4))].reshape(200, 24) for _ in range(2))
    assert values(prdc(real, fake, 5)) == pytest.approx(plain_prdc(real, fake, 5), abs=1e-12)


def test_prdc_knows_a_narrow_cloud_from_a_wide_one():
    real, narrow = cloud(0, 300), cloud(1, 300) * np.float32(0.3)
    inward, outward = prdc(real, narrow, 5), prdc(narrow, real, 5)
    assert inward.precision > 0.95 > 0.6 > inward.recall
    assert outward.recall > 0.95 > 0.6 > outward.precision
    assert inward.density > 1 > outward.density


def test_threads_change_nothing():
    real, fake = cloud(0, 200, 40), cloud(1, 200, 40)
    assert values(prdc(real, fake, 5, threads=1)) == values(prdc(real, fake, 5, threads=2))
