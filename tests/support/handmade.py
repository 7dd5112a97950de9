"""Releases made by hand: as git sees them, with no data, or as small datasets whose every row is known."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import yaml

from synthmill.columns import Column
from synthmill.store.git import Git
from synthmill.store.manifest import Manifest
from synthmill.store.stage import Stage, write_entry, write_stage
from synthmill.store.versions import Identity, write_metrics

_DTYPES = {"number": "double", "integer": "int64", "category": "string", "text": "string", "boolean": "bool"}


def md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def provenance_of(
    *sources: Mapping[str, object], model: str = "m1", before: tuple[str, str] | None = None
) -> dict[str, object]:
    """What metrics format 3 says, of one job."""
    job: dict[str, object] = {"generator": "table/vae", "version": 3, "codec": 2, "model": model, "rows": 5}
    if before is not None:
        job["before"] = dict(zip(("model", "source"), before, strict=True))
    columns = [{"name": "x", "kind": "integer", "dtype": "int64", "nullable": False}]
    packages = [{"name": "torch", "version": "2.13.0"}]
    return {"format": 3, "sources": list(sources), "jobs": [job], "columns": columns, "packages": packages}


def tag_release(
    root: Path,
    tag: str,
    source: str | Mapping[str, object] | None,
    metrics: Mapping[str, object] | None = None,
    *,
    hashes: Mapping[str, str] | None = None,
    address: str | None = None,
    run: Mapping[str, object] | None = None,
) -> str:
    """A commit as a release makes it, and its tag; nothing of it is in DVC. The commit."""
    name, _, version = tag.partition("@")
    recipe = f"recipes/{name}.yaml"
    stage = Stage(name, recipe, tuple(hashes or ()))
    where = source if isinstance(source, Mapping) else {"path": source}
    content = yaml.safe_dump({"dataset": name, "source": where, "jobs": [{"generator": "table/vae", "rows": 5}]})
    deps = [{"path": path, "hash": "md5", "md5": found} for path, found in (hashes or {}).items()]
    entry: dict[str, object] = {"cmd": "x", "deps": [{"path": recipe, "md5": md5(content.encode())}, *deps]}
    if address is not None:
        entry["outs"] = [{"path": stage.out, "hash": "md5", "md5": address, "size": 1234, "nfiles": 7}]
    files = {
        f"metrics/{name}.json": write_metrics({"rows": 5, **(metrics or {})}, Identity("s", "c", f"plan-{tag}")),
        "dvc.yaml": write_stage("", stage).encode(),
        "dvc.lock": write_entry("", name, entry).encode(),
        recipe: content.encode() if source is not None else b"not: [a recipe",
    }
    if run is not None:
        files[f"runs/{name}.jsonl"] = (json.dumps({"version": version, **run}) + "\n").encode()
    git = Git(root)
    commit = git.commit(files, git.head(), tag)
    git.tag(tag, commit)
    return commit


# Datasets with rows


def make_dataset(folder: Path, rows: Mapping[str, list[object]], *, kinds: Mapping[str, str], **more: object) -> Path:
    """A candidate's folder: one file a stratum, a manifest, and a report.json with the scores given."""
    data = folder / "data"
    data.mkdir(parents=True, exist_ok=True)
    columns = [Column(name=n, kind=kind, dtype=_DTYPES[kind], nullable=True) for n, kind in kinds.items()]
    table = pa.table(
        {**{c.name: pa.array(rows[c.name], c.arrow) for c in columns}, **_provenance(rows["id"], rows["stratum"])}
    )
    strata = list(dict.fromkeys(rows["stratum"]))
    for place, stratum in enumerate(strata):
        own = table.filter(pc.equal(table["_stratum"], stratum))
        pq.write_table(own, data / f"synthetic-{place:05d}-of-{len(strata):05d}.parquet")
    (folder / "report.json").write_text(json.dumps({"scores": more.pop("scores", [])}))
    write_manifest(folder, columns, table.num_rows, **more)
    return folder


def write_manifest(folder: Path, columns: list[Column], rows: int, **more: object) -> None:
    recipe = {
        "dataset": "tiny",
        "source": {"path": "data/people.csv"},
        "jobs": [{"generator": "table/vae", "rows": rows}],
    }
    job = {
        "generator": "table/vae",
        "model": "m1",
        "model_sha256": "0" * 64,
        "fingerprint": "j1",
        "rows": rows,
        "strata": [],
    }
    fields = {
        "dataset": "tiny",
        "rows": rows,
        "level": "bitwise",
        "plan": "p1",
        "identity": "i1",
        "source": "f" * 32,
        "versions": {"torch": "2.13.0"},
        "lock": "l1",
        "recipe": recipe,
        "schema": {"columns": [column.model_dump(mode="json") for column in columns]},
        "jobs": [job],
        "files": [
            _entry(path, folder)
            for path in sorted(folder.rglob("*"))
            if path.is_file() and path.name != "manifest.json"
        ],
    }
    manifest = Manifest.model_validate_json(json.dumps({**fields, **more}))
    (folder / "manifest.json").write_text(manifest.model_dump_json())


def _entry(path: Path, folder: Path) -> dict[str, object]:
    rows = pq.read_metadata(path).num_rows if path.suffix == ".parquet" else None
    name, content = path.relative_to(folder).as_posix(), path.read_bytes()
    return {"path": name, "sha256": hashlib.sha256(content).hexdigest(), "size_bytes": len(content), "rows": rows}


def _provenance(ids: list[object], strata: list[object]) -> dict[str, pa.Array]:
    hashed = [hashlib.sha256(f"{s} {i}".encode()).hexdigest()[:32] for i, s in zip(ids, strata, strict=True)]
    return {
        "_row_id": pa.array(hashed, pa.string()),
        "_generator": pa.repeat("table/vae", len(ids)),
        "_stratum": pa.array(strata, pa.string()),
        "_candidate": pa.array(ids, pa.int64()),
    }
