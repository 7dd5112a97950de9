"""Round edges for the amounts of a column, and how a person would write them. Only synthetic values choose them."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from synthmill.features import within_calendar

BINS = 24  # about as many as a small chart can show
_TAIL = 0.005  # share of synthetic values that an end of the axis may leave outside
_LONG_TAIL = 1.5  # the whole range, over the range without tails, from which the tails are left outside
_SPIKE = 0.1  # share of synthetic values from which a single value has a bin of its own
_SPIKES = 3
_FARTHEST = 8e307  # so that a range of doubles is a double
_UNITS = (  # (how many, of what numpy calls the unit)
    *((n, "s") for n in (1, 5, 15, 30)),
    *((n, "m") for n in (1, 5, 15, 30)),
    *((n, "h") for n in (1, 3, 6, 12)),
    *((1, "D"), (7, "D"), (1, "M"), (3, "M")),
    *((n, "Y") for n in (1, 2, 5, 10, 20, 50, 100, 500)),
)
_SECONDS = {"s": 1, "m": 60, "h": 3_600, "D": 86_400, "M": 2_629_746, "Y": 31_556_952}

Amounts = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Axis:
    """Half-open bins between `edges` (bins + 1,), and single values that have bins of their own.

    `starts` writes the lower edge of each bin and the upper edge of the last, `names` the whole bin, `spike_names` the single values.
    """

    edges: Amounts
    starts: tuple[str, ...]
    names: tuple[str, ...]
    spikes: Amounts
    spike_names: tuple[str, ...]


def few_values(values: Amounts, dtype: pa.DataType) -> Amounts:
    """All distinct synthetic values where they are few, recur, and lie on no grid of whole numbers that has room; else none."""
    distinct = np.unique(values)
    is_grid = bool((distinct == np.round(distinct)).all()) and distinct[-1] - distinct[0] < 2 * BINS
    is_few = len(distinct) <= min(BINS, len(values) / 4)
    return np.empty(0) if is_grid or not is_few or pa.types.is_temporal(dtype) else distinct


def make_axis(values: Amounts, dtype: pa.DataType) -> Axis:
    """The axis for these known synthetic values, at least one; dates in days, times in microseconds, as `features.amounts` reads them."""
    low, high = _reach(values)
    if pa.types.is_temporal(dtype):
        return _calendar_axis(low, high, dtype)
    is_whole = bool((values == np.round(values)).all())
    step = _round_step(high - low or abs(low) or 1.0, is_whole)
    first, last = np.floor(low / step), np.floor(high / step) + 1
    edges = np.arange(first, last + 1) * step
    written = _written(edges, step)
    spikes = np.empty(0) if is_whole and step == 1 else _spikes(values)
    return Axis(
        edges, written, _whole_names(edges, step) if is_whole else _names(written), spikes, written_alone(spikes)
    )


def _reach(values: Amounts) -> tuple[float, float]:
    """The range to show: all of it, unless a long tail would leave the rest no room."""
    low, high = np.clip([values.min(), values.max()], -_FARTHEST, _FARTHEST).tolist()
    inner_low, inner_high = np.quantile(values, [_TAIL, 1 - _TAIL])
    if high - low <= _LONG_TAIL * (inner_high - inner_low) or inner_low == inner_high:
        return low, high
    return float(inner_low), float(inner_high)


def _round_step(width: float, is_whole: bool) -> float:
    """1, 2 or 5 times a power of ten, whichever comes nearest to BINS bins."""
    raw = width / BINS
    power = float(10.0 ** np.floor(np.log10(raw)))
    step = min((n * power for n in (1, 2, 5, 10)), key=lambda step: abs(np.log(step / raw)))
    return max(step, 1.0) if is_whole else step


def _spikes(values: Amounts) -> Amounts:
    """Values that many rows share, as the 0 of an amount that is mostly absent."""
    distinct, counts = np.unique(values, return_counts=True)
    commonest = np.argsort(-counts, kind="stable")[:_SPIKES]
    chosen: Amounts = np.sort(distinct[commonest[counts[commonest] >= _SPIKE * len(values)]])
    return chosen


def _written(edges: Amounts, step: float) -> tuple[str, ...]:
    power = int(np.floor(np.log10(step)))
    if not -6 <= power <= 9:
        digits = int(max(0, np.floor(np.log10(np.abs(edges).max() or 1)) - power))
        return tuple(f"{edge:.{digits}e}" for edge in edges)
    return tuple(f"{edge + 0.0:,.{max(0, -power)}f}" for edge in edges)


def _names(written: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(f"{low} to {high}" for low, high in pairwise(written))


def _whole_names(edges: Amounts, step: float) -> tuple[str, ...]:
    """Whole numbers are named with both ends: 20 to 24; one alone as itself."""
    firsts, lasts = _written(edges[:-1], step), _written(edges[1:] - 1, 1.0)
    return tuple(low if step == 1 else f"{low} to {high}" for low, high in zip(firsts, lasts, strict=True))


def written_alone(values: Amounts) -> tuple[str, ...]:
    """Values that have bins of their own."""
    return tuple(f"{value:,.10g}" for value in values)


def _calendar_axis(low: float, high: float, dtype: pa.DataType) -> Axis:
    """Bins that begin with a day, a month, an hour: the smallest unit of the calendar that needs no more than BINS of them.

    The years 1 to 9999 at most: what lies outside is counted as below or above.
    """
    is_date = dtype.bit_width == 32
    ends = within_calendar(np.array([low, high]), dtype).astype(np.int64)
    ends = ends.astype("datetime64[D]" if is_date else "datetime64[us]")
    width_s = float((ends[1] - ends[0]) / np.timedelta64(1, "s"))
    units = [(n, unit) for n, unit in _UNITS if not is_date or _SECONDS[unit] >= _SECONDS["D"]]
    count, unit = next((u for u in units if width_s <= BINS * u[0] * _SECONDS[u[1]]), units[-1])
    first, last = ends.astype(f"datetime64[{unit}]").astype(np.int64) // count
    starts = (np.arange(first, last + 2) * count).astype(f"datetime64[{unit}]")
    starts = np.maximum(starts, np.datetime64("0001", "Y").astype(starts.dtype))  # five hundred years may begin before
    edges = starts.astype("datetime64[D]" if is_date else "datetime64[us]").astype(np.int64).astype(np.float64)
    text = [str(start).replace("T", " ") + ":00" * (unit == "h") for start in starts]
    written = tuple(t[11:] if pa.types.is_time(dtype) else t for t in text)
    names = written[:-1] if count == 1 else _names(written)
    return Axis(edges, written, names, np.empty(0), ())
