"""Two datasets side by side: every number that is printed is known beforehand."""

import json
import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
from support.commands import good, synthmill
from support.handmade import make_dataset, provenance_of

from synthmill.diff import compare
from synthmill.evaluator import Score
from synthmill.figures import make_metrics
from synthmill.fingerprint import hash_file
from synthmill.store.placement import ReleaseRequest
from synthmill.store.release_steps import release
from synthmill.store.versions import Identity
from synthmill.store.workspace import create, find

KINDS = {"age": "integer", "score": "number", "city": "category", "note": "text"}


class Silent:
    def say(self, line):
        """Nobody reads it."""

    def progress(self, task, done, total, note=""):
        """Nobody reads it."""


def rows(ids, stratum="0:all", seed=0, cities=("Oslo", "Pisa")):
    """Rows whose cells are a function of their id alone; `seed` makes other cells."""
    draws = [np.random.default_rng((seed, i)) for i in ids]
    return {
        "id": list(ids),
        "stratum": [stratum] * len(draws),
        "age": [int(d.integers(20, 60)) for d in draws],
        "score": [float(d.normal()) for d in draws],
        "city": [cities[int(d.integers(len(cities)))] for d in draws],
        "note": ["-"] * len(draws),
    }


def joined(*parts):
    return {name: [cell for part in parts for cell in part[name]] for name in parts[0]}


def between(then, now):
    return compare(str(then), str(now), Silent()).difference


def dataset(folder, content, kinds=KINDS, **more):
    return make_dataset(folder, content, kinds=kinds, **more)


# Rows


def test_rows_are_counted_by_id_by_job_and_by_stratum(tmp_path):
    first = joined(rows(range(30), "0:a"), rows(range(30), "1:x=2"), rows(range(10), "1:x=10"))
    second = joined(rows(range(10, 50), "0:a"), rows(range(30), "1:x=2"), rows(range(5), "1:x=10", seed=1))
    found = between(dataset(tmp_path / "a", first), dataset(tmp_path / "b", second)).tables[0].rows
    as_tuples = {
        one.name: (one.then, one.now, one.both, one.changed, one.gone, one.added)
        for one in (found.all, *found.jobs, *found.strata)
    }
    assert as_tuples == {
        "all": (70, 75, 55, 5, 15, 20),
        "0": (30, 40, 20, 0, 10, 20),
        "1": (40, 35, 35, 5, 5, 0),
        "0:a": (30, 40, 20, 0, 10, 20),
        "1:x=2": (30, 30, 30, 0, 0, 0),  # this file is the same in both
        "1:x=10": (10, 5, 5, 5, 5, 0),
    }
    assert [one.name for one in found.strata] == ["0:a", "1:x=2", "1:x=10"]


def test_the_same_dataset_has_no_difference(tmp_path):
    one = dataset(tmp_path / "a", rows(range(40)))
    found = between(one, shutil.copytree(one, tmp_path / "b"))
    assert found.headline == f"{one} -> {tmp_path / 'b'}: the same 40 rows"
    assert not any(column.is_shift or column.distance for column in found.tables[0].shifts.columns)
    assert (found.tables[0].columns, found.recipe, found.code, found.scores) == ((), (), (), ())


def test_rows_of_other_types_are_compared_by_the_columns_that_stayed(tmp_path):
    before = rows(range(30))
    after = {**before, "age": [float(age) for age in before["age"]], "town": before["city"]}
    kinds = {"age": "number", "score": "number", "town": "category", "note": "text"}
    found = between(dataset(tmp_path / "a", before), dataset(tmp_path / "b", after, kinds=kinds)).tables[0]
    assert (found.rows.all.both, found.rows.all.changed) == (30, 0)
    changes = {one.column: (one.turn, one.then, one.now) for one in found.columns}
    assert changes == {
        "age": ("changed", "integer, int64, may be missing", "number, double, may be missing"),
        "city": ("gone", "category, string, may be missing", None),
        "town": ("added", None, "category, string, may be missing"),
    }
    assert set(found.shifts.not_compared) == {"age", "city", "town", "note"}


