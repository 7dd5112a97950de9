"""What every generator of tables promises of cells and conditions: a new file in generators/table/ is asked without a line here."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from support.people import SPIKE, TABLE_GENERATORS, fitted, level_of, made, people, request

from synthmill.errors import RecipeError

each = pytest.mark.parametrize("key", TABLE_GENERATORS)
pytestmark = pytest.mark.slow

# cells ----------------------------------------------------------------------------------------------------------------


@each
def test_the_rows_have_the_schema_of_train_and_ids_of_their_own(key):
    table = made(key)
    assert table.schema == people().schema.arrow
    keys = set(table["key"].to_pylist())
    assert len(keys) == table.num_rows
    assert not keys & set(people().table["key"].to_pylist())


@each
def test_columns_that_are_missing_together_stay_so(key):
    amount, unit = (made(key)[name].is_null().to_numpy() for name in ("amount", "unit"))
    assert abs(amount.mean() - 0.36) < 0.1
    assert (amount == unit).mean() > 0.99  # on their own: 0.54
    is_red = pc.equal(made(key)["colour"], "red").to_numpy()
    assert (amount == is_red).mean() > 0.85
    assert abs(made(key)["day"].is_null().to_numpy().mean() - 0.1) < 0.06
    assert made(key)["shade"].null_count == 0


@each
def test_a_number_that_many_rows_share_comes_out_as_that_number(key):
    amount = made(key)["amount"].drop_null().to_numpy()
    assert abs((amount == SPIKE).mean() - 0.05) < 0.03


@each
def test_integers_keep_their_step_and_numbers_their_decimals(key):
    frame = made(key).to_pandas()
    assert (frame["count"] % 5 == 0).all()
    assert (frame["level"] % 7 == 0).all()
    amount = frame["amount"].dropna()
    assert np.array_equal(amount.round(2), amount)
    assert not np.isin(amount[amount != SPIKE], people().table["amount"].drop_null().to_numpy()).all()


@each
def test_bounds_hold(key):
    for name in ("shade", "count", "amount", "day"):
        real, own = pc.min_max(people().table[name]).as_py(), pc.min_max(made(key)[name]).as_py()
        assert real["min"] <= own["min"] < own["max"] <= real["max"], name


@each
def test_a_column_that_is_a_function_of_another_stays_one(key):
    frame = made(key).to_pandas()
    assert (frame["grade"].map(level_of) == frame["level"]).all()
    assert set(frame["grade"]) == set("abcdefgh")


@each
def test_a_function_holds_whichever_side_is_given(key):
    rows = 1_024
    grades = [*"abcdefgh"] * (rows // 8)
    levels = [level_of(grade) for grade in grades]
    frame = fitted(key).sample(request(rows, pa.table({"grade": grades}))).table.to_pandas()
    assert frame["level"].tolist() == levels
    frame = fitted(key).sample(request(rows, pa.table({"level": levels}))).table.to_pandas()
    assert frame["grade"].tolist() == grades


@each
def test_rare_labels_and_what_goes_with_labels_are_kept(key):
    frame = made(key).to_pandas()
    is_red = frame["colour"] == "red"
    assert abs(is_red.mean() - 0.35) < 0.1
    assert 0.01 < (frame["colour"] == "gold").mean() < 0.15
    assert ((frame["shade"] > 0) == is_red).mean() > 0.85
    assert (frame["is_large"].astype(bool) == is_red).mean() > 0.8


# conditions -----------------------------------------------------------------------------------------------------------


@each
def test_each_row_meets_the_cells_that_it_is_given_and_the_rest_goes_with_them(key):
    """Half of the rows are given a label, the other half a number; where the mask is false, what stands in `given` is no condition."""
    rows = 2_048
    given = pa.table({"colour": ["red", "blue"] * (rows // 2), "shade": [9.0, -4.5] * (rows // 2)})
    mask = np.tile([[True, False], [False, True]], (rows // 2, 1))
    frame = fitted(key).sample(request(rows, given, mask)).table.to_pandas()
    assert (frame["colour"][::2] == "red").all()
    assert (frame["shade"][1::2] == -4.5).all()
    assert (frame["shade"][::2] > 0).mean() > 0.8
    assert (frame["shade"][::2] == 9.0).mean() < 0.1
    assert (frame["colour"][1::2] != "red").mean() > 0.8
    assert frame["colour"][1::2].nunique() > 1
    assert frame["is_large"][::2].astype(bool).mean() - frame["is_large"][1::2].astype(bool).mean() > 0.5


@each
def test_a_balanced_column_is_met_exactly(key):
    labels = ["blue", "gold", "red"]
    given = pa.table({"colour": [labels[row % 3] for row in range(1_536)]})
    frame = fitted(key).sample(request(1_536, given)).table.to_pandas()
    assert frame["colour"].tolist() == given["colour"].to_pylist()
    assert (frame["shade"][frame["colour"] == "gold"] < 0).mean() > 0.7


@each
def test_a_missing_cell_can_be_given(key):
    given = pa.table({"amount": pa.nulls(512, pa.float64())})
    table = fitted(key).sample(request(512, given)).table
    assert table["amount"].null_count == 512
    assert table["unit"].null_count > 0.7 * 512
    assert pc.equal(table["colour"], "red").to_numpy().mean() > 0.7


@each
def test_all_cells_given_come_back_but_for_ids(key):
    given = people().table.slice(0, 100)
    model = fitted(key)
    assert model.sample(request(100, given)).table.drop(["key"]).equals(given.drop(["key"]))
    assert type(model).exact_conditions(people().schema, model.params) == set(given.column_names) - {"key"}


@each
def test_a_label_that_train_lacks_is_refused_and_not_told(key):
    with pytest.raises(RecipeError, match="colour") as caught:
        fitted(key).sample(request(4, pa.table({"colour": ["green"] * 4})))
    assert "green" not in str(caught.value)


@each
def test_a_row_depends_on_key_candidate_and_its_own_cells_alone(key):
    model = fitted(key)
    whole, later = model.sample(request(256)).table, model.sample(request(256, first=100)).table
    assert later.slice(0, 156).equals(whole.slice(100, 156))
    mask = np.zeros((256, 1), dtype=bool)
    mask[1::2] = True
    half = model.sample(request(256, pa.table({"colour": ["red"] * 256}), mask)).table
    others = list(range(0, 256, 2))
    assert half.take(others).equals(whole.take(others))
    assert not model.sample(request(256, key=2)).table.equals(whole)


@each
def test_a_low_temperature_keeps_to_what_is_likely(key, tmp_path):
    model = fitted(key)
    model.save(tmp_path)
    cold = type(model).load(tmp_path, model.params.model_copy(update={"temperature": 0.05}), device="cpu")
    warm, sure = made(key).to_pandas(), cold.sample(request(1_024)).table.to_pandas()
    assert (sure["colour"] == "blue").mean() > (warm["colour"] == "blue").mean() + 0.1  # the commonest label
    assert sure["shade"][sure["colour"] == "blue"].std() < 0.7 * warm["shade"][warm["colour"] == "blue"].std()
