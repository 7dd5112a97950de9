"""The layers of the tree: who may import whom, read from the syntax trees."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("synthmill", "generators", "evaluators", "flows")

# Lowest first: a module imports from its own layer and from those below it, never from above.
LAYERS = [
    {"console", "errors", "fingerprint", "seeds", "stop"},
    {"columns", "conditions", "domains", "dtypes", "pixels", "problems", "settings", "spec"},
    {
        "codecs",
        "evaluator",
        "features",
        "filters",
        "generator",
        "neighbours",
        "prediction",
        "ranges",
        "recipe_file",
        "rows",
        "rules",
        "shapes",
        "shares",
        "trees",
    },
    {"registry", "sources"},
    {"measures", "meetable", "privacy"},
    {"plan"},
    {"child_plan"},
    {"kits", "scoring", "store", "work"},
    {"child", "dispatch", "engine", "fan_out", "completion", "inline", "job_run", "outcome", "pool", "resolve"},
    {"drift"},
    {"report"},
    {"examine", "figures", "origin", "words"},
    {"candidates"},
    {"usage"},
    {
        "families",
        "judging",
        "loose",
        "measuring",
        "pictures",
        "publish",
        "real_rows",
        "row_files",
        "row_table",
        "synthetic_side",
        "torch_rows",
    },
    {"loaded", "loose_children", "one_job"},
    {"lineage"},
    {"diff"},
    {"compare", "complete", "expiry", "preview", "purging", "quarantine", "run", "run_request", "sample"},
    {"dry_run", "releasing", "summary"},
    {"ad_hoc", "release_command", "review", "stages", "tracing", "upkeep"},
    {"cli"},
]
# Heavy packages, and the only places that may import them.
ONLY_IN = {
    "prefect": ("flows/",),
    "ray": ("synthmill/pool/",),
    "dvc": ("synthmill/store/dvc",),
    "torch": ("generators/", "synthmill/codecs/", "evaluators/", "synthmill/torch_rows.py", "synthmill/work.py"),
    "openlineage": ("synthmill/lineage/openlineage.py",),
    "fsspec": ("synthmill/store/bucket.py",),
    "duckdb": ("synthmill/diff/rows.py", "synthmill/rules.py"),
    "typer": (
        "synthmill/ad_hoc.py",
        "synthmill/cli.py",
        "synthmill/release_command.py",
        "synthmill/review.py",
        "synthmill/stages.py",
        "synthmill/tracing.py",
        "synthmill/upkeep.py",
    ),
}
LEAF_MAY_IMPORT = {
    "generators": ("synthmill.", "generators.nets"),
    "evaluators": ("synthmill.",),
}
NOT_FOR_LEAVES = {"cli", "inline", "job_run", "plan", "pool", "run", "scoring", "store", "work"}


def _modules():
    return [path.relative_to(ROOT) for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]


def _imports(path, *, at_top_only=False):
    tree = ast.parse((ROOT / path).read_text())
    for node in tree.body if at_top_only else ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: import by full path"
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _layer(module):
    part = module.split(".")[1]
    found = [rank for rank, names in enumerate(LAYERS) if part in names]
    return found[0] if found else None


def test_every_module_of_the_core_has_a_layer():
    parts = {
        path.relative_to("synthmill").parts[0].removesuffix(".py")
        for path in _modules()
        if path.parts[0] == "synthmill"
    }
    assert parts - {"__init__"} == set().union(*LAYERS)


@pytest.mark.parametrize(
    "path", [p for p in _modules() if p.parts[0] == "synthmill" and p.name != "__init__.py"], ids=str
)
def test_imports_run_one_way(path):
    own = _layer(".".join(path.with_suffix("").parts))
    for name in _imports(path):
        if name.startswith("flows"):
            assert path.name == "cli.py", f"{path} imports {name}"
        assert not name.startswith(("generators", "evaluators.")), f"{path} imports the leaf {name}"
        if name.startswith("synthmill.") and (layer := _layer(name)) is not None:
            assert layer <= own, f"{path} imports {name}, a layer above it"


@pytest.mark.parametrize("path", _modules(), ids=str)
def test_heavy_packages_stay_where_they_belong(path):
    for name in _imports(path):
        allowed = ONLY_IN.get(name.split(".")[0])
        assert allowed is None or path.as_posix().startswith(allowed), f"{path} imports {name}"


@pytest.mark.parametrize("path", [p for p in _modules() if p.parts[0] in LEAF_MAY_IMPORT], ids=str)
def test_leaves_import_contracts_and_never_each_other(path):
    private = ".".join(path.parent.parts) + "._"  # what the files of one folder share
    allowed = (*LEAF_MAY_IMPORT[path.parts[0]], private)
    for name in _imports(path):
        if name.split(".")[0] in PACKAGES:
            assert f"{name}.".startswith(allowed), f"{path} imports {name}"
        if name.startswith("synthmill."):
            assert name.split(".")[1] not in NOT_FOR_LEAVES, f"{path} imports {name}"


def test_help_imports_nothing_heavy():
    heavy = ["prefect", "ray", "dvc", "torch", "pandas", "pyarrow", "sklearn", "duckdb", "xgboost", "numpy"]
    code = f"""
import sys
from synthmill import cli
sys.argv = ["synthmill", "--help"]
cli.execute()
print(sorted(set({heavy!r}) & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "Usage" in done.stdout
    assert done.stdout.splitlines()[-1] == "[]"


def test_a_users_folder_is_not_taken_for_ours(tmp_path):
    (tmp_path / "generators").mkdir()
    (tmp_path / "generators" / "__init__.py").touch()
    command = [sys.executable, "-c", "from synthmill.cli import main; main()", "list"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "taken for Synthmill's package generators" in done.stderr
