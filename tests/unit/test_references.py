import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from synthmill.columns import Column, Schema
from synthmill.conditions import Condition
from synthmill.errors import StorageError
from synthmill.rules import Rules
from synthmill.scoring.controls import sample_columns_alone
from synthmill.scoring.draw import draw_rows
from synthmill.scoring.references import StratumShare, eligibility, match

SCHEMA = Schema(
    columns=(
        Column(name="number", kind="integer", dtype="int64"),
        Column(name="label", kind="category", dtype="string"),
    )
)
RICH = {"label": Condition(is_="rich")}
POOR = {"label": Condition(is_="poor")}


def table(rich: int, poor: int, start: int = 0) -> pa.Table:
    """Rows numbered from `start`, the rich ones scattered among the poor."""
    labels = np.array(["rich"] * rich + ["poor"] * poor)
    np.random.default_rng(0).shuffle(labels)
    return pa.table({"number": np.arange(start, start + rich + poor), "label": labels}, schema=SCHEMA.arrow)


def matched(tables, strata, *, rules=(), most=16_000, seed=0):
    compiled = Rules(rules, SCHEMA)
    eligible = [eligibility(t, strata, SCHEMA, compiled) for t in tables]
    accepted = np.array([s.rows for s in strata])
    found = match(eligible, accepted, most=most, rng=np.random.default_rng(seed))
    return found, [t.take(numbers) for t, numbers in zip(tables, found.numbers, strict=True)]


def test_all_sides_have_the_candidates_mixture():
    strata = [StratumShare(0, "poor", POOR, 500), StratumShare(0, "rich", RICH, 500)]
    found, sides = matched([table(100, 900), table(80, 1000)], strata)
    assert found.covered == 1
    assert found.quotas == (80, 80)
    for side in sides:
        assert side["label"].to_pylist() == ["poor"] * 80 + ["rich"] * 80


def test_without_conditions_every_row_is_used_and_the_cap_holds():
    strata = [StratumShare(0, "all", {}, 10_000)]
    found, sides = matched([table(100, 200), table(100, 250)], strata)
    assert found.quotas == (300,)
    assert sorted(sides[0]["number"].to_pylist()) == list(range(300))
    assert matched([table(100, 200)], strata, most=120)[0].quotas == (120,)
    assert matched([table(100, 200)], [StratumShare(0, "all", {}, 50)])[0].quotas == (50,)


def test_overlapping_strata_share_rows_without_using_one_twice_and_keep_their_own_mixture():
    """Half the rows unconditioned, half rich: were the rich given to their own stratum first, the other would hold the poor alone."""
    strata = [StratumShare(0, "all", {}, 1000), StratumShare(1, "rich", RICH, 1000)]
    shares = []
    for seed in range(20):
        found, [side] = matched([table(250, 750)], strata, seed=seed)
        assert len(set(side["number"].to_pylist())) == side.num_rows
        assert abs(found.quotas[0] - found.quotas[1]) <= 1
        assert set(side["label"].slice(found.quotas[0]).to_pylist()) == {"rich"}
        shares.append(pc.mean(pc.equal(side["label"].slice(0, found.quotas[0]), "rich")).as_py())
    assert sum(found.quotas) == 400  # n/2 rich for one stratum and n/2 * 1/4 for the other: 250 = 5/8 n
    assert np.mean(shares) == pytest.approx(0.25, abs=0.01)


def test_every_eligible_row_is_equally_likely():
    strata = [StratumShare(0, "all", {}, 60), StratumShare(1, "rich", RICH, 20)]
    side, accepted = table(80, 120), np.array([60, 20])
    eligible = eligibility(side, strata, SCHEMA, Rules((), SCHEMA))
    counts = np.zeros(200)
    for seed in range(600):
        found = match([eligible], accepted, most=200, rng=np.random.default_rng(seed))
        counts[side["number"].to_numpy()[found.numbers[0]]] += 1
    is_rich = np.array(table(80, 120)["label"].to_pylist()) == "rich"
    expected = np.where(is_rich, 60 / 200 + 20 / 80, 60 / 200) * 600
    assert (np.abs(counts - expected) < 5 * np.sqrt(600 / 4)).all()
    assert counts[~is_rich].mean() == pytest.approx(180, rel=0.02)


def test_pieces_of_a_row_are_given_by_chance_not_dropped():
    """Two cells of 25 rows owe 10.5 rows each to a stratum of 21: rounded down, it would always get 20."""
    strata = [StratumShare(0, "all", {}, 21), StratumShare(1, "rich", RICH, 10)]
    side, accepted = table(25, 25), np.array([21, 10])
    eligible = eligibility(side, strata, SCHEMA, Rules((), SCHEMA))
    quotas = [match([eligible], accepted, most=200, rng=np.random.default_rng(s)).quotas for s in range(100)]
    assert {quota[0] for quota in quotas} == {20, 21}
    assert {quota[1] for quota in quotas} <= {9, 10}


