"""docs/guides/scores.md says what the evaluators say: every score has its place, no other has one, every example is a recipe."""

import json
import re
from pathlib import Path

import pyarrow as pa
import pytest
from ruamel.yaml import YAML
from support.tables import MIXED, mixed

from bench.controls import score_rows
from synthmill import registry
from synthmill.columns import Column, Schema
from synthmill.evaluator import Evaluator
from synthmill.measures import evaluator_versions, gate_notes
from synthmill.recipe_file import load_recipe
from synthmill.scoring.combine import full_name
from synthmill.scoring.gates import judge
from synthmill.scoring.sides import Real
from synthmill.spec import Recipe

ROOT = Path(__file__).parents[2]
GUIDE = (ROOT / "docs/guides/scores.md").read_text()
KINDS: dict[str, type[Evaluator]] = {
    key: kind
    for key in registry.evaluator_keys()
    if (kind := registry.evaluator(key)).__module__.startswith("evaluators.")  # a plug-in brings its own guide
}
SCORES = {full_name(key, name): (kind, name) for key, kind in KINDS.items() for name in kind.scores}
ROWS = {
    cells[0].strip("[`"): cells[1:]
    for line in GUIDE.splitlines()
    if (cells := [re.sub(r"`?\]\(.*\)|`$", "", cell.strip()) for cell in line.strip("|").split(" | ")])
    and len(cells) == 6
    and "`" in cells[0]
}
AGAINST = {"holdout": "holdout", "train": "train", "both": "train, holdout"}
SECTIONS = re.split(r"^### ", GUIDE, flags=re.MULTILINE)[1:]
EXAMPLES = re.findall(r"```yaml\n(.*?)```", GUIDE, re.DOTALL)
COMMON = {
    "dataset": "example",
    "source": {"path": "data.csv", "target": "income", "protected": "sex"},
    "jobs": [{"generator": "table/vae", "rows": 1000}],
}
LABELS = tuple(Column(name=name, kind="category", dtype="string") for name in ("income", "sex"))
PICTURES = (Column(name="image", kind="image", dtype="image"), *LABELS)


def test_the_table_has_a_row_for_every_score_and_for_no_other():
    assert ROWS.keys() == SCORES.keys()


@pytest.mark.parametrize("name", sorted(SCORES))
def test_the_table_says_what_the_evaluator_declares(name):
    kind, part = SCORES[name]
    *_, better, against, floor = ROWS[name]
    assert better == kind.scores[part]
    assert floor == ("yes" if kind.has_floor and part not in kind.floorless else "no")
    if name != "validity/rules":  # it reads no real row
        assert against == AGAINST[kind.against]


@pytest.mark.parametrize("key", sorted(KINDS))
def test_every_evaluator_has_a_section_that_answers_the_four_questions(key):
    [section] = [text for text in SECTIONS if text.partition("\n")[0] == key]
    for question in ("Reads", "Misleads", "When it is low", "Beside it"):
        assert f"**{question}**" in section, question
    for part in filter(None, KINDS[key].scores):
        assert f"`{part}`" in section, part


def test_no_section_and_no_word_is_about_a_score_that_does_not_exist():
    kinds = "|".join(sorted({key.partition("/")[0] for key in KINDS}))
    assert {text.partition("\n")[0] for text in SECTIONS if "/" in text.partition("\n")[0]} == KINDS.keys()
    assert set(re.findall(rf"\b(?:{kinds})(?:/[a-z0-9_]+)+", GUIDE)) <= SCORES.keys()


def test_what_needs_a_target_or_a_protected_column_is_named():
    [needs] = [line for line in GUIDE.splitlines() if "need `source.target`" in line]
    targeted, protected = needs.split("; ")[0], needs.split("; ")[1]
    assert {key for key, kind in KINDS.items() if kind.needs_target} == set(re.findall(r"`(\w+/\w+)`", targeted))
    assert {key.partition("/")[0] for key, kind in KINDS.items() if kind.needs_protected} == {"fairness"}
    assert "fairness needs `source.protected`" in protected


def test_links_within_the_guide_lead_to_headings():
    headings = re.findall(r"^#+ (.+)$", GUIDE, re.MULTILINE)
    anchors = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
    assert set(re.findall(r"\]\(#([^)]+)\)", GUIDE)) <= anchors


@pytest.mark.parametrize("example", EXAMPLES)
def test_every_example_is_part_of_a_recipe_that_can_be_measured(example, tmp_path):
    path = tmp_path / "example.yaml"
    yaml = YAML()
    yaml.dump(COMMON | yaml.load(example), path)
    recipe = load_recipe(path)
    assert recipe.gates, "an example without a gate shows nothing"
    is_image = "fidelity/frechet" in recipe.gates
    evaluator_versions(recipe, Schema(columns=PICTURES if is_image else LABELS, target="income"))
    assert gate_notes(recipe) == [], "bounds a score from its better side"


def test_the_examples_show_every_kind_of_gate():
    shown = "".join(EXAMPLES)
    for word in (
        "of: ceiling",
        "of: normalised",
        "not_worse_than: latest",
        "not_worse_than: v",
        "action: warn",
        "    - {",
    ):
        assert word in shown, word
    assert re.search(r"^  \w+/\w+/\w+:", shown, re.MULTILINE), "a part of a score"


def test_the_privacy_gates_let_unseen_rows_pass_and_each_stops_copies():
    [example] = [text for text in EXAMPLES if "privacy/outliers" in text]
    recipe = Recipe.model_validate_json(json.dumps(COMMON | YAML(typ="safe").load(example)))
    train, a, b, unseen = (mixed(6000).slice(quarter * 1500, 1500) for quarter in range(4))
    copied = pa.concat_tables([unseen.slice(0, 1000), train.slice(0, 500)])
    for candidate, expected in ((unseen, "passed"), (copied, "missed")):
        scores = score_rows(candidate, Real(a, b, train), MIXED, recipe.evaluators, seed=0).scores
        assert {verdict.name: verdict.status for verdict in judge(recipe, scores)} == dict.fromkeys(
            recipe.gates, expected
        )
