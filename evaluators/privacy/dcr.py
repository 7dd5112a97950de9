"""Are synthetic rows nearer to the rows that the generator learnt from than to rows that it never saw?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from synthmill.columns import Modality
from synthmill.evaluator import Against, Direction, Evaluator, Interval, Measured, Measurement, References
from synthmill.neighbours import Metric, Neighbours, Points, Space, nearest
from synthmill.shares import wilson_share

_RISKY = 0.05  # the quantile of nndr
_BINS = 24
_BINNED = 0.98  # the bins end where this share of all distances lies below; the rest is one open bin
_COMPARED = 4_000  # holdout rows whose distance to train is shown: enough for 24 bins
_ACCURACY = 1e-6  # of a distance; what is no further apart is a tie

Votes = NDArray[np.float64]


class Dcr(Evaluator):
    """The DCR share: of the rows, those nearer to their closest train row than to their closest row of holdout B; a tie is half a row.

    DCR is the distance to the closest record. With as many train rows as B has, rows that owe nothing to the train rows themselves
    come out at 1/2, copies at 1. Platzer and Reutterer ("Holdout-based empirical assessment of mixed-type synthetic data", Frontiers in
    Big Data 2021); MOSTLY AI reports it under this name, SDMetrics' DCROverfittingProtection is min(1, 2 (1 - share)) of it, with ties
    counted for the holdout. Distances are Gower's (1971); `l1` is the same share under L1 in standard deviations of train, which far
    amounts move more. Below 1/2 is no better than 1/2: gate it by `at_most: 0.5`, missed where the whole interval lies above.

    `nndr` is the nearest neighbour distance ratio: the distance to the closest train row by that to the second closest, 1 where both are
    0. Near 0 one train row stands out as the origin; scored is the 5th percentile over rows, where the risk is (Zhao, Kunar, Birke and
    Chen, "CTAB-GAN", ACML 2021). Compare it with the ceiling: coarse columns lower it without any memory.

    The share has a closed-form interval: rows with the same closest record are one vote, so Wilson's (1927) is taken at Kish's effective
    number of rows (1965), with a correction for the number of records being given. That of nndr is by order statistics, for the
    given train rows. It misleads where the holdout differs from train by design (a later date, other groups): all synthetic rows are
    then nearer to train. And it is an average: a few copied rows move it by half as much as they are, and train is cut to the rows of
    B, so that most of the originals are not looked at. For those see privacy/copies and privacy/outliers.
    """

    modality: ClassVar[Modality] = "table"
    version: ClassVar[int] = 2
    scores: ClassVar[Mapping[str, Direction]] = {"": "lower", "l1": "lower", "nndr": "higher"}
    remedy: ClassVar[str] = (
        "The generator remembers single rows: fewer steps, a smaller network or more train rows, and accept.copies_of_train: reject for"
        " the exact copies."
    )
    against: ClassVar[Against] = "both"
    has_floor: ClassVar[bool] = False
    replicates: ClassVar[int] = 0  # all intervals are known in closed form

    def measure(self, measured: Measured, references: References, *, seed: int) -> Measurement:
        """Where train has more rows than the holdout, `seed` chooses which are taken.

        The table `distances` has a row a bin of Gower distances: from, to, and the shares of rows in it, synthetic to train, synthetic
        to holdout and holdout to train. The last bin is open and holds about 2 %.
        """
        gower, l1 = (_Sides.encode(metric, measured.table, references, seed) for metric in ("gower", "l1"))
        to_train, to_holdout = nearest(gower.measured, gower.train, 2), nearest(gower.measured, gower.holdout, 1)
        records = gower.train.rows + gower.holdout.rows
        share = Share.of(to_train, to_holdout, records)
        l1_share = Share.of(nearest(l1.measured, l1.train, 1), nearest(l1.measured, l1.holdout, 1), records)
        ratio, ratio_interval = _quantile(distance_ratios(to_train))
        held = nearest(gower.holdout.take(np.arange(min(gower.holdout.rows, _COMPARED))), gower.train, 1)
        return Measurement(
            {"": share.value, "l1": l1_share.value, "nndr": ratio},
            {"distances": _histogram(to_train, to_holdout, held)},
            {"": share.interval, "l1": l1_share.interval, "nndr": ratio_interval},
        )


@dataclass(frozen=True, slots=True)
class _Sides:
    """Rows to judge, and as many train rows as holdout rows, in one space."""

    measured: Points
    train: Points
    holdout: Points

    @classmethod
    def encode(cls, metric: Metric, measured: pa.Table, references: References, seed: int) -> _Sides:
        train, holdout = references.train.table, references.holdout.table
        if train.num_rows > holdout.num_rows:
            kept = np.random.default_rng(seed).choice(train.num_rows, holdout.num_rows, replace=False)
            train = train.take(np.sort(kept))
        space = Space.fit(metric, references.schema.columns, train, holdout, measured)
        return cls(*(space.encode(table) for table in (measured, train, holdout)))


@dataclass(frozen=True, slots=True)
class Share:
    """How many rows are nearer to train, and the 95 % interval of that."""

    value: float
    interval: Interval

    @classmethod
    def of(cls, to_train: Neighbours, to_holdout: Neighbours, records: int) -> Share:
        """`records`: train and holdout rows together.

        Let w be the share of rows whose closest record is a given one. Without memory each record is train or holdout by chance, half
        of them each, so the value has the variance 1/4 (sum w^2 - 1 / records): that of as many independent rows as 1 over the bracket.
        """
        votes = votes_for_train(to_train, to_holdout)
        weights = [
            np.bincount(found.indices[:, 0], own) / len(votes)
            for found, own in ((to_train, votes), (to_holdout, 1 - votes))
        ]
        spread = sum(float((side**2).sum()) for side in weights) - 1 / records
        value = float(votes.mean())
        return cls(value, wilson_share(value, 1 / max(spread, 1 / len(votes))))


def votes_for_train(to_train: Neighbours, to_holdout: Neighbours) -> Votes:
    """1 for a row that is nearer to train, 0 for one nearer to the holdout, 1/2 for a tie; shape (rows,)."""
    nearer = to_holdout.distances[:, 0] - to_train.distances[:, 0]
    return np.where(np.abs(nearer) <= _ACCURACY, 0.5, nearer > 0)


def distance_ratios(neighbours: Neighbours) -> NDArray[np.float64]:
    """Of each row, the distance to the closest by that to the second closest, 0..1; 1 where both are 0. Shape (rows,)."""
    first, second = neighbours.distances[:, 0], neighbours.distances[:, 1]
    return np.divide(first, second, out=np.ones(len(first)), where=second > 0)


def _quantile(ratios: NDArray[np.float64]) -> tuple[float, Interval]:
    """The 5th percentile, and between which order statistics it lies by the binomial distribution."""
    from scipy.stats import quantile_test

    interval = quantile_test(ratios, p=_RISKY).confidence_interval(0.95)
    return float(np.quantile(ratios, _RISKY)), (float(interval.low), float(interval.high))


def _histogram(to_train: Neighbours, to_holdout: Neighbours, held: Neighbours) -> pa.Table:
    """Shares of rows by distance. No single row sets an edge: bins are equal parts of the rounded range of nearly all distances."""
    columns = {"synthetic_to_train": to_train, "synthetic_to_holdout": to_holdout, "holdout_to_train": held}
    distances = {name: found.distances[:, 0] for name, found in columns.items()}
    widest = np.quantile(np.concatenate(list(distances.values())), _BINNED)
    edges = np.linspace(0, float(f"{widest:.2g}") or 1.0, _BINS + 1)
    shares = {
        name: np.bincount(np.searchsorted(edges, d, side="right") - 1, minlength=_BINS + 1) / len(d)
        for name, d in distances.items()
    }
    return pa.table({"from": edges, "to": [*edges[1:], None], **shares})
