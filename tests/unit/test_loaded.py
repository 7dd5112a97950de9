"""A release that lies on this machine, in each form that a training job reads: which rows, in which order, how often."""

import itertools
import math
import pickle
import sys
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import torch
from support.hand_made import SCHEMA, rows_of, write_dataset
from torch.utils.data import DataLoader

from synthmill.columns import PROVENANCE
from synthmill.errors import InputError, SourceError
from synthmill.loaded import Loaded
from synthmill.real_rows import choose, parse_mix, read_real
from synthmill.store.manifest import ChildEntry, read_manifest

ROWS, REAL = 250, 40
FORMATS = sorted((Path(__file__).parents[1] / "formats").iterdir())


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """250 rows in 3 files of row groups of 20 rows, and 40 real rows."""
    path = tmp_path_factory.mktemp("loaded") / "tiny"
    write_dataset(path, ROWS, files=3, real=REAL, group_rows=20)
    return path


def loaded(folder: Path, mix: object = None) -> Loaded:
    manifest = read_manifest(folder)
    return Loaded(folder, manifest, "v1.0.0", None if mix is None else read_real(folder, manifest, parse_mix(mix)))


def counts(rows) -> list[int]:
    """The number that each row is told by."""
    return [int(row["count"]) for row in rows]


def unbatched(loader: DataLoader) -> list[int]:
    return [int(count) for batch in loader for count in batch["count"]]


# Tables


def test_every_form_holds_the_rows_of_the_files_in_order(folder):
    release = loaded(folder)
    assert release.arrow().to_table().equals(rows_of(range(ROWS)))
    assert release.pandas()["count"].tolist() == release.polars()["count"].to_list() == list(range(ROWS))
    assert counts(release.torch(shuffle=False)) == list(range(ROWS))


def test_provenance_is_there_when_it_is_asked_for(folder):
    release = loaded(folder)
    assert release.arrow().schema.names == list(release.pandas()) == release.polars().columns == SCHEMA.names
    for names in (
        release.arrow(provenance=True).schema.names,
        release.pandas(provenance=True).columns.tolist(),
        list(next(iter(release.torch(provenance=True)))),
    ):
        assert names == [*SCHEMA.names, *PROVENANCE]


def test_a_dataset_is_scanned_without_reading_it_whole(folder):
    found = loaded(folder, 10).arrow().to_table(columns=["count"], filter=pc.field("count") >= 245)
    assert found["count"].to_pylist() == [*range(245, 250), *sorted(found["count"].to_pylist()[5:])]
    assert len(found) == 15


def test_a_missing_polars_is_an_error_that_says_so(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "polars", None)
    with pytest.raises(InputError, match=r"polars is not installed\n  `pip install polars`"):
        loaded(folder).polars()


@pytest.mark.parametrize("example", FORMATS, ids=lambda path: path.name)
def test_releases_of_older_formats_are_loaded(example):
    release = Loaded(example / "dataset", read_manifest(example / "dataset"), "v1.0.0")
    assert len(release.pandas()) == len(list(release.torch())) == 20
    assert list(release.pandas()) == release.manifest.schema_.names


def test_a_child_table_is_loaded_by_its_name(folder, tmp_path):
    with pytest.raises(InputError, match="tiny has no child table orders"):
        loaded(folder).table("orders")
    write_dataset(tmp_path / "orders", 30, name="orders")
    child = ChildEntry(rows=30, key="count", reference="count", schema_=SCHEMA)
    parent = write_dataset(tmp_path, 20, real=5).model_copy(update={"children": {"orders": child}})
    (tmp_path / "manifest.json").write_text(parent.model_dump_json())
    assert len(loaded(tmp_path, 5).pandas()) == 25
    assert len(loaded(tmp_path, 5).table("orders").pandas()) == 30


# Real rows


