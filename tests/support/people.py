"""A table with everything that generators of tables promise, and short fits of each of them to it."""

from functools import cache

import numpy as np
import pyarrow as pa
import torch
from support.tables import built_in_generators

from synthmill import registry
from synthmill.columns import Column, Schema
from synthmill.generator import NO_CHECKPOINT, SampleRequest, TrainData

ROWS = 1_500
SMALL = {"steps": 400, "width": 48, "depth": 1, "batch": 128, "dropout": 0.1}
TINY = {"steps": 5, "width": 16, "depth": 1, "batch": 64}
SPIKE = 250.5

TABLE_GENERATORS = [key for key in built_in_generators() if key.startswith("table/")]


def schema_of(kinds):
    columns = (Column(name=name, kind=kind, dtype=dtype, nullable=True) for name, (kind, dtype) in kinds.items())
    return Schema(columns=tuple(columns))


def data_of(cells, kinds):
    schema = schema_of(kinds)
    arrays = {name: pa.array(values).cast(schema[name].arrow) for name, values in cells.items()}
    return TrainData(pa.table(arrays, schema=schema.arrow), schema)


def numbers(names):
    return dict.fromkeys(names, ("number", "double"))


@cache
def people():
    """`colour`, rarely gold, tells `is_large`, `shade` and where `amount` and `unit` are missing; `level` is a function of `grade`."""
    random = np.random.default_rng(0)
    colour = random.choice(["blue", "gold", "red"], ROWS, p=[0.6, 0.05, 0.35])
    is_red = colour == "red"
    is_unknown = is_red ^ (random.random(ROWS) < 0.02)
    grade = random.choice(list("abcdefgh"), ROWS)
    amount = np.where(random.random(ROWS) < 0.05, SPIKE, random.gamma(2, 100, ROWS).round(2))
    days = random.integers(10_000, 20_000, ROWS).astype(np.int32)
    cells = {
        "key": [f"k{i:06d}" for i in range(ROWS)],
        "colour": colour,
        "is_large": is_red ^ (random.random(ROWS) < 0.05),
        "shade": random.normal(np.where(is_red, 4.0, -4.0), 1.0),
        "grade": grade,
        "level": [level_of(g) for g in grade],
        "count": 5 * random.integers(-100, 300, ROWS),
        "amount": pa.array(amount, mask=is_unknown),
        "unit": pa.array(random.choice(["kg", "lb"], ROWS), mask=is_unknown),
        "day": pa.array(days, mask=random.random(ROWS) < 0.1),
    }
    kinds = {
        "key": ("id", "string"),
        "colour": ("category", "string"),
        "is_large": ("boolean", "bool"),
        "shade": ("number", "double"),
        "grade": ("category", "string"),
        "level": ("integer", "int64"),
        "count": ("integer", "int64"),
        "amount": ("number", "double"),
        "unit": ("category", "string"),
        "day": ("date", "date32"),
    }
    return data_of(cells, kinds)


def level_of(grade):
    return 7 * (ord(grade) - ord("a"))


def fit(key, data, *, seed=0, progress=lambda step, steps, loss: None, checkpoint=NO_CHECKPOINT, **params):
    """A fit with those of `params` that the generator has."""
    kind = registry.generator(key)
    torch.set_num_threads(kind.threads)
    known = {name: value for name, value in params.items() if name in kind.Params.model_fields}
    model = kind(kind.Params.parse(known))
    report = model.fit(data, seed=seed, device="cpu", progress=progress, checkpoint=checkpoint)
    return model, report


@cache
def fitted(key):
    return fit(key, people(), **SMALL)[0]


def request(rows, given=None, mask=None, *, first=0, key=1):
    given = pa.table({}) if given is None else given
    mask = np.ones((rows, given.num_columns), dtype=bool) if mask is None else mask
    return SampleRequest(np.arange(rows) + first, key, given, mask)


@cache
def made(key):
    return fitted(key).sample(request(4_096)).table


def saved(model, folder):
    folder.mkdir()
    model.save(folder)
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def has(key, param):
    return param in registry.generator(key).Params.model_fields
