"""What a recipe with an epsilon may not ask for, and what about its source is hidden in its plan."""

import json
import stat
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version

import pyarrow as pa
import pytest
from support.described import DESCRIBED
from support.tables import MIXED, mixed

from synthmill.columns import Column
from synthmill.errors import RecipeError, StorageError
from synthmill.generator import FitReport, Privacy
from synthmill.kits import make_kit
from synthmill.plan import make_plan
from synthmill.privacy import OUTSIDE, Secret
from synthmill.spec import Recipe
from synthmill.store.manifest import privacy_of
from synthmill.store.models import write_model
from synthmill.store.secret import noise_key, read_secret
from synthmill.store.state import State
from synthmill.work import FittedModel

TRAIN, A, B = mixed(500, seed=1), mixed(60, seed=2), mixed(60, seed=3)
SECRET = Secret(b"k" * 32)


def plan(*jobs, schema=DESCRIBED, train=TRAIN, secret=SECRET, **changes):
    made = [{"generator": "table/llm", "rows": 10, "params": {"epsilon": 1.0}, **job} for job in jobs or ({},)]
    recipe = {"dataset": "mixed", "source": {"path": "mixed.csv", "target": "income"}, "jobs": made, **changes}
    found = Recipe.model_validate_json(json.dumps(recipe))
    return make_plan(found, schema, train, A, B, find_secret=lambda: secret)


@pytest.mark.parametrize(
    ("jobs", "changes", "where", "message"),
    [
        ([{}, {"params": {}}], {}, "jobs.1.params", "promise none"),
        ([{}, {"generator": "table/trees", "params": {}}], {}, "jobs.1.params", "promise none"),
        ([{}], {"accept": {"copies_of_train": "reject"}}, "accept.copies_of_train", "rejecting copies"),
        ([{}], {"release": {"include_real": True}}, "release.include_real", "real rows"),
        ([{"params": {"epsilon": 1.0, "delta": 0.01}}], {}, "jobs.0.params.delta", "a whole row"),
        ([{"params": {"epsilon": 1.0, "max_minutes": 1.0}}], {}, "jobs.0.params.max_minutes", "max_minutes"),
        ([{"params": {"epsilon": 0.0}}], {}, "jobs.0.params", "epsilon"),
        ([{"balance": "age"}], {}, "jobs.0.balance", "without its values"),
        ([{"where": {"city": {"is": "Bonn"}}}], {}, "jobs.0.where.city", "not in its domain"),
        ([{"where": {"age": {"between": [10, 30]}}}], {}, "jobs.0.where.age", "not in its domain"),
    ],
)
def test_what_would_tell_of_rows_is_refused(jobs, changes, where, message):
    with pytest.raises(RecipeError, match=message) as error:
        plan(*jobs, **changes)
    assert error.value.where == where


def test_columns_without_a_domain_are_named():
    half = DESCRIBED.model_copy(update={"columns": (*DESCRIBED.columns[:3], *MIXED.columns[3:])})
    with pytest.raises(RecipeError, match="gives none for member, since") as error:
        plan(schema=half)
    assert error.value.where == "source.columns"
    plan({"params": {}}, schema=MIXED)  # without an epsilon nothing is asked for


def test_that_a_column_holds_ids_is_said_and_not_seen():
    schema = DESCRIBED.model_copy(
        update={"columns": (*DESCRIBED.columns[:4], Column(name="since", kind="id", dtype="int64"))}
    )
    train = TRAIN.set_column(4, "since", pa.array(range(500)))
    with pytest.raises(RecipeError, match="gives none for since"):
        plan(schema=schema, train=train)
    source = {"path": "mixed.csv", "columns": {"since": {"kind": "id"}}}
    assert plan(schema=schema, train=train, source=source).is_private


def test_the_recipe_alone_decides_strata_and_given_values():
    """Rome is in no row, and is a stratum; what leaves a choice is met by rejection, as its values would come from rows."""
    where = {"member": {"is": True}, "age": {"between": [20, 30]}, "since": {"is": "2001-01-01"}}
    made = plan({"balance": "city", "where": where})
    [job] = made.jobs
    assert [stratum.label for stratum in job.strata] == [
        f"0:member=True,age=20..30,since=2001-01-01,city={city}" for city in ("Oslo", "Pisa", "Riga", "Rome")
    ]
    assert (job.exact, job.by_rejection) == (("member", "since", "city"), ("age",))
    other = plan({"balance": "city", "where": where}, train=mixed(400, seed=9))
    kits = [
        make_kit(p.jobs[0], {}, DESCRIBED, train, rules=(), reject_copies=False, device="cpu")
        for p, train in ((made, TRAIN), (other, mixed(400, seed=9)))
    ]
    for one, two in zip(kits[0].strata, kits[1].strata, strict=True):
        assert one.given.equals(two.given)
        assert one.weights.tolist() == two.weights.tolist() == [1.0]
    assert kits[0].strata[3].given["city"].to_pylist() == ["Rome"]