@pytest.mark.parametrize(
    ("mix", "real"), [(0.1, 28), (0.001, 1), (7, 7), (REAL, REAL), ({"share": 0.1, "seed": 3}, 28)]
)
def test_a_share_or_a_number_of_real_rows_is_mixed_in(folder, mix, real):
    frame = loaded(folder, mix).pandas(provenance=True)
    assert frame["_is_synthetic"].tolist() == [True] * ROWS + [False] * real
    numbers = frame["count"][ROWS:].tolist()
    assert len(set(numbers)) == real
    assert set(numbers) <= set(range(1000, 1000 + REAL))
    assert frame["_row_id"].isna().sum() == real
    assert (frame[:ROWS]["count"] == frame[:ROWS]["_candidate"]).all()


def test_every_form_holds_the_mixture(folder):
    release = loaded(folder, 0.1)
    frame = release.pandas()
    assert release.arrow().count_rows() == len(release.torch()) == len(release.polars()) == 278
    assert release.polars().filter(pl.col("_is_synthetic").not_())["count"].to_list() == frame["count"][ROWS:].tolist()
    rows = list(release.torch())
    assert sorted(counts(rows)) == sorted(frame["count"])
    assert {row["count"] >= 1000 for row in rows if not row["_is_synthetic"]} == {True}
    assert sum(row["_is_synthetic"] for row in rows) == ROWS


def test_the_seed_alone_decides_which_rows(folder):
    chosen = [loaded(folder, {"rows": 10, "seed": seed}).pandas()["count"][ROWS:].tolist() for seed in (0, 0, 1)]
    assert chosen[0] == chosen[1] == sorted(chosen[0])
    assert chosen[0] != chosen[2]
    more = loaded(folder, {"rows": 20, "seed": 0}).pandas()["count"][ROWS:].tolist()
    assert set(chosen[0]) < set(more)


def test_how_real_rows_are_cut_into_pieces_changes_none():
    table = rows_of(range(300))
    whole = choose(iter([table]), 17, 5)
    pieces = choose((table.slice(start, 7) for start in range(0, 300, 7)), 17, 5)
    assert whole == pieces
    assert whole[1] == 300


def test_real_rows_come_from_a_file_of_the_consumer(folder, tmp_path):
    keys = ("number", "count", "word", "day", "picture")
    pq.write_table(rows_of(range(2000, 2050)).select(keys), tmp_path / "mine.parquet")
    frame = loaded(folder, {"path": str(tmp_path / "mine.parquet"), "rows": 50}).pandas()
    assert frame["count"][ROWS:].tolist() == list(range(2000, 2050))


def test_rows_that_are_not_real_are_refused(folder, tmp_path):
    write_dataset(tmp_path / "other", 30)
    with pytest.raises(InputError, match=r"these rows are not real\n  .*says that it is synthetic"):
        loaded(folder, {"path": str(tmp_path / "other"), "share": 0.1})


@pytest.mark.parametrize(
    ("mix", "message"),
    [
        (0, "rows"),
        (1.0, "share"),
        (True, "share"),
        ({"path": "x.csv"}, "give a share or a number of rows, not both"),
        ({"share": 0.1, "rows": 5}, "give a share or a number of rows, not both"),
        ({"shar": 0.1}, "did you mean share"),
        (41, r"tiny/data-real: 41 real rows are asked for, and there are 40"),
    ],
)
def test_a_mixture_that_cannot_be_is_refused(folder, mix, message):
    with pytest.raises(InputError, match=message):
        loaded(folder, mix)


def test_a_release_without_real_rows_says_how_to_mix_some(tmp_path):
    write_dataset(tmp_path, 20)
    with pytest.raises(InputError, match=r"tiny holds no real rows(.|\n)*mix_real="):
        loaded(tmp_path, 0.5)
    with pytest.raises(SourceError, match="there is no such file"):
        loaded(tmp_path, {"path": str(tmp_path / "missing.csv"), "rows": 3})


# Torch


