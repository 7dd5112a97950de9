# `make demo` shows the whole path on real data; `make test` proves it. Both set up .venv first, from constraints.txt.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PEERS := .venv-peers
TABLE_PEERS := .venv-peers-tables

.PHONY: help demo browser test check lint unit chaos bench bench-peers constraints clean
.DEFAULT_GOAL := help

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

$(VENV)/.ready: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Synthmill needs Python 3.11 or newer: make PYTHON=python3.12 ..." >&2; exit 2; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing into $(VENV) (a few minutes at first)"
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --constraint constraints.txt --editable '.[test,s3,webdav]'
	@touch $@

$(PEERS)/.ready: peers-constraints.txt
	@test -x $(PEERS)/bin/python || $(PYTHON) -m venv $(PEERS)
	@echo "installing the peers that tests measure against into $(PEERS)"
	@$(PEERS)/bin/python -m pip install -qq --disable-pip-version-check --constraint peers-constraints.txt sdmetrics prdc pyarrow
	@touch $@

# torchvision and torchaudio come with mostlyai-engine, which then fails at import.
$(TABLE_PEERS)/.ready: peers-tables-constraints.txt
	@test -x $(TABLE_PEERS)/bin/python || $(PYTHON) -m venv $(TABLE_PEERS)
	@echo "installing other people's table generators into $(TABLE_PEERS) (a few minutes, 3 GB)"
	@$(TABLE_PEERS)/bin/python -m pip install -qq --disable-pip-version-check --constraint peers-tables-constraints.txt ctgan mostlyai-engine sdv
	@$(TABLE_PEERS)/bin/python -m pip uninstall -qq --disable-pip-version-check --yes torchvision torchaudio
	@touch $@

demo: $(VENV)/.ready  ## two datasets from recipe to release, in demo/
	@$(BIN)/synthmill init demo
	cd demo && ../$(BIN)/synthmill run recipes/digits.yaml --release
	cd demo && ../$(BIN)/synthmill run recipes/fair.yaml --release
	cd demo && ../$(BIN)/synthmill releases

browser:  ## Chromium for the tests of the report, where CI has none
	@command -v chromium >/dev/null || test "$$SYNTHMILL_CI" != 1 || test "$$(id -u)" != 0 || \
	  { apt-get update -qq && apt-get install -qq --no-install-recommends chromium >/dev/null; }

test: $(VENV)/.ready $(PEERS)/.ready  ## everything that CI runs
	@$(MAKE) --no-print-directory lint
	$(BIN)/python -m pytest -n 2 --dist loadfile -m "not chaos and not gpu"

check: test  ## the same

lint: $(VENV)/.ready  ## ruff and mypy
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

unit: $(VENV)/.ready  ## the fast tests alone
	$(BIN)/python -m pytest tests/unit

chaos: $(VENV)/.ready  ## kill a run at 20 seeded random places, and releases at 1,000 random moments; goes on where it was stopped
	$(BIN)/python -m pytest -m chaos tests/faults -s
	PYTHONPATH=tests $(BIN)/python -m support.campaign

bench: $(VENV)/.ready $(PEERS)/.ready  ## speed, memory and scores of known worth, beside pyarrow, SDMetrics and prdc
	$(BIN)/python -m bench.generate
	$(BIN)/python -m bench.neighbours
	$(BIN)/python -m bench.score
	$(BIN)/python -m bench.planted

bench-peers: $(VENV)/.ready $(TABLE_PEERS)/.ready  ## table generators beside CTGAN, TVAE, TabularARGN and GaussianCopula (hours)
	$(BIN)/python -m bench.table
	$(BIN)/python -m bench.table --peers
	$(BIN)/python -m bench.table --peers --equal
	$(BIN)/python -m bench.table --table

constraints:  ## pin what is installed now
	@(head -1 constraints.txt; $(BIN)/python -m pip freeze --all --exclude pip --exclude-editable | sed 's/+cpu//') > constraints.tmp && mv constraints.tmp constraints.txt

clean:  ## remove what the other targets made
	rm -rf $(VENV) $(PEERS) $(TABLE_PEERS) demo build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .synthmill
