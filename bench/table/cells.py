"""Cells of the grid and what is known of them: one JSON file each, written whole."""

from __future__ import annotations

import ast
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from pathlib import Path

from pydantic import JsonValue

from bench.table.data import DATA
from synthmill import registry

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "bench" / "results"
SCORES = (
    "fidelity/c2st",
    "fidelity/c2st_logistic",
    "fidelity/shape",
    "fidelity/trend",
    "utility/tstr",
    "privacy/dcr",
    "privacy/copies",
)
CONTROLS = ("ceiling", "floor")
"""Unseen real rows, and every column shuffled on its own."""
PEERS = {"ctgan": "table/gan", "tvae": "table/vae", "tabular-argn": "table/llm", "gaussian-copula": "table/trees"}
"""Each peer and the family of ours that it is measured against; at equal time it gets the seconds of that one's fit."""
_SCRIPTS = {
    "ctgan": "table_ctgan",
    "tvae": "table_ctgan",
    "tabular-argn": "table_argn",
    "gaussian-copula": "table_copula",
}
_READ_BY_A_FIT = ("generators", "synthmill/codecs")


@dataclass(frozen=True, slots=True)
class Cell:
    """One maker on one table: `maker` is a generator's key, a peer or a control."""

    data: str
    maker: str
    seed: int = 0
    params: Mapping[str, JsonValue] = field(default_factory=dict)
    rows: int | None = None  # of a half; None for all
    minutes: float | None = None  # the most that our fits may take, where they know such a bound

    @property
    def name(self) -> str:
        """File name: readable, and apart wherever cells differ."""
        digest = sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:10]
        return f"{self.data}-{self.maker.replace('/', '-')}-{self.seed}-{digest}.json"


@dataclass(frozen=True, slots=True)
class Result:
    """What a cell gave. `code` names the code that made and scored it; costs are of one core, seconds and bytes."""

    cell: Cell
    code: str
    measured: str  # the day
    scores: Mapping[str, float]
    costs: Mapping[str, float]


def script(maker: str) -> Path:
    """The peer's side of the exchange."""
    return ROOT / "bench" / "peers" / f"{_SCRIPTS[maker]}.py"


def code(cell: Cell) -> str:
    """Fingerprint of what makes and scores these rows: how data is read, evaluators' versions, our sources or a peer's and its packages."""
    versions = {key: registry.evaluator(key).version for key in SCORES}
    digest = sha256(json.dumps([versions, asdict(DATA[cell.data])]).encode())
    for path in sorted(_sources(cell.maker)):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def _sources(maker: str) -> set[Path]:
    if maker in CONTROLS:
        return set()
    if maker in PEERS:
        return {script(maker), script(maker).with_name("exchange.py"), ROOT / "peers-tables-constraints.txt"}
    found: set[Path] = set()
    waiting = [ROOT / "generators" / f"{maker}.py"]
    while waiting:
        path = waiting.pop()
        if path not in found:
            found.add(path)
            waiting.extend(_imported(path))
    return found


def _imported(path: Path) -> list[Path]:
    """The modules that a fit reads of those imported here."""
    names = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    paths = [name.replace(".", "/") + ".py" for name in names]
    return [ROOT / name for name in paths if name.startswith(_READ_BY_A_FIT) and (ROOT / name).is_file()]


def store(result: Result, folder: Path) -> None:
    """Written aside and renamed: a kill leaves the whole file or none."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / result.cell.name
    aside = path.with_suffix(f".{os.getpid()}")
    aside.write_text(json.dumps(asdict(result), indent=1) + "\n", encoding="utf-8")
    aside.replace(path)


def stored(folder: Path) -> dict[str, Result]:
    """All results, by the name of their cell."""
    found = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json"))]
    results = [Result(**plain | {"cell": Cell(**plain["cell"])}) for plain in found]
    return {result.cell.name: result for result in results}
