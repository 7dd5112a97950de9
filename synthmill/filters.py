"""What turns a candidate down, as far as its row alone tells: conditions, rules, and copies of train."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from synthmill.columns import Schema
from synthmill.conditions import Condition, meeting
from synthmill.rows import row_hashes
from synthmill.rules import Rules

CONDITION_REASON = "condition not met"
_COPY_REASON = "copy of a train row"


@dataclass(frozen=True, slots=True)
class Judged:
    """What is known of each row, all (rows,): why it is rejected or None, whether it copies a train row, and its hash."""

    reject: NDArray[np.object_]
    copy: NDArray[np.bool_]
    hashes: pa.Array  # fixed_size_binary(16)


class Filters:
    """The filters of one job. Holds a database connection: not shared between threads."""

    def __init__(
        self,
        rules: Sequence[str],
        schema: Schema,
        train_hashes: pa.Array,
        *,
        reject_copies: bool,
        context: Sequence[str] = (),
    ) -> None:
        """`context`: the columns that a child has from its parent, which tell no copies."""
        self._rules, self._schema, self._context = Rules(rules, schema), schema, context
        self._train_hashes, self._reject_copies = train_hashes, reject_copies

    def judge(self, table: pa.Table, where: Mapping[str, Condition]) -> Judged:
        """Each row takes the first reason of: its conditions, the rules in their order, a copy."""
        reject = np.full(table.num_rows, None, dtype=object)
        columns = {name: self._schema[name] for name in where}
        reject[~meeting(table, where, columns).to_numpy()] = CONDITION_REASON
        for number, broken in enumerate(self._rules.broken(table)):
            reject[broken.to_numpy() & (reject == None)] = f"rule {number}"  # noqa: E711 - elementwise
        hashes = hashes_of(table, self._schema, self._context)
        copy = pc.is_in(hashes, value_set=self._train_hashes).to_numpy(zero_copy_only=False)
        if self._reject_copies:
            reject[copy & (reject == None)] = _COPY_REASON  # noqa: E711
        return Judged(reject, copy, hashes)


def hashes_of(table: pa.Table, schema: Schema, context: Sequence[str] = ()) -> pa.Array:
    """128-bit hashes of rows by the columns that tell copies; fixed-size binary."""
    compared = [name for name in schema.compared if name not in context]
    hashes = np.ascontiguousarray(row_hashes(table, compared))  # (rows, 2)
    return pa.FixedSizeBinaryArray.from_buffers(pa.binary(16), len(hashes), [None, pa.py_buffer(hashes)])
