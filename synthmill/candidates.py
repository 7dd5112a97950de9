"""A plan's dataset in state, from the first file to the one that a release copies.

candidates/PLAN/counts.json       what became of the candidates; written once data/ is there
candidates/PLAN/scores.json       scores and verdicts
candidates/PLAN/dataset/          data/, README.md, report.html, croissant.json; manifest.json last: then it is complete
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import pyarrow.parquet as pq

from synthmill.errors import StorageError
from synthmill.outcome import Scored
from synthmill.plan import Plan
from synthmill.report.card import make_card, make_croissant
from synthmill.report.inputs import JobFacts, ReportInput, SourceFacts, StratumFacts, in_words
from synthmill.report.render import render
from synthmill.scoring import Scores
from synthmill.scoring.gates import Verdict
from synthmill.store.assemble import StratumCount, write_jobs
from synthmill.store.files import aside_of, publish_bytes, publish_folder, publish_json, storage_errors
from synthmill.store.huggingface import feature_metadata
from synthmill.store.manifest import NAME as MANIFEST
from synthmill.store.manifest import Manifest, check, make_manifest, read_manifest
from synthmill.store.models import ModelReceipt, read_model
from synthmill.store.snapshot import read_snapshot
from synthmill.store.state import State


@dataclass(frozen=True, slots=True)
class Candidate:
    """The dataset of one plan, before its release."""

    plan: Plan
    state: State

    @property
    def root(self) -> Path:
        """Everything of this candidate."""
        return self.state.candidate(self.plan.fingerprint)

    @property
    def folder(self) -> Path:
        """What a release copies."""
        return self.root / "dataset"

    @property
    def data(self) -> Path:
        """The Parquet files."""
        return self.folder / "data"

    @property
    def is_assembled(self) -> bool:
        """All rows are in files."""
        return (self.root / "counts.json").is_file()

    @property
    def is_complete(self) -> bool:
        """Everything is written; the manifest is the last."""
        return (self.folder / MANIFEST).is_file()

    def drop_broken(self) -> None:
        """Forget a complete candidate that is not what its manifest says, so that it is made anew."""
        try:
            is_broken = self.is_complete and any(True for _ in check(self.folder))
        except StorageError:  # the manifest itself
            is_broken = True
        if is_broken:
            shutil.rmtree(self.root)

    def assemble(self, progress: Callable[[int], None]) -> None:
        """Write data/ whole or not at all, then the counts."""
        shutil.rmtree(self.root, ignore_errors=True)
        aside = aside_of(self.data)
        with storage_errors(self.data):
            try:
                aside.parent.mkdir(parents=True)
                counts = write_jobs(self.plan, self.state, aside, progress)
                publish_folder(aside, self.data)
            finally:
                shutil.rmtree(aside, ignore_errors=True)
        if self.plan.recipe.release.include_real:
            self._include_real()
        publish_json(self.root / "counts.json", {"jobs": [[asdict(count) for count in job] for job in counts]})

    def _include_real(self) -> None:
        """The recipe's explicit wish: the train rows beside the synthetic ones."""
        source = self.plan.source
        train = read_snapshot(self.state.source(source.fingerprint), "train", source.schema_)
        path = self.folder / "data-real" / "train-00000-of-00001.parquet"
        with storage_errors(path):
            path.parent.mkdir(exist_ok=True)
            features = feature_metadata(train.schema)
            pq.write_table(train.replace_schema_metadata(features), path, compression="zstd")

    def describe(self, scores: Scores, gates: tuple[Verdict, ...]) -> None:
        """Write scores, card, report and metadata; the manifest last."""
        scored = Scored(scores=scores.scores, by_job=scores.by_job, gates=gates)
        publish_json(self.root / "scores.json", scored.model_dump(mode="json"))
        counts, plan = self.counts(), self.plan
        publish_bytes(self.folder / "report.html", render(_report(plan, counts, scores, gates)).encode())
        publish_bytes(self.folder / "README.md", make_card(plan, counts, scored).encode())
        files = sorted(self.data.glob("*.parquet"))
        publish_bytes(self.folder / "croissant.json", make_croissant(plan, self.folder, files).encode())
        manifest = make_manifest(plan, self.folder, counts, self._models())
        publish_bytes(self.folder / MANIFEST, (manifest.model_dump_json(indent=1) + "\n").encode())

    def _models(self) -> dict[str, ModelReceipt]:
        found = {model.fingerprint: read_model(self.state.model(model.fingerprint)) for model in self.plan.models}
        return {fingerprint: model[0] for fingerprint, model in found.items() if model is not None}

    def counts(self) -> tuple[tuple[StratumCount, ...], ...]:
        """What became of each job's candidates."""
        jobs = json.loads((self.root / "counts.json").read_bytes())["jobs"]
        return tuple(tuple(StratumCount(**count) for count in job) for job in jobs)

    def scores(self) -> Scored:
        """Scores and verdicts."""
        return Scored.model_validate_json((self.root / "scores.json").read_bytes())

    def manifest(self) -> Manifest:
        """The manifest."""
        return read_manifest(self.folder)


def _report(
    plan: Plan, counts: tuple[tuple[StratumCount, ...], ...], scores: Scores, gates: tuple[Verdict, ...]
) -> ReportInput:
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
        *plan.versions.items(),
    )
    return ReportInput(
        dataset=recipe.dataset,
        schema=plan.jobs[0].schema_,
        rows=plan.rows,
        strata=strata,
        scores=scores,
        verdicts=gates,
        facts=facts,
        jobs=tuple(JobFacts(job.generator, job.rows, in_words(job)) for job in recipe.jobs),
        source=SourceFacts(
            path=recipe.source.path,
            train_rows=source.train_rows,
            holdout_rows=source.a_rows + source.b_rows,
            target=recipe.source.target,
            protected=recipe.source.protected,
        ),
    )
