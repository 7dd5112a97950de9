"""Columns cut into ranges that can be released."""

import numpy as np
import pyarrow as pa
import pytest

from synthmill.columns import Column
from synthmill.ranges import groups, released, telling_ranges

X = Column(name="x", kind="number", dtype="double")
DAY = Column(name="day", kind="date", dtype="date32")
LABEL = Column(name="label", kind="category", dtype="string")


def cut(synthetic: pa.ChunkedArray, real: pa.ChunkedArray, column: Column = X, opinion=lambda side: side):
    """Opinions rise with the amount, so that every range differs from the next."""
    sides = (side.to_pandas().to_numpy() for side in (synthetic, real))
    given = tuple(np.zeros(len(s)) if column is not X else np.nan_to_num(opinion(s.astype(float))) for s in sides)
    return telling_ranges(synthetic, real, column, given)


def by_range(found) -> dict[str, tuple[int, int]]:
    return {n: (int(s), int(r)) for n, s, r in zip(found.names, *found.counts(), strict=True) if s or r}


def test_labels_of_few_real_rows_are_other():
    synthetic = pa.chunked_array([["a"] * 10 + ["made up"]])
    real = pa.chunked_array([["a"] * 4 + ["b"] * 5 + ["the only one"] * 4 + [None]])
    found = by_range(cut(synthetic, real, LABEL))
    assert found == {"a": (10, 4), "made up": (1, 0), "b": (0, 5), "other": (0, 4), "missing": (0, 1)}


def test_an_amount_that_many_rows_share_is_a_range_of_its_own():
    synthetic = pa.chunked_array([np.concatenate([np.zeros(900), np.arange(1.0, 101)])])
    real = pa.chunked_array([np.concatenate([np.zeros(500), np.full(500, 7.0)])])
    found = by_range(cut(synthetic, real))
    assert found["0"] == (900, 500)
    assert found["7"] == (1, 500)
    assert sum(s for s, _ in found.values()) == sum(r for _, r in found.values()) == 1000


def test_a_range_without_the_spikes_in_it_says_so():
    side = pa.chunked_array([np.concatenate([np.full(100, 5.0), np.arange(0.0, 10.0, 0.01)])])
    found = cut(side, side, opinion=np.zeros_like)
    assert found.names == ("5", "below 0", "other 0 to 9.99", "above 9.99", "missing")


def test_neighbours_of_which_the_detector_thinks_alike_are_one_range():
    amounts = pa.chunked_array([np.arange(1001.0)])
    found = by_range(cut(amounts, amounts, opinion=lambda side: 1.0 * ((side >= 500) & (side < 550))))
    assert found == {"0 to 500": (500, 500), "500 to 550": (50, 50), "550 to 1000": (451, 451)}


def test_whole_numbers_stand_in_one_range_only():
    counts = pa.chunked_array([np.arange(100)])
    count = Column(name="count", kind="integer", dtype="int64")
    assert groups(counts, counts, count).names == ("below 25", "25 to 49", "50 to 74", "above 74", "missing")
    large = pa.chunked_array([np.array([123_456_789] * 10)])
    assert cut(large, large).names[0] == "123500000"


def test_edges_are_synthetic_values_and_hold_every_row():
    rng = np.random.default_rng(0)
    synthetic, real = rng.integers(0, 200, 1000).astype(float), rng.normal(100, 200, 1000)
    found = cut(pa.chunked_array([synthetic]), pa.chunked_array([real]))
    edges = [float(edge) for name in found.names if " to " in name for edge in name.split(" to ")]
    assert set(edges) <= set(synthetic)
    assert max(edges) == synthetic.max()
    assert by_range(found)[f"above {synthetic.max():.4g}"] == (0, (real > synthetic.max()).sum())
    assert by_range(found)[f"below {synthetic.min():.4g}"] == (0, (real < synthetic.min()).sum())


