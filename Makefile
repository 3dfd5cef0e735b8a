# Everything from a fresh machine: `make run` (the demo), `make test`. Needs Python 3.11 to 3.13 and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Where a machine has no GPU, an index of CPU wheels saves gigabytes: PIP_EXTRA_INDEX_URL=... make run
RUN_ENV := FLWR_TELEMETRY_ENABLED=0 FLWR_DISABLE_UPDATE_CHECK=1

.PHONY: help run test test-slow test-processes test-docker check format bench clean
.DEFAULT_GOAL := help

help:  ## show these commands
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 18

run: $(VENV)/.installed  ## install if needed, run the demo, write runs/demo/…/report.html
	$(BIN)/psreval run

test: $(VENV)/.installed-dev  ## install if needed, run the test suite (under 8 minutes on two cores)
	$(RUN_ENV) $(BIN)/python -m pytest -n 2 --dist loadfile -m "not slow and not processes and not docker"

test-slow: $(VENV)/.installed-dev  ## the long tests: learning on real images, the longest faults
	$(RUN_ENV) $(BIN)/python -m pytest -m slow

test-processes: $(VENV)/.installed-dev  ## tests that start real processes (about 6 minutes); the longest are in test-slow
	$(RUN_ENV) $(BIN)/python -m pytest -m "processes and not slow"

test-docker: $(VENV)/.installed-dev  ## build the image, start and kill containers (about 10 minutes; skipped without an engine)
	$(RUN_ENV) $(BIN)/python -m pytest -m docker

check: $(VENV)/.installed-dev  ## lint, format and types, as CI
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/.installed-dev  ## format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/.installed-dev  ## speed, as ratios taken side by side (about 90 minutes; p2pfl, 1.7 GB, goes into build/p2pfl)
	$(RUN_ENV) $(BIN)/python -m experiments.bench
	$(RUN_ENV) $(BIN)/python -m experiments.bench.growth --write build/bench
	$(RUN_ENV) $(BIN)/python -m experiments.bench.peers
	$(RUN_ENV) $(BIN)/python -m experiments.bench.secure

$(VENV)/.installed: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable .
	touch $@

$(VENV)/.installed-dev: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $@ $(VENV)/.installed

clean:  ## remove what was built here; runs stay
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
