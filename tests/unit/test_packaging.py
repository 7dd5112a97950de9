"""What a user gets: the wheel's content, the public names, the examples, the pinned versions."""

import shutil
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import synthmill

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PINNED = {
    line.split("==")[0].lower(): line.split("==")[1]
    for line in (ROOT / "constraints.txt").read_text().splitlines()
    if "==" in line
}


def tracked():
    """Files that git knows, and that are still there."""
    names = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    return [name for name in names if (ROOT / name).is_file()]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Built from a copy: setuptools packs again what an earlier build has left in build/."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    for name in tracked():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, source / name)
    # Without isolation nothing is downloaded; setuptools comes with the environment.
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", folder, "."]
    subprocess.run(command, cwd=source, check=True, capture_output=True)
    with zipfile.ZipFile(next(folder.glob("*.whl"))) as file:
        return set(file.namelist())


def test_the_wheel_holds_every_module_and_template_and_nothing_else(wheel):
    packages = ("synthmill/", "generators/", "evaluators/", "flows/")
    wanted = {name for name in tracked() if name.startswith(packages)}
    assert {name for name in wheel if ".dist-info/" not in name} == wanted


def test_the_public_names_are_importable_and_listed():
    assert sorted(synthmill.__all__) == synthmill.__all__
    for name in synthmill.__all__:
        assert getattr(synthmill, name) is not None


def test_the_examples_are_those_of_a_new_workspace():
    templates = ROOT / "synthmill" / "templates"
    for path in sorted(templates.glob("recipes/*.yaml")):
        assert (ROOT / "recipes" / path.name).read_text() == path.read_text()
    assert (ROOT / "prefect.yaml").read_text() == (templates / "prefect.yaml").read_text()


def test_every_requirement_is_pinned_to_a_version_that_it_allows():
    extras = [line for group in PROJECT["optional-dependencies"].values() for line in group]
    for requirement in map(Requirement, [*PROJECT["dependencies"], *extras]):
        assert requirement.specifier.contains(PINNED[requirement.name.lower()]), requirement.name


def test_every_dependency_has_its_reason():
    text = (ROOT / "docs" / "dependencies.md").read_text()
    for requirement in map(Requirement, PROJECT["dependencies"]):
        assert requirement.name in text, requirement.name


def test_the_command_is_installed():
    scripts = {point.name: point.value for point in distribution("synthmill").entry_points}
    assert scripts["synthmill"] == "synthmill.cli:main"
