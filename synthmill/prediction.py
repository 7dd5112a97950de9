"""The target of a schema predicted from its other columns: what utility and fairness ask of a table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from synthmill.columns import Column, Schema
from synthmill.errors import SourceError
from synthmill.features import amounts, encode_jointly, measurable
from synthmill.ranges import apart
from synthmill.trees import Rows, Settings, fit_trees, shares_of

LABELS = Settings(objective="binary:logistic", rounds=150, max_depth=4, eta=0.05)
# Few rows and an amount with outliers make R2 fall far below 0 (-6 was seen); damped leaves cost nothing where there is a signal.
AMOUNTS = Settings("reg:squarederror", rounds=150, max_depth=4, eta=0.05, min_child_weight=10, reg_lambda=10)
MOST_LABELS = 200  # a tree for each and round, and a chance for each and row


@dataclass(frozen=True, slots=True)
class Prediction:
    """Of the last table's target: `values` are amounts (rows,) or chances (rows, labels); `gains` (columns,) shares, or all 0."""

    values: NDArray[np.float64]
    gains: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Task:
    """Tables encoded jointly: to learn from all but the last, and to be tested on the last.

    `answers[t]` (rows,) is the target of table t: an amount, or the code of a label in `labels`, which are those of all tables, sorted;
    of more than 200 the commonest of the last table, and after them one for all others.
    """

    target: Column
    columns: tuple[str, ...]
    kinds: tuple[str, ...]
    labels: tuple[object, ...]
    rows: tuple[Rows, ...]
    answers: tuple[NDArray[np.float64], ...]

    @classmethod
    def pose(cls, tables: Sequence[pa.Table], schema: Schema, *, key: str) -> Self:
        """`tables` come from `with_known_target`. SourceError where no column is left to predict from; `key` is who asks."""
        target = target_of(schema)
        columns = [column for column in measurable(schema.columns) if column.name != target.name]
        if not columns:
            raise SourceError(
                f"there is no column to predict {target.name} from", hint=f"leave {key} out of the recipe"
            )
        encoded = encode_jointly(tables, columns)
        sides = [table[target.name] for table in tables]
        labels: tuple[object, ...] = ()
        if target.is_discrete:
            known = _labels(sides)
            values = pa.array(known, sides[0].type)
            found = [pc.fill_null(pc.index_in(side, value_set=values), len(known)) for side in sides]
            answers = [codes.to_numpy().astype(np.float64) for codes in found]
            is_pooled = any((codes == len(known)).any() for codes in answers)
            labels = (*known, apart("other", "labels", [str(label) for label in known])) if is_pooled else known
        else:
            answers = [amounts(side) for side in sides]
        return cls(target, tuple(c.name for c in columns), encoded.kinds, labels, encoded.rows, tuple(answers))

    @property
    def truth(self) -> NDArray[np.float64]:
        """The answers of the tested table; shape (rows,)."""
        return self.answers[-1]

    @property
    def is_defined(self) -> bool:
        """False where there is nothing to learn from, or the tested target has a single value."""
        return all(len(rows) for rows in self.rows) and bool((self.truth != self.truth[0]).any())

    def predict(self, learnt: Sequence[int], *, seed: int) -> Prediction:
        """Trees learn from the rows of the tables `learnt` together; `seed` chooses the trees' rows."""
        rows = np.concatenate([self.rows[table] for table in learnt])
        answers = np.concatenate([self.answers[table] for table in learnt])
        return (self._predict_labels if self.target.is_discrete else self._predict_amount)(rows, answers, seed)

    def _predict_amount(self, rows: Rows, answers: NDArray[np.float64], seed: int) -> Prediction:
        centre, scale = answers.mean(), answers.std() or 1.0  # XGBoost reads targets as float32
        trees = fit_trees(rows, (answers - centre) / scale, self.kinds, AMOUNTS, seed=seed)
        return Prediction(centre + scale * trees.predict(self.rows[-1]).astype(np.float64), shares_of(trees.gains))

    def _predict_labels(self, rows: Rows, answers: NDArray[np.float64], seed: int) -> Prediction:
        """A label that `rows` never show gets the chance 0; where they show a single one, that one gets 1."""
        seen, codes = np.unique(answers, return_inverse=True)
        chances = np.zeros((len(self.truth), len(self.labels)))
        if len(seen) == 1:
            chances[:, seen.astype(int)] = 1.0
            return Prediction(chances, np.zeros(len(self.columns)))
        trees = fit_trees(rows, codes.astype(np.float64), self.kinds, LABELS.with_labels(len(seen)), seed=seed)
        found = trees.predict(self.rows[-1]).astype(np.float64)
        chances[:, seen.astype(int)] = np.stack([1 - found, found], axis=1) if len(seen) == 2 else found
        return Prediction(chances, shares_of(trees.gains))


def _labels(sides: Sequence[pa.ChunkedArray]) -> tuple[object, ...]:
    """All labels, or the commonest of the last side where there are too many; sorted."""
    union = sorted({label for side in sides for label in pc.unique(side).to_pylist()})
    if len(union) > MOST_LABELS:
        counted = pc.value_counts(sides[-1])
        rows = dict(zip(counted.field("values").to_pylist(), counted.field("counts").to_pylist(), strict=True))
        union = sorted(sorted(union, key=lambda label: -rows.get(label, 0))[:MOST_LABELS])
    return tuple(union)


def target_of(schema: Schema) -> Column:
    """The column to predict; SourceError where the recipe names none."""
    if schema.target is None:
        raise SourceError("there is no target to predict", where="source.target", hint="name the column to predict")
    return schema[schema.target]


def with_known_target(table: pa.Table, schema: Schema) -> pa.Table:
    """The rows whose target is known; a missing one can neither teach nor test."""
    target = target_of(schema)
    values = table[target.name]
    is_known = pc.is_valid(values).to_numpy() if target.is_discrete else np.isfinite(amounts(values))
    return table.filter(pa.array(is_known))
