"""The bookkeeping of a job, driven by hand: how an engine works changes which shards exist, never which candidates become rows."""

import itertools
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.noise_jobs import noise_job, same_rows, train_table

from synthmill.errors import AcceptanceError, ShardError
from synthmill.generator import Sampled
from synthmill.job_run import retried
from synthmill.store.staging import read_receipts
from synthmill.work import Sampler


def sampler(job):
    return Sampler(job.kit(job.fitted()))


def drive(job, *, workers=1, in_flight=1, seed=0, stop_after=None):
    """An engine in a nutshell: keep some shards in flight, finish them in a random order, stop after some where asked."""
    run, made, shuffle = job.run(workers), sampler(job), random.Random(seed)
    flying, finished = [], 0
    while not run.is_complete and finished != stop_after:
        while len(flying) < in_flight and (shard := run.next_shard(flying)):
            flying.append(shard)
        shard = flying.pop(shuffle.randrange(len(flying)))
        run.record(shard, made.make(shard))
        finished += 1
    run.close()
    return run


JOB = {"rows": 700, "balance": "colour", "rules": ("height < 1.4",)}


@settings(max_examples=8, deadline=None)
@given(
    workers=st.integers(1, 9),
    in_flight=st.integers(1, 12),
    seed=st.integers(0, 99),
    kills=st.lists(st.integers(1, 4), max_size=3),
    unique=st.booleans(),
)
def test_workers_order_and_kills_change_no_row(tmp_path_factory, workers, in_flight, seed, kills, unique):
    accept = {"unique": unique}
    plain = noise_job(tmp_path_factory.mktemp("plain"), accept=accept, **JOB)
    job = noise_job(tmp_path_factory.mktemp("job"), accept=accept, **JOB)
    reference = drive(plain)
    for stop_after in kills:
        drive(job, workers=workers, in_flight=in_flight, seed=seed, stop_after=stop_after)
    run = drive(job, workers=workers + 1, in_flight=in_flight, seed=seed)
    assert same_rows(job.accepted(), plain.accepted())
    assert (run.rows, run.rejects) == (reference.rows, reference.rejects)


def test_exactly_n_rows_spread_over_the_strata(tmp_path):
    job = noise_job(tmp_path, rows=700, balance="colour")
    assert drive(job, in_flight=5).rows == 700
    assert [table.num_rows for table in job.accepted().values()] == [234, 233, 233]


def test_more_rows_keep_the_rows_that_exist(tmp_path):
    fewer, more = noise_job(tmp_path, rows=300), noise_job(tmp_path, rows=500)
    drive(fewer)
    before = fewer.accepted()
    reused = drive(more)
    assert reused.rows == 500
    rows = next(iter(more.accepted().values()))
    assert rows.slice(0, 300).equals(next(iter(before.values())))


def test_a_second_run_makes_nothing(tmp_path):
    job = noise_job(tmp_path, rows=300)
    drive(job)
    again = job.run()
    assert again.is_complete
    assert again.next_shard([]) is None
    again.close()


def test_shards_in_flight_and_holes_never_overlap(tmp_path):
    job = noise_job(tmp_path, rows=2000)
    run = job.run(workers=3)
    flying = []
    while len(flying) < 6 and (shard := run.next_shard(flying)):
        flying.append(shard)
    lost = flying.pop(2)
    again = run.next_shard(flying)
    assert (again.start, again.stop) == (lost.start, lost.stop)
    spans = sorted((s.start, s.stop) for s in [*flying, again])
    assert all(left[1] <= right[0] for left, right in itertools.pairwise(spans))
    run.close()


def test_a_shard_waiting_for_a_retry_keeps_its_range_and_counts_attempts(tmp_path):
    job = noise_job(tmp_path, rows=200)
    run, made = job.run(), sampler(job)
    shard = retried(run.next_shard([]))
    receipt = run.record(shard, made.make(shard))
    assert (receipt.attempts, receipt.start, receipt.stop) == (2, shard.start, shard.stop)
    run.close()


@pytest.mark.parametrize("in_flight", [1, 7])
def test_the_stop_for_too_few_accepted_is_at_an_index(tmp_path, in_flight):
    job = noise_job(tmp_path, rows=200, rules=("height < 0.51",), accept={"candidates_per_row": 5})
    with pytest.raises(AcceptanceError) as caught:
        drive(job, in_flight=in_flight)
    made = job.candidates()
    [table] = made.values()
    accepted = table.slice(0, 1024)["_reject"].null_count
    assert f"{accepted} of 200 rows after 1,024 candidates" in caught.value.what
    assert f"{1024 - accepted:,} rule 0" in caught.value.what


def test_a_rule_that_no_row_meets_stops_the_job(tmp_path):
    job = noise_job(
        tmp_path, rows=60, where={"colour": {"is": "red"}}, rules=("height = 0.5",), accept={"candidates_per_row": 4}
    )
    with pytest.raises(AcceptanceError, match="0 of 60 rows after 256 candidates"):
        drive(job)


def test_one_lost_shard_is_too_many_by_default(tmp_path):
    job = noise_job(tmp_path, rows=2000)
    run = job.run()
    with pytest.raises(ShardError, match=r"boom.*accept.max_failed allows 2"):
        run.quarantine(retried(run.next_shard([])), "boom")
    assert read_receipts(job.state.staging(job.plan.jobs[0].strata[0].staging)) == []
    run.close()


def test_a_job_may_lose_what_max_failed_allows_and_still_makes_n_rows(tmp_path):
    job = noise_job(tmp_path, rows=2000, accept={"max_failed": 0.3})
    run, made = job.run(), sampler(job)
    lost = run.next_shard([])
    receipt = run.quarantine(retried(lost), "boom")
    assert (receipt.file, receipt.level, receipt.attempts) == ("", "statistical", 2)
    while not run.is_complete:
        shard = run.next_shard([])
        run.record(shard, made.make(shard))
    assert run.rows == 2000
    assert run.rejects == {"failed": lost.stop - lost.start}
    run.close()


def test_copies_of_train_are_rejected_where_asked(tmp_path):
    train = train_table()
    job = noise_job(tmp_path, rows=50, accept={"copies_of_train": "reject"})
    made = sampler(job)
    shard = job.run().next_shard([])
    table = made._judged(
        made._kit.strata[0], range(shard.start, shard.stop), [as_sampled(train.slice(0, 64), shard)]
    )  # a generator that gives train back
    assert set(table["_reject"].to_pylist()) == {"copy of a train row"}
    assert table["height"].null_count == 64


def as_sampled(table, shard):
    return Sampled(table, np.arange(shard.start, shard.start + table.num_rows))
