"""Small real-looking tables that tests share: mixed kinds, missing cells, a dependence that a model must find."""

import numpy as np
import pyarrow as pa

from synthmill.columns import Column, Schema

MIXED = Schema(
    columns=(
        Column(name="age", kind="integer", dtype="int64"),
        Column(name="income", kind="number", dtype="double", nullable=True),
        Column(name="city", kind="category", dtype="string"),
        Column(name="member", kind="boolean", dtype="bool"),
        Column(name="since", kind="date", dtype="date32", nullable=True),
    ),
    target="income",
)


def mixed(rows=1000, seed=0):
    """Income follows age and city; members are the old; a tenth of the dates is missing."""
    rng = np.random.default_rng(seed)
    age = rng.integers(18, 80, rows)
    city = rng.choice(["Oslo", "Pisa", "Riga"], rows, p=[0.6, 0.3, 0.1])
    income = np.round(100.0 * age + 2000.0 * (city == "Pisa") + rng.normal(0, 200, rows), 2)
    days = rng.integers(10_000, 20_000, rows)
    return pa.table(
        {
            "age": age,
            "income": pa.array(income, mask=rng.random(rows) < 0.05),
            "city": city,
            "member": (age > 50) ^ (rng.random(rows) < 0.1),
            "since": pa.array(days, pa.int32(), mask=rng.random(rows) < 0.1).cast(pa.date32()),
        },
        schema=MIXED.arrow,
    )


def digits():
    """Scikit-learn's digits as a source: PNG bytes and labels."""
    from synthmill.sources import read

    found = read("sklearn:digits", root=None, overrides={}, target="label")
    return found.table, found.schema


def built_in_generators():
    """The keys of this project's own generators; the tests' plug-in makes noise and promises less."""
    from synthmill import registry

    return [key for key in registry.generator_keys() if registry.generator(key).__module__.startswith("generators.")]
