from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from synthmill.columns import Column, Schema
from synthmill.conditions import Condition
from synthmill.errors import RecipeError, StorageError
from synthmill.evaluator import Evaluator, Measured, Measurement, References, Score
from synthmill.scoring import Scores, in_turn, most_rows, score
from synthmill.scoring.cache import Measurements
from synthmill.scoring.controls import sample_columns_alone
from synthmill.scoring.intervals import around, half
from synthmill.scoring.references import StratumShare
from synthmill.scoring.sides import Exam, Real, Subject, draw_exam
from synthmill.scoring.trials import Estimate, Failed, Trial

SCHEMA = Schema(
    columns=(
        Column(name="x", kind="number", dtype="double"),
        Column(name="y", kind="number", dtype="double"),
        Column(name="group", kind="category", dtype="string"),
    ),
    target="y",
)
SIDE = 240


def real(rows: int, seed: int, groups: str | None = None) -> pa.Table:
    """y follows x; nine in ten rows are of the group `common`, and x of the rare ones lies elsewhere."""
    rng = np.random.default_rng(seed)
    group = np.where(rng.random(rows) < 0.9, "common", "rare") if groups is None else np.full(rows, groups)
    x = rng.normal(size=rows) + 2 * (group == "rare")
    return pa.table({"x": x, "y": x + 0.3 * rng.normal(size=rows), "group": group}, schema=SCHEMA.arrow)


TRAIN, A, B = real(8 * SIDE, 1), real(SIDE, 2), real(SIDE, 3)
ALL = StratumShare(0, "all", {}, 600)


def write(folder: Path, pieces: list[tuple[str, pa.Table]]) -> Path:
    """A candidate with a file per (label of the stratum, rows)."""
    folder.mkdir()
    for number, (label, table) in enumerate(pieces):
        marked = table.append_column("_stratum", pa.array([label] * table.num_rows))
        pq.write_table(marked, folder / f"synthetic-{number}.parquet")
    return folder


def exam_of(keys, candidate, strata=(ALL,), *, rules=(), seed=0, schema=SCHEMA, a=A, b=B) -> Exam:
    subject = Subject(candidate, Real(a, b, TRAIN), schema, tuple(strata), seed, tuple(rules))
    return draw_exam(subject, most_rows(keys))


def run(keys, candidate, strata=(ALL,), *, known=None, **given) -> Scores:
    return score(keys, exam_of(keys, candidate, strata, **given), known=known)


def only(scores: Scores) -> Score:
    """The headline of the one evaluator that was asked for."""
    return scores.scores[0]


@pytest.fixture
def perfect(tmp_path):
    return write(tmp_path / "perfect", [("all", real(600, 9))])


@pytest.fixture
def independent(tmp_path):
    table = sample_columns_alone(real(600, 9), [ALL], [600], rng=np.random.default_rng(0))
    return write(tmp_path / "independent", [("all", table)])


def test_a_perfect_generator_stands_at_the_ceiling_far_above_the_floor(perfect):
    found = only(run(["fidelity/c2st"], perfect))
    assert found.status == "ok"
    assert found.floor < 0.5 < 0.8 < found.ceiling
    assert found.interval[0] <= found.value <= found.interval[1]
    assert found.normalised_interval[0] < found.normalised < found.normalised_interval[1]
    assert found.normalised_interval[1] > 0.95
    assert found.rows == SIDE


def test_utility_is_measured_on_b_and_its_ceiling_on_a(perfect, independent):
    best, worst = only(run(["utility/tstr"], perfect)), only(run(["utility/tstr"], independent))
    assert best.value == pytest.approx(best.ceiling, abs=0.1)
    assert best.ceiling > 0.7
    assert worst.value < 0.2
    assert worst.normalised == pytest.approx(0, abs=0.2)