def with_orders(folder, people, orders):
    """A dataset with a child table in the folder of its name."""
    dataset(folder / "orders", rows(orders, "0:orders"))
    schema = json.loads((folder / "orders/manifest.json").read_bytes())["schema"]
    child = {"rows": len(orders), "key": "id", "reference": "person", "schema": schema}
    return dataset(folder, rows(people), children={"orders": child})


def test_child_tables_are_compared_like_the_first(tmp_path):
    a, b = with_orders(tmp_path / "a", range(30), range(50)), with_orders(tmp_path / "b", range(30), range(40, 60))
    found = between(a, b)
    counts = {one.name: (one.rows.all.both, one.rows.all.gone, one.rows.all.added) for one in found.tables}
    assert counts == {"tiny": (30, 0, 0), "orders": (10, 40, 10)}
    assert "orders: 40 rows gone, 10 added, 10 in both" in found.headline
    alone = between(a, dataset(tmp_path / "c", rows(range(30))))
    assert (alone.tables[1].rows, alone.tables[1].columns) == (None, None)
    assert "orders: gone" in alone.headline


# Distributions


def test_draws_of_one_population_are_not_called_shifted(tmp_path):
    a, b = dataset(tmp_path / "a", rows(range(600))), dataset(tmp_path / "b", rows(range(600, 1200)))
    shifts = between(a, b).tables[0].shifts
    assert {one.column: one.measure for one in shifts.columns} == {"age": "KS", "score": "KS", "city": "TVD"}
    assert all(0 < one.distance < one.by_chance < 0.15 for one in shifts.columns)
    assert not any(one.is_shift for one in shifts.columns)


def test_what_did_shift_comes_first_with_its_missing_cells(tmp_path):
    before, after = rows(range(600)), rows(range(600, 1200), cities=("Oslo", "Pisa", "Riga"))
    after["score"] = [None if i % 2 else cell for i, cell in enumerate(after["score"])]
    found = between(dataset(tmp_path / "a", before), dataset(tmp_path / "b", after))
    score, city, age = found.tables[0].shifts.columns
    assert (score.column, score.is_shift, score.missing_then, score.missing_now) == ("score", True, 0.0, 0.5)
    assert (city.column, city.is_shift) == ("city", True)
    assert city.distance == pytest.approx(1 / 3, abs=0.07)
    assert not age.is_shift
    assert "score, city shifted" in found.headline


def test_shared_rows_make_less_noise_than_strangers(tmp_path):
    base = dataset(tmp_path / "a", rows(range(600)))
    alike = between(base, dataset(tmp_path / "b", rows(range(10, 610)))).tables[0].shifts.columns
    strange = between(base, dataset(tmp_path / "c", rows(range(600, 1200)))).tables[0].shifts.columns
    noise = [{one.column: one.by_chance for one in side} for side in (alike, strange)]
    assert all(noise[0][name] < noise[1][name] / 4 for name in noise[0])


def test_a_sample_is_the_rows_with_the_lowest_ids_of_both_sides(tmp_path, monkeypatch):
    monkeypatch.setattr("synthmill.diff.shifts.SAMPLE_ROWS", 200)
    big, small = dataset(tmp_path / "a", rows(range(2000))), dataset(tmp_path / "b", rows(range(100)))
    found = between(big, small).tables[0].shifts
    assert 130 < found.rows_then < 270
    assert found.rows_now == 100
    assert not any(one.is_shift for one in found.columns)


# Scores, recipe, code


def score(name, value, reach, **more):
    fields = {"direction": "higher", "interval": (value - reach, value + reach), "normalised": value, **more}
    return Score(name=name, value=value, rows=500, **fields)


