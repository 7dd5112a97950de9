"""The peers' side of bench/table: rows in and out as Parquet, costs on stdout. In `.venv-peers-tables`."""

import json
import os
import resource
import signal
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd

FOLDER = Path(sys.argv[1])
REQUEST = json.loads((FOLDER / "request.json").read_text())
DISCRETE = REQUEST["discrete"]  # names of the columns of labels
SECONDS = REQUEST["params"].get("seconds")  # of a fit at equal time; None for the peer's own end
MISSING = "{} is missing"


class OutOfTime(BaseException):
    """A fit has used up its seconds; no `except Exception` of a peer catches it."""


def read_train():
    """Missing numbers are filled with the median, and a label column of their own says where, for peers that know no missing ones."""
    train = pd.read_parquet(FOLDER / "train.parquet")
    train[DISCRETE] = train[DISCRETE].astype(str)
    return train


def fill_missing(train):
    filled, discrete = train.copy(), list(DISCRETE)
    for name in train.columns[train.isna().any()]:
        filled[MISSING.format(name)] = train[name].isna().astype(str)
        filled[name] = train[name].fillna(train[name].median())
        discrete.append(MISSING.format(name))
    return filled, discrete


def empty_missing(rows):
    for marks in [name for name in rows if name.endswith(MISSING.format(""))]:
        name = marks.removesuffix(MISSING.format(""))
        rows[name] = rows[name].where(rows.pop(marks) != "True")
    return rows


def cut_off(fit):
    """Run a fit for SECONDS of one core at most."""

    def stop(*_):
        raise OutOfTime

    signal.signal(signal.SIGPROF, stop)
    if SECONDS:
        signal.setitimer(signal.ITIMER_PROF, SECONDS)
    try:
        fit()
    except OutOfTime:
        pass
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def answer(fit, sample):
    """`fit()` once, `sample(rows)` once for as many rows as train has; writes the rows and prints the costs."""
    np.random.seed(REQUEST["seed"])
    rows = REQUEST["rows"]
    costs = {}
    start, worked = time.perf_counter(), core_seconds()
    fit()
    costs["fit_s"], costs["fit_core_s"] = time.perf_counter() - start, core_seconds() - worked
    worked = core_seconds()
    made = sample(rows)
    costs["rows_per_core_s"] = rows / (core_seconds() - worked)
    made.to_parquet(FOLDER / "synthetic.parquet", index=False)
    status = Path("/proc/self/status").read_text().splitlines()
    costs["peak_bytes"] = next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM"))
    sys.stdout.flush()
    print(json.dumps(costs))
    os._exit(0)  # worker pools of peers may hang at exit


def core_seconds():
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in used)
