"""table/llm at tiny sizes: it learns dependence, meets conditions exactly, and its rows are a function of key and candidate."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch

from generators.nets.autoregressive import Autoregressive, Uniforms, initialise, invert, random_ranks
from generators.nets.tokens import Bins, RowTokens, row_tokens, vocabularies
from generators.table.llm import LLM
from synthmill.codecs.table import TableCodec
from synthmill.columns import Column, Schema
from synthmill.errors import FitError, RecipeError
from synthmill.generator import SampleRequest, TrainData
from synthmill.seeds import uniforms

ROWS = 400


@pytest.fixture(scope="module", autouse=True)
def the_threads_of_the_generator() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(LLM.threads)
    yield
    torch.set_num_threads(before)


def mixed_table() -> TrainData:
    """`colour` decides `size`, `shade` (a number) and where `amount` is missing."""
    random = np.random.default_rng(0)
    colour = random.choice(["blue", "red"], ROWS, p=[0.7, 0.3])
    is_red = colour == "red"
    kinds = {
        "key": ("id", "string"),
        "colour": ("category", "string"),
        "is_large": ("boolean", "bool"),
        "shade": ("number", "double"),
        "grade": ("integer", "int64"),
        "amount": ("number", "double"),
    }
    cells = {
        "key": [f"k{i:06d}" for i in range(ROWS)],
        "colour": colour,
        "is_large": is_red ^ (random.random(ROWS) < 0.05),
        "shade": random.normal(np.where(is_red, 4.0, -4.0), 1.0),
        "grade": random.choice([1, 2, 3], ROWS),
        "amount": pa.array(random.gamma(2, 5, ROWS).round(2), mask=is_red),
    }
    schema = Schema(columns=tuple(Column(name=n, kind=k, dtype=d, nullable=True) for n, (k, d) in kinds.items()))
    return TrainData(pa.table(cells, schema=schema.arrow), schema)


def fitted(data: TrainData, seed: int = 0, **params: object) -> LLM:
    small = {"steps": 400, "width": 32, "batch": 128, "dropout": 0.1} | params
    model = LLM(LLM.Params(**small))
    model.fit(data, seed=seed, device="cpu", progress=lambda step, steps, loss: None)
    return model


def request(rows: int, given: pa.Table | None = None, mask: np.ndarray | None = None, **kw: int) -> SampleRequest:
    given = pa.table({}) if given is None else given
    mask = np.ones((rows, given.num_columns), dtype=bool) if mask is None else mask
    return SampleRequest(np.arange(rows) + kw.get("first", 0), kw.get("key", 1), given, mask)


@pytest.fixture(scope="module")
def data() -> TrainData:
    return mixed_table()


@pytest.fixture(scope="module")
def model(data: TrainData) -> LLM:
    return fitted(data)


def test_rows_keep_schema_dependence_and_missing_pattern(model: LLM, data: TrainData) -> None:
    made = model.sample(request(1_024)).table
    assert made.schema.equals(data.table.schema)
    frame = made.to_pandas()
    is_red = frame["colour"] == "red"
    assert abs(is_red.mean() - np.mean(np.array(data.table["colour"]) == "red")) < 0.08
    assert (frame["is_large"].astype(bool) == is_red).mean() > 0.85
    assert ((frame["shade"] > 0) == is_red).mean() > 0.9
    assert (frame["amount"].isna() == is_red).mean() > 0.9
    assert not set(frame["key"]) & set(data.table["key"].to_pylist())
    assert frame["key"].is_unique


def test_given_cells_come_back_and_the_rest_follows_them(model: LLM) -> None:
    rows = 1_024
    given = pa.table({"colour": ["red", None] * (rows // 2), "shade": [None, -4.5] * (rows // 2)})
    mask = np.tile([[True, False], [False, True]], (rows // 2, 1))
    frame = model.sample(request(rows, given, mask)).table.to_pandas()
    assert (frame["colour"][::2] == "red").all()
    assert (frame["shade"][1::2] == -4.5).all()
    assert (frame["shade"][::2] > 0).mean() > 0.85  # a bin lies astride the gap, and blur crosses it
    assert (frame["colour"][1::2] == "blue").mean() > 0.9
    assert frame["is_large"][::2].astype(bool).mean() > 0.8
    assert frame["is_large"][1::2].astype(bool).mean() < 0.2


def test_a_missing_cell_can_be_given(model: LLM) -> None:
    given = pa.table({"amount": pa.array([None] * 256, type=pa.float64())})
    frame = model.sample(request(256, given)).table.to_pandas()
    assert frame["amount"].isna().all()
    assert (frame["colour"] == "red").mean() > 0.8


def test_all_cells_given_come_back_but_for_ids(model: LLM, data: TrainData) -> None:
    given = data.table.slice(0, 100)
    made = model.sample(request(100, given)).table
    assert made.drop(["key"]).equals(given.drop(["key"]))
    assert LLM.exact_conditions(data.schema, model.params) == set(data.schema.names) - {"key"}


def test_a_given_label_that_train_lacks_is_refused(model: LLM) -> None:
    with pytest.raises(RecipeError, match="colour") as caught:
        model.sample(request(4, pa.table({"colour": ["green"] * 4})))
    assert "green" not in str(caught.value)


def test_a_row_depends_on_key_and_candidate_alone(model: LLM) -> None:
    whole = model.sample(request(256)).table
    later = model.sample(request(256, first=100)).table
    assert later.slice(0, 156).equals(whole.slice(100, 156))
    assert not model.sample(request(256, key=2)).table.equals(whole)


def test_a_neighbours_conditions_do_not_change_a_row(model: LLM) -> None:
    given = pa.table({"colour": ["red"] * 256})
    mask = np.zeros((256, 1), dtype=bool)
    mask[1::2] = True
    unconditioned, half = model.sample(request(256)).table, model.sample(request(256, given, mask)).table
    assert half.take(list(range(0, 256, 2))).equals(unconditioned.take(list(range(0, 256, 2))))


def test_a_fit_repeats_and_its_seed_matters(data: TrainData, tmp_path: Path) -> None:
    saved = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        torch.manual_seed(len(saved))  # the global generator must not matter
        (tmp_path / name).mkdir()
        fitted(data, seed=seed, steps=5).save(tmp_path / name)
        saved.append((tmp_path / name / "network.safetensors").read_bytes())
    assert saved[0] == saved[1] != saved[2]


def test_a_loaded_model_makes_the_same_rows(model: LLM, tmp_path: Path) -> None:
    model.save(tmp_path)
    loaded = LLM.load(tmp_path, model.params, device="cpu")
    assert loaded.sample(request(300)).table.equals(model.sample(request(300)).table)


def test_only_temperature_and_top_p_are_left_out_of_the_fit() -> None:
    assert LLM.Params.sampling_only() == {"temperature", "top_p"}


def test_a_low_temperature_keeps_to_what_is_likely(model: LLM, tmp_path: Path) -> None:
    model.save(tmp_path)
    cold = LLM.load(tmp_path, model.params.model_copy(update={"temperature": 0.05}), device="cpu")
    frames = [m.sample(request(512)).table.to_pandas() for m in (model, cold)]
    warm_blue, cold_blue = ((frame["colour"] == "blue").mean() for frame in frames)
    warm_std, cold_std = (frame["shade"][frame["colour"] == "blue"].std() for frame in frames)
    assert cold_blue > warm_blue + 0.1  # blue is the commoner label
    assert cold_std < 0.7 * warm_std


def test_progress_and_losses(data: TrainData) -> None:
    seen: list[tuple[int, int, float]] = []
    small = LLM(LLM.Params(steps=50, width=16, batch=64))
    report = small.fit(data, seed=0, device="cpu", progress=lambda *call: seen.append(call))
    assert [(step, steps) for step, steps, _ in seen] == [(20, 50), (40, 50), (50, 50)]
    assert report.losses == tuple((step, loss) for step, _, loss in seen)
    assert report.losses[-1][1] < report.losses[0][1]


def test_a_fit_that_diverges_says_so(data: TrainData) -> None:
    with pytest.raises(FitError, match="diverged"):
        fitted(data, steps=60, learning_rate=1e30)


SHAPES = {
    "one label": {"a": ["x", "y"] * 20},
    "one number": {"a": np.random.default_rng(0).normal(size=40)},
    "constants": {"a": [1.0] * 30, "b": ["x"] * 30, "c": pa.array([None] * 30, pa.float64())},
    "numbers": {"a": np.arange(50.0) ** 1.5, "b": np.arange(50.0)[::-1] ** 0.5},
    "labels": {"a": ["x", "y", None] * 10, "b": ["p", "q", "r"] * 10},
    "one row": {"a": [1.5], "b": ["x"]},
    "hostile names": {"": ["x", "y"] * 9, "a.b": ["x", "y"] * 9, "größe 🜚": np.arange(18.0)},
}


@pytest.mark.parametrize("cells", SHAPES.values(), ids=SHAPES)
def test_every_shape_of_table_works(cells: dict[str, object], tmp_path: Path) -> None:
    table = pa.table(cells)
    kinds = {"double": ("number", "double"), "string": ("category", "string")}
    columns = [Column(name=f.name, kind=kinds[str(f.type)][0], dtype=kinds[str(f.type)][1]) for f in table.schema]
    schema = Schema(columns=tuple(columns))
    model = fitted(TrainData(table.cast(schema.arrow), schema), steps=3)
    made = model.sample(request(64)).table
    assert made.schema.equals(schema.arrow)
    for name in schema.names:
        if pa.types.is_string(table[name].type):
            assert set(made[name].to_pylist()) <= set(table[name].to_pylist())
    model.save(tmp_path)
    assert LLM.load(tmp_path, model.params, device="cpu").sample(request(64)).table.equals(made)


@pytest.mark.parametrize("kind", ["text", "id"])
def test_what_it_cannot_make_is_refused_before_the_fit(kind: str) -> None:
    source = Schema(columns=(Column(name="note", kind=kind, dtype="string"),))  # type: ignore[arg-type]
    with pytest.raises(RecipeError, match="note" if kind == "text" else "ids"):
        LLM.schema(source, LLM.Params())


def spikes(rows: int = 2_000) -> TrainData:
    """`spend` is 0 in half of the rows, 250.5 in a twentieth, and otherwise anything; `level` is a function of `grade`."""
    random = np.random.default_rng(3)
    kind = random.choice(3, rows, p=[0.5, 0.05, 0.45])
    spend = np.choose(kind, [0.0, 250.5, random.gamma(2, 300, rows).round(2)])
    grade = random.choice(list("abcdefgh"), rows)
    cells = {"grade": grade, "level": [ord(g) - ord("a") for g in grade], "spend": spend}
    kinds = {"grade": ("category", "string"), "level": ("integer", "int64"), "spend": ("number", "double")}
    schema = Schema(columns=tuple(Column(name=n, kind=k, dtype=d) for n, (k, d) in kinds.items()))
    return TrainData(pa.table(cells, schema=schema.arrow), schema)


def test_spikes_functions_decimals_and_bounds_are_kept() -> None:
    data = spikes()
    frame = fitted(data, steps=600).sample(request(4_096)).table.to_pandas()
    assert abs((frame["spend"] == 0).mean() - 0.5) < 0.04
    assert abs((frame["spend"] == 250.5).mean() - 0.05) < 0.02
    assert (frame["grade"].map(ord) - ord("a") == frame["level"]).mean() > 0.98
    assert np.array_equal(frame["spend"].round(2), frame["spend"])
    real = data.table["spend"].to_numpy()
    assert frame["spend"].between(real.min(), real.max()).all()
    assert not set(frame["spend"][~frame["spend"].isin([0, 250.5])].round(2)) <= set(real)  # drawn, not copied


def test_ten_thousand_labels_are_learnt_and_can_be_given() -> None:
    labels = [f"label {i}" for i in range(10_000)]
    side = ["even" if i % 2 == 0 else "odd" for i in range(10_000)]
    schema = Schema(columns=tuple(Column(name=n, kind="category", dtype="string") for n in ("label", "side")))
    data = TrainData(pa.table({"label": labels, "side": side}, schema=schema.arrow), schema)
    model = fitted(data, steps=30)
    made = model.sample(request(512, pa.table({"label": labels[-512:]}))).table
    assert made["label"].to_pylist() == labels[-512:]
    assert len(set(model.sample(request(512)).table["label"].to_pylist())) > 400


def test_two_hundred_columns() -> None:
    random = np.random.default_rng(0)
    common = random.normal(size=300)
    cells = {f"c{i}": common + random.normal(size=300) for i in range(200)}
    schema = Schema(columns=tuple(Column(name=n, kind="number", dtype="double") for n in cells))
    made = fitted(TrainData(pa.table(cells, schema=schema.arrow), schema), steps=10).sample(request(256)).table
    assert made.schema.equals(schema.arrow)
    assert np.isfinite(made.to_pandas()).all(axis=None)


def test_training_stops_by_patience_or_time_and_says_so(data: TrainData) -> None:
    small = {"width": 16, "batch": 256}
    seen: list[tuple[int, int]] = []
    patient = LLM(LLM.Params(steps=5_000, dropout=0.0, learning_rate=0.02, **small))
    report = patient.fit(data, seed=0, device="cpu", progress=lambda step, steps, loss: seen.append((step, steps)))
    assert report.stopped_by == "patience"
    assert report.steps == seen[-1][0] == seen[-1][1] < 5_000
    hasty = LLM(LLM.Params(steps=100_000, max_minutes=0.005, **small))
    assert hasty.fit(data, seed=0, device="cpu", progress=lambda *call: None).stopped_by == "time"


def test_the_best_weights_are_kept_and_not_the_last(data: TrainData) -> None:
    """Overfitted on purpose, on noise: what is kept knows that `grade` is even given all else, the last weights would not."""
    overfitted = fitted(data, steps=5_000, dropout=0.0, learning_rate=0.005)
    known = [name for name in data.schema.names if name not in ("key", "grade")]
    given = pa.concat_tables([data.table.select(known).slice(0, 1)] * 2_000)
    grades = overfitted.sample(request(2_000, given)).table["grade"].to_numpy()
    assert np.bincount(grades, minlength=4)[1:].min() > 0.1 * 2_000


def test_top_p_keeps_the_likeliest_tokens_alone() -> None:
    logits = torch.log(torch.tensor([[0.5, 0.3, 0.15, 0.05]])).repeat(1_000, 1)
    drawn = invert(logits, torch.linspace(0.0005, 0.9995, 1_000), top_p=0.7)
    assert torch.allclose(torch.bincount(drawn, minlength=4) / 1_000, torch.tensor([0.625, 0.375, 0.0, 0.0]), atol=2e-3)


def test_inversion_meets_the_distribution_at_its_ends() -> None:
    logits = torch.log(torch.tensor([[0.25, 0.5, 0.25]])).repeat(4, 1)
    assert invert(logits, torch.tensor([1e-9, 0.26, 0.74, 1 - 1e-7])).tolist() == [0, 1, 1, 2]


def test_bins_hold_a_handful_of_rows_and_a_common_number_is_one_of_its_own() -> None:
    scores = torch.cat([torch.linspace(-3, 3, 997, dtype=torch.float64), torch.full((30,), 0.123, dtype=torch.float64)])
    bins = Bins.fit(scores)
    assert torch.bincount(bins.of(scores)).min() >= 8
    spike = bins.of(torch.tensor([0.123]))
    drawn = bins.draw(spike.expand(50), torch.rand(50, dtype=torch.float64))
    assert bins.coarse * bins.fine >= len(bins)
    everything = torch.arange(len(bins))
    assert torch.equal(bins.of(bins.draw(everything, torch.full((len(bins),), 0.5, dtype=torch.float64))), everything)
    assert (drawn == 0.123).float().mean() > 0.9 or bins.low[spike] < 0.123 < bins.high[spike]


def tokens_of(data: TrainData) -> tuple[Autoregressive, RowTokens]:
    codec = TableCodec.fit(data.table, data.schema)
    encoded = codec.encode(data.table)
    words = vocabularies(codec.parts, encoded.codes, encoded.values)
    network = Autoregressive(words, width=16, depth=1, dropout=0.0)
    initialise(network, torch.Generator().manual_seed(0))
    return network, row_tokens(words, encoded.codes, encoded.values)


def test_tokens_lead_back_to_the_cells(data: TrainData) -> None:
    codec = TableCodec.fit(data.table, data.schema)
    encoded = codec.encode(data.table)
    words = vocabularies(codec.parts, encoded.codes, encoded.values)
    rows = row_tokens(words, encoded.codes, encoded.values)
    for j, word in enumerate(words):
        codes, values = word.cells(rows.first[:, j], rows.fine[:, j], torch.full((ROWS,), 0.5, dtype=torch.float64))
        assert torch.equal(codes, encoded.codes[:, j])
        again = word.tokens(codes, values)
        assert torch.equal(torch.stack(again), torch.stack([rows.first[:, j], rows.fine[:, j]]))


def test_a_column_sees_those_before_it_and_no_others(data: TrainData) -> None:
    network, rows = tokens_of(data)
    order = torch.tensor([2, 0, 1, 4, 3]).expand(ROWS, -1)
    before = network.log_prob(rows, order)
    changed = RowTokens(rows.first.clone(), rows.fine.clone(), rows.scores.clone())
    changed.first[:, 0] = 1 - changed.first[:, 0]  # the third of the order
    moved = (network.log_prob(changed, order) != before).any(0)
    assert moved.tolist() == [True, False, False, True, True]


def test_what_is_drawn_follows_the_likelihood(data: TrainData) -> None:
    network, rows = tokens_of(data)
    draws, parts = 40_000, rows.first.shape[1]
    noise = Uniforms(*(torch.from_numpy(uniforms(7, np.arange(draws), step, parts)) for step in range(3)))
    start = RowTokens(*(torch.zeros(draws, parts, dtype=kind) for kind in (torch.int64, torch.int64, torch.float32)))
    with torch.no_grad():
        codes, values = network.sample(
            start, torch.zeros(draws, parts, dtype=torch.bool), noise, temperature=1, top_p=1
        )
        made = row_tokens(network.words, codes, values)
        for j in (1, 3):  # is_large and grade
            for token in range(network.words[j].size):
                forced = made.first.clone()
                forced[:, j] = token
                logs = network.log_prob(RowTokens(forced, made.fine, made.scores), network.places.expand(draws, -1))
                for rows_of in (made.first[:, 0] == 0, made.first[:, 0] == 1):  # what was drawn before matters
                    share = (made.first[rows_of, j] == token).float().mean()
                    assert share.item() == pytest.approx(logs[rows_of, j].exp().mean().item(), abs=0.015)


def test_half_of_the_rows_have_columns_given() -> None:
    ranks = random_ranks(torch.arange(6), 4_000, torch.Generator().manual_seed(0))
    given = (ranks == -1).sum(1)
    assert 0.45 < (given > 0).float().mean() < 0.55
    assert given.max() < 6
    assert (torch.bincount(given, minlength=6)[1:] > 0).all()
    assert ((ranks == -1) | (ranks == torch.arange(6))).all()