def test_a_balanced_dataset_is_compared_with_balanced_real_rows(tmp_path):
    """A perfect generator asked for as many rare rows as common ones; without the strata it would look like a bad one."""
    balanced = write(
        tmp_path / "balanced", [("mixed", pa.concat_tables([real(300, 8, "rare"), real(300, 9, "common")]))]
    )
    plain = only(run(["fidelity/shape"], balanced, [StratumShare(0, "mixed", {}, 600)]))
    labels = ["rare"] * 300 + ["common"] * 300
    table = pq.read_table(balanced).set_column(3, "_stratum", pa.array(labels))
    pq.write_table(table, balanced / "synthetic-0.parquet")
    strata = [StratumShare(0, g, {"group": Condition(is_=g)}, 300) for g in ("rare", "common")]
    big_a, big_b = real(6 * SIDE, 2), real(6 * SIDE, 3)
    matched = only(run(["fidelity/shape"], balanced, strata, a=big_a, b=big_b))
    assert plain.value < plain.ceiling - 0.15
    assert matched.value > matched.ceiling - 0.05


def test_the_same_seed_gives_the_same_scores_bit_for_bit_and_another_does_not(perfect):
    keys = ["fidelity/shape", "utility/tstr"]
    first, again, other = run(keys, perfect), run(keys, perfect), run(keys, perfect, seed=1)
    assert [s.model_dump_json() for s in first.scores] == [s.model_dump_json() for s in again.scores]
    assert first.histograms == again.histograms
    assert first.samples == again.samples
    assert first.scores != other.scores


def test_a_score_does_not_depend_on_the_other_evaluators(perfect):
    together = run(["fidelity/shape", "utility/tstr"], perfect).scores
    assert together == (*run(["fidelity/shape"], perfect).scores, *run(["utility/tstr"], perfect).scores)


def test_scores_by_job_tell_a_good_job_from_a_bad_one(tmp_path):
    good, bad = real(300, 9), sample_columns_alone(real(300, 8), [ALL], [300], rng=np.random.default_rng(0))
    candidate = write(tmp_path / "both", [("all", good), ("all", bad)])
    scores = run(["utility/tstr"], candidate, [StratumShare(0, "all", {}, 300), StratumShare(1, "all", {}, 300)])
    [[first, *_], [second, *_]] = scores.by_job
    assert first.value > 0.7 > 0.3 > second.value
    assert second.value < only(scores).value < first.value


def test_with_one_job_its_scores_are_those_of_the_whole(perfect):
    scores = run(["fidelity/shape"], perfect)
    assert scores.by_job == (scores.scores,)


def test_copies_are_looked_for_among_all_train_rows(tmp_path):
    copied = pa.concat_tables([TRAIN.slice(0, 300), real(300, 9)])
    found = only(run(["privacy/copies"], write(tmp_path / "copied", [("all", copied)])))
    assert found.value == pytest.approx(0.5, abs=0.12)
    assert (found.ceiling, found.floor, found.normalised) == (0.0, None, None)


class Recorder(Evaluator):
    """Notes how many rows it was shown: judged, holdout, train."""

    modality = "table"
    version = 1
    scores: ClassVar = {"": "higher", "second": "lower"}
    remedy = "Record more."
    maximum_rows = 220
    shown: ClassVar[list[tuple[int, int, int]]] = []

    def measure(self, measured: Measured, references: References, *, seed: int) -> Measurement:
        tables = (measured.table, references.holdout.table, references.train.table)
        self.shown.append(tuple(t.num_rows for t in tables))
        return Measurement({"": float(seed), "second": 1.0})


class PrivateRecorder(Recorder):
    against = "train"
    has_floor = False


@pytest.mark.parametrize(("kind", "roles", "train"), [(Recorder, 3, 220), (PrivateRecorder, 2, TRAIN.num_rows)])
def test_rows_a_side_are_equal_and_halved_together_and_only_privacy_sees_all_train_rows(
    perfect, monkeypatch, kind, roles, train
):
    monkeypatch.setattr("synthmill.registry._find", lambda *_: kind)
    kind.shown.clear()
    first, second = run(["test/recorder"], perfect).scores
    half_train = 110 if train == 220 else train
    assert kind.shown == [(220, 220, train), *[(110, 110, half_train)] * kind.replicates] * roles
    assert (first.name, second.name) == ("test/recorder", "test/recorder/second")
    assert first.rows == 220
    assert first.interval[0] < first.interval[1]  # seeds are part of the interval
    assert second.interval == (1.0, 1.0)


