"""Lineage as text for people and as plain JSON for machines."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from synthmill.console import table
from synthmill.lineage.family import Family, Parent
from synthmill.lineage.reverse import Descent
from synthmill.lineage.trace import FORMAT, Lineage
from synthmill.store.provenance import SourceEntry

_BRANCHES = (("├─ ", "│  "), ("└─ ", "   "))


def tree_lines(lineage: Lineage) -> list[str]:
    """The release, and below it what it came from; a release among its sources with what that came from."""
    return [_title(lineage), *_below(_branches(lineage))]


def lineage_json(lineage: Lineage) -> dict[str, object]:
    """The same for machines; releases that it came from are nested."""
    told = lineage.told
    return {
        "format": FORMAT,
        "release": told.release.tag,
        "commit": told.release.commit,
        "date": told.release.date,
        "rows": told.release.rows,
        "plan": told.release.identity and told.release.identity.plan,
        "recipe": {"path": told.recipe, "sha256": told.recipe_sha256},
        "run": dict(lineage.run),
        "jobs": [job.model_dump(mode="json") for job in told.jobs],
        "sources": [{**source.model_dump(mode="json"), "md5": told.hashes.get(source.uri)} for source in told.sources],
        "stages": list(lineage.stages),
        "withdrawn": lineage.withdrawn,
        "parents": [
            {
                "release": one.tag,
                "how": one.how,
                "is_certain": one.is_certain,
                "lineage": lineage_json(lineage.above[one.tag]) if one.tag in lineage.above else None,
            }
            for one in lineage.parents
        ],
    }


def descent_lines(descent: Descent, family: Family) -> list[str]:
    """A line a release with the first reason; what could not be ruled out below."""
    rows = [
        (one.tag, "yes" if one.is_certain else "maybe", _standing(family, one.tag), one.why[0]) for one in descent.found
    ]
    lines = table(("release", "came from it", "now", "because"), rows) if rows else []
    if not rows:
        lines = [f"no release came from {descent.source}"]
    if descent.untold:
        lines += ["", f"{len(descent.untold)} not ruled out:", *(f"  {tag}: {why}" for tag, why in descent.untold)]
    return lines


def descent_json(descent: Descent, family: Family) -> dict[str, object]:
    """The same for machines, with every reason."""
    return {
        "format": FORMAT,
        "source": descent.source,
        "releases": [
            {
                "release": one.tag,
                "is_certain": one.is_certain,
                "because": list(one.why),
                "commit": family.told[one.tag].release.commit,
                "date": family.told[one.tag].release.date,
                "rows": family.told[one.tag].release.rows,
                "stages": list(family.stages.get(one.tag, ())),
                "withdrawn": family.withdrawn.get(one.tag),
            }
            for one in descent.found
        ],
        "not_ruled_out": [{"release": tag, "because": why} for tag, why in descent.untold],
        "notes": list(family.notes),
    }


def _standing(family: Family, tag: str) -> str:
    """In which stages it is, or how it was withdrawn."""
    reason = family.withdrawn.get(tag)
    withdrawn = () if reason is None else ("purged" if reason.startswith("purged") else "yanked",)
    return ", ".join((*family.stages.get(tag, ()), *withdrawn))


def _title(lineage: Lineage) -> str:
    release = lineage.told.release
    rows = "" if release.rows is None else f", {release.rows:,} rows"
    return f"{release.tag}  {release.date[:10]}{rows}, commit {release.commit[:10]}"


_Branch = tuple[str, Sequence["_Branch"]]


def _below(branches: Sequence[_Branch]) -> Iterator[str]:
    for place, (text, under) in enumerate(branches):
        first, rest = _BRANCHES[place == len(branches) - 1]
        yield f"{first}{text}"
        yield from (f"{rest}{line}" for line in _below(under))


def _branches(lineage: Lineage) -> list[_Branch]:
    told = lineage.told
    found: list[_Branch] = []
    if lineage.withdrawn is not None:
        found.append((f"withdrawn  {lineage.withdrawn}", ()))
    if lineage.stages:
        found.append((f"stages  {', '.join(lineage.stages)}", ()))
    recipe = told.recipe or "unknown: its commit has no stage of it"
    found.append((f"recipe  {recipe}{_short(', sha256 ', told.recipe_sha256)}", ()))
    if told.release.identity is not None:
        found.append((f"plan  {told.release.identity.plan[:12]}", ()))
    if lineage.run:
        found.append((f"run  {lineage.run.get('time', '')} by {lineage.run.get('user', 'unknown')}", ()))
    models = [*_models(lineage)]
    found += models or [("models  unknown: its metrics are of an older format, its manifest is not in the cache", ())]
    drawn = {one.tag for one in lineage.parents}
    found += [(_source(lineage, source), ()) for source in told.sources]
    found += [("source  unknown: neither recipe nor metrics of its commit can be read", ())] if not told.sources else []
    found += [
        (f"from  {one.tag}: {one.how}", _branches(lineage.above[one.tag]))
        for one in lineage.parents
        if one.tag in lineage.above
    ]
    found += [
        (f"from  {one.tag}: {one.how}", ())
        for one in lineage.parents
        if one.is_certain and one.tag not in lineage.above
    ]
    maybe = [one for one in lineage.parents if not one.is_certain]
    found += [(_possible(maybe), ())] if drawn and maybe else []
    return found


def _models(lineage: Lineage) -> Iterator[_Branch]:
    seen = set()
    for job in lineage.told.jobs:
        if (job.model, job.child) in seen:
            continue
        seen.add((job.model, job.child))
        versions = "" if job.version is None else f" version {job.version}"
        codec = "" if job.codec is None else f", codec {job.codec}"
        whose = "" if job.child is None else f" of {job.child}"
        under: list[_Branch] = []
        if job.before is not None:
            maker = lineage.makers.get(job.before.model)
            known = f", of {maker}" if maker else ""
            text = f"goes on from  model {job.before.model[:12]}{known}, fitted on source {job.before.source[:12]}"
            under.append((text, ()))
        yield f"model  {job.model[:12]}{whose}: {job.generator}{versions}{codec}", under


def _source(lineage: Lineage, source: SourceEntry) -> str:
    role = {"source": "source", "holdout": "holdout", "child": f"source of {source.child}"}[source.role]
    rows = "" if source.train_rows is None else f", {source.train_rows:,} train rows"
    md5 = lineage.told.hashes.get(source.uri)
    return f"{role}  {source.uri}{_short(', fingerprint ', source.fingerprint)}{rows}{_short(', md5 ', md5)}"


def _possible(maybe: Sequence[Parent]) -> str:
    tags = [one.tag for one in maybe]
    shown = ", ".join(tags) if len(tags) <= 3 else f"{tags[0]} to {tags[-1]}"
    return f"from  maybe {shown}: the bytes are of none that is known"


def _short(before: str, value: str | None) -> str:
    return f"{before}{value[:12]}" if value else ""
