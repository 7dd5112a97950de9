"""SDV's GaussianCopulaSynthesizer at its defaults. In `.venv-peers-tables`."""

from exchange import DISCRETE, answer, read_train
from sdv.metadata import Metadata
from sdv.single_table import GaussianCopulaSynthesizer

train = read_train()
kinds = {name: {"sdtype": "categorical" if name in DISCRETE else "numerical"} for name in train}
model = GaussianCopulaSynthesizer(Metadata.load_from_dict({"tables": {"table": {"columns": kinds}}}))
answer(lambda: model.fit({"table": train}), lambda rows: model.sample(rows)["table"])
