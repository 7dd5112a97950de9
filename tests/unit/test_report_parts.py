import numpy as np
import pyarrow as pa
import pytest

from synthmill.columns import Column
from synthmill.evaluator import Score
from synthmill.report.cells import grid, number, records, sample_rows, share
from synthmill.report.changes import compare
from synthmill.report.charts import column_chart
from synthmill.report.figures import MOST, column_figures
from synthmill.report.inputs import in_words
from synthmill.report.score_table import group_scores, strip
from synthmill.scoring.histograms import Histogram, histograms
from synthmill.scoring.previous import PreviousRelease
from synthmill.spec import Job

GOOD = Score(name="fidelity/c2st", value=0.9, floor=0.2, ceiling=1.0, normalised=0.875, interval=(0.85, 0.95), rows=636)


def columns(**cells) -> pa.Table:
    return pa.table(cells)


def test_a_strip_lies_from_floor_to_ceiling():
    marks = strip(GOOD)
    assert marks.floor < marks.low < marks.value < marks.high < marks.ceiling
    assert (marks.value - marks.floor) / (marks.ceiling - marks.floor) == pytest.approx(0.875, abs=1e-3)
    assert strip(GOOD.model_copy(update={"value": None})) is None


def test_better_lies_to_the_right_also_where_lower_is_better():
    distance = GOOD.model_copy(
        update={"direction": "lower", "value": 2.0, "interval": (1.5, 3.0), "floor": 9.0, "ceiling": 0.5}
    )
    marks = strip(distance)
    assert marks.floor < marks.low < marks.value < marks.high < marks.ceiling
    assert marks.value - marks.low == pytest.approx(2 * (marks.high - marks.value), abs=0.1)


def test_a_share_without_floor_is_read_against_0_to_1():
    whole = strip(Score(name="validity/rules", value=0.5, ceiling=1.0))
    assert (whole.value, whole.ceiling, whole.floor) == (50.0, 98.0, None)
    small = strip(Score(name="privacy/copies", direction="lower", value=0.01, ceiling=0.0))
    assert small.value < small.ceiling == 98.0


def test_kinds_come_in_the_order_in_which_people_ask():
    names = ("validity/rules", "privacy/dcr", "privacy/dcr/nndr", "fidelity/shape")
    groups = group_scores([Score(name=name, value=0.5) for name in names])
    assert [group.kind for group in groups] == ["fidelity", "privacy", "validity"]
    assert [line.name for line in groups[1].blocks[0].lines] == ["dcr", "nndr"]


def test_the_headline_comes_first_of_its_kind_and_of_its_evaluator():
    names = (
        "fidelity/alpha_precision",
        "fidelity/trend",
        "fidelity/shape",
        "fidelity/c2st",
        "privacy/dcr/l1",
        "privacy/dcr",
    )
    fidelity, privacy = group_scores([Score(name=name, value=0.5) for name in names])
    assert [block.key for block in fidelity.blocks] == [
        f"fidelity/{own}" for own in ("c2st", "shape", "trend", "alpha_precision")
    ]
    assert [line.name for line in privacy.blocks[0].lines] == ["dcr", "l1"]


def test_labels_of_near_marks_have_a_line_each():
    assert not strip(GOOD).is_crowded
    assert strip(GOOD.model_copy(update={"value": -3.0})).is_crowded
    assert not strip(Score(name="validity/rules", value=0.5, ceiling=1.0)).is_crowded


@pytest.mark.parametrize(
    ("value", "interval", "turn"),
    [(0.7, (0.65, 0.75), "better"), (0.85, (0.8, 0.9), "no clear change"), (0.99, (0.98, 1.0), "worse")],
)
def test_a_score_turned_where_the_interval_of_the_difference_leaves_0_out(value, interval, turn):
    then = GOOD.model_copy(update={"value": value, "interval": interval})
    changes = compare(PreviousRelease("v1.0.0", 1, {GOOD.name: then}, {}), [GOOD], {"seed": 1})
    assert [one.turn for one in changes.scores] == [turn]
    assert changes.keys == ()  # the recipe of then is not known


def test_scores_that_came_and_went_are_named():
    gone = GOOD.model_copy(update={"name": "fidelity/shape"})
    changes = compare(PreviousRelease("v1.0.0", 1, {gone.name: gone}, {}), [GOOD], {})
    assert {one.name: one.turn for one in changes.scores} == {"fidelity/c2st": "new", "fidelity/shape": "gone"}


