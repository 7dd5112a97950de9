"""The pool among the dying: real signals to real actors, and whom they are charged to."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from support import noise_driver
from support.noise_jobs import noise_job, same_rows

from synthmill.dispatch import Limits
from synthmill.errors import RunError, ShardError
from synthmill.inline import Inline
from synthmill.pool import Pool

# Loading a model takes seconds on a busy machine, so the first deadline must not be too short for that.
HASTY = Limits(first_s=40.0, least_s=3.0)


@pytest.fixture(scope="module")
def pool():
    with Pool(workers=2, limits=HASTY) as two:
        yield two


@pytest.fixture
def marker(tmp_path):
    folder = tmp_path / "marker"
    folder.mkdir()
    return str(folder)


def actors(of=None):
    """The processes of the pool's samplers."""
    family = psutil.Process(of).children(recursive=True)
    return [process for process in family if "ray::Shards" in " ".join(process.cmdline())]


def attempts(job):
    """Attempts of each shard that needed more than one, by whether it holds the candidate 700."""
    return [(r.start <= 700 < r.stop, r.attempts) for r in job.receipts() if r.attempts > 1]


def replaced(caplog):
    return [record for record in caplog.records if "is replaced" in record.message]


def without_faults(tmp_path, params, rows=1500):
    """The same job after its marks were left, so that nothing strikes."""
    job = noise_job(tmp_path / "plain", rows=rows, params=params)
    job.generate(Inline())
    return job


class KillsOnce(list):
    """Takes progress; kills an actor when both are at work, so that it has shards in flight."""

    victim = None

    def append(self, progress):
        super().append(progress)
        if progress.workers == 2 and not self.victim:
            self.victim = actors()[0]
            self.victim.kill()


def test_a_killed_actor_changes_no_row_and_says_nothing_on_stdout(tmp_path, pool, capfd):
    job = noise_job(tmp_path / "struck", rows=4000, params={"seconds": 0.05})
    seen = KillsOnce()
    job.generate(pool, seen)
    assert seen.victim is not None
    assert seen[-1].rows == 4000
    assert seen[-1].retries in (1, 2)
    assert capfd.readouterr().out == ""
    assert same_rows(job.accepted(), without_faults(tmp_path, {"seconds": 0.05}, rows=4000).accepted())


@pytest.mark.parametrize("fault", ["kill", "raise"])
def test_only_the_shard_that_had_started_is_charged(tmp_path, pool, marker, fault):
    params = {"poison": [700], "fault": fault, "marker": marker}
    job = noise_job(tmp_path / "struck", rows=1500, params=params)
    job.generate(pool)
    assert attempts(job) == [(True, 2)]
    assert same_rows(job.accepted(), without_faults(tmp_path, params).accepted())


@pytest.mark.parametrize("fault", ["kill", "raise"])
def test_a_poisoned_shard_is_given_up_after_two_actors(tmp_path, pool, caplog, fault):
    job = noise_job(tmp_path, rows=1500, params={"poison": [700], "fault": fault}, accept={"max_failed": 0.4})
    run = job.generate(pool)
    assert run.rows == 1500
    lost = [receipt for receipt in job.receipts() if not receipt.file]
    assert [(r.start <= 700 < r.stop, r.attempts, r.level) for r in lost] == [(True, 2, "statistical")]
    assert sum("), attempt " in record.message for record in caplog.records) == 2
    if fault == "kill":
        assert len(replaced(caplog)) == 2


def test_a_poisoned_shard_stops_the_job_by_default(tmp_path, pool):
    job = noise_job(tmp_path, rows=1500, params={"poison": [700], "fault": "kill"})
    with pytest.raises(ShardError, match=r"failed on 2 actors: the actor died.*max_failed allows 1"):
        job.generate(pool)


def test_a_hanging_shard_is_killed_by_its_deadline_and_charged(tmp_path, pool, marker, caplog):
    params = {"poison": [700], "fault": "hang", "marker": marker}
    job = noise_job(tmp_path / "struck", rows=1500, params=params)
    job.generate(pool)
    assert attempts(job) == [(True, 2)]
    assert [r.message.partition(": ")[2] for r in replaced(caplog)] == ["not finished after 3 s"]
    assert same_rows(job.accepted(), without_faults(tmp_path, params).accepted())


def test_a_sick_actor_is_replaced(tmp_path, pool, marker, caplog):
    params = {"sick": True, "marker": marker}
    job = noise_job(tmp_path / "struck", rows=1500, params=params)
    job.generate(pool)
    assert ["sick" in record.message for record in replaced(caplog)] == [True]
    assert all(receipt.file for receipt in job.receipts())
    assert same_rows(job.accepted(), without_faults(tmp_path, params).accepted())


def test_a_pool_where_nothing_lasts_gives_up(tmp_path, pool):
    job = noise_job(tmp_path, params={"load_fault": "kill"})
    with pytest.raises(RunError, match="3 workers in a row were lost before they finished a shard"):
        job.generate(pool)


def driver(state, engine, **options):
    """A driver process of its own, in a session of its own as a terminal would have it."""
    command = [sys.executable, noise_driver.__file__, str(state), engine]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True, **options)


def until_rows(process):
    for line in process.stdout:
        if int(line.split()[0]) > 0:
            return
    raise AssertionError("the driver ended before it had a row")


def ray_folders(family):
    """Where the Ray of these processes keeps its files; neighbours run theirs beside it."""
    return {Path(found) for p in family for found in re.findall(r"/tmp/synthmill-ray-\w+", " ".join(p.cmdline()))}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """The rows of the driver's job where nobody interrupts it."""
    job = noise_driver.slow_job(tmp_path_factory.mktemp("undisturbed"))
    job.generate(Inline())
    return job.accepted()


@pytest.mark.parametrize("engine", ["inline", "2"])
def test_ctrl_c_leaves_nothing_behind_and_the_rerun_resumes(tmp_path, engine, undisturbed):
    job = noise_driver.slow_job(tmp_path / "stopped")
    with driver(job.state.root, engine) as process:
        until_rows(process)
        family = psutil.Process(process.pid).children(recursive=True)
        folders = ray_folders(family)
        assert bool(folders) == (engine != "inline")
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does: the whole group gets it
        assert process.wait(timeout=60) == 130
    _, alive = psutil.wait_procs(family, timeout=20)
    assert alive == []
    assert not [folder for folder in folders if folder.exists()]
    kept = {(r.start, r.stop): r for r in job.receipts()}
    assert 0 < sum(r.rows for r in kept.values()) < noise_driver.ROWS
    job.generate(Inline())
    after = {(r.start, r.stop): r for r in job.receipts()}
    assert kept.items() <= after.items()
    assert same_rows(job.accepted(), undisturbed)


def test_a_killed_driver_takes_its_actors_with_it(tmp_path):
    with driver(tmp_path, "2", stderr=subprocess.DEVNULL) as process:
        until_rows(process)
        family = psutil.Process(process.pid).children(recursive=True)
        assert any("ray::Shards" in " ".join(p.cmdline()) for p in family)
        # Ray's two agents hold nothing, and take a minute to see that nobody listens.
        family = [p for p in family if "Agent" not in " ".join(p.cmdline())]
        process.kill()
    _, alive = psutil.wait_procs(family, timeout=120)
    assert alive == []