def test_an_epoch_is_every_row_once_in_an_order_of_its_own(folder):
    release = loaded(folder, 0.1)
    everything = sorted(release.pandas()["count"])
    rows = release.torch(seed=1, buffer_rows=64)
    orders = []
    for epoch in (0, 1, 0):
        rows.set_epoch(epoch)
        orders.append(counts(rows))
        assert sorted(orders[-1]) == everything
    assert orders[0] == orders[2] != orders[1]
    assert counts(release.torch(seed=2, buffer_rows=64)) != orders[0]
    assert sorted(orders[0][:64]) != sorted(orders[1][:64])  # groups are shuffled, and not the buffer alone
    followed = sum(later == row + 1 for row, later in itertools.pairwise(orders[0]))
    assert followed < 20  # and neither the groups alone


@pytest.mark.parametrize(("world", "workers"), [(1, 0), (1, 2), (3, 0), (2, 2), (5, 1)])
def test_ranks_and_workers_share_an_epoch_evenly(folder, monkeypatch, world, workers):
    seen, sizes = [], []
    for rank in range(world):
        monkeypatch.setenv("RANK", str(rank))
        monkeypatch.setenv("WORLD_SIZE", str(world))
        rows = loaded(folder).torch(seed=1, buffer_rows=30)
        found = unbatched(DataLoader(rows, batch_size=8, num_workers=workers))
        assert len(found) == len(rows)
        seen += found
        sizes.append(len(found))
    assert sorted(seen) == list(range(ROWS))
    assert max(sizes) - min(sizes) <= 1


def test_workers_that_persist_hear_of_a_new_epoch(folder):
    rows = loaded(folder).torch()
    loader = DataLoader(rows, batch_size=10, num_workers=2, persistent_workers=True)
    orders = []
    for epoch in (0, 1, 0):
        rows.set_epoch(epoch)
        orders.append(unbatched(loader))
    assert orders[0] == orders[2] != orders[1]
    assert sorted(orders[1]) == list(range(ROWS))


def test_rank_of_torch_distributed_is_the_rank(folder, tmp_path):
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/meet", rank=0, world_size=1)
    try:
        rows = loaded(folder).torch()
        assert (rows.rank, rows.world, len(rows)) == (0, 1, ROWS)
    finally:
        torch.distributed.destroy_process_group()


def test_a_dataset_is_sent_to_a_process_that_was_not_forked(folder):
    rows = loaded(folder, 5).torch()
    assert counts(pickle.loads(pickle.dumps(rows))) == counts(rows)


def test_rows_are_collated_as_they_are(folder):
    first = next(iter(DataLoader(loaded(folder).torch(shuffle=False), batch_size=10)))
    assert first["count"].tolist() == list(range(10))
    assert [math.isnan(number) for number in first["number"]] == [False] * 9 + [True]
    assert (first["word"][1], first["day"][1]) == ("w1", "2024-01-02")
    assert (first["picture"].shape, first["picture"].dtype) == ((10, 1, 2, 3), torch.uint8)
    assert first["picture"].unique().tolist() == [7]


def test_a_transform_makes_what_it_likes_of_a_row(folder):
    rows = loaded(folder).torch(shuffle=False, transform=lambda row: (row["count"], row["word"]))
    assert next(iter(rows)) == (0, "w0")


def test_no_more_than_a_buffer_and_a_group_is_read_ahead(folder, monkeypatch):
    read = []
    rows = loaded(folder).torch(buffer_rows=25)
    monkeypatch.setattr(type(rows), "_read", spying(type(rows)._read, read))
    iterator = iter(rows)
    most = 0
    for taken in range(1, ROWS + 1):
        next(iterator)
        most = max(most, sum(read) - taken)
    assert most <= 25 + 20


def spying(read, seen):
    def spy(self, group):
        table = read(self, group)
        seen.append(table.num_rows)
        return table

    return spy


def test_schema_of_rows_is_that_of_the_files(folder):
    assert loaded(folder).arrow().schema.equals(SCHEMA.arrow)
    assert loaded(folder).arrow().schema.metadata[b"synthmill"].startswith(b"{")
    assert pa.types.is_boolean(loaded(folder, 3).arrow().schema.field("_is_synthetic").type)