def test_infinite_and_missing_amounts_have_a_range():
    synthetic = pa.chunked_array([[1.0, 2.0, 3.0, None]])
    real = pa.chunked_array([[np.inf, -np.inf, np.nan, 2.0]])
    found = by_range(cut(synthetic, real))
    assert found["missing"] == (1, 1)
    assert found["above 3"] == found["below 1"] == (0, 1)


@pytest.mark.parametrize("real", [[], [None, None]])
def test_no_known_amount_is_no_error(real):
    side = pa.chunked_array([pa.array(real, pa.float64())])
    assert sum(cut(side, side).counts()[0]) == len(real)
    assert sum(groups(side, side, X).counts()[0]) == len(real)


def test_groups_of_an_amount_are_its_real_quarters():
    real = pa.chunked_array([np.arange(100.0)])
    synthetic = pa.chunked_array([np.full(10, 99.0)])
    found = groups(synthetic, real, X)
    assert [r for _, r in by_range(found).values()] == [25, 25, 25, 25]
    assert [s for s, _ in by_range(found).values()] == [0, 0, 0, 10]


def test_dates_are_written_as_dates():
    days = pa.chunked_array([pa.array(np.arange(20_000, 20_100, dtype=np.int32)).cast(pa.date32())])
    assert cut(days, days, DAY).names == ("below 2024-10-04", "2024-10-04 to 2025-01-11", "above 2025-01-11", "missing")
    noon = pa.chunked_array([pa.array([43_200_500_000] * 10 + [3_600_000_000] * 10).cast(pa.time64("us"))])
    assert cut(noon, noon, Column(name="at", kind="time", dtype="time64")).names[:2] == ("01:00:00", "12:00:00")
    moments = pa.chunked_array([pa.array([0] * 10).cast(pa.timestamp("us", "Asia/Tokyo"))])
    local = Column(name="at", kind="datetime", dtype="timestamp", timezone="Asia/Tokyo")
    assert cut(moments, moments, local).names[0] == "1970-01-01 09:00"


def test_dates_that_no_calendar_writes_end_with_it():
    days = pa.chunked_array([pa.array([-(2**31) + 1] * 10 + [2**31 - 1] * 10, pa.int32()).cast(pa.date32())])
    found = telling_ranges(days, days, DAY, (np.zeros(20), np.zeros(20)))
    assert found.names[:2] == ("0001-01-01", "9999-12-31")


@pytest.mark.parametrize("known", [2, 19])
def test_quartiles_of_few_real_rows_are_no_edges(known):
    real = pa.chunked_array([[None] * 380 + [1_234_567.0 * (1 + row) for row in range(known)]])
    synthetic = pa.chunked_array([np.linspace(0, 1e7, 400)])
    assert groups(synthetic, real, X).names == ("amounts", "missing")


def test_quartiles_of_less_than_a_hundred_real_rows_are_round():
    real = pa.chunked_array([1234.5 * np.arange(1.0, 42.0)])  # its quartiles are cells
    assert groups(real, real, X).names == ("below 10000", "10000 to 30000", "30000 to 40000", "above 40000", "missing")


def test_no_range_ends_where_no_real_row_is():
    real = pa.chunked_array([np.concatenate([np.zeros(900), np.arange(1.0, 101.0)])])
    synthetic = pa.chunked_array([np.arange(-50.0, 50.0)])
    assert groups(synthetic, real, X).names == ("amounts", "missing")


def test_labels_called_as_what_is_pooled_are_told_apart():
    side = pa.chunked_array([["other"] * 9 + ["missing"] * 8 + [None] * 7 + ["rare"] * 4])
    synthetic = side.slice(0, 17)
    found = groups(synthetic, side, LABEL)
    assert dict(zip(found.names, found.counts()[1].tolist(), strict=True)) == {
        "other": 9,
        "missing": 8,
        "other labels": 4,
        "missing cells": 7,
    }


def test_fewer_than_five_real_rows_are_given_as_none():
    assert released(np.array([0, 1, 4, 5, 900])).tolist() == [0, 0, 0, 5, 900]
