"""A plan's dataset in state, from the first file to the one that a release copies.

candidates/PLAN/counts.json       what became of the candidates; written once data/ is there
candidates/PLAN/drift.json        how the source changed, where a model goes on from an earlier one
candidates/PLAN/measured/         everything that was measured
candidates/PLAN/scores.json       scores and verdicts
candidates/PLAN/origin.json       the plan, and where it comes from
candidates/PLAN/private.html      the report with real rows beside; no release has it
candidates/PLAN/dataset/          data/, README.md, report.html, report.json, croissant.json; manifest.json last: then it is complete
candidates/PLAN/dataset/CHILD/    the same of a child table, where there are any; what is not released of it lies in children/CHILD/
candidates/PLAN/settled.json      how it left quarantine; a candidate without it waits for somebody to approve or drop it
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import pyarrow.parquet as pq

from synthmill.child_plan import with_slots
from synthmill.drift import Drift
from synthmill.errors import StorageError
from synthmill.features import measurable
from synthmill.origin import Origin
from synthmill.outcome import ChildScored, Scored
from synthmill.plan import Plan
from synthmill.report.card import make_card
from synthmill.report.closest import find_closest
from synthmill.report.croissant import make_croissant
from synthmill.report.gather import gather
from synthmill.report.inputs import ReportInput
from synthmill.report.machine import report_json
from synthmill.report.render import render
from synthmill.scoring import Scores
from synthmill.scoring.previous import PreviousRelease
from synthmill.scoring.task import ScoreTask
from synthmill.store.assemble import StratumCount, write_jobs
from synthmill.store.assemble_children import write_children
from synthmill.store.files import aside_of, publish_bytes, publish_folder, publish_json, storage_errors
from synthmill.store.manifest import NAME as MANIFEST
from synthmill.store.manifest import Manifest, Override, check, make_manifest, privacy_of, read_manifest
from synthmill.store.marks import mark
from synthmill.store.measured import read_measured, write_measured
from synthmill.store.models import ModelReceipt, read_model
from synthmill.store.slots import Slots, read_slots
from synthmill.store.snapshot import read_snapshot
from synthmill.store.state import State

Counts = tuple[tuple[StratumCount, ...], ...]  # of each job's strata


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
    def scored(self) -> Path:
        """The Parquet files that are scored."""
        return self.data

    @property
    def children(self) -> tuple[ChildCandidate, ...]:
        """The candidates of the child tables, once their slots are in state, in the recipe's order."""
        asked = ((child, read_slots(self.slots(child))) for child in self.plan.children)
        return tuple(ChildCandidate(with_slots(child, self.plan, slots), self.state) for child, slots in asked)

    def slots(self, child: Plan) -> Path:
        """What is given for the rows of a child table."""
        return self.root / "slots" / child.recipe.dataset

    @property
    def is_assembled(self) -> bool:
        """All rows are in files."""
        return (self.root / "counts.json").is_file()

    @property
    def is_measured(self) -> bool:
        """Everything is known that card and report say."""
        return self.is_assembled and (self.root / "measured").is_dir()

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
        for folder in (self.root, self.folder):
            shutil.rmtree(folder, ignore_errors=True)
        aside = aside_of(self.data)
        with storage_errors(self.data):
            try:
                aside.parent.mkdir(parents=True)
                counts = self._write(aside, progress)
                publish_folder(aside, self.data)
            finally:
                shutil.rmtree(aside, ignore_errors=True)
        if self.plan.recipe.release.include_real:
            self._include_real()
        publish_json(self.root / "counts.json", {"jobs": [[asdict(count) for count in job] for job in counts]})

    def _write(self, data: Path, progress: Callable[[int], None]) -> Counts:
        return write_jobs(self.plan, self.state, data, progress)

    def _include_real(self) -> None:
        """The recipe's explicit wish: the train rows beside the synthetic ones."""
        source = self.plan.source
        train = read_snapshot(self.state.source(source.fingerprint), "train", source.schema_)
        path = self.folder / "data-real" / "train-00000-of-00001.parquet"
        with storage_errors(path):
            path.parent.mkdir(exist_ok=True)
            marked = mark(train.schema, self.plan.recipe.dataset, is_synthetic=False)
            pq.write_table(train.cast(marked), path, compression="zstd")

    def keep(self, scores: Scores, drift: Drift | None) -> None:
        """Store what was measured, so that the candidate can be described again without a measurement."""
        if drift is not None:
            publish_json(self._drift, drift.model_dump(mode="json"))
        write_measured(self.root / "measured", scores)

    @property
    def _drift(self) -> Path:
        return self.root / "drift.json"

    def drift(self) -> Drift | None:
        """How the source changed since the models before."""
        return Drift.model_validate_json(self._drift.read_bytes()) if self._drift.exists() else None

    def measured(self) -> Scores:
        """What was measured."""
        return read_measured(self.root / "measured")

    def describe(self, scored: Scored, previous: PreviousRelease | None, origin: Origin) -> None:
        """Write scores, card, report and metadata; the manifest last, and taken away first where there is one."""
        for stale in (self.folder / MANIFEST, self._settled):
            stale.unlink(missing_ok=True)
        publish_json(self.root / "scores.json", scored.model_dump(mode="json"))
        publish_bytes(self.root / "origin.json", origin.model_dump_json(by_alias=True).encode())
        counts, plan, models = self.counts(), self.plan, self._models()
        report = gather(plan, counts, self.measured(), scored, previous, self.drift(), privacy_of(models))
        publish_bytes(self.folder / "report.html", render(report).encode())
        publish_bytes(self.folder / "report.json", report_json(report))
        self._describe_privately(report)
        publish_bytes(self.folder / "README.md", make_card(plan, counts, scored, privacy_of(models)).encode())
        files = sorted(self.data.glob("*.parquet"))
        publish_bytes(self.folder / "croissant.json", make_croissant(plan, self.folder, files).encode())
        override = Override(reason=scored.override, gates=scored.blocked) if scored.override else None
        children = {child.plan.recipe.dataset: child.manifest() for child in self.children}
        manifest = make_manifest(plan, self.folder, counts, models, override, children)
        publish_bytes(self.folder / MANIFEST, (manifest.model_dump_json(indent=1) + "\n").encode())

    def _describe_privately(self, report: ReportInput) -> None:
        """The same page with real rows beside, where the distance of rows says something and the split source is still in state."""
        source = self.plan.source
        snapshot, path = self.state.source(source.fingerprint), self.root / "private.html"
        path.unlink(missing_ok=True)
        if source.schema_.modality != "table" or not measurable(source.schema_.columns) or not snapshot.is_dir():
            return
        train = read_snapshot(snapshot, "train", source.schema_)
        strata = ScoreTask(self.plan, self.scored, snapshot).strata
        closest = find_closest(self.scored, strata, train, source.schema_, self.plan.recipe.seed)
        publish_bytes(path, render(report, closest=closest).encode())

    def settle(self, how: str) -> None:
        """Say that it was released or placed, so that it waits for nobody."""
        publish_json(self._settled, {"how": how})

    @property
    def waits(self) -> bool:
        """It is complete, and neither released nor placed."""
        return self.is_complete and not self.settled

    @property
    def settled(self) -> str:
        """How it left quarantine; "" while it waits."""
        return str(json.loads(self._settled.read_bytes())["how"]) if self._settled.exists() else ""

    @property
    def _settled(self) -> Path:
        return self.root / "settled.json"

    def _models(self) -> dict[str, ModelReceipt]:
        found = {model.fingerprint: read_model(self.state.model(model.fingerprint)) for model in self.plan.models}
        return {fingerprint: model[0] for fingerprint, model in found.items() if model is not None}

    def counts(self) -> Counts:
        """What became of each job's candidates."""
        jobs = json.loads((self.root / "counts.json").read_bytes())["jobs"]
        return tuple(tuple(StratumCount(**count) for count in job) for job in jobs)

    def scores(self) -> Scored:
        """Scores and verdicts."""
        return Scored.model_validate_json((self.root / "scores.json").read_bytes())

    def manifest(self) -> Manifest:
        """The manifest."""
        return read_manifest(self.folder)


