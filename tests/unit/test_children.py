"""A second table whose rows belong to the first one's: keys, families that are never split, slots, and rows made for each."""

import io
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet
import pytest
from support.families import RECIPE, customers, orders

from synthmill.child_plan import plan_child, refuse_private, with_slots
from synthmill.errors import RecipeError, SourceError
from synthmill.kits import make_kit
from synthmill.plan import Plan, make_plan, recipe_json
from synthmill.recipe_file import load_recipe
from synthmill.sources import read
from synthmill.sources.children import PLACE, one_a_family, overrides_of, places, read_family
from synthmill.sources.split import split
from synthmill.store.slots import KEY, STRATUM, Slots, read_slots, write_slots
from synthmill.work import FitTask, Sampler, Shard, fit_model

PARENTS = customers(300)
ORDERS = orders(PARENTS)


def recipe_of(root, text=RECIPE):
    path = root / "shop.yaml"
    path.write_text(text)
    return load_recipe(path)


def family_of(root, text=RECIPE, parents=PARENTS, children=ORDERS):
    """The recipe and its real rows, read from files as a run reads them."""
    recipe = recipe_of(root, text)
    (root / "data").mkdir(exist_ok=True)
    pyarrow.csv.write_csv(parents, root / "data/customers.csv")
    pyarrow.csv.write_csv(children, root / "data/orders.csv")
    wanted = recipe.source
    source = read(wanted.path, root=root, overrides=overrides_of(wanted), target=wanted.target)
    parts = split(source.table, source.schema, wanted.holdout, root=root)
    return recipe, read_family(recipe, source, parts, root=root)


def plan_of(recipe, family):
    children = [plan_child(recipe, child) for child in family.children]
    parts = family.parts
    return make_plan(recipe, family.source.schema, parts.train, parts.a, parts.b, children=children)


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    recipe, family = family_of(tmp_path_factory.mktemp("shop"))
    return recipe, family, plan_of(recipe, family)


# the real rows --------------------------------------------------------------------------------------------------------


def test_every_parent_knows_how_many_children_it_has(shop):
    _, family, _ = shop
    counted = dict(
        zip(*np.unique(ORDERS["customer_id"].to_numpy(zero_copy_only=False), return_counts=True), strict=True)
    )
    table = family.source.table
    assert table["_orders"].to_pylist() == [counted.get(key, 0) for key in table["customer_id"].to_pylist()]
    assert 0 in table["_orders"].to_pylist()


def test_no_family_is_split_and_no_child_is_lost(shop):
    _, family, _ = shop
    [child] = family.children
    income_of = dict(zip(PARENTS["customer_id"].to_pylist(), PARENTS["income"].to_pylist(), strict=True))
    owner_of = dict(zip(ORDERS["order_id"].to_pylist(), ORDERS["customer_id"].to_pylist(), strict=True))
    found = 0
    for name in ("train", "a", "b"):
        parents, joined = getattr(family.parts, name), getattr(child.parts, name)
        owners = [owner_of[order] for order in joined["order_id"].to_pylist()]
        assert set(owners) <= set(parents["customer_id"].to_pylist())
        assert joined["parent.income"].to_pylist() == [income_of[owner] for owner in owners]
        found += joined.num_rows
    assert found == ORDERS.num_rows


def test_the_keys_are_no_columns_of_a_model(shop):
    _, family, _ = shop
    assert family.children[0].joined.names == [
        *("parent.segment", "parent.income", "parent._orders", PLACE),
        *("order_id", "amount", "channel"),
    ]
    assert family.source.schema["customer_id"].kind == "id"


def test_children_of_two_tables_know_both_counts(tmp_path):
    second = "  returns:\n    source: {path: data/orders.csv, parent: customer_id}\n    generator: table/trees\n"
    recipe, family = family_of(tmp_path, RECIPE + second)
    for child in family.children:
        assert child.joined.names[2:4] == ["parent._orders", "parent._returns"]
    assert family.source.table["_orders"].equals(family.source.table["_returns"])
    assert [child.recipe.dataset for child in plan_of(recipe, family).children] == ["orders", "returns"]


