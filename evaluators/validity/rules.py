"""Do the rows meet the recipe's rules?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import pyarrow as pa

from evaluators.validity._checks import as_mask, sound_share
from synthmill.columns import Modality
from synthmill.evaluator import Direction, Evaluator, Measured, Measurement, References
from synthmill.rules import Rules as CompiledRules


class Rules(Evaluator):
    """The share of rows that meet every rule of the recipe: 1 is all of them. NaN where the recipe has no rules.

    A rule is a constraint on one row, as a CHECK of SQL-92 is, and as there a missing cell passes. Rows that a run generated were
    accepted by the same rules, and the real rows beside them are chosen by the same rules, so both score 1; the measure is for
    tables that were made elsewhere.
    """

    modality: ClassVar[Modality] = "table"
    version: ClassVar[int] = 1
    scores: ClassVar[Mapping[str, Direction]] = {"": "higher"}
    remedy: ClassVar[str] = (
        "Write the rule that is broken under rules of the recipe that makes the rows: they are then rejected."
    )
    has_floor: ClassVar[bool] = False
    needs_rules: ClassVar[bool] = True
    replicates: ClassVar[int] = 0

    def measure(self, measured: Measured, references: References, *, seed: int) -> Measurement:
        """Exact; `seed` is not used. The table `rules` counts the rows that break each. RecipeError for a rule that cannot run."""
        schema, rules = references.schema, references.rules
        table = measured.table.select(schema.names)
        broken = [as_mask(mask) for mask in CompiledRules(rules, schema).broken(table)]
        details = pa.table({"rule": pa.array(rules, pa.string())})
        return sound_share(broken, table.num_rows, details, name="rules", without="the recipe has no rules")
