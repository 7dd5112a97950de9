"""Where a release comes from, and which releases came from a source: nothing may be missed, and what cannot be told is said."""

import json
import shutil
import subprocess

import pytest
from support.commands import good, synthmill
from support.handmade import md5, provenance_of, tag_release

from synthmill.errors import InputError
from synthmill.lineage.family import read_family
from synthmill.lineage.reverse import find_descendants
from synthmill.store.git import Git
from synthmill.store.objects import hash_bytes, listing_of
from synthmill.store.workspace import create, find

PEOPLE = b"age\n1\n2\n"


@pytest.fixture(scope="module")
def blank(tmp_path_factory):
    return create(tmp_path_factory.mktemp("blank") / "ws").root


@pytest.fixture
def root(blank, tmp_path):
    """A workspace with data/people.csv and no release."""
    root = tmp_path / "ws"
    shutil.copytree(blank, root)
    (root / "data").mkdir()
    (root / "data" / "people.csv").write_bytes(PEOPLE)
    return root


def source(uri, fingerprint=None, role="source", **more):
    return {"role": role, "uri": uri, **({"fingerprint": fingerprint} if fingerprint else {}), **more}


def found(root, what):
    """Tag -> certain or not."""
    return {one.tag: one.is_certain for one in find_descendants(read_family(find(root)), what).found}


# From a source to its releases


@pytest.mark.parametrize(
    "written", ["data/people.csv", "./data/people.csv", "data", "data/../data/people.csv", "ABSOLUTE", "LINK"]
)
def test_a_path_is_found_however_it_is_written(root, written):
    tag_release(root, "a@v1.0.0", "data/people.csv", provenance_of(source("data/people.csv", "f" * 32)))
    tag_release(root, "b@v1.0.0", "data/other.csv", provenance_of(source("data2/other.csv", "e" * 32)))
    (root / "link.csv").symlink_to(root / "data" / "people.csv")
    asked = {"ABSOLUTE": str(root / "data/people.csv"), "LINK": "link.csv"}.get(written, written)
    assert found(root, asked) == {"a@v1.0.0": True}


def test_holdouts_children_and_bundled_sources_count(root):
    own = source("data/x.csv", "f" * 32)
    tag_release(root, "a@v1.0.0", "data/x.csv", provenance_of(own, source("data/people.csv", role="holdout")))
    tag_release(
        root, "b@v1.0.0", "data/y.csv", provenance_of(own, source("data/people.csv", role="child", child="orders"))
    )
    tag_release(root, "c@v1.0.0", "statsmodels:fair", provenance_of(source("statsmodels:fair", "d" * 32)))
    assert {"a@v1.0.0", "b@v1.0.0"} <= found(root, "data/people.csv").keys()
    assert found(root, "statsmodels:fair") == {"c@v1.0.0": True}


def test_a_file_that_was_renamed_is_known_by_its_bytes_and_then_by_its_old_name(root):
    hashes = {"data/old.csv": md5(PEOPLE)}
    tag_release(root, "a@v1.0.0", "data/old.csv", provenance_of(source("data/old.csv", "f" * 32)), hashes=hashes)
    tag_release(
        root,
        "a@v1.1.0",
        "data/old.csv",
        provenance_of(source("data/old.csv", "e" * 32)),
        hashes={"data/old.csv": "0" * 32},
    )
    tag_release(
        root, "b@v1.0.0", "data/b.csv", provenance_of(source("data/b.csv", "d" * 32)), hashes={"data/b.csv": "1" * 32}
    )
    assert found(root, "data/people.csv") == {"a@v1.0.0": True, "a@v1.1.0": True}


def test_releases_of_older_formats_are_found_by_their_recipe_and_by_dvc_lock(root):
    tag_release(root, "a@v1.0.0", "data/people.csv", {"format": 1})
    tag_release(root, "b@v1.0.0", "data/x.csv", {"format": 2}, hashes={"data/x.csv": md5(PEOPLE)})
    tag_release(root, "c@v1.0.0", None, {"format": 2}, hashes={"data/people.csv": "0" * 32})
    assert found(root, "data/people.csv") == dict.fromkeys(("a@v1.0.0", "b@v1.0.0", "c@v1.0.0"), True)


def test_what_git_tells_too_little_of_is_not_ruled_out(root):
    tag_release(root, "a@v1.0.0", None)
    tag_release(root, "b@v1.0.0", "data/b.csv", {"format": 2})
    tag_release(root, "c@v1.0.0", "data/c.csv", provenance_of(source("data/c.csv", "f" * 32)))
    family = read_family(find(root))
    assert [tag for tag, _ in find_descendants(family, "data/people.csv").untold] == ["a@v1.0.0"]
    by_fingerprint = find_descendants(family, "f" * 12)
    assert [one.tag for one in by_fingerprint.found] == ["c@v1.0.0"]
    assert [tag for tag, _ in by_fingerprint.untold] == ["a@v1.0.0", "b@v1.0.0"]


