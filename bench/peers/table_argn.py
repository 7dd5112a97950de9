"""MOSTLY AI's TabularARGN at its defaults. In `.venv-peers-tables`, from which torchvision must be gone."""

from exchange import REQUEST, SECONDS, answer, read_train
from mostlyai.engine import TabularARGN

train = read_train()
bound = {"max_training_time": SECONDS / 60} if SECONDS else {}
model = TabularARGN(random_state=REQUEST["seed"], device="cpu", **bound)
answer(lambda: model.fit(train), model.sample)
