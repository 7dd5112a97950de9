"""Does it give away a secret cell of the rows it was trained on, more than of rows it never saw?"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from synthmill.columns import Modality
from synthmill.errors import SourceError
from synthmill.evaluator import Against, Direction, Evaluator, Interval, Measured, Measurement, References
from synthmill.features import encode_jointly, measurable
from synthmill.shares import newcombe

ATTACKED = 4_000  # train rows, and as many unseen ones
SECRETS = 12  # columns; of more a seed draws so many
TOLERANCE = 0.05  # of train's spread: an amount guessed so well is known
Z = 1.959963984540054  # of a 95 % interval

# Differences of cells are whole numbers of STEPS, so that taking a column out of a sum again is exact. In 32 bits that leaves room for
# 65,535 labels a column, and for amounts up to _FARTHEST spans off; what lies further is brought there.
STEPS = 1 << 15
_FARTHEST = 1 << 14
_QUERIES = 4  # attacked rows at a time: the differences of a dozen columns then fit into a core's cache

Rows = NDArray[np.float32]  # (rows, columns): amounts and codes of labels, NaN where missing
Coordinates = NDArray[np.int32]  # (columns, rows)
Right = NDArray[np.bool_]  # (rows attacked, secrets)


class Attributes(Evaluator):
    """Attribute inference: how much oftener an attacker guesses a secret cell of a train row than of an unseen row: 0 is no oftener.

    The attacker knows all other cells of a row and takes the secret from the measured row that is nearest in them (the distance of
    Gower, 1971, with amounts over train's spread, between its quantiles of 2.5 and 97.5 %, in place of its range; of equally near rows
    any). Guessed is a label that is right, or an amount that is off by at most 5 % of that spread; missing is a value. Each
    column is the secret in turn, at most 12, drawn by the seed. The advantage of a column is the share guessed of train rows
    minus the share guessed of rows of holdout B (Yeom, Giacomelli, Fredrikson and Jha, "Privacy risk in machine learning", CSF 2018).
    Nearest neighbours and such a control are also Anonymeter's (Giomi, Boenisch, Wehmeyer and Tasnadi, PETS 2023), which divides by what
    is not guessed of it. What is guessed of unseen rows as well is knowledge about the population, which is what the data is made for.

    The headline is the mean over columns, `largest` the largest of them; -1 to 1, and near 1 only where nothing is guessed of unseen
    rows. It misleads where a column follows from the others: it is guessed of all rows, and no memory can show. Of real
    unseen rows the mean is 0, the largest is the luckiest of a dozen: compare it with the ceiling. The intervals hold for these measured
    rows and other real ones, in closed form; that of the largest is Newcombe's (1998) for all columns at once (Bonferroni). The table
    `columns` holds both shares and the advantage of each.
    """

    modality: ClassVar[Modality] = "table"
    version: ClassVar[int] = 1
    scores: ClassVar[Mapping[str, Direction]] = {"": "lower", "largest": "lower"}
    remedy: ClassVar[str] = (
        "The generator repeats train rows, cell by cell: fewer steps, a smaller network, or more train rows. A column that must stay "
        "secret and that nobody needs is best left out of the source."
    )
    against: ClassVar[Against] = "both"
    has_floor: ClassVar[bool] = False
    replicates: ClassVar[int] = 0

    def measure(self, measured: Measured, references: References, *, seed: int) -> Measurement:
        """`seed` draws rows and secrets, and breaks ties. SourceError where there are not two columns."""
        columns = measurable(references.schema.columns)
        if len(columns) < 2:
            hint = "leave privacy/attributes out of the recipe"
            raise SourceError(
                "an attacker needs a column to know and one to guess; ids, text and images are neither", hint=hint
            )
        rng = np.random.default_rng(seed)
        secrets = np.sort(rng.permutation(len(columns))[:SECRETS])
        tables = (measured.table, references.train.table, references.holdout.table)
        encoded = encode_jointly(tables, columns)
        released, train, unseen = (rows[rng.permutation(len(rows))] for rows in encoded.rows)
        attacker = Attacker.of(released, train, encoded.kinds, secrets)
        attacked = min(ATTACKED, len(train), len(unseen))
        known, control = attacker.right(train[:attacked]), attacker.right(unseen[:attacked])
        return _measurement(known, control, [columns[secret].name for secret in secrets])


@dataclass(frozen=True, slots=True)
class Attacker:
    """Holds the `released` rows, and takes the secret of a real row from the one that is nearest in all other columns.

    `low` and `span` are train's, one of each column, and so is `tolerance`; labels have a span of 1 and a tolerance of 0.
    """

    released: Rows
    kinds: tuple[str, ...]
    secrets: NDArray[np.int64]  # numbers of columns
    low: NDArray[np.float64]
    span: NDArray[np.float64]
    tolerance: NDArray[np.float64]

    @classmethod
    def of(cls, released: Rows, train: Rows, kinds: tuple[str, ...], secrets: NDArray[np.int64]) -> Attacker:
        """Ranges and tolerances are train's; `kinds` are those of `features.Encoded`."""
        scales = [_scale(train[:, number], kind) for number, kind in enumerate(kinds)]
        low, span, tolerance = np.array(scales, dtype=np.float64).T
        return cls(released, kinds, secrets, low, span, tolerance)

    def right(self, rows: Rows) -> Right:
        """Which secrets of which rows are guessed; a missing cell is guessed as missing."""
        found = nearest_without(self._coordinates(rows), self._coordinates(self.released), self.secrets)
        guess, truth = self.released[found, self.secrets].astype(np.float64), rows[:, self.secrets].astype(np.float64)
        is_close = np.abs(guess - truth) <= self.tolerance[self.secrets]
        return np.asarray(is_close | (np.isnan(guess) & np.isnan(truth)), dtype=np.bool_)

    def _coordinates(self, rows: Rows) -> Coordinates:
        """Whole numbers that differ by STEPS or more where two cells have nothing in common: all labels, amounts a span apart."""
        is_label = np.array([kind == "c" for kind in self.kinds])
        scaled = np.clip((rows - self.low) / self.span, -_FARTHEST, np.where(is_label, np.inf, _FARTHEST))
        scaled = np.where(np.isnan(scaled), np.where(is_label, -1, -2 * _FARTHEST), scaled)
        return np.ascontiguousarray(np.rint(STEPS * scaled).astype(np.int32).T)


