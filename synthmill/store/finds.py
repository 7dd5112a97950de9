"""What a run of a plan would find of models and shards, in the local state and in the shared one. Nothing is brought in or written."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from synthmill.plan import JobPlan, Plan
from synthmill.store.models import ModelReceipt, receipts
from synthmill.store.shared import Shared
from synthmill.store.staging import Receipt, read_receipts
from synthmill.store.state import State


@dataclass(frozen=True, slots=True)
class Finds:
    """`models` by fingerprint, all of the local state among them, and receipts by staging; `elsewhere` are only in the shared state."""

    models: Mapping[str, ModelReceipt]
    staged: Mapping[str, list[Receipt]]
    elsewhere: frozenset[str]

    def rows(self, job: JobPlan) -> int:
        """Rows of a job that are staged; more than it wants where another run wanted more."""
        return sum(receipt.rows for stratum in job.strata for receipt in self.staged[stratum.staging])


def find(plans: Iterable[Plan], state: State, shared: Shared) -> Finds:
    """For the models and jobs of all these plans."""
    models = {receipt.fingerprint: receipt for receipt in receipts(state.root / "models")}
    staged: dict[str, list[Receipt]] = {}
    elsewhere: set[str] = set()
    for plan in plans:
        for model in plan.models:
            if model.fingerprint not in models and (there := shared.model_receipt(model.fingerprint)) is not None:
                models[model.fingerprint] = there
                elsewhere.add(model.fingerprint)
        for job in plan.jobs:
            sha256 = models[job.model].sha256 if job.model in models else ""
            found = shared.staged(job, sha256)
            for staging in (stratum.staging for stratum in job.strata):
                here = read_receipts(state.staging(staging))
                ranges = {(receipt.start, receipt.stop) for receipt in here}
                others = [r for r in found.get(staging, []) if (r.start, r.stop) not in ranges]
                staged[staging] = [*here, *others]
                elsewhere.update([staging] if others else [])
    return Finds(models, staged, frozenset(elsewhere))
