import os

import pytest
from support.squares import Squares

from synthmill.child import Failure
from synthmill.errors import Interrupted
from synthmill.fan_out import fan_out


def run(folder, tasks, *, processes=2, should_stop=lambda: False, progress=lambda *_: None):
    return fan_out(Squares, str(folder), tasks, processes=processes, progress=progress, should_stop=should_stop)


def test_results_come_in_the_order_of_the_tasks_from_processes_that_are_kept(tmp_path):
    seen = []
    results = run(tmp_path, list(range(6)), progress=lambda _, done, of: seen.append((done, of)))
    assert [square for square, _, _ in results] == [n * n for n in range(6)]
    assert len({pid for _, pid, _ in results}) <= 2
    assert os.getpid() not in {pid for _, pid, _ in results}
    assert sum(1 for _, _, made in results if made == 1) <= 2
    assert seen == [(done, 6) for done in range(1, 7)]


def test_a_task_that_raises_is_a_failure_and_the_others_stand(tmp_path):
    first, unlucky, last = run(tmp_path, [2, 13, 3], processes=1)
    assert (first[0], last[0]) == (4, 9)
    assert isinstance(unlucky, Failure)
    assert unlucky.summary == "ValueError: unlucky"


def test_a_task_that_loses_its_process_is_tried_once_more(tmp_path):
    [result] = run(tmp_path, [100])
    assert result[0] == 10_000


def test_a_task_that_kills_every_process_is_given_up(tmp_path):
    lost, kept = run(tmp_path, [99, 4])
    assert kept[0] == 16
    assert lost.summary.startswith("lost 2 times: the process was killed by SIGKILL")


def test_a_stop_ends_it(tmp_path):
    with pytest.raises(Interrupted):
        run(tmp_path, [1], should_stop=lambda: True)


def test_nothing_to_do_starts_nothing(tmp_path):
    assert run(tmp_path, []) == []
