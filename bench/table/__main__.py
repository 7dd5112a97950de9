"""Table generators and their peers on five real tables.

    python -m bench.table                                  every generator of tables and the controls, seed 0
    python -m bench.table --generators table/llm --seeds 0 1 2 --data adult magic
    python -m bench.table --peers ctgan tvae [--equal]     in .venv-peers-tables; --equal: at our family's seconds
    python -m bench.table --frontier                       each family's dial, and docs/benchmarks/frontier.svg
    python -m bench.table --table                          what is stored, as markdown

Cells that are stored and whose code has not changed are not run again. The files are looked for in the folder that
SYNTHMILL_TEST_DATA names.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path

from bench.table.cells import CONTROLS, PEERS, RESULTS, ROOT, Cell, Result, stored
from bench.table.data import DATA
from bench.table.frontier import DIALS, dial, draw
from bench.table.grid import at_equal_time, run
from bench.table.page import tables
from synthmill import registry

FIGURE = ROOT / "docs" / "benchmarks" / "frontier.svg"


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", nargs="+", choices=DATA, default=list(DATA))
    parser.add_argument("--generators", nargs="+", help="keys, or ceiling and floor")
    parser.add_argument("--peers", nargs="*", choices=PEERS, help="these instead of ours; all where none is named")
    parser.add_argument("--equal", action="store_true", help="peers at the seconds that our family's fit took")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0], help="deal the halves and seed fits and samples")
    parser.add_argument("--minutes", type=float, default=10, help="the most of a fit of ours")
    parser.add_argument("--rows", type=int, help="cut both halves, for a quick look")
    parser.add_argument("--frontier", action="store_true", help="run the dials, then draw all that is stored")
    parser.add_argument("--table", action="store_true", help="print what is stored and run nothing")
    parser.add_argument("--folder", type=Path, default=Path(os.environ.get("SYNTHMILL_TEST_DATA", "../shared/data")))
    parser.add_argument("--results", type=Path, default=RESULTS)
    return parser.parse_args()


def wanted(options: argparse.Namespace) -> list[Cell]:
    """The cells asked for, the cheapest data first."""
    pairs = [(data, seed) for seed in options.seeds for data in options.data]
    if options.frontier:
        families = [maker for maker in options.generators or DIALS if maker in registry.generator_keys()]
        asked = {"rows": options.rows, "minutes": options.minutes}
        return [cell for maker in families for data, seed in pairs for cell in dial(data, maker, seed=seed, **asked)]
    if options.peers is not None:
        cells = [Cell(data, peer, seed, {}, options.rows) for peer in options.peers or PEERS for data, seed in pairs]
        return at_equal_time(cells, stored(options.results), options.minutes) if options.equal else cells
    makers = options.generators or [*CONTROLS, *_generators()]
    return [
        Cell(data, maker, seed, {}, options.rows, _minutes(maker, options)) for maker in makers for data, seed in pairs
    ]


def _generators() -> list[str]:
    return [key for key in registry.generator_keys() if registry.generator(key).modality == "table"]


def _minutes(maker: str, options: argparse.Namespace) -> float | None:
    return None if maker in CONTROLS else options.minutes


def line(result: Result) -> str:
    cell, scores, costs = result.cell, result.scores, result.costs
    shown = ("fidelity/c2st", "utility/tstr", "privacy/dcr", "privacy/copies")
    numbers = "  ".join(f"{name} {scores[name]:.4f}" for name in shown if name in scores)
    fit = f"  fit {costs['fit_core_s']:.0f} core-s" if costs else ""
    return f"{cell.data:<9} {cell.maker:<16} {json.dumps(dict(cell.params)):<18} seed {cell.seed}  {numbers}{fit}"


def main() -> None:
    options = parsed()
    if not options.table:
        for result in run(wanted(options), data=options.folder.resolve(), results=options.results):
            print(line(result), flush=True)
    results = list(stored(options.results).values())
    if options.frontier:
        draw(results, FIGURE)
    if options.table:
        print(tables(results, _generators()))


if __name__ == "__main__":
    main()
