"""One column of numbers <-> a code and a normal score: integers, doubles, dates and times alike.

A number that many rows share (40 hours a week) is an atom and has a code of its own; so has every number of a column with few of
them. All others share one code, `free`, and are told apart by their normal score: a monotone piecewise linear map through quantiles
of train, so that scores are roughly standard normal. A third part, `rest`, is the distance in the column's own 64 bits from what
code and score decode to: it makes decode(encode(x)) exact to the bit at any size, and is 0 in rows that a generator made.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from synthmill.codecs.cells import Cells, Json, refuse, storage
from synthmill.codecs.quantiles import QuantileMap
from synthmill.columns import Column

FEW = 128  # a column of at most so many numbers, each in 8 rows on average, is atoms only
_ROWS_PER_ATOM = 8
_ATOM_SHARE = 0.02  # elsewhere, what at least 2 % of the rows share is an atom
_DECIMALS = 12
_FEW_LOST = 50  # numbers that may become one another for the sake of another far below them
_LARGEST = 1e300  # beyond, differences overflow

Numbers = NDArray[np.float64 | np.int64]


@dataclass(frozen=True, slots=True)
class NumberColumn:
    """Codes in order: the atoms ascending, `free` where there is one, missing where train has it."""

    column: Column
    atoms: Numbers  # (atoms,), ascending, in the column's own dtype
    lowest: float | int
    highest: float | int
    step: int  # integers: the largest step that meets every number of train; doubles: decimals, -1 for no limit
    quantiles: QuantileMap  # of the numbers that are no atoms, or of all atoms; offsets are distances from `lowest`, for integers in steps
    is_few: bool
    has_missing: bool

    @classmethod
    def fit(cls, column: Column, cells: pa.Array) -> Self:
        """Learn atoms, bounds, precision and the quantile map from train's cells, at least one of them not missing."""
        numbers = _numbers(column, cells)
        distinct, counts = np.unique(numbers, return_counts=True)
        is_few = len(distinct) == 1 or len(distinct) <= min(FEW, len(numbers) // _ROWS_PER_ATOM)
        common = counts >= max(_ATOM_SHARE * len(cells), _ROWS_PER_ATOM)
        lowest, highest = distinct[0].item(), distinct[-1].item()
        step = _step(distinct) if numbers.dtype == np.int64 else _decimals(distinct)
        _refuse_far_out(column, distinct, lowest, is_few)
        mapped = np.ones(len(distinct), dtype=bool) if is_few else ~common
        unit = 1.0 if numbers.dtype == np.int64 else 10.0**-step if step >= 0 else 0.0
        offsets = _offsets(distinct[mapped], lowest, step)
        quantiles = QuantileMap.fit(offsets, counts[mapped], unit, is_exact=is_few)
        atoms = distinct if is_few else distinct[common]
        return cls(column, atoms, lowest, highest, step, quantiles, is_few, cells.null_count > 0)

    @property
    def free(self) -> int | None:
        """The code of the numbers that are no atoms; None where train has no such number."""
        return None if self.is_few else len(self.atoms)

    @property
    def missing(self) -> int | None:
        """The code of missing cells, the last one; None where train has none."""
        return self.size - 1 if self.has_missing else None

    @property
    def size(self) -> int:
        """How many codes there are."""
        return len(self.atoms) + (not self.is_few) + self.has_missing

    @property
    def scores_of_codes(self) -> tuple[float, ...]:
        """The normal scores of the atoms, then 0 for free and missing."""
        atoms = self.quantiles.to_scores(_offsets(self.atoms, self.lowest, self.step))
        return (*atoms.tolist(), *[0.0] * (self.size - len(self.atoms)))

    @property
    def flats(self) -> tuple[tuple[float, float], ...]:
        """The scores of each number that many rows share and that is no atom."""
        return () if self.is_few else self.quantiles.flats

    def encode(self, cells: pa.Array) -> Cells:
        """Any number is taken: one that train does not have becomes the nearest in code and score, and a rest."""
        present = np.asarray(pc.is_valid(cells))
        if not present.all() and not self.has_missing:
            refuse(self.column, int((~present).sum()), "missing values, and train has none")
        numbers = _numbers(self.column, cells)
        encoded = Cells.empty(len(cells))
        encoded.codes[~present] = self.size - 1
        encoded.codes[present] = self._codes(numbers)
        # The map is flat beyond train's bounds; what it loses there is in the rest.
        encoded.values[present] = self.quantiles.to_scores(_offsets(numbers, self.lowest, self.step))
        near = self._numbers_of(encoded.codes[present], encoded.values[present])
        encoded.rest[present] = numbers.view(np.int64) - near.view(np.int64)  # wraps, and wraps back
        return encoded

    def settle(self, cells: Cells) -> Cells:
        """The cells as they would be encoded after they were decoded: a free score becomes that of the number it stands for."""
        numbers = self._numbers_of(cells.codes, cells.values)
        scores = self.quantiles.to_scores(_offsets(numbers, self.lowest, self.step))
        return Cells(cells.codes, np.where(cells.codes == self.free, scores, 0.0), cells.rest)

    def decode(self, cells: Cells) -> pa.Array:
        """Numbers on train's grid and between its bounds, moved by `rest`."""
        missing = cells.codes == (-1 if self.missing is None else self.missing)
        near = self._numbers_of(np.where(missing, 0, cells.codes), cells.values)
        numbers = (near.view(np.int64) + cells.rest).view(near.dtype)
        made = pa.array(numbers, mask=missing)
        if self.column.dtype == "date32":
            made = made.cast(pa.int32())
        return made.cast(self.column.arrow)

    def _codes(self, numbers: Numbers) -> NDArray[np.int64]:
        """The atom's code for atoms; for others `free`, or the nearest atom's where train has atoms only."""
        if not len(self.atoms):
            return np.zeros(len(numbers), dtype=np.int64)
        above = np.searchsorted(self.atoms, numbers).clip(1, max(len(self.atoms) - 1, 1))
        low, high = self.atoms[above - 1], self.atoms[above.clip(max=len(self.atoms) - 1)]
        nearest = above - (_distance(low, numbers) <= _distance(high, numbers))
        if self.is_few:
            return nearest
        return np.where(self.atoms[nearest] == numbers, nearest, len(self.atoms))

    def _numbers_of(self, codes: NDArray[np.int64], values: NDArray[np.float64]) -> Numbers:
        offset = self.quantiles.to_offsets(values)
        numbers = self._on_grid(offset)
        is_atom = codes < len(self.atoms)
        numbers[is_atom] = self.atoms[codes[is_atom]]
        return numbers

    def _on_grid(self, offset: NDArray[np.float64]) -> Numbers:
        if isinstance(self.lowest, int):
            most = (int(self.highest) - self.lowest) // self.step
            bound = float(most) if int(float(most)) <= most else np.nextafter(float(most), 0)  # float rounds up
            steps = np.rint(offset).clip(0, bound)
            return (np.uint64(self.lowest % 2**64) + steps.astype(np.uint64) * np.uint64(self.step)).view(np.int64)
        numbers = self.lowest + offset
        rounded = np.round(numbers, self.step) if self.step >= 0 else numbers
        return rounded.clip(self.lowest, self.highest)

    def to_json(self) -> tuple[Json, dict[str, NDArray[np.generic]]]:
        """Scalars for JSON and arrays for safetensors."""
        scalars: Json = {
            "lowest": self.lowest,
            "highest": self.highest,
            "step": self.step,
            "is_few": self.is_few,
            "has_missing": self.has_missing,
        }
        return scalars, {"atoms": self.atoms, "offsets": self.quantiles.offsets, "scores": self.quantiles.scores}

    @classmethod
    def from_json(cls, column: Column, scalars: Json, arrays: dict[str, NDArray[np.generic]]) -> Self:
        """What `to_json` gave."""
        quantiles = QuantileMap(arrays["offsets"].astype(np.float64), arrays["scores"].astype(np.float64))
        return cls(column=column, atoms=arrays["atoms"], quantiles=quantiles, **scalars)  # type: ignore[arg-type]


def _numbers(column: Column, cells: pa.Array) -> Numbers:
    """The cells that are not missing, as int64 or float64."""
    numbers: Numbers = storage(column, cells.drop_null()).to_numpy(zero_copy_only=False)
    if numbers.dtype == np.float64 and (beyond := int((np.abs(numbers) > _LARGEST).sum())):
        refuse(column, beyond, "numbers that are infinite or beyond 1e300")
    return numbers


def _step(distinct: Numbers) -> int:
    """The greatest common divisor of an integer column's distances: 5 for ages in steps of five, a day for whole days."""
    if len(distinct) == 1:
        return 1
    return int(np.gcd.reduce(np.diff(distinct.view(np.uint64))))


def _decimals(distinct: Numbers) -> int:
    """How many decimals every number of train gets by with; -1 where doubles that large or fine hold no decimals."""
    largest = np.abs(distinct).max()
    fitting = (
        decimals
        for decimals in range(_DECIMALS + 1)
        if largest < 2**53 / 10**decimals and np.array_equal(np.round(distinct, decimals), distinct)
    )
    return next(fitting, -1)


def _refuse_far_out(column: Column, distinct: Numbers, lowest: float | int, is_few: bool) -> None:
    """Beside a double that is too far below the others, such as a fill value of -1e36, these have no digits left."""
    if distinct.dtype == np.int64 or is_few:
        return
    lost = len(distinct) - len(np.unique(lowest + (distinct - lowest)))
    if lost > max(_FEW_LOST, len(distinct) // 2):
        refuse(column, lost, f"a number so far below the others that {lost} of these cannot be told apart")


def _offsets(numbers: Numbers, lowest: float | int, step: int) -> NDArray[np.float64]:
    """Distance from the lowest number of train, for integers in steps; at most 0 below it."""
    if numbers.dtype == np.float64:
        return np.asarray(numbers - lowest, dtype=np.float64)
    distance = numbers.view(np.uint64) - np.uint64(int(lowest) % 2**64)  # int64 could overflow
    return np.where(numbers < lowest, 0.0, distance.astype(np.float64) / step)


def _distance(low: Numbers, high: Numbers) -> NDArray[np.float64]:
    return np.asarray(np.abs(high.astype(np.float64) - low.astype(np.float64)))