def test_fingerprints_tell_of_rows_only_to_who_has_the_secret():
    def hashes(made):
        return made.fingerprint, made.source.fingerprint, made.models[0].fingerprint, made.jobs[0].strata[0].fingerprint

    assert hashes(plan()) == hashes(plan())
    hidden, elsewhere = hashes(plan()), hashes(plan(secret=Secret(b"j" * 32)))
    assert all(one != other for one, other in zip(hidden, elsewhere, strict=True))
    assert hashes(plan(train=TRAIN.slice(1))) != hidden
    public = plan({"params": {}})
    assert hashes(public) == hashes(plan({"params": {}}, secret=None))  # it is not asked for
    assert not public.is_private


def test_the_secret_is_drawn_once_and_for_its_owner_alone(tmp_path):
    state = State(tmp_path / "state")
    with ThreadPoolExecutor(8) as pool:
        found = {secret.key for secret in pool.map(lambda _: read_secret(state), range(8))}
    assert len(found) == 1
    assert stat.S_IMODE(state.secret.stat().st_mode) == 0o600
    assert found != {read_secret(State(tmp_path / "other")).key}
    assert [path.name for path in state.root.iterdir()] == [state.secret.name]
    assert found.pop().hex() not in repr(read_secret(state))
    state.secret.write_bytes(b"short")
    with pytest.raises(StorageError, match="secret"):
        read_secret(state)


def test_noise_is_of_one_model_in_one_state(tmp_path):
    here, there = State(tmp_path / "here"), State(tmp_path / "there")
    one, other = plan().models[0], plan({"params": {"epsilon": 2.0}}).models[0]
    keys = [noise_key(here, one, "cpu"), noise_key(here, other, "cpu"), noise_key(there, one, "cpu")]
    assert len({*keys, noise_key(here, one, "cuda")}) == 4
    assert noise_key(here, one, "cpu") == keys[0]
    assert noise_key(here, plan({"params": {}}).models[0], "cpu") is None


def test_another_version_of_what_a_fit_works_with_is_another_model(monkeypatch):
    def models():
        return plan().models[0].fingerprint, plan({"params": {}}).models[0].fingerprint

    private, public = models()
    for package, in_every_fit in (("opacus", False), ("scipy", True), ("xgboost-cpu", True)):
        with monkeypatch.context() as patch:
            patch.setattr("synthmill.plan.version", lambda name, own=package: "0" if name == own else version(name))
            assert models()[0] != private
            assert (models()[1] != public) == in_every_fit


def test_whether_ids_are_missing_is_not_seen():
    source = {"path": "mixed.csv", "columns": {"since": {"kind": "id"}}}
    ids = Column(name="since", kind="id", dtype="int64", nullable=True)
    schema = DESCRIBED.model_copy(update={"columns": (*DESCRIBED.columns[:4], ids)})
    train = TRAIN.set_column(4, "since", pa.array([None, *range(499)], pa.int64()))
    assert not plan(schema=schema, train=train, source=source).released["since"].nullable
    assert plan({"params": {}}, schema=schema, train=train, source=source).released["since"].nullable


def spent(epsilon, delta):
    noise = {"counts": 9.0, "gradients": 3.0}
    return Privacy(
        epsilon=epsilon,
        delta=delta,
        mechanism="DP-SGD",
        accountant="RDP",
        noise_multipliers=noise,
        sample_rate=0.1,
        steps=5,
    )


def test_what_models_spend_adds_up(tmp_path):
    models = {
        name: write_model(
            tmp_path / name,
            {"x": b""},
            FitReport(5, "steps", (), spent(*cost)),
            fingerprint=name,
            generator="table/llm",
            train_rows=9,
            seconds=0.0,
            level="statistical",
        )
        for name, cost in {"a": (1.0, 1e-6), "b": (2.0, 2e-6)}.items()
    }
    entry = privacy_of(models)
    assert (entry.epsilon, entry.delta) == (3.0, pytest.approx(3e-6))
    assert entry.models["b"].noise_multipliers == {"counts": 9.0, "gradients": 3.0}
    assert entry.outside == OUTSIDE
    assert privacy_of({}) is None


def test_a_private_model_is_not_told_by_its_plan_to_the_bit():
    assert FittedModel({}, FitReport(5, "steps"), 0.0).level("cpu") == "bitwise"
    assert FittedModel({}, FitReport(5, "steps", (), spent(1.0, 1e-6)), 0.0).level("cpu") == "statistical"