@dataclass(frozen=True, slots=True)
class ChildCandidate(Candidate):
    """A child table of a candidate: a dataset in the folder of the first table's, described like any other."""

    @property
    def root(self) -> Path:
        """What is not released of it."""
        return self._parent / "children" / self.plan.recipe.dataset

    @property
    def folder(self) -> Path:
        """Its place in the dataset."""
        return self._parent / "dataset" / self.plan.recipe.dataset

    @property
    def scored(self) -> Path:
        """One of its rows for each parent that has any, joined with the parent's columns; they stay in state."""
        return self.root / "joined"

    @property
    def given(self) -> Slots:
        """What is given for its rows."""
        return Slots(self._parent / "slots" / self.plan.recipe.dataset)

    def scores(self) -> ChildScored:
        """Scores and verdicts."""
        return ChildScored.model_validate_json((self.root / "scores.json").read_bytes())

    @property
    def _parent(self) -> Path:
        assert self.plan.belonging is not None, "it is a child's plan"
        return self.state.candidate(self.plan.belonging.parent)

    def _write(self, data: Path, progress: Callable[[int], None]) -> Counts:
        aside = aside_of(self.scored)
        counts = write_children(self.plan, self.state, self.given, data, aside, progress)
        publish_folder(aside, self.scored)
        return counts


def candidate_of(plan: Plan, state: State) -> Candidate:
    """The plan's candidate, be it a child's or not."""
    return Candidate(plan, state) if plan.belonging is None else ChildCandidate(plan, state)
