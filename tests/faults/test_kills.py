"""The same bytes with any number of workers and after any kill: one recipe, released over and over by the real command."""

import os
import random
import re
import shutil
import signal
import sys

import pytest
from support.kills import ROWS, STEPS, Kill, make_workspace, receipts, released, run, staged_rows, survivors

KILLED = -signal.SIGKILL
FITTING = r"fit table/vae: \d+ of"
MAKING = r"generate 0 table/vae: .*, [1-9][\d,]* rows/s"  # so some rows were made since the run began
RELEASE_STEPS = ("place", "dvc commit", "dvc relink", "dvc push", "git commit", "git tag", "git push", "done")
CHAOS_KILLS = 20

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """The folder of all workspaces; nothing may live on in it. Looked at once, since Ray's agents outlive a driver by a minute."""
    folder = tmp_path_factory.mktemp("kills")
    yield folder
    assert survivors(folder) == []


@pytest.fixture(scope="module")
def reference(home):
    """A workspace in which nothing was killed, without Ray and Prefect; the run, and its release."""
    root = make_workspace(home / "reference")
    ran = run(root, "--inline")
    assert ran.code == 0, ran.lines
    return root, ran, released(root)


@pytest.fixture
def workspace(home):
    return make_workspace(home / f"workspace-{len(list(home.iterdir()))}")


def copy_state(reference, workspace, *parts):
    """Go on from what the reference run finished, to save the time of making it again."""
    for part in parts:
        shutil.copytree(reference / ".synthmill" / part, workspace / ".synthmill" / part)


def test_engine_and_worker_count_do_not_change_bytes(reference, workspace):
    _, _, release = reference
    ran = run(workspace, "--workers", "2")
    assert ran.code == 0, ran.lines
    assert released(workspace) == release


def test_kills_before_the_release_change_no_byte(reference, workspace):
    state = workspace / ".synthmill"
    models, candidates = state / "models", state / "candidates"

    assert run(workspace, "--inline", kills=[Kill("prepare:")]).code == KILLED
    killed = run(workspace, "--inline", kills=[Kill(FITTING)])
    assert killed.code == KILLED
    assert not list(models.glob("*/receipt.json"))

    # From the step that the last line told of, or from a later one: the child lives a moment longer than the driver.
    ran = run(workspace, "--workers", "2", kills=[Kill(FITTING, worker=True), Kill(MAKING)])
    [going_on] = [line for line in ran.lines if line.startswith("fit table/vae: going on from step ")]
    assert step_of(killed.lines[-1]) <= step_of(going_on) < STEPS
    assert not list((state / "checkpoints").iterdir())
    assert [strike.victim for strike in ran.strikes] == ["ray::Fitter", "driver"], ran.lines
    assert 0 < ran.strikes[-1].staged_rows < ROWS, ran.lines

    # At once, beside what the dead driver left. The actor dies in a run that goes on, so that its shard is made again.
    ran = run(workspace, "--workers", "2", kills=[Kill(MAKING, worker=True), Kill("assemble:")])
    assert [strike.victim for strike in ran.strikes] == ["ray::Shards", "driver"], ran.lines
    assert 0 < ran.strikes[0].staged_rows < ROWS <= staged_rows(workspace), ran.lines
    assert any(receipt.attempts == 2 for receipt in receipts(workspace)), ran.lines
    assert not list(candidates.glob("*/counts.json"))

    assert run(workspace, "--inline", kills=[Kill("score")]).code == KILLED
    assert not list(candidates.glob("*/dataset/manifest.json"))

    assert run(workspace, "--inline").code == 0
    assert released(workspace) == reference[-1]


def test_kills_after_each_release_step_change_no_byte(reference, workspace):
    root, _, release = reference
    copy_state(root, workspace, "sources", "models", "shards", "candidates")
    for step in RELEASE_STEPS:
        ran = run(workspace, "--inline", kills=[Kill(f"release: {step}$")])
        assert ran.code == KILLED, ran.lines
        assert ran.lines[-1] == f"release: {step}"
    assert run(workspace, "--inline").code == 0
    assert released(workspace) == release


def step_of(line):
    """The step that a line about a fit tells of."""
    return int(re.search(r"\d+", line)[0])


def random_kills(lines, rng):
    """Kills at lines of a run, each line as likely as any other; without end."""
    shown = [_label(line) for line in lines if not line.startswith(" ")]
    while True:
        at = rng.randrange(len(shown))
        yield Kill(shown[at], worker=rng.random() < 0.5, count=shown[: at + 1].count(shown[at]))


def _label(line):
    """What a line tells of, without how far it is: `release: dvc push`, `assemble`."""
    return line if line.startswith("release") else line.partition(":")[0]


@pytest.mark.chaos
@pytest.mark.timeout(3600)
def test_kills_at_random_places_change_no_byte(reference, home):
    _, ran, release = reference
    seed = int(os.environ.get("CHAOS_SEED", "0"))
    rng = random.Random(seed)
    more = random_kills(ran.lines, rng)
    kills = [next(more) for _ in range(CHAOS_KILLS)]
    say(f"\nCHAOS_SEED={seed}")
    workspaces = 0
    while kills:
        workspaces += 1
        kills = release_among_kills(make_workspace(home / str(workspaces)), kills, release, rng, more)
    say(f"{CHAOS_KILLS} kills, {workspaces} releases, one sha256: {release.sha256}")


def release_among_kills(root, kills, release, rng, more):
    """Run until a run comes through, and compare; what is left of the kills."""
    code, is_new = None, True
    while code != 0:
        engine = rng.choice((("--inline",), ("--workers", "2")))
        ran = run(root, *engine, kills=kills)
        code, kills = ran.code, kills[len(ran.strikes) :]
        for strike in ran.strikes:
            kill = strike.kill
            say(
                f"{root.name} {' '.join(engine)}: {kill.line!r} {kill.count}, {strike.victim}, {strike.staged_rows} rows staged"
            )
        say(f"{root.name} {' '.join(engine)}: exit code {code}, {ran.lines[-1]}")
        # A child that is killed ends an inline fit or score, and two deaths at one shard the job: each says so and resumes.
        assert code in (0, KILLED) or (code == 1 and ran.strikes), ran.lines
        if kills and is_new and not ran.strikes:
            kills[0] = next(more)  # this place depends on the pace, and does not come up again
        is_new = False
    assert released(root) == release
    return kills


def say(line):
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
