"""Trees that tell train from proposals: what they let through follows train, and where nothing tells the two apart, nearly all is taken."""

import itertools

import numpy as np
import pyarrow as pa
import pytest
import torch
from support.tables import MIXED, mixed

from generators.nets.refiner import LEAST_ROWS, Refiner
from generators.table.llm import LLM
from synthmill.codecs.table import Part
from synthmill.generator import SampleRequest, TrainData

PARTS = (Part("label", 2, None, (0.0, 0.0)), Part("number", 2, 0, (0.0, 0.0), missing=1))
ROWS = 3_000


def cells(rows, seed, *, tied):
    """A label, and a number whose sign is the label's where they are `tied`; a tenth of the numbers is missing."""
    random = np.random.default_rng(seed)
    label = random.integers(0, 2, rows)
    other = label if tied else random.integers(0, 2, rows)
    number = np.abs(random.normal(size=rows)) * (2 * other - 1)
    is_missing = random.random(rows) < 0.1
    codes = np.stack([label, is_missing.astype(np.int64)], 1)
    values = np.stack([np.zeros(rows), np.where(is_missing, 0.0, number)], 1)
    return torch.from_numpy(codes), torch.from_numpy(values)


def fitted(*, tied_proposals, rows=ROWS):
    proposals = (cells(1_000, seed, tied=tied_proposals) for seed in itertools.count(100))
    return Refiner.fit(PARTS, cells(rows, 0, tied=True), proposals, seed=1, on_round=lambda: False)


def test_what_is_taken_follows_train_where_proposals_do_not():
    refiner = fitted(tied_proposals=False)
    codes, values = cells(20_000, 7, tied=False)
    taken = refiner.takes((codes, values), np.random.default_rng(0).random(20_000))
    assert 0.3 < taken.mean() < 0.7  # half of the proposals are as train's rows are
    kept_codes, kept_values = codes[torch.from_numpy(taken)], values[torch.from_numpy(taken)]
    has_number = kept_codes[:, 1] == 0
    agrees = (kept_values[:, 1] > 0) == (kept_codes[:, 0] == 1)
    assert agrees[has_number].double().mean() > 0.95
    assert has_number.double().mean() == pytest.approx(0.9, abs=0.03)


def test_nearly_all_is_taken_where_nothing_tells():
    refiner = fitted(tied_proposals=True)
    taken = refiner.takes(cells(5_000, 8, tied=True), np.random.default_rng(0).random(5_000))
    assert taken.mean() > 0.85


def test_few_rows_and_few_proposals_give_none():
    assert fitted(tied_proposals=False, rows=LEAST_ROWS - 1) is None
    few = iter([cells(500, 1, tied=False)])
    assert Refiner.fit(PARTS, cells(ROWS, 0, tied=True), few, seed=1, on_round=lambda: False) is None


def test_a_fit_that_is_out_of_time_makes_do_with_the_trees_so_far():
    calls = itertools.count(1)
    proposals = (cells(1_000, seed, tied=False) for seed in itertools.count(100))
    refiner = Refiner.fit(PARTS, cells(ROWS, 0, tied=True), proposals, seed=1, on_round=lambda: next(calls) >= 3)
    assert next(calls) == 4
    assert refiner.trees.booster.num_boosted_rounds() <= 3


def test_what_is_saved_takes_the_same(tmp_path):
    refiner = fitted(tied_proposals=False)
    refiner.save(tmp_path)
    chances = np.random.default_rng(3).random(2_000)
    loaded = Refiner.load(tmp_path, PARTS)
    some = cells(2_000, 9, tied=False)
    assert np.array_equal(loaded.takes(some, chances), refiner.takes(some, chances))


@pytest.fixture(scope="module")
def model():
    torch.set_num_threads(LLM.threads)
    found = LLM(LLM.Params(steps=60, width=16))
    found.fit(TrainData(mixed(1_500), MIXED), seed=0, device="cpu", progress=lambda *now: None)
    return found


def rows_of(model, **sampling):
    copy = LLM(model.params.model_copy(update=sampling))
    copy._codec, copy._network, copy._possible, copy._refiner = (
        model._codec,
        model._network,
        model._possible,
        model._refiner,
    )
    nothing = np.ones((1_024, 0), dtype=bool)
    return copy.sample(SampleRequest(np.arange(1_024), 5, pa.table({}), nothing)).table


def test_rows_that_are_taken_at_once_are_those_of_a_single_try(model):
    first, some, all_tries = (rows_of(model, tries=tries).to_pylist() for tries in (1, 2, 8))
    kept = [a == b for a, b in zip(first, all_tries, strict=True)]
    assert 0.02 < np.mean(kept) < 0.95
    again = [a == b for a, b in zip(first, some, strict=True)]
    assert all(new or not old for old, new in zip(kept, again, strict=True))  # two tries redraw no row that eight keep


def test_a_fit_without_it_makes_the_first_proposals(model):
    plain = LLM(LLM.Params(steps=60, width=16, refine=False))
    plain.fit(TrainData(mixed(1_500), MIXED), seed=0, device="cpu", progress=lambda *now: None)
    assert rows_of(plain, tries=8).equals(rows_of(model, tries=1))


def test_what_only_sampling_reads_does_not_change_the_fit(model, tmp_path):
    other = LLM(LLM.Params(steps=60, width=16, temperature=0.5, tries=1))
    other.fit(TrainData(mixed(1_500), MIXED), seed=0, device="cpu", progress=lambda *now: None)
    folders = [tmp_path / "one", tmp_path / "other"]
    for saved, folder in zip((model, other), folders, strict=True):
        folder.mkdir()
        saved.save(folder)
    assert [p.name for p in sorted(folders[0].iterdir())] == [p.name for p in sorted(folders[1].iterdir())]
    assert all((folders[1] / p.name).read_bytes() == p.read_bytes() for p in folders[0].iterdir())