def test_rows_that_break_rules_are_no_references():
    _, sides = matched([table(100, 100)], [StratumShare(0, "all", {}, 1000)], rules=["number >= 50"])
    assert min(sides[0]["number"].to_pylist()) == 50


def test_a_stratum_with_under_20_rows_on_any_side_is_left_out():
    strata = [StratumShare(0, "poor", POOR, 800), StratumShare(0, "rich", RICH, 200)]
    found, _ = matched([table(500, 1000), table(19, 1000)], strata)
    assert found.quotas == (800, 0)
    assert found.covered == 0.8
    assert matched([table(500, 1000), table(20, 1000)], strata)[0].quotas == (80, 20)


def test_nothing_eligible_is_nothing_covered():
    found, sides = matched([table(5, 5)], [StratumShare(0, "all", {}, 100)])
    assert (found.quotas, found.covered, sides[0].num_rows) == ((0,), 0.0, 0)


@pytest.fixture
def candidate(tmp_path):
    """Job 0: a and b in turn over two files; job 1: 50 rows of a again, with other numbers."""
    labels = pa.array(["a", "b"] * 100)
    files = {"0": (0, labels[:120]), "1": (120, labels[120:]), "2": (1000, pa.array(["a"] * 50))}
    for name, (start, stratum) in files.items():
        numbers = np.arange(start, start + len(stratum))
        rows = pa.table({"_row_id": numbers, "label": stratum, "number": numbers, "_stratum": stratum})
        pq.write_table(rows, tmp_path / f"{name}.parquet", row_group_size=32)
    return tmp_path


STRATA = [StratumShare(0, "a", {}, 100), StratumShare(0, "b", {}, 100), StratumShare(1, "a", {}, 50)]


def draw(folder, quotas, strata=STRATA, seed=0):
    return draw_rows(folder, strata, quotas, schema=SCHEMA, rng=np.random.default_rng(seed))


def test_rows_come_from_their_own_stratum_and_job(candidate):
    drawn = draw(candidate, (10, 20, 5))
    assert drawn.schema == SCHEMA.arrow
    assert drawn["label"].to_pylist() == ["a"] * 10 + ["b"] * 20 + ["a"] * 5
    numbers = drawn["number"].to_numpy()
    assert (numbers[:30] < 200).all()
    assert (numbers[:10] % 2 == 0).all()
    assert (numbers[30:] >= 1000).all()


def test_all_rows_are_drawn_once_where_all_are_wanted(candidate):
    numbers = draw(candidate, (100, 100, 50))["number"].to_pylist()
    assert sorted(numbers) == [*range(200), *range(1000, 1050)]


def test_the_seed_chooses_the_rows(candidate):
    assert draw(candidate, (10, 0, 0)) == draw(candidate, (10, 0, 0))
    assert draw(candidate, (10, 0, 0)) != draw(candidate, (10, 0, 0), seed=1)
    assert draw(candidate, (0, 0, 0)).num_rows == 0


def test_a_candidate_with_other_rows_than_were_accepted_is_refused(candidate):
    with pytest.raises(StorageError, match="50 rows of stratum a of job 1, not 51"):
        draw(candidate, (1, 1, 1), [*STRATA[:2], StratumShare(1, "a", {}, 51)])


def test_a_file_cut_short_is_our_own_error(candidate):
    file = candidate / "1.parquet"
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(StorageError, match=r"1\.parquet: a file of the candidate cannot be read"):
        draw(candidate, (1, 1, 1))


def test_the_floor_control_keeps_columns_and_conditions_and_breaks_pairs():
    """Three columns hold the row's number. The first stratum names two of them in its condition, the second none."""
    names = {name: Condition(between=(0, 1000)) for name in ("a", "b")}
    strata = [StratumShare(0, "named", names, 100), StratumShare(1, "all", {}, 100)]
    train = pa.table({name: np.arange(200) for name in ("a", "b", "c")})
    control = sample_columns_alone(train, strata, [100, 100], rng=np.random.default_rng(0))
    a, b, c = (control[name].to_numpy() for name in ("a", "b", "c"))
    for column in (a, b, c):
        assert sorted(column[:100]) == list(range(100))
        assert sorted(column[100:]) == list(range(100, 200))
    assert (a == b)[:100].all()
    for other in ((a == c)[:100], (a == b)[100:], (a == c)[100:], (b == c)[100:]):
        assert other.sum() < 10