def test_a_warm_start_hands_a_source_on(root):
    first, second = source("data/old.csv", "1" * 32), source("data/new.csv", "2" * 32)
    tag_release(root, "a@v1.0.0", "data/old.csv", provenance_of(first, model="m1"))
    tag_release(root, "a@v1.1.0", "data/new.csv", provenance_of(second, model="m2", before=("m1", "1" * 32)))
    third = provenance_of(source("data/third.csv", "3" * 32), model="m3", before=("m2", "2" * 32))
    tag_release(root, "a@v1.2.0", "data/third.csv", third)
    everything = dict.fromkeys(("a@v1.0.0", "a@v1.1.0", "a@v1.2.0"), True)
    assert found(root, "data/old.csv") == found(root, "1" * 32) == everything
    assert found(root, "data/third.csv") == {"a@v1.2.0": True}
    assert found(root, "a@v1.0.0") == {"a@v1.1.0": True, "a@v1.2.0": True}


def hold(root, files):
    """A dataset's listing in DVC's cache; its address."""
    listing = listing_of(files)
    address = f"{hash_bytes(listing)}.dir"
    path = root / ".dvc/cache/files/md5" / address[:2] / address[2:]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(listing)
    return address


def test_a_release_that_is_a_source_hands_its_own_sources_on(root):
    own = source("data/people.csv", "1" * 32)
    addresses = {v: hold(root, {"data/synthetic.parquet": v * 32, "README.md": "9" * 32}) for v in "12"}
    tag_release(root, "a@v1.0.0", "data/people.csv", provenance_of(own, model="m1"), address=addresses["1"])
    tag_release(
        root,
        "a@v2.0.0",
        "data/x.csv",
        provenance_of(source("data/x.csv", "2" * 32), model="m2"),
        address=addresses["2"],
    )
    inside = f"{hash_bytes(listing_of({'synthetic.parquet': '1' * 32}))}.dir"
    below = provenance_of(source("datasets/a/data", "3" * 32), model="m3")
    tag_release(root, "b@v1.0.0", "datasets/a/data", below, hashes={"datasets/a/data": inside})
    copied = provenance_of(source("mine/rows.parquet", "4" * 32), model="m4")
    tag_release(root, "c@v1.0.0", "mine/rows.parquet", copied, hashes={"mine/rows.parquet": "1" * 32})
    edited = provenance_of(source("datasets/a/data", "5" * 32), model="m5")
    tag_release(root, "d@v1.0.0", "datasets/a/data", edited, hashes={"datasets/a/data": "0" * 32})
    pinned = provenance_of(source("datasets/a", "6" * 32), model="m6")
    tag_release(root, "e@v1.0.0", {"repo": "git@host:org/data", "rev": "a@v1.0.0", "path": "elsewhere"}, pinned)
    all_of_it = found(root, "data/people.csv")
    assert all_of_it == {"a@v1.0.0": True, "b@v1.0.0": True, "c@v1.0.0": True, "d@v1.0.0": False, "e@v1.0.0": True}
    assert found(root, "a@v2.0.0") == {"d@v1.0.0": False, "e@v1.0.0": False}


def test_a_slip_of_the_pen_is_no_answer(root):
    tag_release(root, "a@v1.0.0", "data/people.csv", provenance_of(source("data/people.csv", "f" * 32)))
    family = read_family(find(root))
    with pytest.raises(InputError, match=r"no such file(.|\n)*did you mean data/people.csv"):
        find_descendants(family, "data/peple.csv")
    with pytest.raises(InputError, match="no such release"):
        find_descendants(family, "a@v7.0.0")
    (root / "data/new.csv").write_text("other\n")
    assert found(root, "data/new.csv") == {}


def test_releases_that_only_the_git_remote_knows_are_asked_for(root, tmp_path):
    origin = tmp_path / "origin.git"
    subprocess.run(["git", "clone", "--quiet", "--bare", str(root), str(origin)], check=True)
    Git(root).run("remote", "add", "origin", str(origin))
    tag_release(origin, "a@v1.0.0", "data/people.csv", provenance_of(source("data/people.csv", "f" * 32)))
    assert found(root, "data/people.csv") == {"a@v1.0.0": True}
    shutil.rmtree(origin)
    (note,) = read_family(find(root)).notes
    assert "origin" in note


def test_the_command_says_who_is_in_a_stage_and_who_was_withdrawn(root):
    commit = tag_release(root, "a@v1.0.0", "data/people.csv", provenance_of(source("data/people.csv", "f" * 32)))
    tag_release(root, "a@v1.1.0", "data/people.csv", provenance_of(source("data/people.csv", "e" * 32), model="m2"))
    git = Git(root)
    git.tag("a#prod#1", commit)
    git.run("tag", "--annotate", "a@v1.1.0!", "a@v1.1.0", "-m", "ages are off", env=git._identity())
    text = good(root, "lineage", "--reverse", "data/people.csv").out.splitlines()
    assert [line.split()[:3] for line in text[2:]] == [["a@v1.0.0", "yes", "prod"], ["a@v1.1.0", "yes", "yanked"]]
    answer = json.loads(good(root, "lineage", "--reverse", "data/people.csv", "--json").out)
    assert answer["format"] == 1
    assert [one["withdrawn"] for one in answer["releases"]] == [None, "ages are off"]
    assert answer["releases"][0]["stages"] == ["prod"]
    refused = synthmill(root, "lineage", "--reverse", "nothing.csv")
    assert (refused.code, refused.out) == (2, "")