def test_places_count_the_rows_of_each_owner():
    assert places(np.array([7, 3, 7, 7, 3, 9])).to_pylist() == [1, 1, 2, 3, 2, 1]


def test_one_row_of_each_family_is_scored_at_any_place(shop):
    _, family, plan = shop
    [child], belonging = family.children, plan.children[0].belonging
    joined = child.parts.train
    scored = joined.filter(pa.array(one_a_family(joined, belonging.context, belonging.count)))
    parents = family.parts.train.filter(pc.greater(family.parts.train["_orders"], 0))
    assert sorted(scored["parent.income"].to_pylist()) == sorted(parents["income"].to_pylist())
    assert len(pc.unique(scored[PLACE])) > 3


def test_a_few_orphans_are_dropped_with_a_note(tmp_path):
    lost = ORDERS.slice(0, 2).set_column(1, "customer_id", pa.array(["nobody", "noone"]))
    _, family = family_of(tmp_path, children=pa.concat_tables([ORDERS, lost]))
    assert "dropped 2 rows that name no row of the first table" in family.children[0].source.notes
    assert family.children[0].source.table.num_rows == ORDERS.num_rows


def test_many_orphans_are_refused_and_counted(tmp_path):
    with pytest.raises(SourceError, match=r"of .* rows name no row of the first table") as caught:
        family_of(tmp_path, parents=PARENTS.slice(0, 200))
    assert caught.value.where == "children.orders.source.parent"


def test_a_key_that_two_rows_have_is_refused(tmp_path):
    with pytest.raises(SourceError, match="1 of 301 rows have a key that another row has") as caught:
        family_of(tmp_path, parents=pa.concat_tables([PARENTS, PARENTS.slice(0, 1)]))
    assert caught.value.where == "source.key"
    assert PARENTS["customer_id"][0].as_py() not in str(caught.value)


def test_a_key_with_gaps_is_refused(tmp_path):
    gaps = pc.if_else(pa.array(np.arange(300) < 2), None, PARENTS["customer_id"])
    with pytest.raises(SourceError, match="the key is missing in 2 of 300 rows"):
        family_of(tmp_path, parents=PARENTS.set_column(0, "customer_id", gaps))


@pytest.mark.parametrize(
    ("before", "after", "words", "where"),
    [
        ("key: customer_id, ", "", "children belong to rows that have a key", "shop.yaml:1"),
        ("  orders:", "  data:", "data is the folder of this table's own rows", "shop.yaml:1"),
        ("holdout: 0.5", "holdout: other.csv", "a holdout in a file of its own has no children", "source.holdout"),
        ("parent: customer_id", "parent: customer", "no column customer", "children.orders.source.columns.customer"),
        ("parent: customer_id", "parent: order_id", "order_id holds int64", "children.orders.source.parent"),
        (
            "    generator: table/trees",
            "    generator: table/noise",
            "table/noise does not keep parent.income as it is given",
            "children.orders",
        ),
        (
            "    generator: table/trees",
            "    generator: table/trees\n    rules: [amoun > 0]",
            "amoun",
            "children.orders.rules.0",
        ),
        (
            "    generator: table/trees",
            "    generator: table/trees\n    gates: {fidelity/shape: {not_worse_than: latest}}",
            "cannot compare with an earlier release",
            "children.orders.gates",
        ),
        (
            "    generator: table/trees",
            "    generator: table/trees\n    params: {leaf: 0}",
            "leaf",
            "children.orders.params",
        ),
    ],
)
def test_mistakes_are_told_at_their_key_before_any_fit(tmp_path, before, after, words, where):
    pyarrow.csv.write_csv(PARENTS, tmp_path / "other.csv")
    with pytest.raises((RecipeError, SourceError), match=words) as caught:
        plan_of(*family_of(tmp_path, RECIPE.replace(before, after)))
    assert where in caught.value.where


