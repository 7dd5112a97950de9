"""Do rows come closer to train's rare rows than to rare rows that the generator never saw?"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pyarrow as pa

from synthmill.columns import Modality
from synthmill.evaluator import Against, Direction, Evaluator, Measured, Measurement, References
from synthmill.neighbours import Points, Space, nearest
from synthmill.shares import newcombe

RARE = 0.05  # the share of a side's rows that count as outliers
CLOSE = 1 / 3  # of the distance to an outlier's nearest neighbour on its own side
MINIMUM_OUTLIERS = 10  # a side; with fewer the score is undetermined


class Outliers(Evaluator):
    """Outlier exposure: the share of train's outliers that some row comes close to, less the same share of holdout B's outliers.

    An outlier is one of the 5 % of a side's rows that are furthest from the rest of their side (Gower's distance, 1971), so rare
    combinations of labels count as much as extreme amounts. It is exposed where a row is less than a third as far from it as its nearest
    neighbour on its own side: nobody else there explains that row. (Within the whole of that distance some unseen real row lies for two
    outliers in three, on Adult, which drowns what is looked for; within a third of it for one in a hundred.) With equal rows a
    side an honest generator, or real rows, exposes as many of both, and 0 is no exposure by memory; 1 is every outlier of train
    reproduced and none of B's. 3,000 rows a side show that a tenth of train was copied.

    After Stadler, Oprisanu and Troncoso ("Synthetic data - anonymisation groundhog day", USENIX Security 2022), who show that outliers
    are what a generator gives away first, and Meeus, Guepin, Cretu and de Montjoye ("Achilles' heels: vulnerable record identification
    in synthetic data publishing", ESORICS 2023), who find them by the distance to their nearest rows. It is linkability by closeness,
    no attack with shadow models, and may miss what such an attack sees; a private generator can also expose nobody because it makes no
    rare rows at all: then both shares in the table `exposed` are near 0. The interval is Newcombe's (1998), so gate it by `at_most:
    0`, missed where the whole interval lies above.
    """

    modality: ClassVar[Modality] = "table"
    version: ClassVar[int] = 2
    scores: ClassVar[Mapping[str, Direction]] = {"": "lower"}
    remedy: ClassVar[str] = (
        "The generator reproduces rare people: fewer steps or a smaller network, pool rare labels before the fit, or leave out rows that"
        " stand alone."
    )
    against: ClassVar[Against] = "both"
    has_floor: ClassVar[bool] = False
    replicates: ClassVar[int] = 0  # a difference of two shares: Newcombe's interval

    def measure(self, measured: Measured, references: References, *, seed: int) -> Measurement:
        """Where train has more rows than the holdout, `seed` chooses which are taken. The table `exposed` has a row a side."""
        train, holdout = references.train.table, references.holdout.table
        if train.num_rows > holdout.num_rows:
            train = train.take(np.random.default_rng(seed).choice(train.num_rows, holdout.num_rows, replace=False))
        space = Space.fit("gower", references.schema.columns, train, holdout, measured.table)
        rows = space.encode(measured.table)
        sides = [_Exposed.among(space.encode(side), rows) for side in (train, holdout)]
        exposed, outliers = [side.exposed for side in sides], [side.outliers for side in sides]
        table = pa.table({"side": ["train", "holdout"], "outliers": outliers, "exposed": exposed})
        if min(outliers) < MINIMUM_OUTLIERS:
            return Measurement({"": math.nan}, {"exposed": table})
        value = exposed[0] / outliers[0] - exposed[1] / outliers[1]
        interval = newcombe(exposed[0], outliers[0], exposed[1], outliers[1])
        return Measurement({"": value}, {"exposed": table}, {"": interval})


@dataclass(frozen=True, slots=True)
class _Exposed:
    """How many outliers one side of real rows has, and how many of them the rows come close to."""

    outliers: int
    exposed: int

    @classmethod
    def among(cls, side: Points, rows: Points) -> _Exposed:
        """A row with a twin on its own side is no outlier, however few rows have one."""
        to_others = nearest(side, side, 1, exclude="self").distances[:, 0]
        rarest = np.argsort(-to_others, kind="stable")[: round(RARE * side.rows)]
        rarest = rarest[to_others[rarest] > 0]
        to_rows = nearest(side.take(rarest), rows, 1).distances[:, 0]
        return cls(len(rarest), int((to_rows < CLOSE * to_others[rarest]).sum()))