def test_too_few_reference_rows_leave_a_score_undetermined(perfect):
    found = only(run(["fidelity/shape"], perfect, a=A.slice(0, 199)))
    assert (found.status, found.value, found.rows) == ("undetermined", None, 199)
    assert found.reason.startswith("199 rows a side")


def test_too_little_coverage_leaves_a_score_undetermined_but_measured(tmp_path):
    """An eighth of the rows is asked of a group that no real row has."""
    never = StratumShare(0, "never", {"group": Condition(is_="never")}, 75)
    rows = real(600, 9)
    candidate = write(tmp_path / "c", [("all", rows.slice(0, 525)), ("never", rows.slice(525))])
    found = only(run(["fidelity/shape"], candidate, [StratumShare(0, "all", {}, 525), never]))
    assert found.status == "undetermined"
    assert found.value is not None
    assert "88%" in found.reason


def test_rules_hold_for_reference_rows_too(tmp_path):
    positive = real(2000, 9).filter(pc.field("x") >= 0).slice(0, 600)
    candidate = write(tmp_path / "positive", [("all", positive)])
    big_a, big_b = real(6 * SIDE, 2), real(6 * SIDE, 3)
    ruled = only(run(["fidelity/shape"], candidate, rules=["x >= 0"], a=big_a, b=big_b))
    free = only(run(["fidelity/shape"], candidate, a=big_a, b=big_b))
    assert ruled.value > ruled.ceiling - 0.05
    assert free.value < free.ceiling - 0.15


def test_an_evaluator_that_cannot_measure_is_a_failed_score_and_the_others_stand(perfect):
    without_target = SCHEMA.model_copy(update={"target": None})
    keys = ["utility/tstr", "fidelity/frechet", "fidelity/shape"]
    found = {score.name: score for score in run(keys, perfect, schema=without_target).scores}
    utility, frechet, shape = (found[key] for key in keys)
    assert found["utility/tstr/both"].status == "failed"
    assert (utility.status, utility.reason) == ("failed", "utility/tstr needs source.target")
    assert (frechet.status, frechet.value) == ("failed", None)
    assert "table data" in frechet.reason
    assert shape.status == "ok"


def test_a_foreign_exception_shows_its_type_and_place_but_not_its_text(perfect, monkeypatch, caplog):
    from evaluators.fidelity import shape

    def break_on_a_cell(*_):
        raise ValueError("cannot read 'Jane Doe'")

    monkeypatch.setattr(shape, "distance", break_on_a_cell)
    found = only(run(["fidelity/shape"], perfect))
    assert found.status == "failed"
    assert found.reason.startswith("ValueError at shape.py:")
    assert "Jane" not in found.reason
    assert "break_on_a_cell" in caplog.text  # the log has the lines of code, for whoever mends it
    assert "fidelity/shape failed on the candidate" in caplog.text


def test_a_target_that_never_varies_is_undetermined(perfect):
    constant = B.set_column(1, "y", pa.array(np.ones(SIDE)))
    found = only(run(["utility/tstr"], perfect, b=constant))
    assert (found.status, found.value) == ("undetermined", None)


def test_an_unknown_evaluator_is_the_recipes_error(perfect):
    with pytest.raises(RecipeError, match="there is no evaluator fidelity/shapes"):
        run(["fidelity/shapes"], perfect)


def test_a_broken_candidate_is_no_failed_score(perfect):
    with pytest.raises(StorageError):
        run(["fidelity/shape"], perfect, [StratumShare(0, "all", {}, 601)])


def test_floor_and_ceiling_are_measured_once_and_a_known_candidate_not_at_all(perfect, independent, tmp_path):
    keys = ["fidelity/shape", "utility/tstr"]
    known = Measurements(tmp_path / "known", "source", {})
    taken = []

    def spread(exam, trials):
        taken.append([(trial.key, trial.role) for trial in trials])
        return in_turn(exam, trials)

    first, again, other = (
        score(keys, exam_of(keys, candidate), spread=spread, known=known)
        for candidate in (perfect, perfect, independent)
    )
    assert again.scores == first.scores
    assert again.tables == first.tables
    assert [len(trials) for trials in taken] == [5, 2]
    assert taken[1] == [(key, "candidate") for key in keys]
    assert other.scores[1].ceiling == first.scores[1].ceiling
    assert other.scores[1].value < first.scores[1].value


