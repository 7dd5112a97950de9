import pytest

from synthmill.errors import RecipeError
from synthmill.recipe_file import at_line, load_recipe, save_overrides
from synthmill.spec import Recipe

GOOD = """\
dataset: adult-rebalanced
source: {path: data/adult.csv, target: income}
jobs:
  - generator: table/vae    # the first
    rows: 20_000
    where: {income: {is: ">50K"}, age: {between: [17, 30]}, sex: {in: [Male, Female]}}
gates:
  fidelity/c2st: {at_least: 0.5}
"""


@pytest.fixture
def recipe(tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text(GOOD)
    return path


def test_defaults_are_filled_in(recipe):
    loaded = load_recipe(recipe)
    assert loaded.jobs[0].rows == 20_000
    assert loaded.source.holdout == 0.2
    assert loaded.accept.candidates_per_row == 20
    assert loaded.evaluators == ("fidelity/c2st",)
    assert str(loaded.jobs[0].where["age"]) == "17..30"


@pytest.mark.parametrize(
    ("old", "new", "line", "words"),
    [
        ("rows: 20_000", "rowz: 20_000", 5, "unknown key jobs.0.rowz\n  did you mean rows?"),
        ("at_least: 0.5", "at_leat: 0.5", 8, "did you mean at_least?"),
        ("target: income", "tarjet: income", 2, "did you mean target?"),
        ("rows: 20_000", "rows: 0", 5, "jobs.0.rows: must be at least 1; it is 0"),
        ("rows: 20_000", "rows: many", 5, "must be a whole number; it is 'many'"),
        ("rows: 20_000", "rows: 1.5", 5, "must be a whole number; it is 1.5"),
        ("adult-rebalanced", "../x", 1, "dataset"),
        ("{at_least: 0.5}", "{at_least: 0.5, at_most: 1}", 8, "exactly one of at_least, at_most"),
        ('{is: ">50K"}', "{is: 1, in: [2]}", 6, "exactly one of is, in, between"),
        ("target: income", "holdout: {after: 2020-01-01, colum: day}", 2, "holdout.colum\n  did you mean column?"),
        ("target: income", "holdout: 2", 2, "source.holdout: must be below 1.0; it is 2"),
        ("target: income", "holdout: [2]", 2, "holdout: must be a number or a mapping of keys to values or text"),
        ('{is: ">50K"}', "{is: [2]}", 6, "is: must be true or false or a whole number or a number or text"),
        ("age: {between", "float: {betwen", 6, "jobs.0.where.float.betwen\n  did you mean between?"),
        ('{is: ">50K"}', '">50K"', 6, 'jobs.0.where.income: must be a condition; write {is: ">50K"}'),
        ("{between: [17, 30]}", "17", 6, "jobs.0.where.age: must be a condition; write {is: 17}; it is 17"),
        ("{between: [17, 30]}", "yes", 6, 'write {is: "yes"}'),
        ("{between: [17, 30]}", "true", 6, "write {is: true}"),
        ("{in: [Male, Female]}", "[Male, Female]", 6, 'must be a condition; write {in: ["Male", "Female"]}'),
        ("{between: [17, 30]}", "[17, 30]", 6, "write {in: [17, 30]}, or {between: [17, 30]} for a range"),
        ("{between: [17, 30]}", "[1, 2, 3, 4, 5]", 6, "write {in: [1, 2, 3, ...]}"),
        (
            "{between: [17, 30]}",
            "",
            6,
            "must be a condition; write {is: VALUE}, {in: [VALUE, ...]} or {between: [LOW, HIGH]}",
        ),
        ("[17, 30]", "[17, 30, 31]", 6, "must have 2 or fewer entries"),
        ("table/vae", "vae", 4, "must be a key such as table/vae"),
        ("fidelity/c2st:", "c2st:", 8, "gates.c2st: must be a score"),
        ("{at_least: 0.5}", "[{at_least: 0.5}, {at_lest: 0.5}]", 8, "unknown key gates.fidelity/c2st.1.at_lest"),
        ("dataset: adult-rebalanced", "dataset: a\ndataset: b", 2, "duplicate key"),
        ("jobs:", "jobs: [", 4, "not valid YAML"),
    ],
)
def test_a_mistake_is_shown_with_its_line(recipe, old, new, line, words):
    recipe.write_text(GOOD.replace(old, new))
    with pytest.raises(RecipeError) as caught:
        load_recipe(recipe)
    assert words in str(caught.value)
    assert f"recipe.yaml:{line}" in str(caught.value)
    assert caught.value.exit_code == 2


def test_a_missing_key_and_a_missing_file_are_named(recipe):
    recipe.write_text(GOOD.replace("dataset: adult-rebalanced\n", ""))
    with pytest.raises(RecipeError, match="dataset is missing"):
        load_recipe(recipe)
    with pytest.raises(RecipeError, match="no such recipe"):
        load_recipe(recipe.with_name("other.yaml"))


def test_overrides_are_yaml_values_under_dotted_keys(recipe):
    loaded = load_recipe(recipe, ["jobs.0.rows=5", "accept.unique=true", "rules=['age > 1']"])
    assert (loaded.jobs[0].rows, loaded.accept.unique, loaded.rules) == (5, True, ("age > 1",))


@pytest.mark.parametrize("override", ["jobs.3.rows=1", "nope=1", "x", "jobs.0.rows.deep=1", "dataset=[", "=1"])
def test_an_override_that_fits_nowhere_is_refused(recipe, override):
    with pytest.raises(RecipeError):
        load_recipe(recipe, [override])


def test_saved_overrides_keep_comments_and_order(recipe):
    save_overrides(recipe, ["jobs.0.rows=7", "seed=3"])
    text = recipe.read_text()
    assert "# the first" in text
    assert text.index("dataset") < text.index("source") < text.index("jobs")
    assert load_recipe(recipe).jobs[0].rows == 7
    assert load_recipe(recipe).seed == 3


def test_hostile_yaml_does_nothing(recipe, tmp_path):
    recipe.write_text("dataset: !!python/object/apply:os.mkdir ['" + str(tmp_path / "made") + "']")
    with pytest.raises(RecipeError):
        load_recipe(recipe)
    assert not (tmp_path / "made").exists()
    bomb = "a: &a [1,1,1,1,1,1,1,1,1,1]\n" + "".join(
        f"{name}: &{name} [{','.join(['*' + before] * 10)}]\n" for before, name in zip("abcde", "bcdef", strict=True)
    )
    recipe.write_text(bomb)
    with pytest.raises(RecipeError, match="100,000"):
        load_recipe(recipe)


def test_a_later_error_gets_its_line(recipe):
    error = at_line(recipe, RecipeError("no train row", where="jobs.0.where.age"))
    assert f"{recipe}:6: jobs.0.where.age" in str(error)


def test_the_schema_names_every_key():
    schema = Recipe.model_json_schema(by_alias=True)
    assert set(schema["required"]) == {"dataset", "source", "jobs"}
    assert schema["additionalProperties"] is False
