"""README.md of a dataset. Deterministic: no date, no version; the version is the git tag."""

from __future__ import annotations

from jinja2 import Environment, PackageLoader, StrictUndefined

from synthmill.outcome import Scored
from synthmill.plan import Plan
from synthmill.report.licence import Licence
from synthmill.store.assemble import StratumCount
from synthmill.store.manifest import PrivacyEntry

_SIZES = [(1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (10**6, "100K<n<1M"), (10**7, "1M<n<10M")]
_SIZES += [(10**8, "10M<n<100M"), (10**9, "100M<n<1B"), (10**12, "1B<n<10B")]


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
    licence = Licence((recipe.release.licence or "").strip())
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
        licence=licence,
        dataset=recipe.dataset,
        size_category=next((name for bound, name in _SIZES if plan.rows < bound), "n>1T"),
        include_real=recipe.release.include_real,
        description=recipe.release.description.strip(),
        intended_use=recipe.release.intended_use.strip(),
        limits=recipe.release.limits.strip(),
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
