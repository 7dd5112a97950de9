"""Floor controls: real rows with the dependence taken out. A score that cannot tell them from real rows sees no dependence."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
import pyarrow as pa

from synthmill.columns import Schema
from synthmill.scoring.references import StratumShare


def control(
    train: pa.Table,
    strata: Sequence[StratumShare],
    quotas: Sequence[int],
    *,
    schema: Schema,
    seed: int,
    context: Collection[str] = (),
) -> pa.Table:
    """The floor for the modality, made of matched train rows: tables lose what ties columns, images what ties pixels.

    The columns in `context` stay as they are: a child's parent is not what the child's generator made.
    """
    if train.num_rows == 0:
        return train
    if schema.modality == "image":
        from synthmill.codecs.image import shuffle_pixels

        return shuffle_pixels(train, schema, seed)
    return sample_columns_alone(train, strata, quotas, rng=np.random.default_rng(seed), context=context)


def sample_columns_alone(
    train: pa.Table,
    strata: Sequence[StratumShare],
    quotas: Sequence[int],
    *,
    rng: np.random.Generator,
    context: Collection[str] = (),
) -> pa.Table:
    """Every column sampled on its own within each stratum; the columns that a stratum's condition or `context` names stay together.

    `train` holds `quotas[s]` rows of stratum s, one stratum after the other, so a permutation within a stratum is a sample without
    replacement of its rows.
    """
    ends = np.cumsum(quotas)
    shuffled = {}
    for name in train.column_names:
        order = np.arange(train.num_rows)
        for stratum, quota, end in zip(strata, quotas, ends, strict=True):
            if name not in stratum.where and name not in context:
                order[end - quota : end] = rng.permutation(order[end - quota : end])
        shuffled[name] = train[name].take(pa.array(order))
    return pa.table(shuffled, schema=train.schema)
