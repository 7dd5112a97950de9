"""README.md and croissant.json of a dataset. Deterministic: no date, no version; the version is the git tag."""

from __future__ import annotations

import json
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from synthmill.columns import Column
from synthmill.fingerprint import hash_file
from synthmill.outcome import Scored
from synthmill.plan import Plan
from synthmill.store.assemble import StratumCount
from synthmill.store.manifest import PrivacyEntry

_SIZES = [(1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (10**6, "100K<n<1M"), (10**7, "1M<n<10M")]
_SIZES += [(10**8, "10M<n<100M"), (10**9, "100M<n<1B"), (10**12, "1B<n<10B")]
_CROISSANT_TYPES = {
    "double": "sc:Float",
    "int64": "sc:Integer",
    "bool": "sc:Boolean",
    "string": "sc:Text",
    "date32": "sc:Date",
    "timestamp": "sc:DateTime",
    "time64": "sc:Text",
    "image": "sc:ImageObject",
}
_CONTEXT = {
    "@vocab": "https://schema.org/",
    "sc": "https://schema.org/",
    "cr": "http://mlcommons.org/croissant/",
    "dct": "http://purl.org/dc/terms/",
    "conformsTo": "dct:conformsTo",
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "extract": "cr:extract",
    "column": "cr:column",
    "field": "cr:field",
    "fileSet": "cr:fileSet",
    "includes": "cr:includes",
    "recordSet": "cr:recordSet",
    "source": "cr:source",
    "fileObject": "cr:fileObject",
}


def make_card(
    plan: Plan, counts: tuple[tuple[StratumCount, ...], ...], scored: Scored, privacy: PrivacyEntry | None = None
) -> str:
    """The README: front matter for the Hugging Face hub, then what a reader asks first."""
    environment = Environment(
        loader=PackageLoader("synthmill", "report/templates"),
        undefined=StrictUndefined,
        autoescape=False,
        keep_trailing_newline=True,
    )
    recipe = plan.recipe
    jobs = [
        {
            "index": job.index,
            "generator": job.generator,
            "rows": job.rows,
            "candidates": sum(s.candidates for s in strata),
            "copies": "not told" if job.is_private else f"{sum(s.copies_of_train for s in strata):,}",
            "rejects": _rejects(strata),
        }
        for job, strata in zip(plan.jobs, counts, strict=True)
    ]
    return environment.get_template("card.md").render(
        floor="every pixel" if plan.source.schema_.modality == "image" else "every column",
        licence=(recipe.release.licence or "unknown").lower(),
        dataset=recipe.dataset,
        size_category=next((name for bound, name in _SIZES if plan.rows < bound), "n>1T"),
        include_real=recipe.release.include_real,
        description=recipe.release.description.strip(),
        generators=" and ".join(sorted({job.generator for job in plan.jobs})),
        jobs=jobs,
        scores=[_score_row(scored, index) for index in range(len(scored.scores))],
        privacy=privacy,
        override=_in_markdown(scored.override or ""),
        blocked=[f"{gate.name} {gate.status} ({gate.reason})" for gate in scored.blocked],
        warnings=[f"{gate.name} {gate.status} ({gate.reason})" for gate in scored.gates if gate.warns],
        columns=plan.released.columns,
        children=[
            {"name": child.recipe.dataset, "rows": scored.children[child.recipe.dataset].rows, **_relation(child)}
            for child in plan.children
        ],
    )


def _relation(child: Plan) -> dict[str, str]:
    assert child.belonging is not None, "it is a child's plan"
    return {"key": child.belonging.key, "reference": child.belonging.reference}


def _in_markdown(words: str) -> str:
    """A person's words as text: neither HTML nor a cell's end."""
    return words.replace("&", "&amp;").replace("<", "&lt;").replace("|", "\\|")


def _rejects(strata: tuple[StratumCount, ...]) -> str:
    total: dict[str, int] = {}
    for stratum in strata:
        for reason, count in stratum.rejects.items():
            total[reason] = total.get(reason, 0) + count
    return ", ".join(f"{count:,} {reason}" for reason, count in sorted(total.items()))


def _score_row(scored: Scored, index: int) -> dict[str, str]:
    score = scored.scores[index]
    gate = ", ".join(f"{gate.demand}: {gate.status}" for gate in scored.gates if gate.name == score.name)
    interval = "" if score.interval is None else f"{score.interval[0]:.4g} .. {score.interval[1]:.4g}"
    numbers = {name: getattr(score, name) for name in ("value", "floor", "ceiling", "normalised")}
    shown = {name: "" if value is None else f"{value:.4g}" for name, value in numbers.items()}
    return {"name": score.name, "interval": interval, "gate": gate or score.status, **shown}


def make_croissant(plan: Plan, folder: Path, files: list[Path]) -> str:
    """Croissant 1.0 metadata (mlcommons.org/croissant): the files with their hashes, and one record set of all columns."""
    distribution = [
        {
            "@type": "cr:FileObject",
            "@id": path.relative_to(folder).as_posix(),
            "name": path.name,
            "contentUrl": path.relative_to(folder).as_posix(),
            "encodingFormat": "application/x-parquet",
            "sha256": hash_file(path),
        }
        for path in files
    ]
    data = {
        "@type": "cr:FileSet",
        "@id": "data",
        "name": "data",
        "containedIn": [{"@id": file["@id"]} for file in distribution],
        "encodingFormat": "application/x-parquet",
        "includes": "data/*.parquet",
    }
    provenance = [
        ("_row_id", "sc:Text"),
        ("_generator", "sc:Text"),
        ("_stratum", "sc:Text"),
        ("_candidate", "sc:Integer"),
    ]
    columns = [(c.name, _CROISSANT_TYPES[c.dtype]) for c in _columns(plan)] + provenance
    fields = [
        {
            "@type": "cr:Field",
            "@id": f"rows/{name}",
            "name": name,
            "dataType": kind,
            "source": {"fileSet": {"@id": "data"}, "extract": {"column": name}},
        }
        for name, kind in columns
    ]
    content = {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "name": plan.recipe.dataset,
        "description": plan.recipe.release.description or f"Synthetic rows of the dataset {plan.recipe.dataset}.",
        "license": plan.recipe.release.licence or "unknown",
        "distribution": [*distribution, data],
        "recordSet": [{"@type": "cr:RecordSet", "@id": "rows", "name": "rows", "field": fields}],
    }
    return json.dumps(content, indent=1) + "\n"


def _columns(plan: Plan) -> tuple[Column, ...]:
    return plan.released.columns