def nearest_without(queries: Coordinates, points: Coordinates, secrets: NDArray[np.int64]) -> NDArray[np.int64]:
    """The point nearest to each query in all columns but one, for each of the `secrets` in turn; shape (queries, secrets).

    Exact, and of equally near points the first. All differences are added up once, and those of one column taken out again.
    """
    nearest = np.empty((queries.shape[1], len(secrets)), dtype=np.int64)
    slots = {int(secret): slot for slot, secret in enumerate(secrets)}
    for top in range(0, queries.shape[1], _QUERIES):
        block = queries[:, top : top + _QUERIES, None]  # (columns, queries, 1)
        shape = (block.shape[1], points.shape[1])
        total, spare = np.zeros(shape, np.int32), np.empty(shape, np.int32)
        parts = np.empty((len(secrets), *shape), np.int32)
        for column, (query, point) in enumerate(zip(block, points, strict=True)):
            part = parts[slots[column]] if column in slots else spare
            np.subtract(query, point, out=part)
            np.abs(part, out=part)
            np.minimum(part, STEPS, out=part)
            np.add(total, part, out=total)
        for slot, part in enumerate(parts):
            nearest[top : top + _QUERIES, slot] = np.subtract(total, part, out=spare).argmin(axis=1)
    return nearest


def _scale(values: NDArray[np.float32], kind: str) -> tuple[float, float, float]:
    """Low end, span and tolerance of a train column; one that hardly varies spans its range, and a constant next to nothing."""
    known = values[np.isfinite(values)].astype(np.float64)
    if kind == "c" or not len(known):
        return 0.0, 1.0, 0.0
    low, high = (float(end) for end in np.quantile(known, [0.025, 0.975]))
    span = high - low or float(np.ptp(known)) or float(np.finfo(np.float32).tiny)
    return low, span, TOLERANCE * (high - low)


def _measurement(known: Right, control: Right, names: Sequence[str]) -> Measurement:
    """Scores, intervals and the table of the secrets called `names`."""
    shares, control_shares = known.mean(axis=0), control.mean(axis=0)
    advantages = shares - control_shares
    details = {"column": names, "train": shares, "unseen": control_shares, "advantage": advantages}
    return Measurement(
        {"": float(advantages.mean()), "largest": float(advantages.max())},
        {"columns": pa.table(details)},
        {"": _interval_of_mean(known, control), "largest": _interval_of_largest(known, control)},
    )


def _interval_of_mean(known: Right, control: Right) -> Interval:
    """Rows are drawn, columns are given: the spread is that of the share guessed of a row, over rows."""
    shares, control_shares = known.mean(axis=1), control.mean(axis=1)
    reach = Z * math.sqrt(shares.var(ddof=1) / len(shares) + control_shares.var(ddof=1) / len(control_shares))
    advantage = float(shares.mean() - control_shares.mean())
    return advantage - reach, advantage + reach


def _interval_of_largest(known: Right, control: Right) -> Interval:
    """Where all columns' intervals hold at once, the largest advantage lies between the largest of their ends."""
    confidence = 1 - 0.05 / known.shape[1]
    counts = zip(known.sum(axis=0), control.sum(axis=0), strict=True)
    intervals = [newcombe(int(n), len(known), int(m), len(control), confidence=confidence) for n, m in counts]
    lows, highs = zip(*intervals, strict=True)
    return max(lows), max(highs)