def test_conditions_are_said_in_words():
    where = {"age": {"between": (17, 30)}, "sex": {"in": ("Male", "Female")}, "income": {"is": ">50K"}}
    job = Job.model_validate({"generator": "table/vae", "rows": 1, "balance": "race", "where": where})
    assert in_words(job) == "balanced by race, age between 17 and 30, sex one of Male, Female, income is >50K"
    assert in_words(Job(generator="table/vae", rows=1)) == ""


def test_numbers_have_as_many_digits_as_carry_meaning():
    assert [number(v) for v in (None, 0.0, 0.98765, 0.00012, 12_345.6)] == ["–", "0.000", "0.988", "1.2e-04", "12,346"]
    assert [share(v) for v in (0.0, 0.0004, 0.0412, 0.56)] == ["0.0 %", "< 0.1 %", "4.1 %", "56 %"]


def test_a_long_table_is_cut_and_says_so():
    shown = grid(columns(name=[f"c{i}" for i in range(250)], value=[float("nan")] * 250))
    assert len(shown.rows) == 200
    assert shown.more == 50
    assert shown.is_number == (False, True)
    assert shown.rows[0] == ("c0", "–")


def test_records_hold_what_json_can_say():
    made = records(columns(a=[float("inf"), 1.0], b=pa.array([1, None]), c=[b"x", None]))
    assert made == [{"a": None, "b": 1, "c": None}, {"a": 1.0, "b": None, "c": None}]


def test_dates_that_python_does_not_know_are_written_too():
    days = pa.array([2_900_000, None, 4_000_000], pa.int32()).cast(pa.date32())
    moments = pa.array([-(10**17), None, 9 * 10**18]).cast(pa.timestamp("us", "Asia/Tokyo"))
    made = records(columns(day=days, at=moments))
    assert made[0]["day"] == "9909-12-07"
    assert made[2]["day"] == "12921-08-18"
    assert made[1] == {"day": None, "at": None}
    assert made[2]["at"].startswith("287168-08")
    assert sample_rows(columns(day=days), ["day"], 3).rows[2] == ("12921-08-18",)


def one(values, dtype, kind="number", real=None) -> Histogram:
    column = Column(name="x", kind=kind, dtype=dtype)
    tables = [pa.table({"x": pa.array(v, column.arrow)}) for v in (values, values if real is None else real)]
    return histograms(*tables, [column])[0]


def test_bins_of_whole_numbers_are_round_and_name_both_ends():
    ages = one(list(range(17, 90)), "int64")
    assert ages.bins[:2] == ("16 to 17", "18 to 19")
    assert ages.ticks[:2] == ("16", "18")
    assert one(list(range(5)), "int64").bins == ("0", "1", "2", "3", "4")


def test_a_value_that_many_rows_share_has_a_bin_of_its_own():
    gains = one([0.0] * 50 + np.linspace(-5, 1000, 50).tolist(), "double")
    place = gains.bins.index("exactly 0")
    assert gains.synthetic[place] == 50
    assert float(gains.ticks[place - 1]) < 0
    assert sum(gains.synthetic) == 100


def test_few_values_off_the_grid_have_a_bin_each():
    shown = one([17.5, 22.0, 27.0, 42.0] * 10, "double", real=[17.5, 22.0, 30.25] * 5)
    assert shown.bins == ("17.5", "22", "27", "42", "other")
    assert shown.real == (5, 5, 0, 0, 5)
    assert sum(shown.synthetic) == 40


def test_few_real_rows_are_counted_elsewhere():
    labels = one(["common"] * 399 + ["hiv"], "string", kind="category")
    assert dict(zip(labels.bins, labels.real, strict=True)) == {"common": 400, "hiv": 0}
    assert labels.synthetic == (399, 1)
    ages = one(list(range(5)) * 5, "int64", real=[0] * 9 + [1] * 3 + [2] * 4 + [3] * 9 + [4, None])
    assert dict(zip(ages.bins, ages.real, strict=True)) == {"0": 10, "1": 0, "2": 7, "3": 10, "4": 0}


def test_one_real_row_beyond_the_axis_adds_no_bin():
    inside = [float(i) for i in range(100)]
    assert "above" not in one(inside, "double", real=[*inside, 912.0]).bins[-1]


