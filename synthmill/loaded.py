"""A release in a training job: `synthmill.load("fair@v1.2.0", repo=URL).pandas()`.

Polars and torch are imported where rows are asked for in their form.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.fs
import pyarrow.parquet as pq

from synthmill.columns import PROVENANCE
from synthmill.errors import InputError
from synthmill.real_rows import parse_mix, read_real
from synthmill.store.fetched import default_cache, fetch
from synthmill.store.manifest import Manifest, read_manifest
from synthmill.store.repository import find_release

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl

    from synthmill.torch_rows import TorchRows

IS_SYNTHETIC = "_is_synthetic"


class YankedRelease(UserWarning):
    """The release that is loaded was yanked after it was made; the message says why."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """A release on this machine. Rows are read from disk when they are asked for, in one of four forms.

    `provenance` adds `_row_id`, `_generator`, `_stratum` and `_candidate`, which are not for training. Where real rows are mixed in, they
    come last, their provenance is missing, and a column `_is_synthetic` tells them apart.
    """

    folder: Path
    manifest: Manifest
    version: str  # vX.Y.Z
    real: pa.Table | None = None

    def arrow(self, *, provenance: bool = False) -> ds.Dataset:
        """A dataset to scan, filter and batch, of any size."""
        files, kind, disk = self.files, ds.ParquetFileFormat(), pyarrow.fs.LocalFileSystem()
        schema = pq.read_schema(files[0])
        schema = pa.schema(
            [field for field in schema if provenance or field.name not in PROVENANCE], metadata=schema.metadata
        )
        if self.real is None:
            fragments = [kind.make_fragment(str(path), disk) for path in files]
            return ds.FileSystemDataset(fragments, schema, kind, disk)
        mixed = pa.schema([*(field.remove_metadata() for field in schema), pa.field(IS_SYNTHETIC, pa.bool_())])
        made = ds.field(IS_SYNTHETIC) == ds.scalar(True)
        fragments = [kind.make_fragment(str(path), disk, partition_expression=made) for path in files]
        return ds.dataset([ds.FileSystemDataset(fragments, mixed, kind, disk), ds.dataset(self._real_in(mixed))])

    def pandas(self, *, provenance: bool = False) -> pd.DataFrame:
        """All rows in memory; a column of images holds {"bytes", "path"}."""
        frame: pd.DataFrame = self.arrow(provenance=provenance).to_table().to_pandas()
        return frame

    def polars(self, *, provenance: bool = False) -> pl.DataFrame:
        """All rows in memory. InputError where polars is not installed."""
        try:
            import polars
        except ImportError as error:
            raise InputError("polars is not installed", hint="`pip install polars`, or take .pandas()") from error
        frame = polars.from_arrow(self.arrow(provenance=provenance).to_table())
        assert isinstance(frame, polars.DataFrame), "a table becomes a frame"
        return frame

    def torch(
        self,
        *,
        provenance: bool = False,
        shuffle: bool = True,
        seed: int = 0,
        buffer_rows: int = 65_536,
        transform: Callable[[dict[str, Any]], Any] | None = None,
    ) -> TorchRows:
        """A torch dataset for a DataLoader: every row once an epoch over all its workers and all ranks, in flat memory (torch_rows.py)."""
        from synthmill.torch_rows import TorchRows

        schema = self.arrow(provenance=provenance).schema
        real = None if self.real is None else self._real_in(schema)
        return TorchRows(self.files, schema, real, shuffle, seed, buffer_rows, transform)

    def table(self, name: str) -> Loaded:
        """A child table of the release, without real rows; InputError where it has none of that name."""
        if name not in self.manifest.children:
            there = ", ".join(self.manifest.children) or "it has none"
            raise InputError(f"{self.manifest.dataset} has no child table {name}", where=str(self.folder), hint=there)
        return Loaded(self.folder / name, read_manifest(self.folder / name), self.version)

    @property
    def files(self) -> list[Path]:
        """The Parquet files of synthetic rows, in order."""
        return [self.folder / entry.path for entry in self.manifest.files if entry.path.startswith("data/")]

    def _real_in(self, schema: pa.Schema) -> pa.Table:
        """The real rows in the columns of the mixture."""
        assert self.real is not None, "asked for where there are some"
        rows = self.real.num_rows
        columns = {name: self.real[name] for name in self.real.column_names}
        columns[IS_SYNTHETIC] = pa.chunked_array([pa.repeat(pa.scalar(False), rows)])
        given = [columns.get(field.name, pa.nulls(rows, field.type)) for field in schema]
        return pa.table(given, schema=schema)


def load(
    reference: str,
    repo: str | Path = ".",
    mix_real: float | Mapping[str, object] | None = None,
    cache: str | Path | None = None,
) -> Loaded:
    """A release, by `NAME@v1.2.0`, by stage `NAME@prod`, or the latest by `NAME`, ready to be read as Arrow, pandas, polars or torch.

    `repo` is a workspace's folder, or its git URL. DVC brings the release to `cache` (by default `synthmill/` in the user's cache folder),
    whole or not at all and checked against its manifest; the next call takes it from there, and for a version needs no network.

    `mix_real` adds real rows: 0.2 makes a fifth of all rows real, 500 adds five hundred; they come from the release, where its recipe says
    `include_real`. `{"path": "real.csv", "share": 0.2}` (or `"rows": 500`) takes them from a file that you may read, and `"seed"` draws
    others. Do not evaluate on rows that you have mixed in.

    Warns with YankedRelease where the version is yanked. Raises InputError for a reference or a repository that does not exist and for a
    purged version, StorageError where the data cannot be fetched or arrives damaged.
    """
    mix = None if mix_real is None else parse_mix(mix_real)
    home = default_cache() if cache is None else Path(cache).absolute()
    found = find_release(reference, str(repo), home)
    if found.yank is not None:
        warnings.warn(f"{found.release.tag} is yanked: {found.yank}", YankedRelease, stacklevel=2)
    folder = fetch(found, home)
    manifest = read_manifest(folder)
    real = None if mix is None else read_real(folder, manifest, mix)
    return Loaded(folder, manifest, str(found.release.version), real)