def test_scores_turn_only_where_the_difference_lies_outside_both_intervals(tmp_path):
    then = [
        score("fidelity/shape", 0.9, 0.02),
        score("fidelity/c2st", 0.9, 0.1),
        score("privacy/copies", 0.2, 0.01, direction="lower"),
    ]
    now = [
        score("fidelity/shape", 0.8, 0.02),
        score("fidelity/c2st", 0.8, 0.1),
        score("privacy/copies", 0.1, 0.01, direction="lower"),
    ]
    sides = [
        dataset(tmp_path / name, rows(range(30)), scores=[one.model_dump(mode="json") for one in scores])
        for name, scores in (("a", then), ("b", now))
    ]
    found = between(*sides)
    turns = {one.name: one.turn for one in found.scores}
    assert turns == {"fidelity/shape": "worse", "fidelity/c2st": "no clear change", "privacy/copies": "better"}
    assert found.headline.endswith("the same 30 rows; fidelity/shape worse; privacy/copies better")


# Releases


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """fair@v1.0.0 and fair@v1.1.0, really released: 10 rows gone, 20 added, another seed and torch."""
    workspace = create(tmp_path_factory.mktemp("diff") / "ws")
    put(workspace, "1", rows(range(50)), "2.13.0")
    put(workspace, "2", rows(range(10, 70)), "2.14.0")
    return workspace.root


def put(workspace, number, content, torch):
    recipe = workspace.root / "recipes" / "fair.yaml"
    jobs = f"[{{generator: table/vae, rows: {len(content['id'])}}}]"
    recipe.write_text(f"dataset: fair\nsource: {{path: data/people.csv}}\nseed: {number}\njobs: {jobs}\n")
    folder = dataset(
        workspace.state / "candidates" / number / "dataset",
        content,
        dataset="fair",
        plan=f"p{number}",
        versions={"torch": torch},
    )
    where = {"role": "source", "uri": "data/people.csv", "fingerprint": "f" * 32, "train_rows": 40}
    facts = {**provenance_of(where), "packages": [{"name": "torch", "version": torch}]}
    facts["columns"] = json.loads((folder / "manifest.json").read_bytes())["schema"]["columns"]
    metrics = make_metrics(len(content["id"]), (score("fidelity/shape", 1 - int(number) / 10, 0.02),), provenance=facts)
    run = {"time": "2026-01-02T03:04:05+00:00", "user": "eve", "seconds": {"fit": float(number)}}
    identity = Identity("s1", f"c{number}", f"p{number}")
    plots = {"scores": b"score,value\n", "columns": b"column,shape\n"}
    names = ("fair", "recipes/fair.yaml", hash_file(recipe), (), folder)
    release(workspace, ReleaseRequest(*names, metrics, plots, identity, f"run-{number}", run), lambda line: None)


def test_two_releases_are_compared_by_name_without_a_checkout(root):
    standing = (root / "datasets/fair").rename(root / ".synthmill/standing")
    text = good(root, "diff", "fair@v1.0.0", "fair").out.splitlines()
    assert text[0] == "fair v1.0.0 -> v1.1.0: 10 rows gone, 20 added, 40 in both; fidelity/shape worse"
    squeezed = [" ".join(line.split()) for line in text]
    assert "fair 50 60 40 0 10 20" in squeezed
    assert "fidelity/shape 0.900 0.880..0.920 0.900 0.800 0.780..0.820 0.800 worse" in squeezed
    assert {"seed 1 2", "jobs.0.rows 50 60", "torch 2.13.0 2.14.0", "plan p1 p2"} <= set(squeezed)
    assert {"user eve eve", "seconds of fit 1 2"} <= set(squeezed)
    assert max(map(len, text)) <= 100
    assert not (root / "datasets/fair").exists()
    standing.rename(root / "datasets/fair")


def test_json_is_one_object_with_a_format(root):
    done = good(root, "diff", "fair@v1.0.0", "fair@v1.1.0", "--json")
    found = json.loads(done.out)
    assert found["format"] == 1
    assert found["tables"][0]["rows"]["all"] == {
        "name": "all",
        "then": 50,
        "now": 60,
        "both": 40,
        "changed": 0,
        "gone": 10,
        "added": 20,
    }
    assert {one["name"] for one in found["recipe"]} == {"seed", "jobs.0.rows"}
    assert found["then"]["version"] == "v1.0.0"


