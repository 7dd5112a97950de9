"""Alpha-precision and beta-recall: synthcity's numbers, closed forms, and what they are blind to."""

import numpy as np
import pyarrow as pa
import pytest

from evaluators.fidelity.alpha_precision import ALPHAS, AlphaPrecision, closeness, precision_curve, recall_curve
from synthmill.columns import Column, Schema
from synthmill.evaluator import Measured, Reference, References

# Delta_precision_alpha and Delta_coverage_beta as `AlphaPrecision.metrics(None, real, synthetic)` of synthcity 0.2.12 gives them
# (synthcity/metrics/eval_statistical.py) on the vectors of `clouds(seed, shift, scale)` in double precision.
SYNTHCITY = [
    ((0, 0.0, 1.0), (0.8928888888888888, 0.4251111111111111)),
    ((1, 0.5, 1.0), (0.7742222222222223, 0.5042222222222221)),
    ((2, 0.0, 0.6), (0.3568888888888888, 0.5073333333333334)),
    ((3, 0.0, 1.5), (0.452888888888889, 0.25622222222222235)),
]


def clouds(seed: int, shift: float, scale: float) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    real = rng.normal(size=(300, 4)).astype(np.float32)
    return real, (scale * rng.normal(size=(300, 4)) + shift).astype(np.float32)


@pytest.mark.parametrize(("made", "expected"), SYNTHCITY)
def test_both_are_synthcitys(made, expected):
    real, synthetic = clouds(*made)
    found = closeness(precision_curve(real, synthetic)), closeness(recall_curve(real, synthetic))
    assert found == pytest.approx(expected, abs=1e-6)


def test_precision_of_a_disc_by_hand():
    """On a line from -1 to 1 the ball with the share alpha has radius alpha, which holds min(1, 2 alpha) of the half as wide line."""
    line = np.linspace(-1, 1, 20_001, dtype=np.float32)[:, None]
    assert precision_curve(line, line) == pytest.approx(ALPHAS, abs=1e-3)
    assert precision_curve(line, line / 2) == pytest.approx(np.minimum(1, 2 * ALPHAS), abs=1e-3)
    assert closeness(precision_curve(line, line / 2)) == pytest.approx(
        0.5, abs=0.02
    )  # a sum over 30 alphas for the integral


def test_precision_of_rows_far_off_is_0():
    real, _ = clouds(0, 0, 1)
    assert closeness(precision_curve(real, real + 100)) == pytest.approx(0, abs=1e-9)


def test_beta_recall_of_copies_is_whole_and_of_rows_far_off_is_0():
    real, _ = clouds(0, 0, 1)
    assert recall_curve(real, real) == pytest.approx(ALPHAS, abs=0.01)
    assert recall_curve(real, real + 100).max() == 0


def test_a_tie_between_a_real_and_a_synthetic_neighbour_goes_to_the_synthetic_row():
    """Cells of few values meet in exactly equal distances."""
    grid = np.arange(10, dtype=np.float32)[:, None]
    assert recall_curve(grid, grid[::-1] + 1)[-1] == 1  # the one beside each is as near as its real neighbour


def test_the_table_holds_the_raw_values_and_both_curves():
    schema = Schema(columns=(Column(name="x", kind="number", dtype="double"),))
    real, made = (pa.table({"x": np.random.default_rng(seed).normal(size=300)}, schema=schema.arrow) for seed in (0, 1))
    evaluator = AlphaPrecision()
    references = References(schema, Reference(real), Reference(real), evaluator.prepare(real, schema, seed=0))
    found = evaluator.measure(Measured(made), references, seed=0)
    assert found.tables["values"]["value"].to_pylist() == [found.scores[""], found.scores["beta_recall"]]
    curve = found.tables["curves"].to_pandas()
    assert closeness(curve["precision"].to_numpy()) == found.scores[""] > 0.8
    assert closeness(curve["recall"].to_numpy()) == found.scores["beta_recall"]
