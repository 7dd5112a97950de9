"""What tags say of releases once they are made: the stages that they are in, and which of them are yanked. GTO's grammar, read fast.

    NAME#STAGE#N      N-th assignment of the stage: the release of the tagged commit is in it; the highest N holds
    NAME#STAGE!#N     that release is no longer in it
    NAME@vX.Y.Z!      the version is yanked; the tag's message is the reason

GTO and DVC order assignments by the time of their tags, so whoever writes one here gives it a later time than all before.
Lightweight tags are nothing, as they are for GTO.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from synthmill.store.git import Git
from synthmill.store.versions import Version, parse_version

ROLLED_BACK = "Rolled back from "  # begins the message of an assignment that `synthmill rollback` made
_NAME = r"(?P<dataset>[a-z][a-z0-9-]*)"
_STAGE = re.compile(rf"{_NAME}#(?P<stage>[A-Za-z0-9](?:[\w/-]*[A-Za-z0-9])?)(?P<cancel>!?)(?:#(?P<number>\d+))?")
_YANK = re.compile(rf"{_NAME}@(?P<version>v[\d.]+)!(?:#\d+)?")
_FIELDS = "%(refname:strip=2)%00%(objecttype)%00%(*objectname)%00%(creatordate:unix)%00%(contents:subject)"


@dataclass(frozen=True, slots=True)
class Assignment:
    """A stage tag: from it on, the release of `commit` is in the stage, or is not, where it takes one away."""

    tag: str
    stage: str
    number: int  # 0 for GTO's form without one
    commit: str
    time: int  # seconds since 1970
    message: str
    is_removal: bool

    @property
    def is_rollback(self) -> bool:
        """It returned to an earlier release, away from the one before it."""
        return self.message.startswith(ROLLED_BACK)


@dataclass(frozen=True, slots=True)
class StageTags:
    """Every stage tag and every yank of one dataset."""

    assignments: Mapping[str, tuple[Assignment, ...]]  # stage -> in the order of their numbers
    yanked: Mapping[Version, str]  # version -> reason
    last_time: int  # of all its tags, those of its versions included

    def commit_in(self, stage: str) -> str | None:
        """The commit whose release is in the stage: the last assigned of those that were not taken away, as GTO has it."""
        last = self.last_in(stage)
        return None if last is None else last.commit

    def last_in(self, stage: str) -> Assignment | None:
        """The assignment by which the stage has its release."""
        order = _replay(self.assignments.get(stage, ()))
        return order[-1] if order else None

    def next_number(self, stage: str) -> int:
        """One more than the stage ever had, so that two clones that assign it at the same time want the same tag."""
        return max((assignment.number for assignment in self.assignments.get(stage, ())), default=0) + 1

    def commits_before(self, stage: str) -> list[str]:
        """What the stage can go back to, the nearest first: where it was, without what it was rolled back from."""
        path: list[str] = []
        left: set[str] = set()
        for assignment in self.assignments.get(stage, ()):
            commit = assignment.commit
            if assignment.is_removal:
                left.add(commit)
            elif assignment.is_rollback and commit in path:
                while path[-1] != commit:
                    left.add(path.pop())
            else:
                path.append(commit)
                left.discard(commit)
        now = self.commit_in(stage)
        return list(dict.fromkeys(commit for commit in reversed(path) if commit not in left and commit != now))


def read_stage_tags(git: Git, dataset: str | None = None) -> dict[str, StageTags]:
    """The stage tags of one dataset, or of all, from one git process: dataset -> tags."""
    name = dataset or "*"
    patterns = (f"refs/tags/{name}#*", f"refs/tags/{name}@v*")
    stages: dict[str, dict[str, list[Assignment]]] = {}
    yanked: dict[str, dict[Version, str]] = {}
    times: dict[str, int] = {}
    for line in git.run("for-each-ref", f"--format={_FIELDS}", *patterns).splitlines():
        tag, kind, commit, time, message = line.split("\0")
        if kind != "tag":
            continue
        owner = re.split("[@#]", tag)[0]
        times[owner] = max(times.get(owner, 0), int(time))
        if match := _STAGE.fullmatch(tag):
            number, is_removal = int(match["number"] or 0), bool(match["cancel"])
            found = Assignment(tag, match["stage"], number, commit, int(time), message, is_removal)
            stages.setdefault(owner, {}).setdefault(found.stage, []).append(found)
        elif (match := _YANK.fullmatch(tag)) and (version := parse_version(match["version"])):
            yanked.setdefault(owner, {})[version] = message
    return {owner: StageTags(_ordered(stages.get(owner, {})), yanked.get(owner, {}), times[owner]) for owner in times}


NO_TAGS = StageTags({}, {}, 0)


def _ordered(stages: Mapping[str, list[Assignment]]) -> dict[str, tuple[Assignment, ...]]:
    return {stage: tuple(sorted(stages[stage], key=lambda found: (found.number, found.time))) for stage in stages}


def _replay(assignments: tuple[Assignment, ...]) -> list[Assignment]:
    order: dict[str, Assignment] = {}
    for assignment in assignments:
        order.pop(assignment.commit, None)
        if not assignment.is_removal:
            order[assignment.commit] = assignment
    return list(order.values())