def test_a_release_and_a_folder_compare(root, tmp_path):
    other = dataset(tmp_path / "other", rows(range(50)))
    found = json.loads(good(root, "diff", "fair@v1.0.0", other, "--json").out)
    assert found["tables"][0]["rows"]["all"]["both"] == 50


def test_the_page_needs_no_network_and_escapes(root, tmp_path):
    bad = joined(rows(range(30)), {**rows(range(30, 60)), "city": ["<script>x</script>"] * 30})
    a = dataset(tmp_path / "a", rows(range(60)))
    good(root, "diff", a, dataset(tmp_path / "b", bad), "--html", tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert "<script>x" not in page
    assert "default-src &#39;none&#39;" in page
    assert page.count('data-chart="column-') == 2 * 3
    [charts] = [line for line in page.splitlines() if 'id="charts"' in line]
    drawn = json.loads(charts.partition(">")[2].partition("</script>")[0])
    assert set(drawn["specs"]) == {"amounts-since", "labels-since"}
    assert {"now", "then"} <= drawn["charts"]["column-0"]["rows"][0].keys()


def objects(root, store):
    return [path for path in (root / store / "files/md5").rglob("*") if path.is_file()]


def test_what_the_cache_lacks_is_fetched_and_nothing_else(root, tmp_path):
    clone = shutil.copytree(root, tmp_path / "ws", symlinks=True)
    shutil.rmtree(clone / ".dvc/cache")
    text = good(clone, "diff", "fair@v1.0.0", "fair@v1.1.0").out
    assert "10 rows gone, 20 added" in text
    assert len(objects(clone, ".dvc/cache")) == 2 * 3  # of each release listing, manifest and one file of rows
    assert all(path.stat().st_mode & 0o222 == 0 for path in objects(clone, ".dvc/cache"))


def test_a_release_whose_data_is_gone_is_compared_by_what_git_tells(root, tmp_path):
    clone = shutil.copytree(root, tmp_path / "ws", symlinks=True)
    config = clone / ".dvc/config"
    config.write_text(config.read_text().replace(str(root / "remote"), str(clone / "remote")))
    for path in [*objects(clone, ".dvc/cache"), *objects(clone, "remote")]:
        if b'"plan":"p1"' in path.read_bytes():  # the manifest of the first
            path.unlink()
    done = good(clone, "diff", "fair@v1.0.0", "fair@v1.1.0")
    assert done.out.startswith("fair v1.0.0 -> v1.1.0: rows not compared; fidelity/shape worse")
    assert "fair@v1.0.0: 1 of its objects are neither in the cache nor whole on the remote: purged" in done.out
    assert "jobs.0.rows" in done.out
    assert "torch" in done.out
    (clone / "remote").rename(clone / "unplugged")
    assert "the remote cannot be reached" in good(clone, "diff", "fair@v1.0.0", "fair@v1.1.0").out


def test_bad_names_are_told_what_there_is(root, tmp_path):
    for name, words in (("fair@v9.0.0", "v1.1.0"), ("fare", "did you mean fair"), (str(tmp_path), "manifest.json")):
        refused = synthmill(root, "diff", name, "fair")
        assert refused.code == 2
        assert words in refused.err
    assert synthmill(tmp_path, "diff", "fair", "fair").code == 2


def test_a_withdrawn_release_is_marked(root, tmp_path):
    clone = shutil.copytree(root, tmp_path / "ws", symlinks=True)
    with find(clone).lock(lambda line: None) as (git, _):
        git.run("tag", "--annotate", "fair@v1.0.0!", "fair@v1.0.0", "-m", "ages are off", env=git._identity())
    assert "fair@v1.0.0 is withdrawn: ages are off" in good(clone, "diff", "fair@v1.0.0", "fair").out


# The guide


GUIDE = Path(__file__).parents[2] / "docs/guides/compare-and-trace.md"


def commands():
    [block] = re.findall(r"```bash\n(.*?)```", GUIDE.read_text(), flags=re.DOTALL)
    return [shlex.split(line, comments=True)[1:] for line in block.splitlines()]


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_the_commands_of_the_guide_work(root, words):
    done = good(root, *words)
    assert "fair" in done.out
    assert "not compared: rows" not in done.out
