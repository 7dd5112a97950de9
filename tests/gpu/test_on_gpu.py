"""Built-in generators on a GPU: they fit, sample, load again, and keep what was given. Not bit for bit, and nobody promises that."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
import torch
from support.tables import MIXED, built_in_generators, digits, mixed

from synthmill import registry
from synthmill.generator import SampleRequest, TrainData

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")]


@pytest.mark.parametrize("key", built_in_generators())
def test_a_model_fits_samples_and_loads_on_a_gpu(key, tmp_path):
    kind = registry.generator(key)
    table, schema = digits() if kind.modality == "image" else (mixed(), MIXED)
    model = kind(kind.Params.parse({"steps": 100} if "steps" in kind.Params.model_fields else {}))
    report = model.fit(TrainData(table, schema), seed=1, device="cuda", progress=lambda step, steps, loss: None)
    assert np.isfinite([loss for _, loss in report.losses]).all()
    if kind.family != "gan":  # whose losses say nothing
        assert report.losses[-1][1] < report.losses[0][1]
    name = schema.target if kind.modality == "image" else "city"
    given = pa.table({name: table[name].take(pa.array(np.arange(kind.micro_batch) % table.num_rows))})
    request = SampleRequest(np.arange(kind.micro_batch), 5, given, np.ones((kind.micro_batch, 1), dtype=np.bool_))
    assert pc.all(pc.equal(model.sample(request).table[name], given[name])).as_py()
    model.save(tmp_path)
    loaded = kind.load(tmp_path, model.params, device="cpu")  # a model of a GPU samples on a laptop
    assert loaded.sample(request).table.num_rows == kind.micro_batch
