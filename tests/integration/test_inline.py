"""The engine without Ray: real child processes, real deaths."""

import os
import signal
import subprocess
import sys

import psutil
import pytest
from support.noise_jobs import never, noise_job, same_rows, train_table

from synthmill.dispatch import Limits
from synthmill.errors import FitError, Interrupted, RunError, ShardError, StorageError
from synthmill.inline import Inline


def quiet(step, steps, loss):
    pass


def fit(job, **options):
    return Inline().fit(job.task, train_table(), options.get("progress", quiet), options.get("should_stop", never))


def test_a_fit_reports_progress_and_comes_back_as_files(tmp_path):
    seen = []
    model = fit(noise_job(tmp_path, params={"fit_steps": 4}), progress=lambda *report: seen.append(report))
    assert seen == [(1, 4, 1.0), (2, 4, 0.5), (3, 4, 1 / 3), (4, 4, 0.25)]
    assert list(model.files) == ["columns.json"]
    assert model.report.steps == 4


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("kill", "killed by SIGKILL, perhaps by the kernel for memory"),
        ("exit", "exited with code 7"),
        ("raise", "OSError: poisoned"),
    ],
)
def test_a_fit_that_fails_says_why(tmp_path, fault, words):
    with pytest.raises(FitError, match=words):
        fit(noise_job(tmp_path, params={"fit_fault": fault}))


def test_our_own_errors_cross_the_border_whole(tmp_path):
    with pytest.raises(StorageError) as caught:
        fit(noise_job(tmp_path, params={"fit_fault": "ours"}))
    assert (caught.value.what, caught.value.where, caught.value.hint) == (
        "the disk is full",
        "noise",
        "free some space",
    )


def test_others_errors_leave_their_traceback_in_the_log(tmp_path, caplog):
    with pytest.raises(FitError):
        fit(noise_job(tmp_path, params={"fit_fault": "raise"}))
    assert "noise_plugin.py" in caplog.text


def test_should_stop_kills_a_fit(tmp_path):
    seen = []
    with pytest.raises(Interrupted):
        fit(
            noise_job(tmp_path, params={"fit_steps": 1000, "fit_step_s": 0.2}),
            progress=lambda *report: seen.append(report),
            should_stop=lambda: len(seen) > 1,
        )
    assert len(seen) < 1000
    left = [child for child in psutil.Process().children() if "resource_tracker" not in " ".join(child.cmdline())]
    assert left == []


def test_a_job_is_generated_with_progress(tmp_path):
    seen = []
    job = noise_job(tmp_path, rows=900, balance="colour", rules=("height < 1.4",))
    run = job.generate(Inline(), seen)
    assert run.rows == 900
    assert (seen[0].rows, seen[-1].rows, seen[-1].of) == (0, 900, 900)
    assert set(seen[-1].rejects) == {"rule 0"}
    assert seen[-1].retries == 0


@pytest.mark.parametrize("fault", ["kill", "raise"])
def test_a_child_lost_once_changes_no_row(tmp_path, fault):
    marker = tmp_path / "marker"
    marker.mkdir()
    params = {"poison": [200], "fault": fault, "marker": str(marker)}
    seen = []
    struck = noise_job(tmp_path / "struck", params=params)
    struck.generate(Inline(), seen)
    assert seen[-1].retries == 1
    plain = noise_job(tmp_path / "plain", params=params)  # the mark is there, so nothing strikes
    plain.generate(Inline())
    assert same_rows(struck.accepted(), plain.accepted())


@pytest.mark.parametrize(("fault", "words"), [("kill", "killed by SIGKILL"), ("raise", "OSError: poisoned")])
def test_a_poisoned_shard_stops_the_job_with_its_cause(tmp_path, fault, words):
    job = noise_job(tmp_path, params={"poison": [200], "fault": fault})
    with pytest.raises(ShardError, match=f"failed on 2 actors: .*{words}"):
        job.generate(Inline())


def test_a_hanging_shard_is_killed_by_its_deadline(tmp_path):
    marker = tmp_path / "marker"
    marker.mkdir()
    job = noise_job(tmp_path, params={"poison": [200], "fault": "hang", "marker": str(marker)})
    seen = []
    job.generate(Inline(limits=Limits(first_s=8, least_s=2)), seen)
    assert seen[-1].retries == 1


def test_a_model_that_does_not_load_ends_the_run(tmp_path):
    job = noise_job(tmp_path, params={"load_fault": "raise"})
    with pytest.raises(RunError, match=r"3 workers in a row were lost .*OSError: poisoned"):
        job.generate(Inline())


def double(task, progress):
    progress("double", 1, 2)
    if task == 0:
        sys.stdout.write("words on stdout\n")
    if task < 0:
        raise ArithmeticError("below zero")
    return task * 2, os.getpid(), os.environ["OMP_WAIT_POLICY"]


def test_a_call_runs_in_a_process_of_its_own():
    seen = []
    doubled, pid, policy = Inline().call(double, 21, progress=lambda *note: seen.append(note), should_stop=never)
    assert (doubled, seen, policy) == (42, [("double", 1, 2)], "PASSIVE")
    assert pid != os.getpid()
    assert not psutil.pid_exists(pid)


def test_a_call_that_fails_says_what_and_why():
    with pytest.raises(RunError, match="double failed: ArithmeticError: below zero"):
        Inline().call(double, -1, progress=lambda *note: None, should_stop=never)


def test_a_result_that_does_not_pickle_is_an_error_not_a_hang():
    with pytest.raises(RunError, match="unpicklable failed"):
        Inline().call(unpicklable, 0, progress=lambda *note: None, should_stop=never)


def unpicklable(task, progress):
    return lambda: task


def test_words_of_a_child_do_not_reach_stdout(capfd):
    Inline().call(double, 0, progress=lambda *note: None, should_stop=never)
    out, err = capfd.readouterr()
    assert "words on stdout" in err
    assert out == ""


DRIVER = """
import sys
from support.noise_jobs import noise_job
from synthmill.inline import Inline
from pathlib import Path
if __name__ == "__main__":
    job = noise_job(Path(sys.argv[1]), rows=100_000, params={"seconds": 0.05})
    job.generate(Inline(), Printer := type("Printer", (list,), {"append": lambda s, p: print(p.rows, flush=True)})())
"""


@pytest.mark.parametrize("kill", [signal.SIGKILL, signal.SIGINT])
def test_no_child_outlives_its_driver(tmp_path, kill):
    script = tmp_path / "driver.py"
    script.write_text(DRIVER)
    with subprocess.Popen(
        [sys.executable, str(script), str(tmp_path / "state")], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as driver:
        driver.stdout.readline()
        family = psutil.Process(driver.pid).children(recursive=True)
        assert family
        os.kill(driver.pid, kill)
    _, alive = psutil.wait_procs(family, timeout=10)
    assert alive == []


def test_a_ctrl_c_does_not_reach_a_child():
    assert Inline().call(interrupt_self, 0, progress=lambda *note: None, should_stop=never) == "still here"


def interrupt_self(task, progress):
    os.kill(os.getpid(), signal.SIGINT)
    return "still here"
