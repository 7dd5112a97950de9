"""The first thing to know: may this dataset be released, and if not, why?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from synthmill.scoring.gates import Verdict

_WARNS = " (warns)"  # how a gate's demand ends where it does not block


@dataclass(frozen=True, slots=True)
class Reason:
    """One gate, and what came of it."""

    name: str
    status: Literal["passed", "missed", "undetermined", "warned"]
    words: str


@dataclass(frozen=True, slots=True)
class Standing:
    """The verdict on the whole dataset. `status` chooses colour and mark.

    `reasons` are the gates that did not pass; where none of them blocks, those that passed follow.
    """

    status: Literal["passed", "blocked", "override", "ungated"]
    headline: str
    words: str
    reasons: tuple[Reason, ...] = ()


def standing(verdicts: Sequence[Verdict], override: str | None) -> Standing:
    """What the gates say all in all."""
    if not verdicts:
        return Standing("ungated", "Measured", "The recipe names no gate: nothing was judged.")
    blocking = [verdict for verdict in verdicts if verdict.blocks]
    warnings = sum(verdict.warns for verdict in verdicts)
    warned = f" {_count(warnings, 'warning')}." if warnings else ""
    reasons = tuple(_reason(verdict) for verdict in verdicts if verdict.status != "passed")
    if not blocking:
        asked = [Reason(one.name, "passed", one.demand) for one in verdicts if one.status == "passed"]
        words = _how_many_passed(len(asked), len(verdicts)) + warned
        return Standing("passed", "Passed", words, (*reasons, *asked))
    of = f"{len(blocking)} of {_count(len(verdicts), 'gate')} {'blocks' if len(blocking) == 1 else 'block'}"
    if override is not None:
        return Standing("override", "Released by override", f"{of}.{warned} The reason given: {override}", reasons)
    return Standing("blocked", "Blocked", f"{of}; it is not released.{warned}", reasons)


def in_words(verdict: Verdict) -> str:
    """What the gate asked and what it found; a reason that says both is not said twice."""
    asked = verdict.demand.removesuffix(_WARNS)
    if asked in verdict.reason:
        return verdict.reason + verdict.demand[len(asked) :]
    return f"{verdict.demand}: {verdict.reason or verdict.status}"


def _how_many_passed(passed: int, gates: int) -> str:
    if passed < gates:
        return f"{passed} of {_count(gates, 'gate')} passed."
    return "The only gate passed." if gates == 1 else f"All {gates} gates passed."


def _reason(verdict: Verdict) -> Reason:
    return Reason(verdict.name, "warned" if verdict.warns else verdict.status, in_words(verdict))


def _count(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"
