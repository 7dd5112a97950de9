"""Golden bytes: what a generator or a codec makes may change only together with its version.

Bytes are promised for the same versions and the same instruction set, so each golden hash says where it holds; elsewhere its test
skips. After a change that is meant: raise `version`, then `SYNTHMILL_GOLDEN=write pytest tests/contract/test_golden.py`.
"""

import hashlib
import json
import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from support.tables import MIXED, built_in_generators, digits, mixed

from synthmill import registry
from synthmill.generator import SampleRequest, TrainData
from synthmill.plan import versions_of
from synthmill.store.staging import shard_bytes

GOLDEN = Path(__file__).with_name("golden.json")
PLACE = {
    **versions_of(("numpy", "torch", "pyarrow", "pillow", "scikit-learn", "scipy")),
    "instructions": torch.backends.cpu.get_cpu_capability(),
}


def made_by(key):
    """The hash of a micro-batch after three steps."""
    kind = registry.generator(key)
    table, schema = digits() if kind.modality == "image" else (mixed(), MIXED)
    before = torch.get_num_threads()
    torch.set_num_threads(kind.threads)
    try:
        model = kind(kind.Params.parse({"steps": 3} if "steps" in kind.Params.model_fields else {}))
        data = TrainData(table.slice(0, 400), schema)
        model.fit(data, seed=1, device="cpu", progress=lambda step, steps, loss: None)
        given = pa.table({})
        mask = np.ones((kind.micro_batch, 0), dtype=np.bool_)
        made = model.sample(SampleRequest(np.arange(kind.micro_batch), 5, given, mask))
    finally:
        torch.set_num_threads(before)
    return hashlib.sha256(shard_bytes(made.table)).hexdigest()


@pytest.mark.parametrize("key", built_in_generators())
def test_bytes_change_with_the_version_alone(key):
    kind = registry.generator(key)
    codec = kind.codec.version if kind.codec else 0
    entry = {"version": kind.version, "codec": codec, "place": PLACE, "sha256": made_by(key)}
    golden = json.loads(GOLDEN.read_text()) if GOLDEN.exists() else {}
    if os.environ.get("SYNTHMILL_GOLDEN") == "write":
        GOLDEN.write_text(json.dumps({**golden, key: entry}, indent=1, sort_keys=True) + "\n")
        return
    known = golden[key]
    assert (known["version"], known["codec"]) == (kind.version, codec), "a new version needs a new golden hash"
    if known["place"] != PLACE:
        pytest.skip(f"the golden bytes hold for {known['place']}")
    assert entry["sha256"] == known["sha256"], f"the bytes of {key} changed: raise its version, or its codec's"
