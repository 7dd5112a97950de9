"""bench/table at tiny sizes: the grid goes on where it stopped, and its page says what was not run."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from bench.table.cells import PEERS, Cell, Result, code, script, store, stored
from bench.table.data import DATA, read_halves
from bench.table.frontier import DIALS, draw
from bench.table.grid import at_equal_time, run
from bench.table.page import tables
from bench.table.scores import under
from synthmill import registry
from synthmill.columns import Column, Schema

SCORES = {"fidelity/c2st": 0.8, "utility/tstr": 0.9, "privacy/dcr": 0.51, "privacy/copies": 0.0}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A stand-in for shoppers.csv: two numbers and two labels that hang together."""
    rng = np.random.default_rng(0)
    pages = rng.exponential(10, 800).round(2)
    month = rng.choice(["May", "Nov", "Dec"], 800)
    frame = pd.DataFrame({"pages": pages, "rate": rng.normal(size=800) + pages, "month": month})
    frame["Revenue"] = np.where(pages + rng.normal(size=800) > 10, "yes", "no")
    path = tmp_path_factory.mktemp("data")
    frame.to_csv(path / "shoppers.csv", index=False)
    return path


def result(data: str = "adult", maker: str = "table/llm", seed: int = 0, params: dict | None = None, **costs: float):
    return Result(Cell(data, maker, seed, params or {}, None, 10), "some", "2026-11-21", SCORES, costs)


def test_halves_share_no_row_and_follow_the_seed(folder: Path) -> None:
    halves = read_halves(DATA["shoppers"], folder, seed=0)
    rates = set(halves.train["rate"].to_pylist())
    assert halves.train.num_rows == halves.holdout.num_rows == 400
    assert not rates & set(halves.holdout["rate"].to_pylist())
    assert rates != set(read_halves(DATA["shoppers"], folder, seed=1).train["rate"].to_pylist())


@pytest.mark.slow
def test_a_stored_cell_is_not_made_again(folder: Path, tmp_path: Path) -> None:
    cells = [Cell("shoppers", maker) for maker in ("ceiling", "floor", "table/trees")]
    made = list(run(cells[:2], data=folder, results=tmp_path))
    before = {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    assert before.keys() == {cell.name for cell in cells[:2]}
    again = list(run(cells, data=folder, results=tmp_path))
    assert again[:2] == made
    assert all((tmp_path / name).stat().st_mtime_ns == stamp for name, stamp in before.items())
    ceiling, floor, trees = (found.scores["fidelity/c2st"] for found in again)
    assert ceiling > trees > floor
    assert again[2].costs["peak_bytes"] > 2**20


def test_a_cell_of_other_code_is_made_again(folder: Path, tmp_path: Path) -> None:
    cell = Cell("shoppers", "ceiling", rows=300)
    store(Result(cell, "of before", "2026-01-01", SCORES, {}), tmp_path)
    (found,) = run([cell], data=folder, results=tmp_path)
    assert found.code == code(cell)
    assert found.scores != SCORES
    assert stored(tmp_path) == {cell.name: found}


def test_a_torn_write_is_no_result(tmp_path: Path) -> None:
    store(result(), tmp_path)
    (tmp_path / "adult-table-vae-0.12345").write_text('{"cell": {"da')
    assert list(stored(tmp_path).values()) == [result()]


def test_cells_that_differ_have_names_of_their_own() -> None:
    cells = [Cell("adult", "table/llm"), Cell("adult", "table/llm", 1), Cell("adult", "table/llm", rows=9)]
    cells += [Cell("adult", "table/llm", params={"steps": n}) for n in (1, 2)]
    assert len({cell.name for cell in cells}) == len(cells)


def test_code_follows_what_the_generator_imports() -> None:
    makers = ["ceiling", "table/llm", "table/trees", *PEERS]
    assert len({code(Cell("adult", maker)) for maker in makers}) == len(makers) - 1  # CTGAN and TVAE share a script
    assert code(Cell("adult", "table/llm")) != code(Cell("magic", "table/llm"))
    assert all(script(peer).is_file() for peer in PEERS)


def test_equal_time_is_the_time_of_our_own_fit() -> None:
    known = {found.cell.name: found for found in [result(maker="table/gan", fit_core_s=61.6)]}
    peers = [Cell("adult", "ctgan"), Cell("adult", "tvae"), Cell("magic", "ctgan")]
    assert at_equal_time(peers, known, 10) == [Cell("adult", "ctgan", params={"seconds": 62})]


def test_rows_of_a_peer_come_under_our_types() -> None:
    columns = [
        ("n", "integer", "int64"),
        ("x", "number", "double"),
        ("c", "category", "int64"),
        ("s", "category", "string"),
    ]
    schema = Schema(columns=tuple(Column(name=n, kind=k, dtype=d, nullable=True) for n, k, d in columns))
    theirs = pa.table({"x": [1, 2], "s": ["a", None], "n": [1.6, None], "c": ["3", "_RARE_"]})
    assert under(schema, theirs).to_pydict() == {"n": [2, None], "x": [1.0, 2.0], "c": [3, None], "s": ["a", None]}


def test_the_page_says_what_was_not_run_and_averages_seeds() -> None:
    page = tables([result(seed=seed, fit_s=40 + seed) for seed in (0, 1)], ["table/llm"])
    assert "| table/llm | 0.800 (0.900; 0.510) over 2 seeds | not run |" in page
    assert "| CTGAN, equal time | not run |" in page


def test_points_of_a_dial_are_in_no_table() -> None:
    assert "0.800" not in tables([result(params={"steps": 300})], ["table/llm"])


def test_the_frontier_names_each_family_that_was_measured(tmp_path: Path) -> None:
    draw([result(), result(params={"steps": 300}), result(maker="ctgan")], tmp_path / "frontier.svg")
    drawn = (tmp_path / "frontier.svg").read_text()
    assert all(name in drawn for name in ("table/llm", "CTGAN", "Adult"))
    assert "TVAE" not in drawn


@pytest.mark.parametrize("maker", sorted(set(DIALS) & set(registry.generator_keys())))
def test_every_point_of_a_dial_is_a_setting_that_there_is(maker: str) -> None:
    kind = registry.generator(maker)
    assert [kind.Params.parse(json.loads(json.dumps(params))) for params in DIALS[maker]]
