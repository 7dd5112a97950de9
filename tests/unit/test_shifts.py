"""When a column is called shifted: chance alone as often as is said, whatever rows the two sides share."""

import numpy as np
import pyarrow as pa
import pytest

from synthmill.columns import Column
from synthmill.diff.shifts import Samples, _shift

AGE = Column(name="age", kind="number", dtype="double")
CITY = Column(name="city", kind="category", dtype="string")
IDS = pa.array([f"{i:04d}" for i in range(1000)])


def table(seed):
    rng = np.random.default_rng(seed)
    cities = pa.array(rng.choice(list("abcdefgh"), size=1000, p=[0.4, 0.2, 0.1, 0.1, 0.05, 0.05, 0.05, 0.05]))
    return pa.table({"age": rng.normal(size=1000), "city": cities, "_row_id": IDS})


@pytest.mark.parametrize("first", [0, 300, 500])
def test_the_error_of_amounts_is_what_was_asked_for_and_that_of_labels_is_below(first):
    """500 rows then, 500 or more now, of which 500, 200 or none are shared."""
    shifted = {AGE: 0, CITY: 0}
    for seed in range(200):
        rows = table(seed)
        samples = Samples(rows.slice(0, 500), rows.slice(first, 500 + (first == 0) * 300), (AGE, CITY))
        for column in shifted:
            shifted[column] += _shift(samples, column, 0.1).is_shift
    assert 8 <= shifted[AGE] <= 34  # 20 are expected, with a standard deviation of 4.2
    assert shifted[CITY] <= 20


def test_a_shift_of_a_tenth_is_seen():
    then, now = table(1), table(2)
    moved = now.set_column(0, "age", pa.array(now["age"].to_numpy() + 0.5))
    found = _shift(Samples(then, moved, (AGE, CITY)), AGE, 0.005)
    assert found.is_shift
    assert found.distance > 0.15
