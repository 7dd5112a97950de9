"""The Fréchet distance: its closed form, and that it falls to 0 for the same rows and rises with every harm."""

from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.linalg import sqrtm
from sklearn.datasets import load_digits

from evaluators.fidelity.frechet import FEATURES, Frechet, frechet_distance
from synthmill.codecs.image import shuffle_pixels, write_images
from synthmill.columns import Column, Schema
from synthmill.errors import SourceError
from synthmill.evaluator import Measured, Reference, References

IMAGE = Column(name="image", kind="image", dtype="image")
LABELLED = Schema(columns=(IMAGE, Column(name="label", kind="category", dtype="int64")), target="label")
UNLABELLED = Schema(columns=(IMAGE,))

DIGITS = load_digits()
PIXELS = np.round(DIGITS.images * (255 / 16)).astype(np.uint8)[:, None]
TABLE = pa.table({"image": write_images(PIXELS), "label": DIGITS.target}, schema=LABELLED.arrow)
ORDER = np.random.default_rng(0).permutation(len(PIXELS))  # the file is sorted by writer
TRAIN, REAL, OTHER = (TABLE.take(rows) for rows in np.split(ORDER[:1700], [1000, 1350]))


@pytest.fixture(scope="module", params=[LABELLED, UNLABELLED], ids=["labelled", "unlabelled"])
def prepared(request):
    return request.param, Frechet().prepare(TRAIN.select(request.param.names), request.param, seed=1)


def distance(prepared, measured, holdout=OTHER):
    schema, features = prepared
    references = References(schema, Reference(holdout), Reference(TRAIN), features)
    return Frechet().measure(Measured(measured), references, seed=0).scores[""]


def noisy(spread):
    real = PIXELS[ORDER[1000:1350]]
    pixels = (real + np.random.default_rng(0).normal(0, spread, real.shape)).clip(0, 255).round().astype(np.uint8)
    return pa.table({"image": write_images(pixels), "label": REAL["label"]})


@given(
    means=st.tuples(*[st.floats(-9, 9)] * 4),
    deviations=st.tuples(*[st.floats(0, 9)] * 4),
)
def test_closed_form_of_independent_axes(means, deviations):
    (m1, m2, n1, n2), (s1, s2, t1, t2) = means, deviations
    found = frechet_distance(np.array([m1, m2]), np.diag([s1**2, s2**2]), np.array([n1, n2]), np.diag([t1**2, t2**2]))
    expected = (m1 - n1) ** 2 + (m2 - n2) ** 2 + (s1 - t1) ** 2 + (s2 - t2) ** 2

    assert found == pytest.approx(expected, abs=1e-6)


def test_agrees_with_scipys_matrix_root_and_is_symmetric():
    random = np.random.default_rng(0)
    a, b = random.normal(size=(2, 50, 8)) @ random.normal(size=(2, 8, 8))
    sides = [(a.mean(0), np.cov(a.T)), (b.mean(0), np.cov(b.T))]
    root = sqrtm(sides[0][1] @ sides[1][1]).real
    expected = ((sides[0][0] - sides[1][0]) ** 2).sum() + np.trace(sides[0][1] + sides[1][1] - 2 * root)

    assert frechet_distance(*sides[0], *sides[1]) == pytest.approx(expected, rel=1e-9)
    assert frechet_distance(*sides[1], *sides[0]) == pytest.approx(expected, rel=1e-9)


def test_the_same_rows_are_at_no_distance_whatever_their_order(prepared):
    assert distance(prepared, OTHER.take(np.arange(350)[::-1])) < 1e-8


def test_sides_can_change_places(prepared):
    assert distance(prepared, REAL, OTHER) == pytest.approx(distance(prepared, OTHER, REAL), rel=1e-9)


def test_more_noise_is_farther(prepared):
    found = [distance(prepared, noisy(spread)) for spread in (0, 32, 64, 128)]

    assert all(nearer < farther for nearer, farther in pairwise(found))


def test_shuffled_pixels_are_far_and_missing_labels_are_seen(prepared):
    real = distance(prepared, REAL)
    few_labels = REAL.filter(pa.array(np.asarray(REAL["label"]) < 5))

    assert distance(prepared, shuffle_pixels(REAL, LABELLED, seed=0)) > 4 * real
    assert distance(prepared, few_labels) > real


def test_neither_threads_nor_torchs_own_randomness_change_the_extractor(prepared):
    schema, first = prepared
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    torch.manual_seed(6)
    state = torch.get_rng_state()
    again = Frechet().prepare(TRAIN.select(schema.names), schema, seed=1)
    torch.set_num_threads(threads)

    assert torch.equal(torch.get_rng_state(), state)
    assert np.array_equal(again(REAL["image"], "image"), first(REAL["image"], "image"))


def test_inputs_stay_as_they_are(prepared):
    before = [table.slice(0) for table in (REAL, OTHER)]
    distance(prepared, REAL)

    assert before == [REAL, OTHER]


def test_a_reference_in_the_place_of_the_measured_is_caught(prepared):
    references = References(prepared[0], Reference(OTHER), Reference(TRAIN), prepared[1])
    with pytest.raises(TypeError, match="come first"):
        Frechet().measure(Reference(REAL), references, seed=0)


def test_another_size_than_trains_is_an_error(prepared):
    small = pa.table({"image": write_images(PIXELS[:100, :, :7]), "label": DIGITS.target[:100]})
    with pytest.raises(SourceError, match="8x7, train has 8x8"):
        distance(prepared, small)


@pytest.mark.parametrize("shape", [(80, 3, 9, 20), (80, 1, 40, 8)])
def test_other_shapes_and_colours_work(shape):
    pixels = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    table = pa.table({"image": write_images(pixels)}, schema=UNLABELLED.arrow)
    features = Frechet().prepare(table, UNLABELLED, seed=0)

    assert features(table["image"], "image").shape == (80, FEATURES)
    assert distance((UNLABELLED, features), table, table) < 1e-8
