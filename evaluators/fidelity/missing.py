"""Are cells missing where they are missing in the real rows?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from evaluators.fidelity._pairs import Coded, code_columns, rounded, total_variation
from synthmill.columns import Column, Modality, Schema
from synthmill.evaluator import Direction, Evaluator, Measured, Measurement, References
from synthmill.features import measurable

RARE_ROWS = 5
SHOWN_PATTERNS = 20
SHOWN_NAMES = 5

Flags = NDArray[np.float32]  # (rows, columns with missing cells): 1 where the cell is missing
Sides = tuple[Flags, Flags]  # synthetic, real
Matrix = NDArray[np.float64]


class Missing(Evaluator):
    """1 - TVD of the rows' missing patterns (which of a row's columns are missing): 1 is the same shares, 0 is no pattern in common.

    `columns` is the mean of 1 - |share - share'| over the columns with missing cells on either side (MissingValueSimilarity of
    SDMetrics); columns sampled on their own keep it, and lose the patterns. `dependence` is the mean of 1 - |V - V'| over each of those
    columns beside each other column: Cramér's V (1946) between being missing and the other's value, amounts in the deciles of both tables
    together. It asks whether another column says where cells are missing ("Inference and missing data", Rubin, Biometrika 1976).
    All three are 1 where no cell is missing on either side.

    Patterns of fewer than five rows of both tables together count by how many columns are missing: with many columns, each missing apart
    from the others, the headline sees no more than that. Where few cells are missing all three come close to 1 whatever the
    generator does: read the normalised value.
    """

    modality: ClassVar[Modality] = "table"
    version: ClassVar[int] = 1
    scores: ClassVar[Mapping[str, Direction]] = {"": "higher", "columns": "higher", "dependence": "higher"}
    floorless: ClassVar[tuple[str, ...]] = ("columns",)  # the control keeps each share
    remedy: ClassVar[str] = (
        "Look at the shares by column: a column that is never missing on the synthetic side was filled by the generator. Where the "
        "shares hold and the patterns do not, take a generator that models missing cells jointly with the other columns."
    )

    def measure(self, measured: Measured, references: References, *, seed: int) -> Measurement:
        """Exact; `seed` is not used.

        Tables: `columns` (column, synthetic, real: the shares of missing cells, value) and `patterns` (pattern, synthetic, real: the 20
        commonest, and the others as one). A share that fewer than five rows make is shown as 0.
        """
        tables = (measured.table, references.holdout.table)
        columns = [c for c in references.schema if any(_is_missing(table[c.name]).any() for table in tables)]
        sides = (_flags(tables[0], columns), _flags(tables[1], columns))
        patterns, counts = _patterns(sides)
        scores = {"": 1 - total_variation(_pooled(patterns, counts)), "columns": 1.0, "dependence": 1.0}
        if columns:
            synthetic, real = (side.mean(axis=0, dtype=np.float64) for side in sides)
            scores["columns"] = 1 - float(np.abs(synthetic - real).mean())
            scores["dependence"] = _dependence_similarity(tables, references.schema, columns, sides)
        names = [column.name for column in columns]
        return Measurement(
            scores, {"columns": _column_shares(names, sides), "patterns": _pattern_shares(names, patterns, counts)}
        )


def missing_dependence(
    positions: Sequence[NDArray[np.intp]], codes: NDArray[np.intp], codes_of_column: int
) -> NDArray[np.float64]:
    """Cramér's V between being missing and a column's code; 0 where all cells or none are missing.

    `positions` are the rows in which each of the columns is missing, `codes` (rows,) those of the other column.
    """
    missing = np.stack([np.bincount(codes[p], minlength=codes_of_column) for p in positions], axis=1).astype(np.float64)
    rows = np.bincount(codes, minlength=codes_of_column).astype(np.float64)[:, None]
    share = missing.sum(axis=0) / len(codes)
    variance = rows * share * (1 - share)  # of `missing`, were it independent of the code
    squares = np.divide((missing - rows * share) ** 2, variance, out=np.zeros_like(missing), where=variance > 0)
    return np.asarray(np.sqrt(np.minimum(squares.sum(axis=0) / len(codes), 1)))


def _is_missing(cells: pa.ChunkedArray) -> NDArray[np.bool_]:
    return np.asarray(pc.is_null(cells, nan_is_null=True).to_numpy(), dtype=np.bool_)


def _flags(table: pa.Table, columns: Sequence[Column]) -> Flags:
    flags = np.zeros((table.num_rows, len(columns)), np.float32)
    for i, column in enumerate(columns):
        flags[:, i] = _is_missing(table[column.name])
    return flags


def _patterns(sides: Sides) -> tuple[NDArray[np.bool_], NDArray[np.intp]]:
    """Each missing pattern, (patterns, columns), and how many rows of each side have it, (2, patterns)."""
    flags = np.concatenate(sides) > 0
    if not flags.shape[1]:
        return np.zeros((1, 0), np.bool_), np.array([[len(side)] for side in sides])
    packed, pattern = np.unique(np.packbits(flags, axis=1), axis=0, return_inverse=True)
    counts = [np.bincount(part, minlength=len(packed)) for part in np.split(pattern, [len(sides[0])])]
    return np.unpackbits(packed, axis=1, count=flags.shape[1]).astype(np.bool_), np.stack(counts)


def _pooled(patterns: NDArray[np.bool_], counts: NDArray[np.intp]) -> NDArray[np.intp]:
    """The counts, with those of rare patterns added up by how many columns are missing."""
    is_rare = counts.sum(axis=0) < RARE_ROWS
    missing = patterns[is_rare].sum(axis=1)
    pooled = [np.bincount(missing, side[is_rare], minlength=patterns.shape[1] + 1).astype(np.intp) for side in counts]
    return np.concatenate([counts[:, ~is_rare], pooled], axis=1)


def _dependence_similarity(
    tables: tuple[pa.Table, pa.Table], schema: Schema, columns: Sequence[Column], sides: Sides
) -> float:
    """The mean over each of `columns`, which have missing cells, beside each other column; 1 where there is no other."""
    others = measurable(schema.columns)
    is_other = np.array([[column.name != other.name for column in columns] for other in others], dtype=np.bool_)
    if not is_other.any():
        return 1.0
    coded = code_columns(*tables, others)
    synthetic, real = (_dependences(flags, coded, side) for side, flags in enumerate(sides))
    return 1 - float(np.abs(synthetic - real)[is_other].mean())


def _dependences(flags: Flags, coded: Coded, side: int) -> Matrix:
    """V of one side, shape (other columns, columns with missing cells)."""
    own = coded.side == side
    positions = [np.flatnonzero(column) for column in flags.T]  # once: with many columns they cost more than the counts
    return np.stack(
        [missing_dependence(positions, codes[own], size) for codes, size in zip(coded.codes, coded.sizes, strict=True)]
    )


def _column_shares(names: Sequence[str], sides: Sides) -> pa.Table:
    synthetic, real = (_shares(side.sum(axis=0, dtype=np.intp), len(side)) for side in sides)
    value = 1 - np.abs(synthetic - real)
    return pa.table({"column": pa.array(names, pa.string()), "synthetic": synthetic, "real": real, "value": value})


def _pattern_shares(names: Sequence[str], patterns: NDArray[np.bool_], counts: NDArray[np.intp]) -> pa.Table:
    common = np.argsort(-counts.sum(axis=0), kind="stable")[:SHOWN_PATTERNS]
    common = common[counts[:, common].sum(axis=0) >= RARE_ROWS]
    words = [_in_words([names[i] for i in np.flatnonzero(pattern).tolist()]) for pattern in patterns[common]]
    others = counts.sum(axis=1) - counts[:, common].sum(axis=1)
    synthetic, real = (_shares(np.append(counts[side, common], others[side]), counts[side].sum()) for side in (0, 1))
    return pa.table({"pattern": [*words, "others"], "synthetic": synthetic, "real": real})


def _shares(counts: NDArray[np.intp], rows: int) -> NDArray[np.float64]:
    """Counts as shares of all rows, those of under five rows as 0."""
    return rounded(np.where(counts < RARE_ROWS, 0, counts) / rows)


def _in_words(names: Sequence[str]) -> str:
    more = len(names) - SHOWN_NAMES
    return ", ".join(names[:SHOWN_NAMES]) + (f" and {more} more" if more > 0 else "") or "nothing missing"
