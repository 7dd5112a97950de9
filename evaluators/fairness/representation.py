"""Does each group have its real share of the rows, and of each target value?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from evaluators.fairness._protected import protected_of
from synthmill.columns import Modality
from synthmill.evaluator import Direction, Evaluator, Measured, Measurement, References
from synthmill.ranges import Ranges, groups, released

Shares = NDArray[np.float64]


class Representation(Evaluator):
    """1 - TVD of the shares of the protected column's groups: 1 is the real shares, 0 is no group in common.

    TVD, half the sum of absolute differences, is the share of rows that would have to change their group (the total variation distance;
    as TVComplement in SDMetrics). `target`: the same for groups and target together, so that a group which is there but
    never has the good outcome shows. Groups are the labels, those of fewer than five real rows as one, or the quarters of an
    amount in the real rows (one group, where fewer than 20 are known); the target is cut likewise. It is absent where the recipe
    names no target, or the protected column is it.

    It misleads where the real rows are themselves skewed: 1 is as unequal as the source. There is no floor: columns
    sampled on their own keep their shares.
    """

    modality: ClassVar[Modality] = "table"
    version: ClassVar[int] = 2
    scores: ClassVar[Mapping[str, Direction]] = {"": "higher", "target": "higher"}
    remedy: ClassVar[str] = "Give the protected column the shares you want by balance, or a job of its own by where."
    has_floor: ClassVar[bool] = False
    needs_protected: ClassVar[bool] = True

    def measure(self, measured: Measured, references: References, *, seed: int) -> Measurement:
        """Exact; `seed` is not used. The tables `groups` and `outcomes` hold shares, those of fewer than five real rows as 0."""
        schema, sides = references.schema, (measured.table, references.holdout.table)
        column = protected_of(references)
        group = groups(*(side[column.name] for side in sides), column)
        scores, tables = {"": _agreement(group)}, {"groups": _table(group, {"group": group.names})}
        if schema.target not in (None, column.name):
            target = schema[schema.target]
            outcome = groups(*(side[target.name] for side in sides), target)
            both = _together(group, outcome)
            names = {
                "group": np.repeat(group.names, len(outcome.names)),
                "target": np.tile(outcome.names, len(group.names)),
            }
            scores["target"], tables["outcomes"] = _agreement(both), _table(both, names)
        return Measurement(scores, tables)


def _together(left: Ranges, right: Ranges) -> Ranges:
    """Every pair of a range of `left` and one of `right`, the right one changing fastest."""
    names = tuple(f"{x}, {y}" for x in left.names for y in right.names)
    width = len(right.names)
    return Ranges(names, left.synthetic * width + right.synthetic, left.real * width + right.real)


def _shares(ranges: Ranges) -> tuple[Shares, Shares]:
    left, right = ranges.counts()
    return left / left.sum(), right / right.sum()


def _agreement(ranges: Ranges) -> float:
    left, right = _shares(ranges)
    return float(1 - 0.5 * np.abs(left - right).sum())


def _table(ranges: Ranges, names: Mapping[str, object]) -> pa.Table:
    """The shares of both sides by range, without those that are empty or hold too few real rows to be shown."""
    synthetic, real = _shares(ranges)
    shown = released(ranges.counts()[1])
    table = pa.table({**{name: pa.array(cells) for name, cells in names.items()}, "synthetic": synthetic})
    table = table.append_column("real", pa.array(np.where(shown, real, 0.0)))
    return table.filter(pa.array((synthetic > 0) | (shown > 0)))
