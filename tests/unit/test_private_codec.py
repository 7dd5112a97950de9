"""A codec by the recipe and by noisy counts alone."""

import numpy as np
import pyarrow as pa
import pytest
from support.described import DESCRIBED
from support.tables import MIXED, mixed

from synthmill.codecs.private import ask, make_codec, sensitivity
from synthmill.columns import Column, Domain, Schema


def exact(question, counts):
    return counts


def codec(table, schema, noisy=exact, deviation=1.0):
    return make_codec(schema, ask(table, schema, noisy, deviation), deviation)


def numbers(values, **domain):
    dtype = "int64" if isinstance(values[0], int) else "double"
    kind = "integer" if dtype == "int64" else "number"
    schema = Schema(columns=(Column(name="x", kind=kind, dtype=dtype, domain=Domain(**domain)),))
    return pa.table({"x": values}, schema=schema.arrow), schema


def saved(made, folder):
    folder.mkdir()
    made.save(folder)
    return [path.read_bytes() for path in sorted(folder.iterdir())]


def test_one_row_moves_all_counts_by_the_sensitivity_at_most():
    """Every cell is looked into, so that no count of one train is missing in the other."""
    table = mixed(200).cast(MIXED.arrow)

    def asked(rows):
        seen = {}

        def note(question, counts):
            seen[question] = counts
            return np.full(len(counts), 1e9)  # all cells look full

        schema = Schema(columns=tuple(DESCRIBED[name] for name in ("age", "since")))  # small enough to open every cell
        ask(rows.select(schema.names), schema, note, 1.0)
        return seen, sensitivity(schema)

    (with_row, bound), (without, _) = asked(table), asked(table.slice(1))
    moved = np.concatenate([with_row[question] - without[question] for question in with_row])
    assert with_row.keys() == without.keys()
    assert 0 < np.sqrt((moved**2).sum()) <= bound + 1e-9


def test_what_is_not_asked_with_noise_is_not_known(tmp_path):
    """Other rows, even in another number, with the same answers: the same codec to the bit."""

    def always(question, counts):
        return np.random.default_rng(sum(question.encode())).normal(0, 3, len(counts))

    one = saved(codec(mixed(300, seed=1), DESCRIBED, always), tmp_path / "one")
    other = saved(codec(mixed(90, seed=2), DESCRIBED, always), tmp_path / "other")
    assert one == other


def test_rows_of_the_domains_come_back_within_their_cell(tmp_path):
    table = mixed(2000)
    made = codec(table, DESCRIBED)
    encoded = made.encode(table)
    assert made.decode(encoded).equals(table.cast(DESCRIBED.arrow))  # by the rest
    near = made.decode(type(encoded)(encoded.codes, encoded.values))
    for name in ("age", "city", "member"):
        assert near[name].equals(table[name])
    income, given = (np.array(t["income"].drop_null()) for t in (near, table))
    assert np.abs(income - given).max() < 0.02
    assert near["since"].null_count == table["since"].null_count


def test_labels_and_few_numbers_are_the_recipes_and_ask_nothing():
    asked = []
    schema = Schema(columns=tuple(DESCRIBED[name] for name in ("age", "city", "member")))
    made = codec(mixed(50).select(schema.names), schema, lambda name, counts: asked.append(name) or counts)
    assert asked == ["rows"]
    assert {part.name: part.size for part in made.parts} == {"age": 63, "city": 4, "member": 2}


def test_a_number_of_many_rows_is_an_atom_and_of_few_is_not():
    rng = np.random.default_rng(0)
    values = [0] * 900 + [77_777] * 5 + rng.integers(0, 100_000, 900).tolist()
    table, schema = numbers(values, bounds=(0, 99_999))
    [column] = codec(table, schema)._columns
    assert column.atoms.tolist() == [0]
    assert codec(table, schema, deviation=400.0)._columns[0].atoms.tolist() == []  # too much noise to tell


def test_the_map_follows_the_rows_where_there_are_enough():
    rng = np.random.default_rng(0)
    values = np.minimum(rng.lognormal(3, 1, 20_000), 9_999.0).tolist()
    table, schema = numbers(values, bounds=(0.0, 10_000.0))
    scores = codec(table, schema, deviation=3.0).encode(table).values.numpy()[:, 0]
    assert abs(scores.mean()) < 0.1
    assert scores.std() == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize(
    ("values", "domain"),
    [
        ([-(2**40), 2**40], {"bounds": (-(2**40), 2**40)}),
        ([0.0, 1.0], {"bounds": (0.0, 1.0)}),
        ([-5.5, 5.5], {"bounds": (-5.5, 5.5), "decimals": 1}),
        ([3, 4], {"bounds": (3, 4)}),
    ],
)
def test_bounds_of_any_size_hold(values, domain):
    table, schema = numbers(values * 50, **domain)
    made = codec(table, schema)
    encoded = made.encode(table)
    low, high = values
    for shift in (-50.0, 50.0):  # scores far out
        cells = made.decode(type(encoded)(encoded.codes, encoded.values + shift))["x"].to_pylist()
        assert min(cells) >= low
        assert max(cells) <= high


def test_ids_are_made_without_a_look_at_those_of_train(tmp_path):
    schema = Schema(columns=(Column(name="key", kind="id", dtype="string"), DESCRIBED["city"]))

    def table(*keys):
        return pa.table({"key": keys, "city": ["Oslo"] * len(keys)}, schema=schema.arrow)

    made = codec(table("a-1", "a-2"), schema)
    assert saved(made, tmp_path / "one") == saved(codec(table("Bob", "Eve", "Zoe"), schema), tmp_path / "other")
    assert len(set(made.decode(made.encode(table("a-1", "a-2")))["key"].to_pylist())) == 2
