"""What each fingerprint holds, and what is refused before anything is fitted."""

import pytest
from support.tables import MIXED, mixed

from synthmill.errors import RecipeError
from synthmill.measures import gate_notes
from synthmill.plan import make_plan
from synthmill.spec import Recipe, evaluator_of

TRAIN, A, B = mixed(500, seed=1), mixed(60, seed=2), mixed(60, seed=3)
BASE = {
    "dataset": "mixed",
    "source": {"path": "mixed.csv", "target": "income"},
    "jobs": [{"generator": "table/vae", "rows": 100}],
}


def plan(train=TRAIN, **changes):
    import json

    recipe = Recipe.model_validate_json(json.dumps({**BASE, **changes}))
    return make_plan(recipe, MIXED, train, A, B)


def job(**changes):
    return {**BASE["jobs"][0], **changes}


def levels(made):
    stratum = made.jobs[0].strata[0]
    return made.models[0].fingerprint, made.jobs[0].fingerprint, stratum.fingerprint, stratum.staging, made.fingerprint


# Which of (model, job, stratum, staging, plan) a change reaches; what it does not reach is reused.
REACH = [
    ({"jobs": [job(rows=200)]}, "....P"),
    ({"jobs": [job(), job(params={"steps": 7})]}, "....P"),
    ({"gates": {"fidelity/shape": {"at_least": 0.5}}}, "....P"),
    ({"release": {"rows_per_file": 10}}, "....P"),
    ({"rules": ["age > 20"]}, "...SP"),
    ({"accept": {"copies_of_train": "reject"}}, "...SP"),
    ({"accept": {"unique": True}}, "....P"),
    ({"jobs": [job(params={"temperature": 0.5})]}, ".JTSP"),
    ({"jobs": [job(where={"city": {"is": "Oslo"}})]}, ".JTSP"),
    ({"jobs": [job(params={"width": 64})]}, "MJTSP"),
    ({"seed": 1}, "MJTSP"),
    ({"train": mixed(500, seed=9)}, "MJTSP"),
]


@pytest.mark.parametrize(("change", "reach"), REACH)
def test_a_change_reaches_what_it_changes_and_nothing_else(change, reach):
    base, changed = levels(plan()), levels(plan(**change))
    assert (
        "".join(mark if before != after else "." for mark, before, after in zip("MJTSP", base, changed, strict=True))
        == reach
    )


def test_a_gate_of_a_part_asks_for_its_evaluator_once():
    recipe = plan(scores=["fidelity/shape"], gates={"fidelity/shape": [{"at_least": 0}, {"at_least": 0}]}).recipe
    assert recipe.evaluators == ("fidelity/shape",)
    assert [key for key, _, _ in recipe.gates_by_key] == ["gates.fidelity/shape.0", "gates.fidelity/shape.1"]
    assert evaluator_of("privacy/membership/tpr") == "privacy/membership"


def test_a_bound_on_the_better_side_is_noted():
    assert gate_notes(plan(gates={"fidelity/shape": {"at_least": 0.5}}).recipe) == []
    [note] = gate_notes(plan(gates={"fidelity/shape": {"at_most": 0.5}}).recipe)
    assert note.startswith("gates.fidelity/shape: higher is better")
    [note] = gate_notes(plan(gates={"privacy/copies": {"at_least": 0.5}}).recipe)
    assert note.startswith("gates.privacy/copies: lower is better")


def test_the_same_recipe_gives_the_same_plan():
    assert plan() == plan()


def test_what_is_written_out_is_what_is_meant_by_default():
    assert plan(jobs=[job(params={"temperature": 1.0})]).jobs[0].fingerprint == plan().jobs[0].fingerprint


def test_rows_of_a_balanced_job_belong_to_strata_in_turn():
    strata = plan(jobs=[job(rows=100, balance="city")]).jobs[0].strata
    assert [(s.label, s.rows) for s in strata] == [("0:city=Oslo", 34), ("0:city=Pisa", 33), ("0:city=Riga", 33)]
    more = plan(jobs=[job(rows=101, balance="city")]).jobs[0].strata
    assert [s.fingerprint for s in more] == [s.fingerprint for s in strata]


def test_balance_under_a_condition_keeps_both():
    strata = plan(jobs=[job(balance="member", where={"city": {"in": ["Oslo", "Pisa"]}})]).jobs[0].strata
    assert [sorted(s.where) for s in strata] == [["city", "member"]] * 2


def test_only_a_change_of_rows_or_seed_is_a_patch():
    identity = plan().identity
    assert plan(jobs=[job(rows=200)]).identity == plan(seed=1).identity == identity
    assert plan(rules=["age > 20"]).identity != identity
    assert plan(train=mixed(500, seed=9)).identity != identity


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"jobs": [job(), job()]}, "the same job"),
        ({"jobs": [job(where={"city": {"is": "Rome"}})]}, "no train row"),
        ({"jobs": [job(where={"city": {"in": ["Oslo", "Rome"]}})]}, "no train row"),
        ({"jobs": [job(where={"age": {"between": [200, 300]}})]}, "no train row"),
        ({"jobs": [job(where={"age": {"is": "old"}})]}, "age"),
        ({"jobs": [job(where={"town": {"is": "Oslo"}})]}, "no column town"),
        ({"jobs": [job(balance="income")]}, "cannot balance income"),
        ({"jobs": [job(balance="town")]}, "no column town"),
        ({"jobs": [job(generator="table/vea")]}, "did you mean table/vae"),
        ({"jobs": [job(generator="image/vae")]}, "makes image"),
        ({"jobs": [job(params={"widht": 3})]}, "widht"),
        ({"jobs": [job(params={"width": "wide"})]}, "width"),
        ({"rules": ["agee > 3"]}, "agee"),
        ({"gates": {"fidelity/sharpe": {"at_least": 1}}}, "did you mean fidelity/shape"),
        ({"scores": ["fidelity/frechet"]}, "measures image"),
        ({"gates": {"fidelity/shape": {"at_least": 0.5, "of": "normalised"}}}, "has no floor"),
        ({"gates": {"fidelity/shape": [{"at_least": 0.5}, {"at_least": 0, "of": "normalised"}]}}, "has no floor"),
        ({"gates": {"privacy/copies/exct": {"at_most": 0.1}}}, "gives no score privacy/copies/exct"),
        ({"source": {**BASE["source"], "protected": "town"}}, "no column town"),
    ],
)
def test_a_mistake_is_found_before_anything_is_fitted(change, words):
    with pytest.raises(RecipeError, match=words):
        plan(**change)


def test_all_stands_for_every_evaluator_that_fits():
    every = plan(scores=["all"]).recipe.evaluators
    assert {"fidelity/c2st", "utility/tstr", "privacy/membership", "validity/bounds"} <= set(every)
    assert not {"fidelity/frechet", "fairness/outcomes", "validity/rules"} & set(every)  # pictures, protected, rules
    more = plan(scores=["all"], rules=["age > 20"], source={**BASE["source"], "protected": "city"}).recipe.evaluators
    assert set(more) - set(every) == {"fairness/outcomes", "fairness/representation", "validity/rules"}


def test_what_is_named_beside_all_comes_first_and_once():
    every = plan(scores=["utility/tstr", "all"]).recipe.evaluators
    assert every[0] == "utility/tstr"
    assert len(set(every)) == len(every)
