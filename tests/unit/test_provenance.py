"""What git keeps of a release's causes: written from a plan, read back of any format."""

import json

import pyarrow as pa

from synthmill.columns import Column, Schema
from synthmill.figures import make_metrics
from synthmill.plan import Ancestor, make_plan
from synthmill.spec import Recipe
from synthmill.store.provenance import provenance, read_provenance

SCHEMA = Schema(
    columns=(Column(name="x", kind="integer", dtype="int64"), Column(name="y", kind="number", dtype="double"))
)


def plan_of(**source):
    table = pa.table({"x": pa.array(range(40), pa.int64()), "y": pa.array([i / 7 for i in range(40)])})
    recipe = {
        "dataset": "tiny",
        "source": {"path": "data/x.csv", **source},
        "jobs": [{"generator": "table/vae", "rows": 5}],
    }
    return make_plan(
        Recipe.model_validate_json(json.dumps(recipe)), SCHEMA, table.slice(0, 30), table.slice(30, 5), table.slice(35)
    )


def test_a_plan_is_read_back_with_sources_jobs_columns_and_packages():
    plan = plan_of(holdout="data/later.csv")
    found = read_provenance(make_metrics(5, (), provenance=provenance(plan)))
    assert [(one.role, one.uri) for one in found.sources] == [("source", "data/x.csv"), ("holdout", "data/later.csv")]
    assert (found.sources[0].fingerprint, found.sources[0].train_rows) == (plan.source.fingerprint, 30)
    [job] = found.jobs
    assert (job.generator, job.model, job.rows, job.before) == ("table/vae", plan.models[0].fingerprint, 5, None)
    assert job.version >= 1
    assert found.columns == plan.released.columns
    assert {one.name: one.version for one in found.packages} == plan.versions


def test_the_ancestor_of_a_warm_start_is_kept():
    plan = plan_of()
    before = Ancestor(model="m0", source="s0")
    warm = plan.model_copy(update={"models": tuple(m.model_copy(update={"before": before}) for m in plan.models)})
    assert read_provenance(provenance(warm)).jobs[0].before == before


def test_a_private_plan_does_not_tell_its_number_of_rows():
    plan = plan_of()
    private = plan.model_copy(update={"models": tuple(m.model_copy(update={"is_private": True}) for m in plan.models)})
    assert "train_rows" not in provenance(private)["sources"][0]


def test_older_formats_and_broken_ones_are_none_and_newer_ones_are_read():
    good = provenance(plan_of())
    assert read_provenance({"format": 2, "rows": 5}) is None
    assert read_provenance({**good, "sources": "data/x.csv"}) is None
    assert read_provenance({**good, "more": 1, "sources": [{**good["sources"][0], "region": "eu"}]}) is not None
