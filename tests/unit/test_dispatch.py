"""Whom a failure is charged to, and when a shard is overdue; workers are only numbers here."""

import pytest
from support.noise_jobs import noise_job

from synthmill.dispatch import Dispatch, Limits
from synthmill.errors import RunError, ShardError
from synthmill.work import Sampler


class Bench:
    """A dispatch over a real run, with a sampler at hand."""

    def __init__(self, tmp_path, **accept):
        job = noise_job(tmp_path, rows=2000, accept=accept)
        self.run = job.run(workers=4)
        self.dispatch = Dispatch(self.run, Limits(first_s=100.0, least_s=1.0, times_median=10.0))
        self.sampler = Sampler(job.kit(job.fitted()))

    def finish(self, worker, shard, seconds=None):
        staged = self.sampler.make(shard)
        if seconds is not None:
            staged = type(staged)(staged.data, "", staged.rows, staged.rejects, seconds)
        self.dispatch.finish(worker, shard, staged)


@pytest.fixture
def bench(tmp_path):
    return Bench(tmp_path, max_failed=0.9)


def test_workers_get_shards_that_do_not_overlap(bench):
    shards = [bench.dispatch.send(worker) for worker in (1, 1, 2, 2)]
    spans = sorted((s.start, s.stop) for s in shards)
    assert [stop for _, stop in spans[:-1]] == [start for start, _ in spans[1:]]
    assert bench.dispatch.in_flight(1) == shards[:2]


def test_a_death_returns_both_shards_and_charges_one(bench):
    first, second = bench.dispatch.send(1), bench.dispatch.send(1)
    bench.dispatch.fail(1, first, "died")
    bench.dispatch.lose(1, "died")
    again = [bench.dispatch.send(2), bench.dispatch.send(2)]
    assert [(s.start, s.attempt) for s in again] == [(first.start, 2), (second.start, 1)]
    assert bench.dispatch.progress(1).retries == 2


def test_a_shard_never_returns_to_the_worker_it_failed_on(bench):
    shard = bench.dispatch.send(1)
    bench.dispatch.fail(1, shard, "raised")
    assert bench.dispatch.send(1).start != shard.start
    assert bench.dispatch.send(2).start == shard.start


def test_a_shard_is_given_up_after_two_workers(bench):
    shard = bench.dispatch.send(1)
    bench.dispatch.fail(1, shard, "raised")
    again = bench.dispatch.send(2)
    bench.dispatch.fail(2, again, "raised")
    assert bench.run.rejects == {"failed": shard.stop - shard.start}
    assert bench.dispatch.send(3).start != shard.start


def test_giving_up_more_than_allowed_is_a_shard_error(tmp_path):
    bench = Bench(tmp_path)
    bench.dispatch.fail(1, bench.dispatch.send(1), "raised")
    with pytest.raises(ShardError, match="failed on 2 actors: raised"):
        bench.dispatch.fail(2, bench.dispatch.send(2), "raised")


def test_a_worker_that_fails_two_different_shards_in_a_row_is_sick(bench):
    first, second, third = (bench.dispatch.send(1) for _ in range(3))
    assert not bench.dispatch.fail(1, first, "raised")
    bench.finish(1, second)
    assert not bench.dispatch.fail(1, third, "raised")
    assert bench.dispatch.fail(1, bench.dispatch.send(1), "raised")


def test_three_workers_in_a_row_that_finish_nothing_end_the_run(bench):
    bench.dispatch.lose(1, "one")
    bench.dispatch.lose(2, "two")
    with pytest.raises(RunError, match=r"3 workers in a row were lost .*three"):
        bench.dispatch.lose(3, "three")


def test_a_finished_shard_between_losses_starts_the_count_anew(bench):
    bench.dispatch.lose(1, "one")
    bench.dispatch.lose(2, "two")
    bench.finish(3, bench.dispatch.send(3))
    bench.dispatch.lose(4, "four")
    bench.dispatch.lose(5, "five")
    assert bench.dispatch.send(6)


def test_workers_that_had_finished_something_do_not_count_as_losses(bench):
    for worker in range(5):
        bench.finish(worker, bench.dispatch.send(worker))
    for worker in range(5):
        bench.dispatch.lose(worker, "their machine is gone")
    assert bench.dispatch.send(9)


def test_a_deadline_is_ten_times_the_median_pace_and_never_below_the_least(bench):
    shard = bench.dispatch.send(1)
    assert bench.dispatch.deadline_s(shard) == 100.0
    for seconds in (0.001, 4.0, 4000.0):
        made = bench.dispatch.send(1)
        bench.finish(1, made, seconds * (made.stop - made.start) / (shard.stop - shard.start))
    assert bench.dispatch.deadline_s(shard) == pytest.approx(40.0)
    small = type(shard)(shard.job, shard.place, shard.stratum, 0, 1)
    assert bench.dispatch.deadline_s(small) == 1.0
