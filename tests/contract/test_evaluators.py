"""What every evaluator of the registry keeps to, built-in or not."""

import textwrap

import numpy as np
import pyarrow as pa
import pytest
from mypy import api as mypy

from synthmill import registry
from synthmill.columns import Column, Schema
from synthmill.evaluator import Evaluator, Measured, Reference, References
from synthmill.pixels import encode_png
from synthmill.rows import content_hash

ROWS = 300
SCHEMAS = {
    "table": Schema(
        columns=(
            Column(name="id", kind="id", dtype="int64"),
            Column(name="amount", kind="number", dtype="double", nullable=True),
            Column(name="count", kind="integer", dtype="int64"),
            Column(name="day", kind="date", dtype="date32"),
            Column(name="label", kind="category", dtype="string"),
            Column(name="flag", kind="boolean", dtype="bool"),
            Column(name="grade", kind="integer", dtype="int64"),
        ),
        target="amount",
    ),
    "image": Schema(
        columns=(
            Column(name="image", kind="image", dtype="image"),
            Column(name="label", kind="category", dtype="string"),
        )
    ),
}


def rows_of(modality: str, seed: int, rows: int = ROWS) -> pa.Table:
    """Real-looking rows: every column depends on one hidden number, which is what evaluators look for."""
    rng = np.random.default_rng(seed)
    hidden = rng.normal(size=rows)
    label = np.where(hidden + 0.3 * rng.normal(size=rows) > 0, "high", "low")
    if modality == "image":
        ramp = np.linspace(-1, 1, 8)[None, :, None] * np.where(label == "high", 1.0, -1.0)[:, None, None]
        shade = 128 + 90 * ramp + 25 * rng.normal(size=(rows, 8, 8))
        images = [{"bytes": encode_png(p), "path": None} for p in shade.clip(0, 255).astype(np.uint8)]
        return pa.table({"image": images, "label": label}, schema=SCHEMAS["image"].arrow)
    amount = [None if rng.random() < 0.05 else float(x) for x in hidden]
    return pa.table(
        {
            "id": rng.permutation(10**6)[:rows],
            "amount": amount,
            "count": np.round(5 * hidden + 3 * rng.normal(size=rows)).astype(int),
            "day": pa.array(np.round(20_000 + 50 * hidden + 30 * rng.normal(size=rows)).astype(np.int32)).cast(
                pa.date32()
            ),
            "label": label,
            "flag": hidden + rng.normal(size=rows) > 0.5,
            "grade": np.where(label == "high", 2, 1),  # the label decides it
        },
        schema=SCHEMAS["table"].arrow,
    )


def harmed(modality: str, share: float) -> pa.Table:
    """Rows of which the last `share` are nonsense: shuffled columns, shifted amounts and missing cells, or noise."""
    good, bad = rows_of(modality, seed=3), rows_of(modality, seed=4)
    rng = np.random.default_rng(5)
    if modality == "image":
        noise = rng.integers(0, 256, (ROWS, 8, 8), dtype=np.uint8)
        bad = pa.table(
            {"image": [{"bytes": encode_png(n), "path": None} for n in noise], "label": bad["label"]}, schema=bad.schema
        )
    else:
        bad = pa.table({name: bad[name].take(rng.permutation(ROWS)) for name in bad.column_names})
        bad = bad.set_column(2, "count", pa.array(bad["count"].to_numpy() + 8))
        bad = bad.set_column(4, "label", pa.array(["other"] * ROWS))
        bad = bad.set_column(5, "flag", pa.array(bad["flag"].to_numpy(), mask=np.arange(ROWS) % 3 == 0))
    kept = round(ROWS * (1 - share))
    return pa.concat_tables([good.slice(0, kept), bad.slice(kept)])


def copying(share: float) -> pa.Table:
    return pa.concat_tables(
        [rows_of("table", seed=3).slice(round(ROWS * share)), TRAIN["table"].slice(0, round(ROWS * share))]
    )


TRAIN = {modality: rows_of(modality, seed=1, rows=2 * ROWS) for modality in SCHEMAS}
HOLDOUT = {modality: rows_of(modality, seed=2) for modality in SCHEMAS}


@pytest.fixture(scope="module", params=registry.evaluator_keys())
def subject(request: pytest.FixtureRequest) -> tuple[Evaluator, References]:
    evaluator = registry.evaluator(request.param)()
    schema, train = SCHEMAS[evaluator.modality], TRAIN[evaluator.modality]
    features = evaluator.prepare(train, schema, seed=0)
    holdout = Reference(HOLDOUT[evaluator.modality])
    given = train if evaluator.against == "train" else train.slice(0, ROWS)  # as the runner gives it
    return evaluator, References(
        schema, holdout, Reference(given), features, rules=("label <> 'other'",), protected="label"
    )