@pytest.mark.parametrize("change", ["seed", "rules", "source", "evaluator"])
def test_nothing_is_taken_for_known_that_could_have_changed(perfect, tmp_path, monkeypatch, change):
    keys = ["fidelity/shape"]
    known = Measurements(tmp_path, "source", {})
    exam, trial = exam_of(keys, perfect), Trial("fidelity/shape", None, "ceiling")
    known.keep(exam, trial, Estimate({"": (1.0,)}, {}, {}))
    assert known.find(exam, trial) is not None
    if change == "seed":
        exam = exam_of(keys, perfect, seed=1)
    elif change == "rules":
        exam = exam_of(keys, perfect, rules=["x > -100"])
    elif change == "source":
        known = replace(known, source="other")
    else:
        monkeypatch.setattr("evaluators.fidelity.shape.Shape.version", 99)
    assert known.find(exam, trial) is None


def test_a_broken_file_is_not_known(perfect, tmp_path):
    known, exam = Measurements(tmp_path / "known", "source", {}), exam_of(["fidelity/shape"], perfect)
    trial = Trial("fidelity/shape", None, "ceiling")
    known.keep(exam, trial, Estimate({"": (1.0, float("nan"))}, {"": (0.5, 1.0)}, {"t": {"a": ["x", None]}}))
    found = known.find(exam, trial)
    assert found.tables == {"t": {"a": ["x", None]}}
    assert found.intervals == {"": (0.5, 1.0)}
    assert np.isnan(found.values[""][1])
    [file] = (tmp_path / "known").iterdir()
    file.write_bytes(file.read_bytes()[:-5])
    assert known.find(exam, trial) is None


def test_a_trial_that_lost_its_process_is_a_failed_score_and_the_others_stand(perfect):
    def spread(exam, trials):
        return [
            Failed("lost 2 times") if trial.role == "ceiling" and trial.key == "utility/tstr" else result
            for trial, result in zip(trials, in_turn(exam, trials), strict=True)
        ]

    keys = ["utility/tstr", "fidelity/shape"]
    *utility, shape = score(keys, exam_of(keys, perfect), spread=spread).scores
    assert {(s.status, s.reason) for s in utility} == {("failed", "lost 2 times (on the ceiling)")}
    assert shape.status == "ok"


class Distance(Evaluator):
    """The mean of x, of which neither more nor less is better."""

    modality = "table"
    version = 1
    scores: ClassVar = {"": "lower"}
    remedy = "Look at x."
    from_ceiling = True

    def measure(self, measured: Measured, references: References, *, seed: int) -> Measurement:
        return Measurement({"": pc.mean(measured.table["x"]).as_py()})


class Cut(Evaluator):
    """Ends at 1, as a detector that does worse than a coin; the floor control keeps what `kept` measures."""

    modality = "table"
    version = 1
    scores: ClassVar = {"": "higher", "kept": "higher"}
    floorless = ("kept",)
    remedy = "None."

    def measure(self, measured: Measured, references: References, *, seed: int) -> Measurement:
        uncut = 1.5 + pc.mean(measured.table["x"]).as_py()
        return Measurement({"": min(1.0, uncut), "kept": min(1.0, uncut)}, uncut={"": uncut})


def test_a_value_at_the_end_of_its_range_keeps_the_width_of_what_was_cut_off(perfect, monkeypatch):
    monkeypatch.setattr("synthmill.registry._find", lambda *_: Cut)
    cut, kept = run(["test/cut"], perfect).scores
    assert (cut.value, kept.value) == (1.0, 1.0)
    assert cut.interval[0] < 1 < cut.interval[1]
    assert kept.interval == (1.0, 1.0)
    assert cut.floor is not None
    assert (kept.floor, kept.normalised) == (None, None)


