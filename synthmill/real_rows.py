"""Real rows for a training set that is partly synthetic: which ones, and how many.

They come from what the consumer may read anyway: the release's own data-real/, where its recipe included the train rows, or a file that
the consumer names. Which rows are taken depends on the seed and on their places in it alone, and more of them hold those of fewer.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from synthmill.errors import InputError
from synthmill.problems import first_problem
from synthmill.seeds import derive, uniforms
from synthmill.sources.stream import parquet_files, stream
from synthmill.store.manifest import Manifest
from synthmill.store.marks import is_synthetic

_INCLUDED = "data-real"
_WHERE = "mix_real"


class MixReal(BaseModel):
    """What `mix_real` asks for: a `share` of all rows, or a number of `rows`, from `path` or else from the release."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    share: float | None = Field(default=None, gt=0, lt=1)
    rows: int | None = Field(default=None, ge=1)
    path: str | None = Field(default=None, min_length=1)
    seed: int = 0

    @model_validator(mode="after")
    def _one_amount(self) -> MixReal:
        if (self.share is None) == (self.rows is None):
            raise ValueError("give a share or a number of rows, not both")
        return self

    def count(self, synthetic: int) -> int:
        """How many real rows go with so many synthetic ones; at least one."""
        if self.rows is not None:
            return self.rows
        assert self.share is not None, "one of the two is given"
        return max(1, round(synthetic * self.share / (1 - self.share)))


def parse_mix(asked: float | Mapping[str, object]) -> MixReal:
    """0.2 is a share, 500 a number of rows, {"path": ..., "share": ...} says more; InputError for anything else."""
    amount = "rows" if isinstance(asked, int) and not isinstance(asked, bool) else "share"
    given = dict(asked) if isinstance(asked, Mapping) else {amount: asked}
    try:
        return MixReal.model_validate(given)
    except ValidationError as error:
        problem = first_problem(error, given, MixReal)
        hint = problem.hint or 'a share such as 0.2, a number of rows, or {"path": "real.csv", "share": 0.2}'
        raise InputError(problem.what, where=_WHERE, hint=hint) from None


def read_real(folder: Path, manifest: Manifest, mix: MixReal) -> pa.Table:
    """The chosen rows in the columns of the release, in the order of their file. InputError where there are too few, or none to be had.

    They are held in memory; what they are chosen from is not.
    """
    count = mix.count(manifest.rows)
    if mix.path is not None:
        _refuse_synthetic(Path(mix.path))
        home = Path.cwd()
        pieces, where = stream(mix.path, manifest.schema_, root=home, allowed=(Path(home.anchor),)), mix.path
    else:
        pieces, where = _included(folder, manifest), f"{manifest.dataset}/{_INCLUDED}"
    chosen, there = choose(pieces, count, mix.seed)
    if there < count:
        what = f"{count:,} real rows are asked for, and there are {there:,}"
        raise InputError(what, where=where, hint="ask for a smaller share; no row is taken twice")
    return chosen


def choose(pieces: Iterator[pa.Table], count: int, seed: int) -> tuple[pa.Table, int]:
    """`count` rows, drawn without replacement, and how many there were: those with the smallest of one random number a row."""
    key, start, held = derive(_WHERE, seed), 0, []
    numbers: list[np.ndarray[tuple[int], np.dtype[np.float64]]] = []
    for piece in pieces:
        numbers.append(uniforms(key, np.arange(start, start + piece.num_rows), 0, 1)[:, 0])
        held.append(piece)
        start += piece.num_rows
        table, drawn = pa.concat_tables(held), np.concatenate(numbers)
        if table.num_rows > count:
            kept = np.sort(np.argpartition(drawn, count)[:count])
            table, drawn = table.take(pa.array(kept)), drawn[kept]
        held, numbers = [table], [drawn]
    assert held, "no source is empty"
    return held[0].combine_chunks(), start


def _included(folder: Path, manifest: Manifest) -> Iterator[pa.Table]:
    files = sorted((folder / _INCLUDED).glob("*.parquet"))
    if not files:
        hint = 'name the file or folder that they are in: mix_real={"path": "real.csv", "share": 0.2}'
        raise InputError(
            f"{manifest.dataset} holds no real rows: its recipe did not include them", where=_WHERE, hint=hint
        )
    for path in files:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(1 << 16):
                yield pa.Table.from_batches([batch]).select(manifest.schema_.names).cast(manifest.schema_.arrow)


def _refuse_synthetic(path: Path) -> None:
    for file in parquet_files(path):
        if file.is_file() and is_synthetic(pq.read_schema(file)):
            hint = "name a file of real rows; this one says that it is synthetic"
            raise InputError("these rows are not real", where=str(file), hint=hint)
