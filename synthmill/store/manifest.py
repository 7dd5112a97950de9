"""manifest.json: what a released dataset holds, and how to check it. No time, host, version or cost: equal plans, equal bytes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal

import pyarrow.parquet as pq
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
)

from synthmill.columns import Schema
from synthmill.errors import StorageError, WorkspaceError
from synthmill.fingerprint import fingerprint, hash_file
from synthmill.generator import Privacy
from synthmill.plan import Plan, recipe_json
from synthmill.privacy import OUTSIDE
from synthmill.scoring.gates import Verdict
from synthmill.store.assemble import StratumCount
from synthmill.store.keys import check_keys
from synthmill.store.marks import FORMAT
from synthmill.store.models import ModelReceipt
from synthmill.store.staging import Level

NAME = "manifest.json"
RESTORE = "`dvc checkout --force` or `dvc pull --force` brings released files back"


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True, serialize_by_alias=True)


class FileEntry(_Frozen):
    """One file of the dataset. `rows` is given for Parquet."""

    path: str
    sha256: str
    size_bytes: int
    rows: int | None = None


class JobEntry(_Frozen):
    """One job: who made its rows, and what became of its candidates."""

    generator: str
    model: str
    model_sha256: str
    fingerprint: str
    rows: int
    strata: tuple[dict[str, JsonValue], ...]


class Override(_Frozen):
    """Why a person released it in spite of `gates`, which are those that block."""

    reason: str
    gates: tuple[Verdict, ...]


class PrivacyEntry(_Frozen):
    """What the rows in data/ cost the rows of train in differential privacy: the sums over the models, and each model's own account."""

    unit: Literal["one row of train, there or not"] = "one row of train, there or not"
    epsilon: float
    delta: float
    models: dict[str, Privacy]
    outside: tuple[str, ...] = OUTSIDE


class ChildEntry(_Frozen):
    """A child table, told by the manifest in the folder of its name. Its `reference` holds the `key` of a row of this table."""

    rows: int
    key: str
    reference: str
    schema_: Schema = Field(alias="schema")


class Manifest(_Frozen):
    """The manifest of one dataset. `override`, `privacy` and `children` joined format 1 later, and are written only where there are any.

    Format 2 changed the release around it (marks.py says how), not the manifest.
    """

    format: Literal[1, 2] = FORMAT
    dataset: str
    synthetic: Literal[True] = True
    rows: int
    level: Level
    plan: str
    identity: str
    source: str
    versions: dict[str, str]
    lock: str  # fingerprint of the versions
    recipe: dict[str, JsonValue]
    schema_: Schema = Field(alias="schema")
    jobs: tuple[JobEntry, ...]
    override: Override | None = None
    privacy: PrivacyEntry | None = None
    children: dict[str, ChildEntry] = {}
    files: tuple[FileEntry, ...]

    @model_serializer(mode="wrap")
    def _without_what_is_not_there(self, write: SerializerFunctionWrapHandler) -> dict[str, JsonValue]:
        fields: dict[str, JsonValue] = write(self)
        for name in ("override", "privacy", "children"):
            if not getattr(self, name):
                del fields[name]
        return fields


def make_manifest(
    plan: Plan,
    folder: Path,
    counts: tuple[tuple[StratumCount, ...], ...],
    models: dict[str, ModelReceipt],
    override: Override | None = None,
    children: Mapping[str, Manifest] | None = None,
) -> Manifest:
    """Describe a candidate whose other files are all written. `models`: model fingerprint -> its receipt; `children`: their manifests."""
    jobs = tuple(
        JobEntry(
            generator=job.generator,
            model=job.model,
            model_sha256=models[job.model].sha256 if job.model in models else "",
            fingerprint=job.fingerprint,
            rows=job.rows,
            strata=tuple(_stratum(count, is_private=job.is_private) for count in strata),
        )
        for job, strata in zip(plan.jobs, counts, strict=True)
    )
    below = children or {}
    levels = {count.level for strata in counts for count in strata} | {model.level for model in models.values()}
    levels |= {child.level for child in below.values()}
    return Manifest(
        dataset=plan.recipe.dataset,
        rows=plan.rows,
        level="bitwise" if levels == {"bitwise"} else "statistical",
        plan=plan.fingerprint,
        identity=plan.identity,
        source=plan.source.fingerprint,
        versions=plan.versions,
        lock=fingerprint("lock", dict(plan.versions)),
        recipe=recipe_json(plan.recipe),
        schema_=plan.released,
        jobs=jobs,
        override=override,
        privacy=privacy_of(models),
        children={child.recipe.dataset: _child(child, below[child.recipe.dataset]) for child in plan.children},
        files=tuple(_entry(path, folder) for path in _files(folder)),
    )


