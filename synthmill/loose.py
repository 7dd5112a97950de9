"""Rows of a job outside of a run: from its fitted model into a folder that its user throws away, as preview and sample do.

They are the rows that a run makes of the same job: one stream, the same rules and filters, the same order.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from synthmill.console import Reporter, duration
from synthmill.engine import ShouldStop
from synthmill.inline import Inline
from synthmill.job_run import JobGiven, JobRun
from synthmill.kits import make_kit
from synthmill.plan import JobPlan, ModelPlan, Plan
from synthmill.resolve import Real
from synthmill.spec import Recipe
from synthmill.store.ancestors import read_ancestor
from synthmill.store.assemble import job_rows
from synthmill.store.models import read_model
from synthmill.store.secret import noise_key
from synthmill.store.shared import Shared
from synthmill.store.state import State
from synthmill.words import FitWords, generate_words, of_child
from synthmill.work import FitTask, FittedModel

Files = Mapping[str, bytes]  # of a fitted model


@dataclass(frozen=True, slots=True)
class LooseJobs:
    """The jobs of a plan, made one at a time in processes of their own; nothing that they make is written into state."""

    plan: Plan
    real: Real
    state: State
    shared: Shared
    reporter: Reporter
    should_stop: ShouldStop

    def model(self, job: JobPlan) -> ModelPlan:
        """The model that the job samples from."""
        return next(model for model in self.plan.models if model.fingerprint == job.model)

    def find(self, job: JobPlan) -> Files | None:
        """The job's model as state holds it; None where it is still to fit."""
        if not self.model(job).trains:
            return {}
        self.shared.bring_missing(self.state.model(job.model))
        found = read_model(self.state.model(job.model))
        return None if found is None else found[1]

    def fit(self, job: JobPlan) -> FittedModel:
        """Fit the job's model and keep it in memory alone."""
        task = f"fit {of_child(self.plan)}{job.generator}"
        model = self.model(job)
        secret = noise_key(self.state, model, "cpu")
        before = read_ancestor(self.state, self.shared, model, task, self.reporter.say)
        work = FitTask(model, self.plan.source.schema_, self.plan.recipe.seed, "cpu", before=before, secret=secret)
        with Inline() as engine:
            fitted = engine.fit(work, self.real.parts.train, FitWords(self.reporter, task), self.should_stop)
        self.reporter.say(f"{task}: done, {fitted.report.steps:,} steps in {duration(fitted.seconds)}")
        return fitted

    @contextmanager
    def made(self, job: JobPlan, files: Files, slots: JobGiven | None = None) -> Iterator[MadeJob]:
        """The job's accepted rows, on disk for the block; raises AcceptanceError and ShardError as a run does.

        A child's job is given its `slots`.
        """
        recipe, task = self.plan.recipe, f"generate {of_child(self.plan)}{job.index} {job.generator}"
        kit = make_kit(
            job,
            files,
            self.plan.source.schema_,
            self.real.parts.train,
            rules=recipe.rules,
            reject_copies=recipe.accept.copies_of_train == "reject",
            device="cpu",
            context=() if self.plan.belonging is None else self.plan.belonging.context,
            attempts=int(recipe.accept.candidates_per_row),
        )
        with tempfile.TemporaryDirectory(prefix="synthmill-") as folder, Inline() as engine:
            state = State(Path(folder))
            run = JobRun(job, recipe.accept, state, workers=engine.workers, slots=slots)
            try:
                engine.generate(
                    run,
                    kit,
                    state.shards,
                    lambda p: self.reporter.progress(task, p.rows, p.of, generate_words(p)),
                    self.should_stop,
                )
                yield MadeJob(run.rejects, lambda: job_rows(job, recipe.accept, state))
            finally:
                run.close()


@dataclass(frozen=True, slots=True)
class MadeJob:
    """A job's rows on disk: `read` gives them in order with provenance, a few thousand at a time; `rejects` by reason."""

    rejects: Mapping[str, int]
    read: Callable[[], Iterator[pa.Table]]


def unmeasured(recipe: Recipe) -> Recipe:
    """The recipe with nothing to score, which changes no row and spares the imports."""
    nothing: dict[str, object] = {"scores": (), "gates": {}}
    children = {name: child.model_copy(update=nothing) for name, child in recipe.children.items()}
    return recipe.model_copy(update={**nothing, "children": children})
