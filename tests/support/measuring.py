"""Measure by an evaluator from plain dicts of cells, without the runner."""

import pyarrow as pa

from synthmill.columns import Column, Schema
from synthmill.evaluator import Evaluator, Measured, Measurement, Reference, References

X = Column(name="x", kind="number", dtype="double", nullable=True)
Y = Column(name="y", kind="number", dtype="double", nullable=True)
A = Column(name="a", kind="category", dtype="string", nullable=True)
B = Column(name="b", kind="category", dtype="string", nullable=True)
ID = Column(name="id", kind="id", dtype="int64")


def measured_by(evaluator: Evaluator, columns: tuple[Column, ...], synthetic: dict, real: dict) -> Measurement:
    """`real` is holdout and train."""
    schema = Schema(columns=columns)
    tables = [pa.table(side, schema=schema.arrow) for side in (synthetic, real)]
    references = References(schema, Reference(tables[1]), Reference(tables[1]))
    return evaluator.measure(Measured(tables[0]), references, seed=0)


def column_alone(table: pa.Table, rng) -> pa.Table:
    """Every column sampled on its own: its shape is kept, its dependences are lost."""
    return pa.table({name: table[name].take(rng.permutation(table.num_rows)) for name in table.column_names})