def test_differential_privacy_is_not_promised_across_two_tables(shop):
    *_, plan = shop
    refuse_private(plan)
    private = plan.models[0].model_copy(update={"is_private": True})
    with pytest.raises(RecipeError, match="differential privacy is not kept across two tables"):
        refuse_private(plan.model_copy(update={"models": (private,)}))
    [child] = plan.children
    spent = child.model_copy(update={"models": (child.models[0].model_copy(update={"is_private": True}),)})
    with pytest.raises(RecipeError) as caught:
        refuse_private(plan.model_copy(update={"children": (spent,)}))
    assert caught.value.where == "children.orders"


def test_a_recipe_without_children_says_nothing_of_them(tmp_path):
    plain = recipe_json(
        recipe_of(tmp_path, "dataset: a\nsource: {path: b.csv}\njobs: [{generator: table/vae, rows: 1}]")
    )
    assert "children" not in plain
    assert "key" not in plain["source"]


def test_a_plan_with_children_survives_json_and_tells_a_change_of_theirs(shop, tmp_path):
    *_, plan = shop
    assert Plan.model_validate_json(plan.model_dump_json(by_alias=True)) == plan
    other = plan_of(*family_of(tmp_path, children=ORDERS.slice(1)))
    assert other.children[0].fingerprint != plan.children[0].fingerprint
    assert other.fingerprint != plan.fingerprint


# slots ----------------------------------------------------------------------------------------------------------------

MADE = pa.table(
    {
        "customer_id": ["C9", "C8", "C7", "C6"],
        "segment": ["new", "business", "abroad", "new"],  # one that train does not know
        "income": [1.0, 2.0, 3.0, 4.0],
        "_orders": [2, 0, 1, 3],
        "_stratum": ["0:all", "0:all", "0:all", "1:all"],
    }
)


def slots_of(folder, plan, family, made=MADE, rows=(3, 1)):
    """The slots of parents made by two jobs, whose files hold so many rows."""
    job, start = plan.jobs[0], 0
    jobs = tuple(job.model_copy(update={"index": i, "rows": n, "fingerprint": f"job {i}"}) for i, n in enumerate(rows))
    plan = plan.model_copy(update={"jobs": jobs})
    (folder / "data").mkdir(parents=True)
    for number, size in enumerate(rows):
        pa.parquet.write_table(made.slice(start, size), folder / "data" / f"synthetic-{number:05d}.parquet")
        start += size
    [child] = plan.children
    train = family.children[0].parts.train
    write_slots(folder / "slots", folder / "data", plan, child, train, lambda rows: None)
    return plan, Slots(folder / "slots"), read_slots(folder / "slots")


def test_there_is_a_slot_for_each_child_of_each_parent(shop, tmp_path):
    _, family, plan = shop
    _, slots, asked = slots_of(tmp_path, plan, family)
    assert [job.rows for job in asked] == [3, 3]
    assert [job.families for job in asked] == [{"0:all": 2}, {"1:all": 1}]
    first = slots.given(0, (KEY, "parent.income", "parent._orders", PLACE, STRATUM), 0, 3).to_pydict()
    assert first[KEY] == ["C9", "C9", "C7"]
    assert first["parent.income"] == [1, 1, 3]
    assert first["parent._orders"] == [2, 2, 1]
    assert first[PLACE] == [1, 2, 1]
    assert slots.given(1, (PLACE,), 0, 3)[PLACE].to_pylist() == [1, 2, 3]


def test_a_label_that_no_child_in_train_has_gives_way_to_the_commonest(shop, tmp_path):
    _, family, plan = shop
    _, slots, _ = slots_of(tmp_path, plan, family)
    segments = family.children[0].parts.train["parent.segment"].to_pylist()
    commonest = max(sorted(set(segments)), key=segments.count)
    assert slots.given(0, ("parent.segment",), 0, 3)["parent.segment"].to_pylist() == ["new", "new", commonest]


def test_slots_begin_again_to_fill_a_micro_batch(shop, tmp_path):
    _, family, plan = shop
    _, slots, _ = slots_of(tmp_path, plan, family)
    assert slots.given(0, (KEY,), 2, 8)[KEY].to_pylist() == ["C7", "C9", "C9", "C7", "C9", "C9"]