def test_where_more_is_not_better_the_distance_to_the_ceiling_is_scored(perfect, tmp_path, monkeypatch):
    monkeypatch.setattr("synthmill.registry._find", lambda *_: Distance)
    shifts = {}
    for shift in (-1.0, 0.0, 1.0):
        table = real(600, 9)
        moved = table.set_column(0, "x", pc.add(table["x"], shift))
        shifts[shift] = only(run(["test/distance"], write(tmp_path / f"c{shift}", [("all", moved)])))
    assert shifts[1.0].value == pytest.approx(1, abs=0.2)
    assert shifts[-1.0].value == pytest.approx(1, abs=0.2)
    assert shifts[0.0].value < 0.2
    assert (shifts[0.0].ceiling, shifts[0.0].interval[0]) == (0.0, 0.0)
    assert shifts[1.0].interval[0] > 0.5


def test_what_is_handed_on_holds_no_real_value(tmp_path):
    """Rare real labels and real extremes stay out of histograms; samples are synthetic rows."""
    secret = B.set_column(2, "group", pa.array(["secret"] * 4 + ["common"] * (SIDE - 4)))
    secret = secret.set_column(0, "x", pa.array([1234.5, *secret["x"].to_pylist()[1:]]))
    synthetic = real(600, 9)
    scores = run(["fidelity/shape"], write(tmp_path / "c", [("all", synthetic)]), b=secret)
    text = "".join(h.model_dump_json() for h in scores.histograms)
    assert "secret" not in text
    assert "1234" not in text
    group = next(h for h in scores.histograms if h.column == "group")
    assert sum(group.real) == SIDE
    assert not any(0 < rows < 5 for rows in group.real)
    assert all(sum(h.real) == sum(h.synthetic) == SIDE for h in scores.histograms)
    assert scores.samples.num_rows == 10
    assert set(scores.samples["x"].to_pylist()) <= set(synthetic["x"].to_pylist())


def test_half_samples_keep_the_strata():
    rows = half([10, 0, 31], np.random.default_rng(0))
    assert len(set(rows)) == len(rows)
    assert (rows < 10).sum() == 5
    assert (rows >= 10).sum() in (15, 16)


def test_the_spread_of_half_samples_is_the_full_samples_standard_error():
    """For the mean of n rows it is sigma / sqrt(n)."""
    values = np.random.default_rng(0).normal(size=400)
    means = [values[half([400], np.random.default_rng(seed))].mean() for seed in range(2000)]
    assert np.std(means) == pytest.approx(values.std() / np.sqrt(400), rel=0.06)


def test_the_interval_holds_the_true_mean_95_times_in_100():
    held = 0
    for trial in range(400):
        rng = np.random.default_rng(trial)
        values = rng.exponential(size=300)
        low, high = around(
            values.mean(), np.array([values[half([300], rng)].mean() for _ in range(Evaluator.replicates)])
        )
        held += low <= 1 <= high
    assert 0.92 <= held / 400 <= 0.98


def test_no_interval_without_every_replicate():
    assert around(0.5, np.array([0.4, np.nan])) is None
    assert around(0.5, np.array([0.4])) is None
    assert around(0.5, np.array([])) is None


def every_kind(seed: int) -> pa.Table:
    """A column of each kind that a table can hold, with gaps, one of them always missing and one constant."""
    rng = np.random.default_rng(seed)
    whole = rng.integers(0, 1000, SIDE)
    gaps = rng.random(SIDE) < 0.1
    day = 20_000 * 86_400 * 10**6
    columns = {
        "number": pa.array(rng.normal(size=SIDE), mask=gaps),
        "integer": pa.array(whole, mask=gaps),
        "boolean": pa.array(whole > 500, mask=gaps),
        "category": pa.array([f"v{n % 40}" for n in whole], mask=gaps),
        "code": pa.array(whole % 3),
        "date": pa.array((20_000 + whole).astype(np.int32), mask=gaps).cast(pa.date32()),
        "moment": pa.array(day + whole * 10**7, pa.int64(), mask=gaps).cast(pa.timestamp("us", tz="Europe/Berlin")),
        "time": pa.array(whole * 10**7, pa.int64(), mask=gaps).cast(pa.time64("us")),
        "id": pa.array([f"{seed}-{n}" for n in range(SIDE)]),
        "empty": pa.nulls(SIDE, pa.float64()),
        "same": pa.array(["one"] * SIDE),
    }
    return pa.table(columns)


