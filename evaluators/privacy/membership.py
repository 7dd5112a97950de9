"""Can an attacker tell which real rows the generator was trained on?"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from synthmill.columns import Modality
from synthmill.evaluator import Against, Direction, Evaluator, Interval, Measured, Measurement, References
from synthmill.neighbours import Points, Space, nearest
from synthmill.shares import wilson

ATTACKED = 4_000  # members, and as many non-members: the AUC is then known to about .013
FALSE_ALARMS = 0.01
MINIMUM_ALARMS = 5  # non-members that a share in the table is of, so that no single row decides it
CURVE = (0.01, 0.02, 0.05, *(tenth / 10 for tenth in range(1, 10)))  # the shares of false alarms in the table
BLUR = 0.0001  # added to both distances of a ratio, in standard deviations a column: a copy is no division by zero
Z = 1.959963984540054  # of a 95 % interval

Suspicion = NDArray[np.float64]  # (rows,): what the attacker knows of each row; higher is more likely a member


class Membership(Evaluator):
    """Membership inference: the AUC of an attacker who tells members (train rows) from non-members (rows of holdout B): .5 is chance.

    The attacker sees the measured rows and suspects a real row that they come near, by L1 distance in standard deviations (labels: 0 or
    1). Two attacks: the headline suspects by the distance to the nearest measured row (Hilprecht, Haerterich and Bernau, "Monte Carlo
    and reconstruction membership inference attacks", PETS 2019; Chen et al., "GAN-Leaks", CCS 2020). `domias` suspects by the density of
    the measured rows over that of the population (van Breugel, Sun, Qian and van der Schaar, "Membership inference
    attacks against synthetic data through overfitting detection", AISTATS 2023), and so is not misled by rows that lie among many. `tpr`
    and `domias_tpr` are the share of members found where 1 % of non-members are suspected (Carlini et al., "Membership inference attacks
    from first principles", S&P 2022): .01 is chance. A generator that memorised a few rows shows there first.

    Where it departs from DOMIAS: its densities are normalising flows or kernels, here each is that of the single nearest neighbour. The
    log-ratio is then log(distance to the population) - log(distance to the measured rows), times the dimension, which
    changes no order. On jittered and interpolated train rows of four tables it found as much as kernels and more neighbours did, or more.
    The population is the part of B that is not attacked; train rows would favour members, who stand among them.

    An AUC below .5 is given as .5. It misleads where it is close to .5: a stronger attacker may exist, and only differential privacy bounds
    them all. Rows that stand in train and in B move it, so compare with the ceiling. The intervals hold for these measured rows
    and other real ones, in closed form (DeLong, DeLong and Clarke-Pearson, Biometrics 1988; of the shares MOVER: Zou and Donner,
    Statistics in Medicine 2008). The table `roc` holds points of both curves.
    """

    modality: ClassVar[Modality] = "table"
    version: ClassVar[int] = 2
    scores: ClassVar[Mapping[str, Direction]] = {"": "lower", "tpr": "lower", "domias": "lower", "domias_tpr": "lower"}
    remedy: ClassVar[str] = (
        "The generator comes nearer to its train rows than to others: fewer steps, a smaller network, or more train rows. "
        "privacy/copies says how far whole rows are the cause."
    )
    # Members come from train cut to B's conditions: of a balanced recipe all of train would be known by its labels.
    against: ClassVar[Against] = "both"
    has_floor: ClassVar[bool] = False
    replicates: ClassVar[int] = 0

    def measure(self, measured: Measured, references: References, *, seed: int) -> Measurement:
        """`seed` draws the rows attacked. SourceError where no column has a distance."""
        train, holdout = references.train.table, references.holdout.table
        space = Space.fit("l1", references.schema.columns, train, holdout, measured.table)
        members, others, population = _roles(space.encode(train), space.encode(holdout), np.random.default_rng(seed))
        released = space.encode(measured.table)
        near, far = (nearest(rows, released, 1).distances[:, 0] for rows in (members, others))
        known, unknown = (nearest(rows, population, 1).distances[:, 0] for rows in (members, others))
        attacks = {
            "": Attack(-near, -far),
            "domias": Attack(_log_ratio(known, near), _log_ratio(unknown, far)),
        }
        scores: dict[str, float] = {}
        intervals: dict[str, Interval] = {}
        for name, attack in attacks.items():
            tpr = f"{name}_tpr".lstrip("_")
            scores |= {name: max(0.5, attack.auc), tpr: attack.tpr(FALSE_ALARMS)}
            intervals |= {name: attack.auc_interval(), tpr: attack.tpr_interval(FALSE_ALARMS)}
        return Measurement(scores, {"roc": _curves(attacks)}, intervals)


@dataclass(frozen=True, slots=True)
class Attack:
    """What an attacker suspects of members and of non-members, and how well that tells them apart; ties count half."""

    members: Suspicion
    others: Suspicion

    @property
    def auc(self) -> float:
        """The chance that a member is suspected more than a non-member: 1 is always."""
        return float(self._beaten().mean())

    def auc_interval(self) -> Interval:
        """DeLong's 95 % interval, of max(.5, AUC)."""
        beaten, beating = self._beaten(), 1 - _share_below(self.others, self.members)
        reach = Z * math.sqrt(beaten.var(ddof=1) / len(beaten) + beating.var(ddof=1) / len(beating))
        return max(0.5, self.auc - reach), min(1.0, max(0.5, self.auc + reach))

    def tpr(self, fpr: float) -> float:
        """The share of members suspected, where `fpr` of the others are; between two thresholds by drawing lots."""
        thresholds = np.unique(np.concatenate([self.members, self.others]))[::-1]
        found, alarms = (
            np.append(0, len(side) - np.searchsorted(np.sort(side), thresholds)) for side in (self.members, self.others)
        )
        return float(np.interp(fpr * len(self.others), alarms, found / len(self.members)))

    def tpr_interval(self, fpr: float) -> Interval:
        """95 %: members vary about the share found, non-members about the threshold; the reaches are added in squares (MOVER)."""
        value = self.tpr(fpr)
        found = wilson(round(value * len(self.members)), len(self.members))
        threshold = wilson(round(fpr * len(self.others)), len(self.others))
        low, high = (math.hypot(value - end, value - self.tpr(at)) for end, at in zip(found, threshold, strict=True))
        return max(0.0, value - low), min(1.0, value + high)

    def _beaten(self) -> NDArray[np.float64]:
        """Of each member the share of non-members who are suspected less; shape (members,)."""
        return _share_below(self.members, self.others)


def _roles(train: Points, holdout: Points, rng: np.random.Generator) -> tuple[Points, Points, Points]:
    """Members, as many non-members, and the rest of the holdout as the population: at least as many again."""
    rows = min(ATTACKED, train.rows, holdout.rows // 2)
    order = rng.permutation(holdout.rows)
    members = rng.permutation(train.rows)[:rows]
    return train.take(members), holdout.take(order[:rows]), holdout.take(order[rows:])


def _log_ratio(population: NDArray[np.float64], released: NDArray[np.float64]) -> Suspicion:
    return np.asarray(np.log((population + BLUR) / (released + BLUR)), dtype=np.float64)


def _share_below(values: Suspicion, others: Suspicion) -> NDArray[np.float64]:
    """Of each value the share of `others` that are smaller; equal ones count half."""
    ordered = np.sort(others)
    below, up_to = (np.searchsorted(ordered, values, side) for side in ("left", "right"))
    return (below + up_to) / (2 * len(others))


def _curves(attacks: Mapping[str, Attack]) -> pa.Table:
    """Both attacks at the same shares of false alarms, without those that fewer than MINIMUM_ALARMS rows would decide."""
    lines = [
        {"attack": name or "distance", "fpr": fpr, "tpr": attack.tpr(fpr)}
        for name, attack in attacks.items()
        for fpr in CURVE
        if fpr * len(attack.others) >= MINIMUM_ALARMS
    ]
    return pa.Table.from_pylist(lines, schema=_CURVES)


_CURVES = pa.schema([("attack", pa.string()), ("fpr", pa.float64()), ("tpr", pa.float64())])
