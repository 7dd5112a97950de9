"""One run, stage by stage: prepare, fit, generate, assemble, score, release.

The flow and `--inline` call these same methods in this order. Each stage looks first for what an earlier run finished, so a run
after a kill goes on where the last one stopped, and a run of a finished plan does nothing twice.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Self

import pyarrow as pa

from synthmill.candidates import Candidate, candidate_of
from synthmill.console import Reporter, duration
from synthmill.engine import Engine, Progress
from synthmill.errors import Interrupted
from synthmill.families import ask_children, given_for, naming_child
from synthmill.fingerprint import hash_file
from synthmill.job_run import JobRun
from synthmill.judging import hold_gates, judge_candidate
from synthmill.kits import make_kit
from synthmill.measuring import have_measured
from synthmill.outcome import Outcome
from synthmill.plan import JobPlan, ModelPlan, Plan
from synthmill.publish import publish, relative
from synthmill.recipe_file import load_recipe, save_overrides
from synthmill.resolve import Real, naming_lines, read_real
from synthmill.run_request import RunRequest
from synthmill.settings import Settings
from synthmill.sources.split import Split
from synthmill.store.ancestors import read_ancestor
from synthmill.store.catch_up import learn_of_releases
from synthmill.store.checkpoints import FileCheckpoint
from synthmill.store.earlier import earlier_releases
from synthmill.store.files import locked, publish_bytes, sharing
from synthmill.store.git import Git
from synthmill.store.models import claimed_hash, read_model, write_model
from synthmill.store.secret import noise_key
from synthmill.store.shared import Shared, open_shared
from synthmill.store.snapshot import read_snapshot, write_snapshot
from synthmill.store.state import State
from synthmill.store.workspace import Workspace
from synthmill.words import FitWords, generate_words, of_child, source_lines
from synthmill.work import FitTask

Stop = Callable[[], bool]


@dataclass
class Run:
    """A run in a workspace. Use as a context manager: it holds the plan's lock from `prepare` to the end."""

    request: RunRequest
    workspace: Workspace
    reporter: Reporter
    should_stop: Stop
    seconds: dict[str, float] = field(default_factory=dict)
    _recipe_sha256: str = ""  # as it was read, so that an edit during the run is noticed
    _stack: ExitStack = field(default_factory=ExitStack)
    _shared: Shared | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._stack.close()

    @property
    def state(self) -> State:
        """The state folder."""
        return State(self.workspace.state)

    @property
    def shared(self) -> Shared:
        """What other machines finished, opened when it is asked for first; StorageError where it cannot be read."""
        if self._shared is None:
            self._shared = open_shared(self.workspace, self.reporter.say, self.should_stop)
            self._stack.callback(self._shared.close)
        return self._shared

    # prepare ----------------------------------------------------------------------------------------------------------

    def resolve(self) -> tuple[Plan, Real]:
        """Recipe, source and split to a plan; writes nothing."""
        recipe = load_recipe(self.request.recipe, self.request.overrides)
        with naming_lines(self.request.recipe):
            real = read_real(recipe, self.workspace)
            plan = real.plan(recipe, self.workspace)
            earlier_releases(
                Git(self.workspace.root), plan
            )  # raises now where a gate names a version that does not exist
            return plan, real

    def prepare(self) -> Plan:
        """The plan, its lock, and the split source in state."""
        with self._stage("prepare"):
            self.request.check(self.workspace)
            if self.request.release:
                learn_of_releases(self.workspace, relative(self.workspace, self.request.recipe), self.reporter.say)
            self._recipe_sha256 = hash_file(self.request.recipe) if self.request.recipe.is_file() else ""
            plan, real = self.resolve()
            self._save_overrides()
            self.reporter.say(f"prepare: {plan.recipe.dataset}, plan {plan.fingerprint[:12]}")
            for line in [line for own, source in real.tables(plan) for line in source_lines(own, source)]:
                self.reporter.say(line)
            busy = f"another run works on this plan ({plan.fingerprint[:12]})"
            self._stack.enter_context(locked(self.state.lock(f"plan-{plan.fingerprint}"), busy))
            self._stack.enter_context(sharing(self.state.in_use))
            self._hide_state()
            self._keep(plan, real.parts)
            for child, rows in zip(plan.children, real.children, strict=True):
                self._keep(child, rows.parts)
            self._find(self.candidate(plan))
            return plan

    def _find(self, candidate: Candidate) -> None:
        """A whole candidate, be it here or only where other machines see it; half of one gives way to it."""
        candidate.drop_broken()
        if not candidate.is_complete and self.shared.bring(candidate.root):
            candidate.drop_broken()

    def _keep(self, plan: Plan, parts: Split) -> None:
        folder = self.state.source(plan.source.fingerprint)
        write_snapshot(folder, {"train": parts.train, "a": parts.a, "b": parts.b})
        self.shared.send(folder)

    def _save_overrides(self) -> None:
        """Write them into the recipe where that was asked for, now that a plan could be made of them."""
        if self.request.save and self.request.overrides:
            save_overrides(self.request.recipe, self.request.overrides)
            self._recipe_sha256 = hash_file(self.request.recipe)
            self.request = replace(self.request, overrides=(), save=False)

    def _hide_state(self) -> None:
        """Real rows never leave state, so git must not see it where the settings put it elsewhere; `init` sees to the default."""
        ignore = self.state.root / ".gitignore"
        if self.workspace.settings.folder != Settings().folder and not ignore.exists():
            publish_bytes(ignore, b"*\n")

    def _train(self, plan: Plan) -> pa.Table:
        return read_snapshot(self.state.source(plan.source.fingerprint), "train", plan.source.schema_)

    def make(self, plan: Plan, engine: Engine) -> None:
        """Have a table's rows in files, all stages of it in this process; the flow calls them one by one."""
        for model in plan.models:
            self.fit(plan, model, engine)
        for job in plan.jobs:
            self.generate(plan, job, engine)
        self.assemble(plan)

    # fit and generate -------------------------------------------------------------------------------------------------

    def fit(self, plan: Plan, model: ModelPlan, engine: Engine) -> None:
        """Have the model in state: fitted now, or found."""
        if not model.trains:
            return
        folder, task = self.state.model(model.fingerprint), f"fit {of_child(plan)}{model.generator}"
        self.shared.share(folder)  # also for a complete candidate: its manifest tells of its models
        if self.candidate(plan).is_complete:
            return
        with self._stage("fit"):
            if (found := read_model(folder)) is not None:
                self.reporter.say(f"{task}: found, {found[0].steps:,} steps")
                return
            self.reporter.say(f"{task}: {plan.source.train_rows:,} train rows")
            before = read_ancestor(self.state, self.shared, model, task, self.reporter.say)
            every_s = self.workspace.settings.engine.checkpoint_every_s
            checkpoint = FileCheckpoint(self.state.checkpoint(model.fingerprint), every_s).opened()
            if step := checkpoint.step:
                self.reporter.say(f"{task}: going on from step {step:,}")
            secret = noise_key(self.state, model, engine.device)
            work = FitTask(model, plan.source.schema_, plan.recipe.seed, engine.device, checkpoint, before, secret)
            fitted = engine.fit(work, self._train(plan), FitWords(self.reporter, task, step), self.should_stop)
            receipt = write_model(
                folder,
                fitted.files,
                fitted.report,
                fingerprint=model.fingerprint,
                generator=model.generator,
                train_rows=plan.source.train_rows,
                seconds=fitted.seconds,
                level=fitted.level(engine.device),
            )
            self.shared.send(folder)
            checkpoint.drop()
            self.reporter.say(f"{task}: done, {receipt.steps:,} steps in {duration(receipt.seconds)}")

    def generate(self, plan: Plan, job: JobPlan, engine: Engine) -> None:
        """Have enough finished shards for the job's rows."""
        if self.candidate(plan).is_assembled or not job.rows:
            return
        with self._stage("generate"), naming_child(plan):
            task = f"generate {of_child(plan)}{job.index} {job.generator}"
            given, accept = given_for(plan, job, self.state), plan.recipe.accept
            sha256 = claimed_hash(self.state.model(job.model))
            self.shared.bring_shards(job, sha256, unique=accept.unique)
            send = partial(self.shared.send_shard, model_sha256=sha256)
            run = JobRun(job, accept, self.state, workers=engine.workers, slots=given, on_finished=send)
            try:
                if run.is_complete:
                    self.reporter.say(f"{task}: found, {job.rows:,} rows")
                    return
                if run.rows:
                    self.reporter.say(f"{task}: going on from {run.rows:,} rows")
                found = read_model(self.state.model(job.model))
                kit = make_kit(
                    job,
                    found[1] if found else {},
                    plan.source.schema_,
                    self._train(plan),
                    rules=plan.recipe.rules,
                    reject_copies=plan.recipe.accept.copies_of_train == "reject",
                    device=engine.device,
                    context=() if plan.belonging is None else plan.belonging.context,
                    attempts=int(plan.recipe.accept.candidates_per_row),
                )
                engine.generate(run, kit, self.state.shards, lambda p: self._show(task, p), self.should_stop)
            finally:
                run.close()

    def _show(self, task: str, progress: Progress) -> None:
        self.reporter.progress(task, progress.rows, progress.of, generate_words(progress))

    # assemble and score -----------------------------------------------------------------------------------------------

    def candidate(self, plan: Plan) -> Candidate:
        """The plan's dataset before its release, in state."""
        return candidate_of(plan, self.state)

    def children(self, plan: Plan) -> tuple[Plan, ...]:
        """The plans of the child tables, once the first table is assembled and tells how many rows each of its rows has."""
        if not plan.children:
            return ()
        self.assemble(plan)
        return ask_children(self.candidate(plan), self.reporter, self.should_stop)

    def assemble(self, plan: Plan) -> None:
        """Have the accepted rows in files."""
        candidate, task = self.candidate(plan), f"assemble {of_child(plan)}".rstrip()
        with self._stage("assemble"):
            if candidate.is_assembled:
                self.reporter.say(f"{task}: found, {plan.rows:,} rows")
                return

            def show(rows: int) -> None:
                if self.should_stop():
                    raise Interrupted("stopped while assembling", hint="run again to go on")
                self.reporter.progress(task, rows, plan.rows)

            candidate.assemble(show)

    def score(self, plan: Plan, engine: Engine) -> Outcome:
        """Have scores, verdicts, card, report and manifest: the candidate is complete."""
        candidate = self.candidate(plan)
        with self._stage("score"):
            for one in (candidate, *candidate.children):
                have_measured(one, self.shared, engine, self.reporter, self.should_stop)
            outcome = judge_candidate(self.workspace, candidate, self.request.recipe, self.request.reason)
            self.shared.send(candidate.root)
        return self._timed(outcome)

    # release ----------------------------------------------------------------------------------------------------------

    def finish(self, plan: Plan, outcome: Outcome) -> Outcome:
        """Hold the gates, then place or release; GateMissed when one blocks."""
        if not (self.request.place or self.request.release):
            hold_gates(outcome)
            return outcome
        with self._stage("release" if self.request.release else "place"):
            outcome = publish(
                self.workspace,
                self.request.recipe,
                self._recipe_sha256,
                self.candidate(plan),
                lambda: self._judge(plan),
                self.reporter,
                self.should_stop,
                to_release=self.request.release,
            )
        return self._timed(outcome)

    def _judge(self, plan: Plan) -> Outcome:
        """The verdicts as of now: somebody else's release may have come since the scores."""
        outcome = judge_candidate(self.workspace, self.candidate(plan), self.request.recipe, self.request.reason)
        hold_gates(outcome)
        if self.request.reason and outcome.override is None:
            self.reporter.say("override: no gate blocks, so there is nothing to override, and none is recorded")
        return self._timed(outcome)

    def _timed(self, outcome: Outcome) -> Outcome:
        return outcome.model_copy(update={"seconds": {stage: round(s, 2) for stage, s in self.seconds.items()}})

    @contextmanager
    def _stage(self, name: str) -> Iterator[None]:
        if self.should_stop():
            raise Interrupted(f"stopped before {name}", hint="run again to go on")
        started = time.monotonic()
        try:
            yield
            self.shared.drain()
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.monotonic() - started