def value(subject: tuple[Evaluator, References], table: pa.Table, seed: int = 0) -> float:
    evaluator, references = subject
    return evaluator.measure(Measured(table), references, seed=seed).scores[""]


def goodness(subject: tuple[Evaluator, References], table: pa.Table) -> float:
    """Larger is better whatever the direction; where more is not better, nearer to real rows is."""
    if subject[0].from_ceiling:
        return -abs(value(subject, table) - value(subject, HOLDOUT[subject[0].modality]))
    return value(subject, table) if subject[0].scores[""] == "higher" else -value(subject, table)


def looks_for_leaks(evaluator: Evaluator) -> bool:
    """Privacy: train in the candidate's place is the worst there is. For validity, which reads train as well, it is the best."""
    return evaluator.against != "holdout" and evaluator.scores[""] == "lower"


def test_the_reference_itself_is_the_extreme(subject):
    """Nothing is better than the rows compared with, but to privacy, to which nothing is worse than train."""
    evaluator = subject[0]
    own = TRAIN[evaluator.modality] if evaluator.against != "holdout" else HOLDOUT[evaluator.modality]
    distance = goodness(subject, own) - goodness(subject, rows_of(evaluator.modality, seed=3))
    assert distance < 0 if looks_for_leaks(evaluator) else distance >= 0


def test_more_harm_is_a_worse_value(subject):
    evaluator = subject[0]
    harm = copying if looks_for_leaks(evaluator) else lambda share: harmed(evaluator.modality, share)
    most = 0.75 if evaluator.needs_target else 0.5  # a model learns around as much nonsense as good rows
    values = [goodness(subject, harm(share)) for share in (0.0, most, 1.0)]
    assert values[0] > values[1] > values[2]


def test_same_rows_and_seed_give_the_same_value_whatever_the_global_generators(subject):
    table = rows_of(subject[0].modality, seed=3)
    first = value(subject, table)
    np.random.seed(1)
    assert value(subject, table) == first


def test_chunks_do_not_change_the_value(subject):
    table = rows_of(subject[0].modality, seed=3)
    pieces = pa.concat_tables([table.slice(0, 7), table.slice(7, 0), table.slice(7)])
    assert pieces["label"].num_chunks > 1
    assert value(subject, pieces) == value(subject, table)


def test_inputs_are_unchanged(subject):
    evaluator, references = subject
    table = rows_of(evaluator.modality, seed=3)
    tables = (table, references.holdout.table, references.train.table)
    before = [content_hash(t) for t in tables]
    evaluator.prepare(references.train.table, references.schema, seed=0)
    value(subject, table)
    assert [content_hash(t) for t in tables] == before


def test_provenance_is_not_read(subject):
    """A telltale column that is not in the schema must not give synthetic rows away."""
    table = rows_of(subject[0].modality, seed=3)
    marked = table.append_column("_generator", pa.array(["table/vae"] * ROWS))
    assert value(subject, marked) == value(subject, table)


def test_direction_and_range_are_declared(subject):
    evaluator = subject[0]
    assert "" in evaluator.scores
    assert set(evaluator.scores.values()) <= {"higher", "lower"}
    assert evaluator.remedy.endswith(".")
    assert evaluator.version >= 1
    assert 0 < evaluator.minimum_rows <= evaluator.maximum_rows
    assert not (evaluator.against != "holdout" and evaluator.has_floor)


def test_synthetic_rows_cannot_pass_for_references():
    table = HOLDOUT["table"]
    with pytest.raises(TypeError, match="marked as Reference"):
        References(SCHEMAS["table"], Measured(table), Reference(table))  # type: ignore[arg-type]


def test_swapped_roles_do_not_type_check(tmp_path):
    swapped = tmp_path / "swapped.py"
    swapped.write_text(
        textwrap.dedent(
            """
            from synthmill.evaluator import Evaluator, Measured, Reference, References

            def swap(evaluator: Evaluator, measured: Measured, references: References) -> None:
                evaluator.measure(measured, references, seed=0)
                evaluator.measure(references.holdout, references, seed=0)
                evaluator.measure(references, measured, seed=0)
            """
        )
    )
    out, _, _ = mypy.run([str(swapped), "--no-error-summary", "--follow-imports=silent", f"--cache-dir={tmp_path}"])
    lines = {int(line.split(":")[1]) for line in out.splitlines()}
    assert lines == {6, 7}
