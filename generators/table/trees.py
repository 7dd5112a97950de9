"""Sequential trees: each column drawn from the leaf of a tree that knows the columns before it.

Reiter, "Using CART to generate partially synthetic public use microdata" (Journal of Official Statistics 2005); synthpop (Nowok, Raab
and Dibben, Journal of Statistical Software 2016). Three departures. Given columns come first: those that the usual order puts before
them get trees of their own when such rows are asked for, so that every other column follows them. Numbers are told apart by
their distribution, not by their mean alone. And a number that few rows share is not drawn as it is, but between two neighbours.

To grow trees for other orders, the model keeps up to 100,000 train rows in encoded form: guard its files as the source itself.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Self

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from pydantic import Field
from safetensors.numpy import load_file, save_file

from generators.nets.cart import Cells
from generators.nets.column_tree import MOST_INPUTS, Alphabet, ColumnTrees, Draw, Growth
from generators.nets.given import encode_given, keep_given
from generators.nets.table import TableGenerator
from synthmill import generator as contract
from synthmill import seeds
from synthmill.codecs.cells import plain
from synthmill.codecs.table import EncodedTable, TableCodec
from synthmill.columns import Schema
from synthmill.generator import (
    NO_CHECKPOINT,
    Checkpoint,
    Cost,
    FitProgress,
    FitReport,
    Sampled,
    SampleRequest,
    TrainData,
    sampling,
)

_MOST_ROWS = 100_000
_NUMBERS = ("number", "integer", "date", "datetime", "time")
_DRAWS = 3  # uniforms a cell
_MOST_TREES = 2048  # columns and what is known before them, for which trees are kept in memory

Known = frozenset[int]


class Trees(TableGenerator):
    """Mixed tables: any columns can be given exactly, ids are made anew."""

    family = "trees"
    version = 1
    micro_batch = 4096

    class Params(contract.Params):
        """`leaf` is the dial between fidelity and privacy."""

        leaf: int = Field(40, ge=2, description="least train rows of a leaf; more keep further from single rows")
        trees: int = Field(8, ge=1, description="trees of a column; more are smoother, and slower to grow")
        smoothing: float = sampling(
            1.0, ge=0, le=1, description="how far numbers lie from those of train; 0: not at all"
        )
        temperature: float = sampling(1.0, gt=0, le=2, description="below 1 the likely rows become likelier")

    params: Trees.Params
    _alphabets: tuple[Alphabet, ...]
    _rows: tuple[Cells, ...]  # train, by part
    _order: tuple[int, ...]  # of the parts, where nothing is given
    _seed: int
    _trees: dict[tuple[int, Known], ColumnTrees]  # by part and what is known before it

    @classmethod
    def memory_bytes(cls, source: Schema, params: contract.Params) -> int:
        """Torch and scikit-learn; the train rows kept, and each of them once a tree in the leaves."""
        assert isinstance(params, cls.Params)
        return 400 * 2**20 + _MOST_ROWS * len(source) * (16 + 20 * params.trees)

    @classmethod
    def cost(cls, source: Schema, train_rows: int, params: contract.Params) -> Cost:
        """As measured on Adult (15 columns) and on 200 columns of numbers."""
        assert isinstance(params, cls.Params)
        pairs = min(train_rows, _MOST_ROWS) * len(source) * min(len(source), MOST_INPUTS)
        return Cost(fit_s=0.5 + 1e-7 * params.trees * pairs, rows_per_s=2.5e6 / len(source))

    def fit(
        self,
        data: TrainData,
        *,
        seed: int,
        device: str,
        progress: FitProgress,
        checkpoint: Checkpoint = NO_CHECKPOINT,
    ) -> FitReport:
        """One tree a column; a step is a column, its loss the entropy of its codes in the leaves, in nats."""
        self._codec = TableCodec.fit(data.table, data.schema)
        self._seed = seed
        table = data.table
        if table.num_rows > _MOST_ROWS:
            random = np.random.default_rng(seeds.derive(seed, "rows"))
            table = table.take(np.sort(random.choice(table.num_rows, _MOST_ROWS, replace=False)))
        encoded = self._codec.encode(table)
        codes, values = (np.ascontiguousarray(array.T) for array in (encoded.codes, encoded.values))
        self._rows = tuple(map(Cells, codes, values))
        self._alphabets = _alphabets(self._codec, data.table, self._rows)
        self._order = _order(self._codec, self._rows)
        self._trees = {}
        losses = []
        for step, part in enumerate(self._order, 1):
            tree = self._tree(part, frozenset(self._order[: step - 1]))
            losses.append((step, tree.leaves.entropy()))
            progress(step, len(self._order), losses[-1][1])
        return FitReport(len(losses), "steps", tuple(losses))

    def sample(self, request: SampleRequest) -> Sampled:
        """All candidates asked for; given cells come back as they were given."""
        parts = [part.name for part in self._codec.parts]
        rows = len(request.candidates)
        codes, values, seen = (array.numpy() for array in encode_given(self._codec, request))
        made = list(map(Cells, np.ascontiguousarray(codes.T), np.ascontiguousarray(values.T, np.float64)))
        uniforms = seeds.uniforms(request.key, request.candidates, 0, _DRAWS * len(parts)).reshape(rows, -1, _DRAWS)
        patterns = seen[:1] if (seen == seen[:1]).all() else np.unique(seen, axis=0)
        for pattern in patterns:
            alike = np.flatnonzero((seen == pattern).all(1))
            self._fill(made, alike, np.flatnonzero(pattern).tolist(), uniforms)
        codes, values = np.stack([cells.codes for cells in made], 1), np.stack([cells.values for cells in made], 1)
        encoded = EncodedTable(torch.from_numpy(codes), torch.from_numpy(values))
        table = self._codec.decode(encoded, key=request.key, candidates=request.candidates)
        return Sampled(keep_given(table, request, parts), request.candidates)

    def _fill(
        self, made: list[Cells], rows: NDArray[np.int64], given: list[int], uniforms: NDArray[np.float64]
    ) -> None:
        """Write the parts that are not given into the `rows` of `made`, all of which have the same parts given."""
        known = set(given)
        own = [Cells(cells.codes[rows], cells.values[rows]) for cells in made]
        for part in self._order:
            if part in known:
                continue
            tree = self._tree(part, frozenset(known))
            draw = Draw(uniforms[rows, part], self.params.smoothing, self.params.temperature)
            own[part] = tree.draw(own, self._alphabets, part, draw)
            made[part].codes[rows], made[part].values[rows] = own[part].codes, own[part].values
            known.add(part)

    def _tree(self, part: int, known: Known) -> ColumnTrees:
        """Grown when first asked for; the same whenever that is."""
        if (part, known) not in self._trees:
            if len(self._trees) >= _MOST_TREES:
                self._trees = {at: self._trees[at] for at in _usual(self._order) if at in self._trees}
            inputs = sorted(known)
            growth = Growth(self.params.leaf, self.params.trees, seeds.derive(self._seed, part, *inputs))
            self._trees[part, known] = ColumnTrees.grow(
                self._rows, self._alphabets, part, inputs, growth, self.params.temperature
            )
        return self._trees[part, known]

    def save(self, folder: Path) -> None:
        """The codec, `rows.safetensors` and the trees of the usual order; those of given columns are grown again when needed."""
        self._codec.save(folder)
        rows = {f"{j}.codes": _narrow(cells.codes) for j, cells in enumerate(self._rows)}
        rows |= {f"{j}.values": cells.values for j, cells in enumerate(self._rows) if cells.values.any()}
        save_file(rows, folder / "rows.safetensors")
        trees = {part: self._trees[part, known] for part, known in _usual(self._order)}
        arrays = {
            f"trees.{part}.{name}": array for part, tree in trees.items() for name, array in tree.arrays().items()
        }
        arrays |= {f"alphabets.{j}.scores": alphabet.scores for j, alphabet in enumerate(self._alphabets)}
        arrays |= {f"alphabets.{j}.shared": alphabet.shared for j, alphabet in enumerate(self._alphabets)}
        save_file(arrays, folder / "trees.safetensors")
        alphabets = [(alphabet.size, alphabet.free) for alphabet in self._alphabets]
        parts = [[question.part for question in trees[part].questions] for part in self._order]
        state = {"seed": self._seed, "order": self._order, "questions": parts, "alphabets": alphabets}
        (folder / "trees.json").write_text(json.dumps(state), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path, params: contract.Params, *, device: str) -> Self:
        """Read what `save` wrote."""
        assert isinstance(params, Trees.Params)
        model = cls(params)
        model._codec = TableCodec.load(folder)
        rows, arrays = load_file(folder / "rows.safetensors"), load_file(folder / "trees.safetensors")
        state = json.loads((folder / "trees.json").read_text(encoding="utf-8"))
        model._seed, model._order = state["seed"], tuple(state["order"])
        model._rows = tuple(
            Cells(rows[f"{j}.codes"].astype(np.int64), rows.get(f"{j}.values", np.zeros(len(rows[f"{j}.codes"]))))
            for j in range(len(model._order))
        )
        model._alphabets = tuple(
            Alphabet(size, free, arrays[f"alphabets.{j}.scores"], arrays[f"alphabets.{j}.shared"])
            for j, (size, free) in enumerate(state["alphabets"])
        )
        model._trees = {
            (part, known): ColumnTrees.from_arrays(parts, _below(arrays, f"trees.{part}."), params.temperature)
            for (part, known), parts in zip(_usual(model._order), state["questions"], strict=True)
        }
        return model


def _usual(order: Sequence[int]) -> Iterator[tuple[int, Known]]:
    """Each part and what is known before it where nothing is given."""
    return ((part, frozenset(order[:i])) for i, part in enumerate(order))


def _alphabets(codec: TableCodec, table: pa.Table, rows: Sequence[Cells]) -> tuple[Alphabet, ...]:
    alphabets = []
    for part, cells in zip(codec.parts, rows, strict=True):
        column = codec.schema[part.name]
        missing = plain(column, table[part.name]).null_count
        if column.kind in _NUMBERS and missing < table.num_rows:
            alphabets.append(Alphabet.of_numbers(part.scores, part.free, part.size - 1 if missing else -1, cells))
        else:
            alphabets.append(Alphabet.of_labels(part.size))
    return tuple(alphabets)


def _order(codec: TableCodec, rows: Sequence[Cells]) -> tuple[int, ...]:
    """The target first, as it is asked for most; then from many distinct cells to few: labels are best told by numbers."""
    distinct = [len(np.unique(cells.codes)) + len(np.unique(cells.values)) for cells in rows]
    is_target = [part.name == codec.schema.target for part in codec.parts]
    return tuple(sorted(range(len(rows)), key=lambda j: (not is_target[j], -distinct[j], j)))


def _narrow(codes: NDArray[np.int64]) -> NDArray[np.generic]:
    """The same codes in as few bytes as they need."""
    return codes.astype(np.min_scalar_type(int(codes.max())))


def _below(arrays: Mapping[str, NDArray[np.generic]], prefix: str) -> dict[str, NDArray[np.generic]]:
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
