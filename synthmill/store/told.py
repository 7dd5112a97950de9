"""What the commit of a release tells of its making, without its data: recipe, sources, jobs, and the run that released it.

Formats 1 and 2 of metrics/NAME.json do not say where rows come from; then the recipe and dvc.lock of that commit do, and fingerprints stay
unknown. Nothing here raises on what a person may have committed: what cannot be read is left out, and `sources` is then empty.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from pydantic import JsonValue, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from synthmill.errors import WorkspaceError
from synthmill.store.ancestors import Link
from synthmill.store.git import Git
from synthmill.store.provenance import JobEntry, SourceEntry, read_provenance
from synthmill.store.runs import runs_file
from synthmill.store.stage import read_entry, read_recipe_path
from synthmill.store.versions import Release


@dataclass(frozen=True, slots=True)
class Out:
    """What dvc.lock says of the dataset's folder; None where it does not."""

    size_bytes: int | None
    files: int | None


@dataclass(frozen=True, slots=True)
class Told:
    """One release by its commit. `hashes`: MD5 of each dependency as DVC recorded it, by path; the recipe is none of them."""

    release: Release
    recipe: str | None
    recipe_sha256: str | None
    sources: tuple[SourceEntry, ...]
    revisions: tuple[str, ...]  # `rev` of sources that lie in a repository
    hashes: Mapping[str, str]
    jobs: tuple[JobEntry, ...]  # empty where only the manifest would say
    links: tuple[Link, ...]  # of warm starts; formats 1 and 2 have them too
    out: Out

    @property
    def models(self) -> frozenset[str]:
        """Fingerprints of the models that made its rows, as far as git knows."""
        return frozenset((*(job.model for job in self.jobs), *(link.model for link in self.links)))

    @property
    def before(self) -> tuple[tuple[str, str], ...]:
        """(model, source) of every model that one of its own went on from."""
        found = (*(job.before for job in self.jobs), *(link.before for link in self.links))
        return tuple(dict.fromkeys((one.model, one.source) for one in found if one is not None))

    @property
    def fingerprints(self) -> frozenset[str]:
        """Of its sources, and of their train rows."""
        own = (value for source in self.sources for value in (source.fingerprint, source.train))
        return frozenset(filter(None, (*own, *(value for link in self.links for value in (link.source, link.train)))))


def read_told(git: Git, releases: Sequence[Release]) -> list[Told]:
    """Ask git, with two processes for however many releases."""
    texts = git.read_many([f"{one.commit}:{name}" for one in releases for name in ("dvc.yaml", "dvc.lock")])
    paths = [_recipe_path(_text(text), one.dataset) for one, text in zip(releases, texts[::2], strict=True)]
    recipes = git.read_many([f"{one.commit}:{path or ''}" for one, path in zip(releases, paths, strict=True)])
    return [
        _told(release, path, recipe if path else None, _text(lock))
        for release, path, recipe, lock in zip(releases, paths, recipes, texts[1::2], strict=True)
    ]


def _told(release: Release, path: str | None, recipe: bytes | None, lock: str) -> Told:
    entry = _entry(lock, release.dataset)
    hashes = {name: md5 for name, md5 in _hashes(entry.get("deps")) if name != path}
    written, revisions = _written_sources(recipe)
    known = read_provenance(release.metrics)
    sources = known.sources if known else (*written, *_unwritten(written, hashes))
    return Told(
        release=release,
        recipe=path,
        recipe_sha256=None if recipe is None else hashlib.sha256(recipe).hexdigest(),
        sources=sources,
        revisions=tuple(revisions),
        hashes=hashes,
        jobs=known.jobs if known else (),
        links=tuple(_links(release.metrics)),
        out=_out(entry),
    )


def _unwritten(written: Sequence[SourceEntry], hashes: Mapping[str, str]) -> Iterator[SourceEntry]:
    """What DVC depended on, where the recipe does not say what for."""
    if not written:
        yield from (SourceEntry(role="source", uri=name) for name in hashes)


def with_fingerprint(told: Told, fingerprint: str, models: Mapping[str, str]) -> Told:
    """The same with what its manifest adds: the source's fingerprint, and the generator of each model."""
    sources = tuple(
        source.model_copy(update={"fingerprint": fingerprint}) if source.role == "source" else source
        for source in told.sources
    )
    jobs = told.jobs or tuple(JobEntry(generator=generator, model=model) for model, generator in models.items())
    return replace(told, sources=sources, jobs=jobs)


def read_run(git: Git, release: Release) -> Mapping[str, JsonValue]:
    """The line of runs/NAME.jsonl that tells of the run which released it; empty where there is none."""
    for line in reversed(_text(git.read(release.commit, runs_file(release.dataset))).splitlines()):
        try:
            run = json.loads(line)
        except json.JSONDecodeError:
            continue
        if isinstance(run, dict) and run.get("version") == str(release.version):
            return run
    return {}


def _text(content: bytes | None) -> str:
    return (content or b"").decode(errors="replace")


def _recipe_path(stages: str, dataset: str) -> str | None:
    try:
        return read_recipe_path(stages, dataset)
    except (WorkspaceError, AttributeError):
        return None


def _entry(lock: str, dataset: str) -> Mapping[str, object]:
    try:
        return read_entry(lock, dataset) or {}
    except (WorkspaceError, AttributeError):
        return {}


def _hashes(deps: object) -> Iterator[tuple[str, str]]:
    for dep in deps if isinstance(deps, list) else []:
        if isinstance(dep, Mapping) and isinstance(dep.get("path"), str):
            yield dep["path"], str(dep.get("md5", ""))


def _out(entry: Mapping[str, object]) -> Out:
    """The first out is the dataset's folder."""
    outs = entry.get("outs")
    first = outs[0] if isinstance(outs, list) and outs and isinstance(outs[0], Mapping) else {}
    size, files = first.get("size"), first.get("nfiles")
    return Out(size if isinstance(size, int) else None, files if isinstance(files, int) else None)


def _written_sources(content: bytes | None) -> tuple[list[SourceEntry], list[str]]:
    """The places that a recipe names, whatever its format: read as plain YAML, because a recipe of another format has sources too."""
    try:
        recipe = YAML(typ="safe", pure=True).load(content) if content else None
    except (YAMLError, ValueError, RecursionError):
        recipe = None
    source = recipe.get("source") if isinstance(recipe, Mapping) else None
    if not isinstance(recipe, Mapping) or not isinstance(source, Mapping):
        return [], []
    found = [SourceEntry(role="source", uri=source["path"])] if isinstance(source.get("path"), str) else []
    if isinstance(source.get("holdout"), str):
        found.append(SourceEntry(role="holdout", uri=source["holdout"]))
    children = recipe.get("children")
    for name, child in children.items() if isinstance(children, Mapping) else ():
        own = child.get("source") if isinstance(child, Mapping) else None
        if isinstance(own, Mapping) and isinstance(own.get("path"), str):
            found.append(SourceEntry(role="child", child=str(name), uri=own["path"]))
    return found, [source["rev"]] if isinstance(source.get("rev"), str) else []


def _links(metrics: Mapping[str, object]) -> Iterator[Link]:
    models = metrics.get("models")
    for entry in models.values() if isinstance(models, Mapping) else ():
        try:
            yield Link.model_validate(entry)
        except ValidationError:
            continue
