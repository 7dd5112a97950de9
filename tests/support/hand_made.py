"""Datasets and releases made by hand: real files, a real manifest, no fit."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from synthmill.columns import PROVENANCE, Column, Schema
from synthmill.fingerprint import hash_file
from synthmill.pixels import encode_png
from synthmill.store.assemble import file_name, writer
from synthmill.store.manifest import NAME, FileEntry, Manifest
from synthmill.store.marks import mark
from synthmill.store.placement import ReleaseRequest
from synthmill.store.release_steps import release
from synthmill.store.versions import Identity
from synthmill.store.workspace import Workspace

SCHEMA = Schema(
    columns=(
        Column(name="number", kind="number", dtype="double", nullable=True),
        Column(name="count", kind="integer", dtype="int64"),
        Column(name="word", kind="category", dtype="string"),
        Column(name="day", kind="date", dtype="date32"),
        Column(name="picture", kind="image", dtype="image"),
    )
)


def rows_of(numbers: Sequence[int]) -> pa.Table:
    """One row a number, which is its `count`; every tenth `number` is missing."""
    picture = {"bytes": encode_png(np.full((2, 3), 7, dtype=np.uint8)), "path": None}
    cells = {
        "number": [None if i % 10 == 9 else i / 2 for i in numbers],
        "count": list(numbers),
        "word": [f"w{i % 3}" for i in numbers],
        "day": [datetime.date(2024, 1, 1) + datetime.timedelta(days=i % 28) for i in numbers],
        "picture": [picture] * len(numbers),
    }
    return pa.table(cells).cast(SCHEMA.arrow)


def write_dataset(
    folder: Path, rows: int, *, files: int = 1, real: int = 0, group_rows: int = 16_384, name: str = "tiny"
) -> Manifest:
    """A dataset of `rows` rows, counted from 0, in `files` files, and the real rows 1000, 1001, ... in data-real/."""
    (folder / "data").mkdir(parents=True, exist_ok=True)
    bounds = [rows * number // files for number in range(files + 1)]
    paths = [folder / "data" / file_name(number, files) for number in range(files)]
    for path, start, stop in zip(paths, bounds[:-1], bounds[1:], strict=True):
        _write(path, _with_provenance(rows_of(range(start, stop)), start), group_rows, name)
    (folder / "README.md").write_text(f"card of {name}, {rows} rows\n")
    if real:
        path = folder / "data-real" / "train-00000-of-00001.parquet"
        path.parent.mkdir(exist_ok=True)
        pq.write_table(rows_of(range(1000, 1000 + real)).cast(mark(SCHEMA.arrow, name, is_synthetic=False)), path)
    manifest = Manifest(
        dataset=name,
        rows=rows,
        level="bitwise",
        plan=f"plan-{rows}",
        identity="i",
        source="s",
        versions={},
        lock="l",
        recipe={},
        schema_=SCHEMA,
        jobs=(),
        files=tuple(_entry(path, folder) for path in sorted(folder.rglob("*")) if path.is_file() and path.name != NAME),
    )
    (folder / NAME).write_text(manifest.model_dump_json(indent=1) + "\n")
    return manifest


def release_dataset(workspace: Workspace, rows: int, name: str = "tiny", **options: int) -> str:
    """Release a dataset of so many rows as the next version; its tag."""
    candidate = workspace.state / "candidates" / f"{name}-{rows}"
    manifest = write_dataset(candidate, rows, name=name, **options)
    recipe = workspace.root / "recipes" / f"{name}.yaml"
    recipe.write_text(f"format: 1\ndataset: {name}\n")
    request = ReleaseRequest(
        dataset=name,
        recipe=f"recipes/{name}.yaml",
        recipe_sha256=hash_file(recipe),
        deps=(),
        candidate=candidate,
        metrics={"rows": rows},
        plots={},
        identity=replace(Identity("s", "c", ""), plan=manifest.plan),
        run_id="run",
        run={"user": "u"},
    )
    return release(workspace, request, lambda line: None).release.tag


def _with_provenance(table: pa.Table, start: int) -> pa.Table:
    rows = table.num_rows
    given = [
        [f"{start + row:032x}" for row in range(rows)],
        ["table/vae"] * rows,
        ["0:all"] * rows,
        list(range(start, start + rows)),
    ]
    for column, cells in zip(PROVENANCE, given, strict=True):
        table = table.append_column(column, pa.array(cells))
    return table


def _write(path: Path, table: pa.Table, group_rows: int, name: str) -> None:
    with writer(path, table.schema, name) as file:
        file.write_table(table, row_group_size=group_rows)


def _entry(path: Path, folder: Path) -> FileEntry:
    rows = pq.read_metadata(path).num_rows if path.suffix == ".parquet" else None
    name = path.relative_to(folder).as_posix()
    return FileEntry(path=name, sha256=hash_file(path), size_bytes=path.stat().st_size, rows=rows)
