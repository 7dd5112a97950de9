"""Rules: SQL boolean expressions over the columns, run in DuckDB with every way out of it closed.

As in a SQL CHECK constraint, NULL passes: `age >= 17` does not reject a row whose age is missing.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import duckdb
import pyarrow as pa

from synthmill.columns import Schema
from synthmill.errors import RecipeError

_FORBIDDEN_NODES = {"SUBQUERY", "STAR", "WINDOW", "PARAMETER"}


class Rules:
    """Compiled rules. Holds one in-memory connection of one thread; not shared between threads."""

    def __init__(self, rules: Sequence[str], schema: Schema, *, where: str = "rules") -> None:
        """Check every rule against the schema; a rule that cannot run is a RecipeError that names it."""
        self._rules = tuple(rules)
        self._connection = _closed_connection()
        empty = _plain_columns(schema.arrow.empty_table())
        for number, rule in enumerate(rules):
            place = f"{where}.{number}"
            _refuse_more_than_an_expression(self._connection, rule, schema, place)
            try:
                self._refuse_other_than_boolean(rule, empty, place)
            except duckdb.Error as error:
                message = str(error).splitlines()[0]
                raise RecipeError(
                    f"the rule {rule!r} cannot run: {message}", where=place, hint="columns: " + ", ".join(schema.names)
                ) from error

    def broken(self, table: pa.Table) -> list[pa.ChunkedArray]:
        """For each rule, True where a row breaks it; shape (rules, rows). A rule that fails on the data is a RecipeError."""
        plain = _plain_columns(table)
        broken = []
        for number, rule in enumerate(self._rules):
            try:
                broken.append(self._evaluate(rule, plain))
            except duckdb.Error as error:
                kind = type(error).__name__  # its text may hold a cell
                raise RecipeError(
                    f"the rule {rule!r} fails on a row: {kind}", where=f"rules.{number}", hint="try_cast avoids it"
                ) from None
        return broken

    def met(self, table: pa.Table) -> pa.ChunkedArray:
        """True for the rows that break no rule."""
        met = pa.chunked_array([pa.repeat(pa.scalar(True), table.num_rows)])
        for broken in self.broken(table):
            met = pa.compute.and_not(met, broken)
        return met

    def _refuse_other_than_boolean(self, rule: str, empty: pa.Table, where: str) -> None:
        self._connection.register("candidates", empty)
        [kind] = self._connection.sql(f"SELECT ({rule}\n) FROM candidates").types
        self._connection.unregister("candidates")
        if kind != "BOOLEAN":
            raise RecipeError(
                f"the rule {rule!r} gives {kind}, not true or false", where=where, hint="compare it with something"
            )

    def _evaluate(self, rule: str, table: pa.Table) -> pa.ChunkedArray:
        self._connection.register("candidates", table)
        try:
            query = f"SELECT coalesce(NOT ({rule}\n), FALSE) AS broken FROM candidates"  # \n ends a comment in the rule
            return self._connection.sql(query).to_arrow_table()["broken"]
        finally:
            self._connection.unregister("candidates")


def _closed_connection() -> duckdb.DuckDBPyConnection:
    return duckdb.connect(
        ":memory:",
        config={
            "threads": 1,
            "preserve_insertion_order": True,
            "enable_external_access": False,
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
            "python_enable_replacements": False,
            "lock_configuration": True,
        },
    )


def _plain_columns(table: pa.Table) -> pa.Table:
    """Rules see values, not pictures: struct columns are left out."""
    names = [field.name for field in table.schema if not pa.types.is_struct(field.type)]
    return table.select(names).append_column("", pa.nulls(table.num_rows)) if not names else table.select(names)


def _refuse_more_than_an_expression(
    connection: duckdb.DuckDBPyConnection, rule: str, schema: Schema, where: str
) -> None:
    """A rule must be one expression: no second statement, no FROM, no subquery, no window."""
    [(serialized,)] = connection.execute(
        "SELECT json_serialize_sql('SELECT (' || $rule || '\n)')", {"rule": rule}
    ).fetchall()
    tree = json.loads(serialized)
    hint = "write one boolean expression over the columns, such as age >= 17"
    if tree.get("error"):
        raise RecipeError(
            f"the rule {rule!r} is no SQL expression: {tree.get('error_message', '')}", where=where, hint=hint
        )
    statements = tree["statements"]
    node = statements[0]["node"]
    is_bare = node.get("from_table", {}).get("type") == "EMPTY" and len(node.get("select_list", [])) == 1
    inner = list(_nodes(node.get("select_list", [])))
    if len(statements) != 1 or not is_bare or any(n.get("class") in _FORBIDDEN_NODES for n in inner):
        raise RecipeError(f"the rule {rule!r} is more than an expression over one row", where=where, hint=hint)
    known = Counter(
        name.lower() for name in schema.names
    )  # SQL does not tell cases apart; current_date looks like a column
    for name in (n["column_names"][0] for n in inner if n.get("class") == "COLUMN_REF"):
        if known[name.lower()] > 1:
            what = f"the rule {rule!r} names {name}, and the source has columns that differ from it in case alone"
            raise RecipeError(what, where=where, hint="SQL cannot tell them apart: rename one of them")
        if name.lower() not in known:
            what = f"the rule {rule!r} names {name}, which is no column of the source"
            raise RecipeError(what, where=where, hint="columns: " + ", ".join(schema.names))
    called = [n["function_name"] for n in inner if n.get("class") == "FUNCTION"]
    steady = "SELECT function_name FROM duckdb_functions() WHERE list_contains($called, function_name)"
    refused = connection.execute(
        f"{steady} AND (stability != 'CONSISTENT' OR function_type != 'scalar')", {"called": called}
    ).fetchall()
    if refused:
        what = f"the rule {rule!r} calls {refused[0][0]}, which is no function of one row alone"
        raise RecipeError(what, where=where, hint=hint)


def _nodes(tree: object) -> Iterator[dict[str, Any]]:
    if isinstance(tree, dict):
        yield tree
    for child in tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list) else ():
        yield from _nodes(child)
