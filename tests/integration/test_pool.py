"""The engine on Ray: the same rows as without it, for any number of workers."""

import copy

import pytest
import ray
from support.noise_jobs import never, noise_job, same_rows, train_table
from support.squares import Squares

from synthmill.child import Failure
from synthmill.errors import FitError, Interrupted, RunError, StorageError
from synthmill.inline import Inline
from synthmill.job_run import JobRun
from synthmill.pool import Pool
from synthmill.pool import pool as pool_module


@pytest.fixture(scope="module")
def pool():
    with Pool(workers=2) as two:
        assert two.workers == 2  # asking starts Ray
        yield two


def of_workers(pool, workers):
    smaller = copy.copy(pool)
    smaller._wanted_workers = workers
    return smaller


def quiet(step, steps, loss):
    pass


JOB = {"rows": 3000, "balance": "colour", "rules": ("height < 1.4",), "accept": {"unique": True}}


def test_the_number_of_workers_and_ray_itself_change_no_row_and_no_candidate(tmp_path, pool):
    inline, one, two = (noise_job(tmp_path / name, **JOB) for name in ("inline", "one", "two"))
    runs = [inline.generate(Inline()), one.generate(of_workers(pool, 1)), two.generate(pool)]
    assert same_rows(one.accepted(), inline.accepted())
    assert same_rows(two.accepted(), inline.accepted())
    assert [run.rows for run in runs] == [3000, 3000, 3000]
    assert runs[0].rejects == runs[1].rejects == runs[2].rejects
    for left, middle, right in zip(*(job.candidates().values() for job in (inline, one, two)), strict=True):
        most = min(left.num_rows, middle.num_rows, right.num_rows)
        assert left.slice(0, most).equals(middle.slice(0, most))
        assert left.slice(0, most).equals(right.slice(0, most))


def test_a_fit_gives_the_same_files_as_without_ray_and_reports_progress(tmp_path, pool):
    job, seen = noise_job(tmp_path, params={"fit_steps": 3}), []
    model = pool.fit(job.task, train_table(), lambda *report: seen.append(report), never)
    assert model.files == job.fitted().files
    assert seen[-1] == (3, 3, 1 / 3)


def test_a_fit_whose_actor_dies_starts_over_once(tmp_path, pool):
    once = noise_job(tmp_path, params={"fit_fault": "kill", "fit_marker": str(tmp_path)})
    assert pool.fit(once.task, train_table(), quiet, never).report.steps == 3
    always = noise_job(tmp_path, params={"fit_fault": "kill"})
    with pytest.raises(FitError, match="the fit of table/noise failed twice: the actor died"):
        pool.fit(always.task, train_table(), quiet, never)


def test_a_fit_that_raises_is_not_tried_again(tmp_path, pool):
    job = noise_job(tmp_path, params={"fit_fault": "raise", "fit_marker": str(tmp_path)})
    with pytest.raises(FitError, match="OSError: poisoned"):
        pool.fit(job.task, train_table(), quiet, never)


def test_our_own_errors_come_from_an_actor_whole(tmp_path, pool):
    job = noise_job(tmp_path, params={"poison": [100], "fault": "ours"})
    with pytest.raises(StorageError) as caught:
        job.generate(pool)
    assert (caught.value.what, caught.value.where) == ("the disk is full", "noise")


def test_should_stop_ends_a_fit_and_a_job(tmp_path, pool):
    job = noise_job(tmp_path, params={"fit_step_s": 30.0, "seconds": 30.0})
    with pytest.raises(Interrupted):
        pool.fit(job.task, train_table(), quiet, lambda: True)
    run, seen = job.run(2), []
    model = noise_job(tmp_path).fitted()
    with pytest.raises(Interrupted):
        pool.generate(run, job.kit(model), job.state.shards, seen.append, lambda: bool(seen and seen[-1].workers))


def test_a_model_that_does_not_load_ends_the_run(tmp_path, pool):
    job = noise_job(tmp_path, params={"load_fault": "raise"})
    with pytest.raises(RunError, match=r"3 workers in a row were lost .*OSError: poisoned"):
        job.generate(pool)


def notes_of_bytes(monkeypatch):
    """Whether each recorded shard came back as bytes."""
    came, record = [], JobRun.record

    def noting(self, shard, staged):
        came.append(bool(staged.data))
        return record(self, shard, staged)

    monkeypatch.setattr(JobRun, "record", noting)
    return came


def test_actors_that_do_not_see_the_staging_folder_send_bytes(tmp_path, pool, monkeypatch):
    shared, apart = noise_job(tmp_path / "shared", rows=500), noise_job(tmp_path / "apart", rows=500)
    came = notes_of_bytes(monkeypatch)
    shared.generate(pool)
    assert not any(came)
    came.clear()
    # The driver lays its token where no actor looks, which is what an actor on another machine sees.
    monkeypatch.setattr(pool_module, "token_path", lambda staging, token: tmp_path / "elsewhere" / token)
    apart.generate(pool)
    assert came
    assert all(came)
    assert same_rows(shared.accepted(), apart.accepted())
    assert {r.file for r in shared.receipts()} & {r.file for r in apart.receipts()}


def test_progress_tells_rows_rejects_and_workers(tmp_path, pool):
    seen = []
    noise_job(tmp_path, rows=2000, rules=("height < 1.4",)).generate(pool, seen)
    last = seen[-1]
    assert (last.rows, last.of, last.retries) == (2000, 2000, 0)
    assert last.workers in (1, 2)
    assert set(last.rejects) == {"rule 0"}
    assert [p.rows for p in seen] == sorted(p.rows for p in seen)


def test_a_second_ray_in_one_process_is_refused(pool):
    with Pool(workers=1) as second, pytest.raises(RunError, match="already runs"):
        assert second.workers
    assert ray.is_initialized()


def test_nothing_of_ray_is_written_into_the_staging_folder(tmp_path, pool):
    job = noise_job(tmp_path, rows=300)
    job.generate(pool)
    assert list(job.state.shards.rglob(".tmp-*")) == []


def spread(engine, folder, tasks, *, should_stop=never):
    return engine.map(Squares, str(folder), tasks, progress=lambda *_: None, should_stop=should_stop)


def test_tasks_on_actors_come_back_in_order_whatever_befalls_them(tmp_path, pool):
    """Evaluators are spread this way: one that raises or kills its actor costs its own score alone."""
    first, unlucky, met_once, deadly, last = spread(pool, tmp_path, [3, 13, 100, 99, 4])
    assert (first[0], met_once[0], last[0]) == (9, 10_000, 16)
    assert isinstance(unlucky, Failure)
    assert unlucky.summary == "ValueError: unlucky"
    assert deadly.summary.startswith("lost 2 times: the actor died")


def test_actors_are_kept_for_the_next_task(tmp_path, pool):
    found = spread(pool, tmp_path, list(range(8)))
    assert [square for square, _, _ in found] == [n * n for n in range(8)]
    assert len({pid for _, pid, _ in found}) == 2
    assert max(made for _, _, made in found) >= 4


def test_should_stop_ends_tasks(tmp_path, pool):
    with pytest.raises(Interrupted):
        spread(pool, tmp_path, [1], should_stop=lambda: True)
