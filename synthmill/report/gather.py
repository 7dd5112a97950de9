"""What the report of a candidate says, put together from its plan and from what was counted and measured."""

from __future__ import annotations

from synthmill.drift import Drift
from synthmill.outcome import Scored
from synthmill.plan import Plan, recipe_json
from synthmill.report.inputs import JobFacts, ReportInput, SourceFacts, StratumFacts, in_words
from synthmill.scoring import Scores
from synthmill.scoring.previous import PreviousRelease
from synthmill.store.assemble import StratumCount
from synthmill.store.manifest import PrivacyEntry


def gather(
    plan: Plan,
    counts: tuple[tuple[StratumCount, ...], ...],
    scores: Scores,
    scored: Scored,
    previous: PreviousRelease | None,
    drift: Drift | None,
    privacy: PrivacyEntry | None,
) -> ReportInput:
    """All that the page shows, but for the real rows of the private one."""
    strata = tuple(
        StratumFacts(
            job=job.index,
            generator=job.generator,
            label=stratum.label,
            rows=count.rows,
            candidates=count.candidates,
            rejects=tuple(sorted(count.rejects.items())),
        )
        for job, strata in zip(plan.jobs, counts, strict=True)
        for stratum, count in zip(job.strata, strata, strict=True)
    )
    recipe, source = plan.recipe, plan.source
    facts = (
        ("holdout rows", f"{source.a_rows:,} + {source.b_rows:,}"),
        ("seed", str(recipe.seed)),
        ("plan", plan.fingerprint),
        *(
            (name, f"{child.rows:,} rows, with a report of their own in {name}/")
            for name, child in scored.children.items()
        ),
        *_privacy_facts(privacy),
        *plan.versions.items(),
    )
    return ReportInput(
        dataset=recipe.dataset,
        schema=plan.scored,
        rows=plan.rows,
        strata=strata,
        scores=scores,
        verdicts=scored.gates,
        override=scored.override,
        previous=previous,
        facts=facts,
        jobs=tuple(JobFacts(job.generator, job.rows, in_words(job)) for job in recipe.jobs),
        source=SourceFacts(
            path=recipe.source.path,
            train_rows=source.train_rows,
            holdout_rows=source.a_rows + source.b_rows,
            target=recipe.source.target,
            protected=recipe.source.protected,
        ),
        recipe=recipe_json(recipe),
        drift=drift,
    )


def _privacy_facts(privacy: PrivacyEntry | None) -> tuple[tuple[str, str], ...]:
    if privacy is None:
        return ()
    words = f"epsilon {privacy.epsilon:.3g}, delta {privacy.delta:.3g} for {privacy.unit}"
    return (("differential privacy of data/", words), ("outside of it", "; ".join(privacy.outside)))