def test_more_parents_add_slots_behind_those_that_exist_under_the_same_noise(shop, tmp_path):
    _, family, plan = shop
    few, slots, asked = slots_of(tmp_path / "few", plan, family, rows=(2, 1))
    many, more, asked_more = slots_of(tmp_path / "many", plan, family, rows=(3, 1))
    assert more.given(0, (KEY, PLACE), 0, 2).equals(slots.given(0, (KEY, PLACE), 0, 2))
    [left, right] = (with_slots(p.children[0], p, s).jobs[0].strata[0] for p, s in ((few, asked), (many, asked_more)))
    assert left.fingerprint == right.fingerprint
    assert left.staging != right.staging  # what is given is not the same, so no shard is taken for another
    assert (left.rows, right.rows) == (2, 3)


# made rows ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def sampling(shop, tmp_path_factory):
    """A child's model and all that its actors get, for two hundred new parents."""
    _, family, plan = shop
    made = family.source.table.slice(0, 200).append_column("_stratum", pa.array(["0:all"] * 200))
    parents, slots, asked = slots_of(tmp_path_factory.mktemp("made"), plan, family, made, rows=(200,))
    child = with_slots(parents.children[0], parents, asked)
    train = family.children[0].parts.train
    model = fit_model(FitTask(child.models[0], child.source.schema_, 0, "cpu"), train, lambda *report: None)
    kit = make_kit(
        child.jobs[0],
        model.files,
        child.source.schema_,
        train,
        rules=("\"parent.income\" > 20000 or channel = 'shop'",),
        reject_copies=False,
        device="cpu",
        context=child.belonging.context,
        attempts=20,
    )
    return child, slots, kit


def made_of(child, slots, kit, start, stop):
    size = kit.job.micro_batch
    given = slots.given(0, child.belonging.context, start, -(-stop // size) * size)
    staged = Sampler(kit).make(Shard(0, 0, "s", start, stop, given=given))
    return pa.parquet.read_table(io.BytesIO(staged.data)), staged


def test_each_slot_gets_a_row_that_meets_the_rules_and_keeps_what_was_given(sampling):
    child, slots, kit = sampling
    rows = child.rows
    table, staged = made_of(child, slots, kit, 0, rows)
    assert (table.num_rows, staged.rows, dict(staged.rejects)) == (rows, rows, {})
    assert staged.usage["attempts"] > rows  # some slots took more than one
    given = slots.given(0, child.belonging.context, 0, rows)
    assert table.select(child.belonging.context).cast(given.schema).equals(given)
    poor = pc.less_equal(table["parent.income"], 20_000)
    assert set(table.filter(poor)["channel"].to_pylist()) == {"shop"}
    assert set(table.filter(pc.invert(poor))["channel"].to_pylist()) == {"online", "shop"}


def test_how_slots_are_cut_into_shards_changes_no_row(sampling):
    child, slots, kit = sampling
    size = 64
    kit = replace(kit, job=kit.job.model_copy(update={"micro_batch": size}))
    whole, _ = made_of(child, slots, kit, 0, child.rows)
    assert child.rows > 3 * size
    pieces = [
        made_of(child, slots, kit, start, min(start + size, child.rows))[0] for start in range(0, child.rows, size)
    ]
    assert pa.concat_tables(pieces).equals(whole)


def test_a_slot_that_no_attempt_fills_says_why(sampling):
    child, slots, kit = sampling
    table, staged = made_of(child, slots, replace(kit, rules=("amount < 0",), attempts=2), 0, 10)
    assert (staged.rows, dict(staged.rejects)) == (0, {"rule 0": 10})
    assert table["_candidate"].to_pylist() == [*range(10)]
    assert staged.usage["attempts"] == 20


def test_a_copy_is_told_by_the_childs_own_columns(sampling, shop):
    """Another parent beside it does not hide it."""
    child, slots, kit = sampling
    train = shop[1].children[0].parts.train
    table, _ = made_of(child, slots, replace(kit, rules=()), 0, child.rows)
    own = {(row["amount"], row["channel"]) for row in train.select(["amount", "channel"]).to_pylist()}
    copies = [(row["amount"], row["channel"]) in own for row in table.select(["amount", "channel"]).to_pylist()]
    assert table["_copy"].to_pylist() == copies
    assert any(copies)