def _child(plan: Plan, manifest: Manifest) -> ChildEntry:
    assert plan.belonging is not None, "it is a child's plan"
    key, reference = plan.belonging.key, plan.belonging.reference
    return ChildEntry(rows=manifest.rows, key=key, reference=reference, schema_=manifest.schema_)


def privacy_of(models: Mapping[str, ModelReceipt]) -> PrivacyEntry | None:
    """What the models spent together; None where they promise nothing."""
    spent = {fingerprint: model.privacy for fingerprint, model in models.items() if model.privacy is not None}
    if not spent:
        return None
    epsilon, delta = (sum(getattr(privacy, name) for privacy in spent.values()) for name in ("epsilon", "delta"))
    return PrivacyEntry(epsilon=epsilon, delta=delta, models=spent)


def _stratum(count: StratumCount, *, is_private: bool) -> dict[str, JsonValue]:
    """How many rows equal one of train would be told without noise, so a private job does not say."""
    copies: dict[str, JsonValue] = {} if is_private else {"copies_of_train": count.copies_of_train}
    return {
        "label": count.label,
        "rows": count.rows,
        "candidates": count.candidates,
        **copies,
        "rejects": dict(count.rejects),
    }


def _entry(path: Path, folder: Path) -> FileEntry:
    rows = pq.read_metadata(path).num_rows if path.suffix == ".parquet" else None
    name = path.relative_to(folder).as_posix()
    return FileEntry(path=name, sha256=hash_file(path), size_bytes=path.stat().st_size, rows=rows)


def _files(folder: Path) -> list[Path]:
    return sorted(p for p in folder.rglob("*") if p.is_file() and p != folder / NAME)


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a dataset folder; WorkspaceError where there is none, StorageError where it is broken."""
    path = folder / NAME
    try:
        return parse_manifest(path.read_bytes(), str(path))
    except FileNotFoundError:
        hint = "`synthmill run RECIPE --place` makes one, `dvc pull` fetches one"
        raise WorkspaceError("no dataset here: there is no manifest.json", where=str(folder), hint=hint) from None


def parse_manifest(content: bytes, where: str) -> Manifest:
    """The manifest from its bytes; StorageError, which names `where`, when they are broken."""
    try:
        return Manifest.model_validate_json(content)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(map(str, first["loc"]))
        what = f"the manifest is broken at {key or 'its start'}: {first['msg']}"
        raise StorageError(what, where=where, hint=RESTORE) from error


def check(folder: Path) -> Iterator[str]:
    """Re-hash and recount a dataset against its manifest; yields what is wrong, nothing when all is well."""
    manifest = read_manifest(folder)
    named = {entry.path: entry for entry in manifest.files}
    wrong = [f"{name}: not in the manifest" for name in _names(folder) if name not in named]
    for name, entry in named.items():
        wrong += _check_file(folder / name, name, entry)
    counted = sum(entry.rows or 0 for name, entry in named.items() if name.startswith("data/"))
    if counted != manifest.rows:
        wrong.append(f"data/: {counted:,} rows, the manifest says {manifest.rows:,}")
    if not wrong:  # else it may not even be readable
        for name, child in manifest.children.items():
            wrong += check_keys(folder, name, child.key, child.reference)
    yield from wrong


def _names(folder: Path) -> Iterator[str]:
    return (path.relative_to(folder).as_posix() for path in _files(folder))


def _check_file(path: Path, name: str, entry: FileEntry) -> Iterator[str]:
    if not path.is_file():
        yield f"{name}: missing"
    elif path.stat().st_size != entry.size_bytes:
        yield f"{name}: {path.stat().st_size:,} bytes, the manifest says {entry.size_bytes:,}"
    elif hash_file(path) != entry.sha256:
        yield f"{name}: its SHA-256 is not the manifest's"
    elif entry.rows is not None and (rows := pq.read_metadata(path).num_rows) != entry.rows:
        yield f"{name}: {rows:,} rows, the manifest says {entry.rows:,}"
