"""CTGAN and TVAE of the package ctgan, at their defaults. In `.venv-peers-tables`."""

import torch
from ctgan import CTGAN, TVAE
from exchange import REQUEST, answer, cut_off, empty_missing, fill_missing, read_train

torch.manual_seed(REQUEST["seed"])
train, discrete = fill_missing(read_train())
model = {"ctgan": CTGAN, "tvae": TVAE}[REQUEST["maker"]](enable_gpu=False)
answer(lambda: cut_off(lambda: model.fit(train, discrete)), lambda rows: empty_missing(model.sample(rows)))