KINDS = Schema(
    columns=(
        Column(name="number", kind="number", dtype="double", nullable=True),
        Column(name="integer", kind="integer", dtype="int64", nullable=True),
        Column(name="boolean", kind="boolean", dtype="bool", nullable=True),
        Column(name="category", kind="category", dtype="string", nullable=True),
        Column(name="code", kind="category", dtype="int64"),
        Column(name="date", kind="date", dtype="date32", nullable=True),
        Column(name="moment", kind="datetime", dtype="timestamp", nullable=True, timezone="Europe/Berlin"),
        Column(name="time", kind="time", dtype="time64", nullable=True),
        Column(name="id", kind="id", dtype="string"),
        Column(name="empty", kind="number", dtype="double", nullable=True),
        Column(name="same", kind="category", dtype="string"),
    )
)


@pytest.mark.parametrize("target", ["number", "boolean", "code", "moment"])
def test_every_kind_of_column_is_scored(tmp_path, target):
    strata = [StratumShare(0, "all", {}, SIDE)]
    keys = ["fidelity/shape", "utility/tstr", "privacy/copies"]
    real = Real(every_kind(2), every_kind(3), every_kind(1))
    schema = KINDS.model_copy(update={"target": target})
    subject = Subject(write(tmp_path / "c", [("all", every_kind(0))]), real, schema, tuple(strata), seed=0)
    scores = score(keys, draw_exam(subject, most_rows(keys)))
    assert {(s.status, s.reason) for s in scores.scores} == {("ok", "")}
    assert set(keys) <= {s.name for s in scores.scores}
    assert scores.tables["fidelity/shape/columns"]["column"].to_pylist() == [n for n in KINDS.names if n != "id"]
    assert [h.column for h in scores.histograms] == [n for n in KINDS.names if n != "id"]
    assert all(sum(h.real) == sum(h.synthetic) == SIDE for h in scores.histograms)


class Dated(Evaluator):
    """A plug-in that needs no half-samples, and whose details hold a date."""

    modality = "table"
    version = 1
    scores: ClassVar = {"": "higher"}
    remedy = "None."
    replicates = 0

    def measure(self, measured: Measured, references: References, *, seed: int) -> Measurement:
        details = pa.table({"day": [date(2026, 11, 20)], "share": [0.5]})
        return Measurement({"": 0.5}, {"days": details})


def test_details_of_any_type_are_kept_and_found_as_they_were_and_no_replicates_are_no_interval(
    perfect, tmp_path, monkeypatch
):
    monkeypatch.setattr("synthmill.registry._find", lambda *_: Dated)
    known = Measurements(tmp_path / "known", "source", {})
    first, again = (run(["test/dated"], perfect, known=known) for _ in range(2))
    assert first.tables["test/dated/days"].to_pylist() == [{"day": "2026-11-20", "share": 0.5}]
    assert again.tables == first.tables
    assert only(first).interval is None


def test_other_rows_with_the_same_quotas_are_measured_anew(tmp_path):
    """Which rows are drawn follows the exact counts, of which the quotas are rounded."""
    labels = ["rare"] * 300 + ["common"] * 300
    table = real(600, 9).append_column("_stratum", pa.array(labels))
    (tmp_path / "c").mkdir()
    pq.write_table(table, tmp_path / "c" / "synthetic-0.parquet")
    strata = [StratumShare(0, g, {}, 300) for g in ("rare", "common")]
    exam = exam_of(["fidelity/shape"], tmp_path / "c", strata)
    known, trial = Measurements(tmp_path / "known", "source", {}), Trial("fidelity/shape", None, "ceiling")
    known.keep(exam, trial, Estimate({"": (1.0,)}, {}, {}))
    key = (None, 16_000)
    moved = replace(exam.draws[key], b=exam.draws[key].b[::-1].copy())
    assert known.find(replace(exam, draws={key: moved}), trial) is None
