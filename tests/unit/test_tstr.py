"""Models trained on synthetic, real and both; how they use the columns; by class."""

import numpy as np
import pyarrow as pa
import pytest
from sklearn.metrics import f1_score, precision_score, recall_score

from evaluators.utility.tstr import Tstr
from synthmill.columns import Column, Schema
from synthmill.evaluator import Measured, Measurement, Reference, References
from synthmill.prediction import Task

X, Y, Z = (Column(name=name, kind="number", dtype="double") for name in "xyz")
LABEL = Column(name="label", kind="category", dtype="string")


def measurement(measured: dict, holdout: dict, train: dict, target: str) -> Measurement:
    columns = tuple(LABEL if name == "label" else X.model_copy(update={"name": name}) for name in measured)
    schema = Schema(columns=columns, target=target)
    tables = [pa.table(side, schema=schema.arrow) for side in (measured, holdout, train)]
    return Tstr().measure(Measured(tables[0]), References(schema, Reference(tables[1]), Reference(tables[2])), seed=0)


def amounts(seed: int, weights=(2.0, 0.0), rows: int = 500) -> dict:
    rng = np.random.default_rng(seed)
    x, y, noise = rng.normal(size=(3, rows))
    return {"x": x, "y": y, "z": weights[0] * x + weights[1] * y + 0.5 * noise}


def labelled(seed: int, names=("a", "b", "c"), rows: int = 500) -> dict:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=rows)
    return {"x": x, "label": np.array(names)[np.digitize(x + 0.3 * rng.normal(size=rows), (-0.5, 0.5))].tolist()}


def test_train_in_place_of_synthetic_rows_is_the_real_model_itself():
    found = measurement(amounts(0), amounts(1), amounts(0), "z")
    models = dict(zip(*found.tables["models"].to_pydict().values(), strict=True))
    assert models["synthetic"] == models["real"] == found.scores[""]
    assert found.scores["importance"] == pytest.approx(1)


def test_real_rows_beside_nonsense_teach_more_than_nonsense_alone():
    nonsense = amounts(5) | {"z": amounts(6)["z"]}
    scores = measurement(nonsense, amounts(1), amounts(2), "z").scores
    real = measurement(amounts(2), amounts(1), amounts(2), "z").scores[""]
    assert scores[""] < 0.1 < scores["both"] < real
    assert real == pytest.approx(4 / 4.25, abs=0.05)  # the share of z's variance that is x's


def test_both_is_trained_on_the_rows_of_both():
    """Each side knows one half of the labels: only together do they know all."""
    test, left, right = labelled(1), labelled(2), labelled(3)
    first = {name: [v for v, x in zip(left[name], left["x"], strict=True) if x < 0] for name in left}
    second = {name: [v for v, x in zip(right[name], right["x"], strict=True) if x >= 0] for name in right}
    found = measurement(first, test, second, "label")
    models = dict(zip(*found.tables["models"].to_pydict().values(), strict=True))
    assert models["both"] > max(models["synthetic"], models["real"]) + 0.02


def test_importance_is_low_where_other_columns_carry_the_model():
    by_y = amounts(0, weights=(0.0, 2.0))
    found = measurement(by_y, amounts(1), amounts(2), "z")
    assert found.scores["importance"] < 0.2
    lines = found.tables["importance"].to_pylist()
    assert [line["column"] for line in lines] == ["x", "y"]  # as the model of train uses them
    assert lines[0]["real"] > 0.9
    assert lines[1]["synthetic"] > 0.9


def test_importance_is_0_where_the_synthetic_rows_teach_nothing():
    one_label = labelled(0) | {"label": ["a"] * 500}
    scores = measurement(one_label, labelled(1), labelled(2), "label").scores
    assert scores[""] == 0.5
    assert scores["importance"] == 0


def test_classes_are_those_of_scikit_learn():
    sides = [labelled(seed) for seed in (0, 1, 2)]
    synthetic, test, train = sides
    lines = measurement(synthetic, test, train, "label").tables["classes"].to_pylist()
    schema = Schema(columns=(X, LABEL), target="label")
    task = Task.pose([pa.table(side, schema=schema.arrow) for side in (train, test)], schema, key="a test")
    named = [task.labels[code] for code in task.predict((0,), seed=0).values.argmax(axis=1)]
    for label in "abc":
        [line] = [line for line in lines if line["label"] == label and line["trained_on"] == "real"]
        assert line["rows"] == test["label"].count(label)
        for name, metric in {"precision": precision_score, "recall": recall_score, "f1": f1_score}.items():
            expected = metric(test["label"], named, labels=[label], average=None)[0]
            assert line[name] == pytest.approx(expected), (label, name)


def test_labels_of_few_real_rows_are_not_shown():
    test = labelled(1)
    test["label"][:6] = [*["rare one"] * 3, *["rare two"] * 3]
    found = measurement(labelled(0), test, labelled(2), "label")
    shown = {line["label"]: line["rows"] for line in found.tables["classes"].to_pylist()}
    assert shown["other"] == 6
    assert set(shown) == {"a", "b", "c", "other"}


def test_two_labels_have_one_auc():
    test = labelled(1, names=("a", "b", "b"))
    found = measurement(labelled(0, names=("a", "b", "b")), test, labelled(2, names=("a", "b", "b")), "label")
    lines = [line for line in found.tables["classes"].to_pylist() if line["trained_on"] == "synthetic"]
    assert lines[0]["auc"] == pytest.approx(lines[1]["auc"], abs=1e-9)
    assert found.scores[""] == pytest.approx(lines[0]["auc"])


def test_an_amount_has_no_classes_and_a_constant_target_nothing():
    assert set(measurement(amounts(0), amounts(1), amounts(2), "z").tables) == {"models", "importance"}
    constant = amounts(1) | {"z": np.ones(500)}
    found = measurement(amounts(0), constant, amounts(2), "z")
    assert np.isnan(list(found.scores.values())).all()
    assert list(found.scores) == list(Tstr.scores)


def test_a_label_called_other_keeps_its_own_line():
    table = labelled(1) | {"label": ["other"] * 300 + ["a"] * 192 + [f"rare {i}" for i in range(8)]}
    lines = measurement(table, table, table, "label").tables["classes"].to_pylist()
    rows = {line["label"]: line["rows"] for line in lines if line["trained_on"] == "real"}
    assert rows == {"other": 300, "a": 192, "other labels": 8}


def test_labels_beyond_the_commonest_of_the_real_rows_are_one():
    schema = Schema(columns=(X, LABEL), target="label")
    real = [f"l{i}" for i in range(300) for _ in range(2 if i < 200 else 1)]
    tables = [pa.table({"x": [0.0] * len(t), "label": t}, schema=schema.arrow) for t in (["l0", "new", "l299"], real)]
    task = Task.pose(tables, schema, key="utility/tstr")
    assert len(task.labels) == 201
    assert task.labels[-1] == "other"
    assert set(task.labels[:-1]) == {f"l{i}" for i in range(200)}
    assert [task.labels[int(code)] for code in task.answers[0]] == ["l0", "other", "other"]
    assert (task.truth == 200).sum() == 100
