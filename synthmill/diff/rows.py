"""Rows that two datasets share, by `_row_id`: the only place beside rules.py that runs DuckDB.

An id is the hash of (stratum fingerprint, candidate), so the same id is the same place in the same stream. Under level bitwise its
cells are the same too; they are compared all the same. The join holds 16 bytes of id and 8 of cells a row, and spills to disk beyond a
fixed memory; files that both sides have are counted and not joined.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import duckdb

from synthmill.diff.parts import Counts, Rows
from synthmill.errors import StorageError

Files = Mapping[str, Path]  # SHA-256 -> where it lies
_MEMORY = "1GB"
_FIELDS = ("then", "now", "both", "changed", "gone", "added")
_JOIN = """
SELECT coalesce(new.stratum, old.stratum) AS stratum, count(old.id), count(new.id),
       count(*) FILTER (old.id = new.id), count(*) FILTER (old.id = new.id AND old.cells <> new.cells),
       count(*) FILTER (new.id IS NULL), count(*) FILTER (old.id IS NULL)
FROM ({old}) AS old FULL JOIN ({new}) AS new ON old.id = new.id GROUP BY 1"""


def compare_rows(then: Files, now: Files, columns: Sequence[str]) -> Rows:
    """Counts of two tables; `columns`, which both have with one type, decide whether a row in both has changed."""
    same = then.keys() & now.keys()
    with tempfile.TemporaryDirectory(prefix="synthmill-diff-") as spill:
        settings: dict[str, str | bool | int | float | list[str]] = {
            "memory_limit": _MEMORY,
            "temp_directory": spill,
            "autoinstall_known_extensions": False,
        }
        try:
            with duckdb.connect(":memory:", config=settings) as connection:
                found = _shared(connection, [then[name] for name in sorted(same)])
                apart = [[side[name] for name in side if name not in same] for side in (then, now)]
                found += _joined(connection, apart[0], apart[1], columns)
        except duckdb.Error as error:
            kind = type(error).__name__  # its text may hold a cell
            raise StorageError(
                f"the rows cannot be compared: {kind}", hint="`synthmill verify` checks a dataset"
            ) from None
    strata = _added_up((name, counts) for name, *counts in found)
    jobs = _added_up((one.name.partition(":")[0], [getattr(one, field) for field in _FIELDS]) for one in strata)
    whole = _added_up(("all", [getattr(one, field) for field in _FIELDS]) for one in strata)
    return Rows(all=whole[0] if whole else _counts("all", [0] * 6), jobs=jobs, strata=strata)


def _shared(connection: duckdb.DuckDBPyConnection, paths: list[Path]) -> list[tuple[object, ...]]:
    """Files that both sides have byte for byte: all of their rows are in both."""
    if not paths:
        return []
    query = "SELECT _stratum, count(*) FROM read_parquet(?) GROUP BY _stratum"
    counted = connection.execute(query, [[str(path) for path in paths]]).fetchall()
    return [(stratum, n, n, n, 0, 0, 0) for stratum, n in counted]


def _joined(
    connection: duckdb.DuckDBPyConnection, then: list[Path], now: list[Path], columns: Sequence[str]
) -> list[tuple[object, ...]]:
    cells = ", ".join('"' + name.replace('"', '""') + '"' for name in columns) or "0"
    sides = {"old": _select(then, cells), "new": _select(now, cells)}
    values = [[str(path) for path in paths] for paths in (then, now) if paths]
    return connection.execute(_JOIN.format(**sides), values).fetchall()


def _select(paths: list[Path], cells: str) -> str:
    if not paths:
        return "SELECT NULL::UHUGEINT AS id, NULL::VARCHAR AS stratum, NULL::UBIGINT AS cells LIMIT 0"
    return f"SELECT ('0x' || _row_id)::UHUGEINT AS id, _stratum AS stratum, hash({cells}) AS cells FROM read_parquet(?)"


def _added_up(named: Iterable[tuple[object, Sequence[object]]]) -> tuple[Counts, ...]:
    """One of each name, in the order of jobs."""
    sums: dict[str, list[int]] = {}
    for name, counts in named:
        before = sums.get(str(name), [0] * len(_FIELDS))
        sums[str(name)] = [one + int(str(more)) for one, more in zip(before, counts, strict=True)]
    return tuple(_counts(name, sums[name]) for name in sorted(sums, key=_in_order))


def _counts(name: str, values: Sequence[int]) -> Counts:
    return Counts(name=name, **dict(zip(_FIELDS, values, strict=True)))


def _in_order(label: str) -> list[tuple[int, str]]:
    """`2:x` before `10:x`."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", label)]
