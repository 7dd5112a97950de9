"""What the evaluators of validity share: rows are checked one by one, and a score is the share that breaks no check."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from synthmill.evaluator import Measurement
from synthmill.shares import wilson

Broken = NDArray[np.bool_]  # (rows,), True where a row breaks the check

MOST_LINES = 200  # of a table: a report of every pair among 200 columns would be read by nobody


def sound_share(broken: Sequence[Broken], rows: int, details: pa.Table, *, name: str, without: str) -> Measurement:
    """The share of `rows` that break none of the checks, with Wilson's interval; NaN where there is no row or, says `without`, no check.

    `details` has a line for each check, in the order of `broken`. It is released as the table `name`, the most often broken checks first,
    with the rows that break each as a count and as a share.
    """
    counts = np.array([int(mask.sum()) for mask in broken], dtype=np.int64)
    table = details.append_column("broken", pa.array(counts)).append_column("share", pa.array(counts / max(rows, 1)))
    tables = {name: table.take(pa.array(np.argsort(-counts, kind="stable")[:MOST_LINES]))}
    if not broken or not rows:
        return Measurement({"": math.nan}, tables, undefined=without if rows else "there are no rows")
    sound = rows - int(np.logical_or.reduce(broken).sum())
    return Measurement({"": sound / rows}, tables, {"": wilson(sound, rows)})


def as_mask(values: pa.ChunkedArray | pa.Array) -> Broken:
    """Arrow's booleans as (rows,); what is unknown breaks nothing."""
    return np.asarray(values.fill_null(False).to_numpy(zero_copy_only=False), dtype=np.bool_)
