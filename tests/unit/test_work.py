"""Making shards: aligned micro-batches, filters by reason, and the real rows that nothing may copy."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from support.noise_jobs import SCHEMA, noise_job, train_table

from synthmill.columns import Column, Schema
from synthmill.conditions import Condition
from synthmill.kits import Kit, StratumKit, draw_given, make_kit
from synthmill.work import Sampler, Shard


def shard_of(kit, start, stop):
    return Shard(job=0, place=0, stratum=kit.strata[0].fingerprint, start=start, stop=stop)


def made(kit, start, stop):
    return pq.read_table(pa.BufferReader(Sampler(kit).make(shard_of(kit, start, stop)).data))


@pytest.fixture
def kit(tmp_path):
    job = noise_job(tmp_path, rows=100)
    return job.kit(job.fitted())


def test_a_candidate_is_the_same_in_every_shard(kit):
    whole = made(kit, 0, 192)
    pieces = pa.concat_tables([made(kit, 0, 64), made(kit, 64, 192)])
    assert whole.equals(pieces)
    assert whole["_candidate"].to_pylist() == list(range(192))


def test_a_rejected_candidate_keeps_its_number_and_reason_and_loses_its_cells(kit):
    staged = made(replace(kit, rules=("rings >= 3",)), 0, 128)
    rejected = staged.filter(pc.is_valid(staged["_reject"]))
    assert set(rejected["_reject"].to_pylist()) == {"rule 0"}
    assert 0 < rejected.num_rows < 128
    for name in (*SCHEMA.names, "_hash"):
        assert rejected[name].null_count == rejected.num_rows
    assert pc.min(staged["rings"]).as_py() >= 3


def test_the_first_reason_counts(kit):
    staged = made(replace(kit, rules=("rings >= 3", "rings >= 5")), 0, 256)
    reasons = pc.value_counts(staged["_reject"].drop_null()).to_pylist()
    assert {entry["values"] for entry in reasons} == {"rule 0", "rule 1"}


def with_ids(kit):
    """The same job over a source that numbers its rows; what is made repeats train in all other columns."""
    schema = Schema(columns=(*SCHEMA.columns, Column(name="row", kind="id", dtype="int64")))
    made_table = made(kit, 0, 64)
    train = made_table.select(SCHEMA.names).append_column("row", pa.array(np.arange(64) + 1000))
    return make_kit(kit.job, kit.files, schema, train, rules=(), reject_copies=True, device="cpu"), schema


def test_new_ids_do_not_hide_a_copy_of_a_train_row(kit):
    _, schema = with_ids(kit)
    assert schema.compared == SCHEMA.names
    copying = replace(kit, train_hashes=with_ids(kit)[0].train_hashes, reject_copies=True)
    assert set(made(copying, 0, 64)["_reject"].to_pylist()) == {"copy of a train row"}
    counted = made(replace(copying, reject_copies=False), 0, 64)
    assert counted["_reject"].null_count == 64
    assert pc.all(counted["_copy"]).as_py()


def test_given_values_come_from_train_as_often_as_there():
    given = pa.table({"colour": ["blue", "green"]})
    stratum = StratumKit(
        "f", "s", {"colour": Condition.model_validate({"in": ("blue", "green")})}, given, np.array([0.8, 0.2])
    )
    drawn = draw_given(stratum, np.arange(20_000), 5)["colour"].to_pylist()
    assert abs(drawn.count("blue") / 20_000 - 0.8) < 0.01
    assert draw_given(stratum, np.arange(100, 164), 5)["colour"].to_pylist() == drawn[100:164]


def test_conditions_of_several_columns_are_drawn_together(tmp_path):
    """A pair of values that no train row has is never given."""
    job = noise_job(tmp_path, rows=10)
    plan_job = job.plan.jobs[0]
    where = {
        "rings": Condition.model_validate({"between": (0, 3)}),
        "colour": Condition.model_validate({"in": ("red", "blue")}),
    }
    stratum = plan_job.strata[0].model_copy(update={"where": where})
    asked = plan_job.model_copy(update={"strata": (stratum,), "exact": ("rings", "colour")})
    kit: Kit = make_kit(asked, {}, SCHEMA, train_table(), rules=(), reject_copies=False, device="cpu")
    pairs = {(row["rings"], row["colour"]) for row in train_table().to_pylist()}
    drawn = draw_given(kit.strata[0], np.arange(500), 5).to_pylist()
    assert {(row["rings"], row["colour"]) for row in drawn} <= pairs
    assert all(row["rings"] <= 3 and row["colour"] != "green" for row in drawn)
