"""Kill releases at random moments, many times: `PYTHONPATH=tests python -m support.campaign [--kills 1000] [--folder .chaos] [--seed 0]`.

Two clones around one git remote release plan after plan; one of them, or both at once, is killed (-9, children included) at a random
moment and released again. After each kill everything is looked at from the remotes alone. Each adds a line to FOLDER/kills.jsonl, so
that an interrupted campaign goes on.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from support.releases import (
    ONE,
    Fleet,
    announced,
    assert_linear,
    git,
    make_fleet,
    released_files,
    remote_tags,
    request_of,
    start,
)

from synthmill.store.objects import read_tree
from synthmill.store.placement import ReleaseRequest

FRESH_EVERY = 50  # kills in one pair of clones
LONGEST_S = 3.0  # a release alone takes about one second


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, default=Path(".chaos"))
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    server = options.folder.resolve() / "server"
    server.write_text('#!/bin/sh\nshift\nexec setsid --wait sh -c "$*"\n')
    server.chmod(0o755)
    os.environ.update(GIT_SSH_COMMAND=str(server), GIT_SSH_VARIANT="simple")
    log = options.folder / "kills.jsonl"
    done = len(log.read_text().splitlines()) if log.exists() else 0
    while done < options.kills:
        root = options.folder.resolve() / "fleet"
        shutil.rmtree(root, ignore_errors=True)
        root.mkdir()
        fleet, tags = make_fleet(root, 2), set[str]()
        for workspace in fleet.clones:  # so that the far end outlives whoever pushes, as a server does
            git(workspace.root, "remote", "set-url", "origin", f"ssh://host{fleet.origin}")
        for number in range(done, min(done + FRESH_EVERY, options.kills)):
            line = one_kill(fleet, number, random.Random(f"{options.seed}-{number}"), tags)
            with log.open("a") as file:
                file.write(json.dumps(line) + "\n")
            print(json.dumps(line), flush=True)  # noqa: T201
        done = len(log.read_text().splitlines())
    steps = Counter(step for line in log.read_text().splitlines() for step in json.loads(line)["steps"])
    print(f"{done} kills; last line before each: {dict(steps.most_common())}")  # noqa: T201


def one_kill(fleet: Fleet, number: int, rng: random.Random, tags: set[str]) -> dict[str, object]:
    """Start one release or two, kill them, release again; returns what was seen. AssertionError on any loss."""
    crew = rng.sample(fleet.clones, rng.choice((1, 2)))
    is_shared = rng.random() < 0.5
    requests = [
        request_of(
            workspace,
            "shared" if is_shared else f"own-{fleet.clones.index(workspace)}",
            replace(ONE, plan=f"p{number}-{index}"),
            rows=1 + number % 7 + index,
        )
        for index, workspace in enumerate(crew)
    ]
    running = [start(workspace, request) for workspace, request in zip(crew, requests, strict=True)]
    time.sleep(rng.uniform(0, LONGEST_S))
    steps = [_kill(process) for process in running]
    for step in steps:
        if step.startswith("announced "):
            assert step.removeprefix("announced ") in remote_tags(fleet.origin), "announced and not on the remote"
    told = [step.removeprefix("announced ") for step in steps if step.startswith("announced ")]
    left = [
        pair
        for pair, step in zip(zip(crew, requests, strict=True), steps, strict=True)
        if not step.startswith("announced ")
    ]
    again = [start(workspace, request) for workspace, request in left]
    requests = [request for request in requests if request not in [pair[1] for pair in left]] + [
        pair[1] for pair in left
    ]
    new = told + [announced(process) for process in again]
    tags.update(new)
    _assert_whole(fleet, tags, dict(zip(new, requests, strict=True)))
    return {"kill": number, "steps": [step.split("@")[0] for step in steps], "tags": new}


def _kill(process: subprocess.Popen[bytes]) -> str:
    """The last line that it had printed."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    out, _ = process.communicate()
    return (out.decode().splitlines() or ["started"])[-1]


def _assert_whole(fleet: Fleet, tags: set[str], new: dict[str, ReleaseRequest]) -> None:
    """The remotes hold what was ever announced and nothing else, whole, in one line, nothing twice."""
    assert set(remote_tags(fleet.origin)) == tags
    for tag, request in new.items():
        assert released_files(fleet, tag) == read_tree(request.candidate).files, tag
    assert_linear(fleet.origin)
    for dataset in {tag.partition("@")[0] for tag in tags}:
        runs = [json.loads(line) for line in git(fleet.origin, "show", f"main:runs/{dataset}.jsonl").splitlines()]
        assert len({run["plan"] for run in runs}) == len(runs) == sum(tag.startswith(f"{dataset}@") for tag in tags)
        assert {f"{dataset}@{run['version']}" for run in runs} == {t for t in tags if t.startswith(f"{dataset}@")}


if __name__ == "__main__":
    sys.exit(main())
