"""Shards, receipts and the judge: any shards that cover a stream give the same rows and the same tallies."""

import itertools
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synthmill.errors import StorageError
from synthmill.store.staging import (
    DUPLICATE,
    FAILED,
    STAGING_FIELDS,
    Judge,
    Receipt,
    read_receipts,
    resume_receipts,
    shard_bytes,
    write_receipt,
    write_shard,
)

LIMIT = 64


def staged(start, stop, *, values=7, reject_every=5):
    """Candidate i holds i mod `values`, so that it has duplicates; every fifth is rejected by its number alone."""
    numbers = np.arange(start, stop)
    rejected = numbers % reject_every == 3
    cells = np.where(rejected, 0, numbers * 5 % values)
    columns = {
        "cell": pa.array(cells, mask=rejected),
        "_candidate": pa.array(numbers),
        "_reject": pa.array(np.where(rejected, "rule 0", ""), pa.string(), mask=~rejected),
        "_copy": pa.array(~rejected & (cells == 0)),
        "_hash": pa.array([int(c).to_bytes(16, "little") for c in cells], pa.binary(16), mask=rejected),
    }
    return pa.table(columns, schema=pa.schema([pa.field("cell", pa.int64()), *STAGING_FIELDS]))


def store(folder, start, stop):
    table = staged(start, stop)
    file = write_shard(folder, shard_bytes(table))
    receipt = Receipt(start, stop, file, table["_reject"].null_count, {}, "model")
    write_receipt(folder, receipt)
    return receipt


def judged(folder, *, rows, unique, limit=LIMIT):
    """The accepted candidates and the tally, from whatever receipts lie in the folder."""
    judge = Judge(folder, rows=rows, limit=limit, unique=unique)
    parts = [part for receipt in read_receipts(folder) for part in judge.judge(receipt, ["cell"])]
    judge.close()
    accepted = pa.concat_tables(parts).to_pylist() if parts else []
    tally = judge.tally
    return accepted, (tally.candidates, tally.accepted, tally.copies, dict(tally.rejects)), judge.position


def expected(rows, unique):
    """The definition: walk candidates in order, the lowest index wins, stop at the last row needed."""
    accepted, rejects, copies, seen, walked = [], {}, 0, set(), 0
    for row in staged(0, LIMIT).to_pylist():
        if len(accepted) == rows:
            break
        walked += 1
        reason = row["_reject"] or (DUPLICATE if unique and row["cell"] in seen else None)
        if reason:
            rejects[reason] = rejects.get(reason, 0) + 1
            continue
        seen.add(row["cell"])
        copies += row["_copy"]
        accepted.append({"_candidate": row["_candidate"], "cell": row["cell"]})
    return accepted, (walked, len(accepted), copies, rejects), walked


def covers():
    """Ranges that cover [0, LIMIT) in any order, with overlaps and repeats, some beyond the limit."""
    cuts = st.lists(st.integers(1, LIMIT - 1), max_size=6).map(lambda inner: sorted({0, *inner, LIMIT}))
    spans = cuts.map(lambda c: list(itertools.pairwise(c)))
    extra = st.lists(
        st.tuples(st.integers(0, LIMIT), st.integers(1, 40)).map(lambda p: (p[0], p[0] + p[1])), max_size=4
    )
    return st.tuples(spans, extra).flatmap(lambda both: st.permutations(both[0] + both[1]))


@settings(max_examples=30, deadline=None)
@given(ranges=covers(), rows=st.integers(1, 60), unique=st.booleans())
def test_any_shards_in_any_order_give_the_same_rows_and_tallies(tmp_path_factory, ranges, rows, unique):
    folder = tmp_path_factory.mktemp("stratum")
    for start, stop in ranges:
        store(folder, start, stop)
    assert judged(folder, rows=rows, unique=unique) == expected(rows, unique)


def test_equal_rows_are_equal_bytes_whatever_their_chunks():
    whole = staged(0, 40)
    pieces = pa.concat_tables([staged(0, 13), staged(13, 40)])
    assert shard_bytes(whole) == shard_bytes(pieces)


def test_a_shard_without_a_receipt_does_not_count(tmp_path):
    write_shard(tmp_path, shard_bytes(staged(0, 8)))
    assert read_receipts(tmp_path) == []


def test_a_broken_shard_is_made_again_under_the_same_name(tmp_path):
    receipt = store(tmp_path, 0, 8)
    shard = tmp_path / f"{receipt.file}.parquet"
    whole = shard.read_bytes()
    shard.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    assert read_receipts(tmp_path) == []
    assert store(tmp_path, 0, 8) == receipt
    assert shard.read_bytes() == whole
    assert read_receipts(tmp_path) == [receipt]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"start": 0}', "null"])
def test_a_broken_receipt_does_not_count_and_does_not_stand_in_the_way(tmp_path, text):
    kept = store(tmp_path, 0, 8)
    (tmp_path / "8-16.json").write_text(text)
    assert resume_receipts(tmp_path) == [kept]
    assert not (tmp_path / "8-16.json").exists()


def test_a_missing_shard_makes_its_receipt_worthless(tmp_path):
    receipt = store(tmp_path, 0, 8)
    (tmp_path / f"{receipt.file}.parquet").unlink()
    assert read_receipts(tmp_path) == []


def test_a_new_run_tries_quarantined_shards_again(tmp_path):
    kept = store(tmp_path, 8, 16)
    write_receipt(tmp_path, Receipt(0, 8, "", 0, {FAILED: 8}, "model", "statistical", 2))
    assert len(read_receipts(tmp_path)) == 2
    assert resume_receipts(tmp_path) == [kept]
    assert read_receipts(tmp_path) == [kept]


def test_failed_candidates_are_counted_up_to_the_limit(tmp_path):
    judge = Judge(tmp_path, rows=5, limit=6, unique=False)
    assert list(judge.judge(Receipt(0, 8, "", 0, {FAILED: 8}, "model"))) == []
    assert (judge.position, judge.tally.candidates, dict(judge.tally.rejects)) == (6, 6, {FAILED: 6})
    assert judge.is_exhausted


def test_what_lies_beyond_a_complete_stream_may_have_holes(tmp_path):
    first, far = store(tmp_path, 0, 8), store(tmp_path, 32, 40)
    judge = Judge(tmp_path, rows=3, limit=LIMIT, unique=False)
    assert sum(part.num_rows for part in judge.judge(first, ["cell"])) == 3
    assert judge.is_complete
    assert list(judge.judge(far, ["cell"])) == []


def test_a_shard_that_vanishes_during_a_run_is_a_storage_error(tmp_path):
    receipt = store(tmp_path, 0, 8)
    (tmp_path / f"{receipt.file}.parquet").unlink()
    judge = Judge(tmp_path, rows=3, limit=LIMIT, unique=False)
    with pytest.raises(StorageError, match="gone or broken"):
        list(judge.judge(receipt))


def test_a_staged_shard_is_named_by_its_content(tmp_path):
    receipt = store(tmp_path, 0, 8)
    assert json.loads((tmp_path / "0-8.json").read_text())["file"] == receipt.file
    assert pq.read_table(tmp_path / f"{receipt.file}.parquet").equals(staged(0, 8))