def test_labels_called_other_and_missing_keep_their_counts():
    real = ["other"] * 9 + ["missing"] * 8 + ["rare"] * 6 + [None] * 7
    shown = one(["other", "missing"], "string", kind="category", real=[*real, *"abcde"])
    assert dict(zip(shown.bins, shown.real, strict=True)) == {
        "other": 9,
        "missing": 8,
        "rare": 6,
        "other labels": 5,
        "missing cells": 7,
    }


@pytest.mark.parametrize(("dtype", "kind"), [("date32", "date"), ("timestamp", "datetime")])
def test_dates_that_no_calendar_writes_are_counted_at_its_ends(dtype, kind):
    most = 2**31 - 1 if dtype == "date32" else 9 * 10**18
    values = pa.array([-most] * 10 + [0] * 10 + [most] * 10, pa.int32() if dtype == "date32" else pa.int64())
    shown = one(values.cast(Column(name="x", kind=kind, dtype=dtype).arrow), dtype, kind=kind)
    assert sum(shown.real) == sum(shown.synthetic) == 30
    assert shown.bins[0] == "below 0001"
    assert len(shown.bins) <= 27


def test_rows_of_data_have_no_decimals_of_ours():
    shown = sample_rows(columns(years_married=[2.5, 23.0, None]), ["years_married"], 12)
    assert shown.rows == (("2.5",), ("23",), ("–",))
    assert shown.head == ("years_married",)


def test_real_values_choose_no_edge():
    shown = one([float(i) for i in range(100)], "double", real=[1e9, -1e9, 5.0] * 5)
    assert shown == one([float(i) for i in range(100)], "double", real=[2e9, -7e9, 5.0] * 5)
    assert shown.real[0] == 5
    assert shown.bins[0].startswith("below")
    assert shown.real[-1] == 5


def test_a_long_tail_does_not_flatten_the_rest():
    shown = one([*np.linspace(0, 1, 1000).tolist(), 1e6], "double")
    assert len(shown.bins) > 15
    assert shown.synthetic[-1] >= 1
    assert shown.bins[-1].endswith("and above")


@pytest.mark.parametrize(
    ("days", "first"),
    [(range(0, 9), "1970-01-01"), (range(0, 700), "1970-01"), (range(0, 7000), "1970"), (range(0, 7), "1970-01-01")],
)
def test_dates_are_counted_by_the_calendar(days, first):
    shown = one(np.array(days, np.int32), "date32", kind="date")
    assert shown.ticks[0] == first
    assert len(shown.bins) <= 27
    assert sum(shown.synthetic) == len(days)


def test_times_of_the_day_are_counted_by_the_hour():
    shown = one(np.arange(24, dtype=np.int64) * 3_600_000_000, "time64", kind="time")
    assert shown.bins[:2] == ("00:00", "01:00")
    assert shown.synthetic == (1,) * 24


@pytest.mark.parametrize("values", [[3.5], [0.0], [1e300, -1e300], [1e-300, 3e-300], [float("nan")], []])
def test_odd_columns_have_a_histogram_too(values):
    shown = one(values, "double", real=[1.0, 2.0])
    assert sum(shown.real) == 2


def test_charts_compare_shares_and_pool_rare_labels():
    labels = [f"l{i}" for i in range(18) for _ in range(40 - i)]
    chart = column_chart(one(labels, "string", kind="category", real=labels * 3), 0)
    assert [row["synthetic"] for row in chart.rows] == [row["real"] for row in chart.rows]
    assert chart.rows[-1]["bin"] == "7 others"
    assert sum(row["synthetic"] for row in chart.rows) == pytest.approx(1, abs=1e-3)


def test_a_label_named_missing_is_not_the_missing_cells():
    chart = column_chart(one(["missing", "missing", None] * 5, "string", kind="category"), 0)
    assert len({row["tick"] for row in chart.rows}) == 2


def test_of_very_many_columns_the_least_alike_are_shown_in_their_order():
    count = MOST + 50
    shapes = pa.table({"column": [f"c{i}" for i in range(count)], "value": [i / count for i in range(count)]})
    shown = one([1.0, 2.0], "double")
    counted = [shown.model_copy(update={"column": f"c{i}"}) for i in reversed(range(count))]
    figures = column_figures(counted, {"fidelity/shape/columns": shapes})
    assert [figure.name for figure in figures] == [f"c{i}" for i in reversed(range(MOST))]
    assert figures[0].notes == (("shape", f"{(MOST - 1) / count:.3f}"),)