# From a release to its sources


@pytest.fixture
def grown(root):
    """a goes on from its own first model; b was made of a."""
    address = hold(root, {"data/rows.parquet": "1" * 32})
    first = provenance_of(source("data/people.csv", "1" * 32, train_rows=2), model="m1" * 16)
    tag_release(root, "a@v1.0.0", "data/people.csv", first, hashes={"data/people.csv": md5(PEOPLE)})
    second = provenance_of(
        source("data/people.csv", "2" * 32, train_rows=3), model="m2" * 16, before=("m1" * 16, "1" * 32)
    )
    run = {"run": "12345678123456781234567812345678", "user": "eve", "time": "2026-01-02T03:04:05+00:00"}
    tag_release(root, "a@v1.1.0", "data/people.csv", second, address=address, run=run)
    third = provenance_of(source("copy.parquet", "3" * 32), model="m3" * 16)
    tag_release(root, "b@v1.0.0", "copy.parquet", third, hashes={"copy.parquet": "1" * 32})
    return root


def test_the_tree_names_recipe_plan_models_sources_and_ancestors(grown):
    lines = good(grown, "lineage", "b").out.splitlines()
    assert lines[0].startswith("b@v1.0.0  ")
    assert any(line.startswith("├─ recipe  recipes/b.yaml, sha256 ") for line in lines)
    assert "└─ from  a@v1.1.0: copy.parquet held its bytes" in lines
    assert "   ├─ model  m2m2m2m2m2m2: table/vae version 3, codec 2" in lines
    assert "   │  └─ goes on from  model m1m1m1m1m1m1, of a@v1.0.0, fitted on source 111111111111" in lines
    assert "   ├─ run  2026-01-02T03:04:05+00:00 by eve" in lines
    assert any("data/people.csv, fingerprint 222222222222, 3 train rows" in line for line in lines)
    assert max(map(len, lines)) <= 100
    nested = json.loads(good(grown, "lineage", "b", "--json").out)
    assert nested["parents"][0]["lineage"]["parents"][0]["release"] == "a@v1.0.0"


def test_a_release_of_an_older_format_says_what_is_unknown(root):
    tag_release(root, "a@v1.0.0", "data/people.csv", {"format": 2})
    text = good(root, "lineage", "a@v1.0.0").out
    assert "models  unknown" in text
    assert "source  data/people.csv" in text
    assert synthmill(root, "lineage", "a@v9.9.9").code == 2


def test_openlineage_events_are_read_back_by_its_library(grown, tmp_path):
    from openlineage.client.event_v2 import InputDataset, Job, OutputDataset, Run, RunEvent, RunState

    Git(grown).run("remote", "add", "origin", "https://me:secret@127.0.0.1:9/data.git")
    said = good(grown, "lineage", "b@v1.0.0", "--openlineage", tmp_path / "events.jsonl").err
    assert "was not asked" in said
    assert "secret" not in said
    events = [json.loads(line) for line in (tmp_path / "events.jsonl").read_text().splitlines()]
    assert [event["outputs"][0]["facets"]["version"]["datasetVersion"] for event in events] == [
        "v1.0.0",
        "v1.1.0",
        "v1.0.0",
    ]
    for event in events:  # the library's own validators run in these constructors
        RunEvent(
            eventType=RunState[event["eventType"]],
            eventTime=event["eventTime"],
            run=Run(**event["run"]),
            job=Job(**event["job"]),
            producer=event["producer"],
            inputs=[InputDataset(**one) for one in event["inputs"]],
            outputs=[OutputDataset(**one) for one in event["outputs"]],
        )
        assert "secret" not in json.dumps(event)
        assert event["outputs"][0]["facets"]["version"]["_producer"] == event["producer"]
    came = good(grown, "lineage", "--reverse", "a@v1.0.0", "--openlineage", "-").out.splitlines()
    assert {json.loads(line)["run"]["runId"] for line in came} == {event["run"]["runId"] for event in events}
    second, last = events[1:]
    assert second["run"]["runId"] == "12345678-1234-5678-1234-567812345678"
    assert second["outputs"][0]["outputFacets"]["outputStatistics"]["fileCount"] == 7
    assert [field["name"] for field in second["outputs"][0]["facets"]["schema"]["fields"]] == ["x"]
    assert last["job"]["name"] == "recipes/b.yaml"
    assert last["job"]["facets"]["sourceCodeLocation"]["version"] == Git(grown).run("rev-parse", "b@v1.0.0^{commit}")
    assert [one["name"] for one in last["inputs"]] == ["copy.parquet", "a"]


def test_without_the_library_the_error_says_what_to_install(grown, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "openlineage.client.serde", None)
    refused = synthmill(grown, "lineage", "b", "--openlineage", "-")
    assert refused.code == 2
    assert "synthmill[lineage]" in refused.err
