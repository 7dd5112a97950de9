"""What the documents show works: the README's recipe, its commands, and every link."""

import re
from pathlib import Path

import pytest
from typer.main import get_command

from synthmill.cli import app
from synthmill.plan import make_plan
from synthmill.recipe_file import load_recipe
from synthmill.sources import read
from synthmill.sources.split import split

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
DOCUMENTS = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]


def blocks(text, language):
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def test_the_recipe_of_the_readme_is_a_recipe(tmp_path):
    path = tmp_path / "readme.yaml"
    path.write_text(blocks(README, "yaml")[0])
    recipe = load_recipe(path)
    source = read(recipe.source.path, root=tmp_path, overrides=recipe.source.columns, target=recipe.source.target)
    parts = split(source.table, source.schema, recipe.source.holdout, root=tmp_path)
    plan = make_plan(recipe, source.schema, parts.train, parts.a, parts.b)
    assert len(plan.jobs[0].strata) == 5
    assert plan.rows == 5000


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_the_commands_of_a_document_exist(path):
    command = get_command(app)
    for line in "\n".join(blocks(path.read_text(), "bash")).splitlines():
        for call in re.findall(r"synthmill (.+)", line.partition("#")[0]):
            name, *arguments = call.split()
            known = {option for p in command.commands[name].params for option in getattr(p, "opts", [])}
            assert {a.partition("=")[0] for a in arguments if a.startswith("--")} <= known, line


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(path):
    for link in re.findall(r"\]\(([^)#]+)\)", path.read_text()):
        if "://" not in link:
            assert (path.parent / link).exists(), link
