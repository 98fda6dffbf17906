# VoIPfleet. `make help` lists the targets.
SHELL := /bin/bash
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin

.PHONY: help venv test unit lint integration clean
help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

venv: $(VENV)/.ready
$(VENV)/.ready: sensor/requirements/dev.txt sensor/pyproject.toml
	@echo "== Python packages into $(VENV) (about a minute the first time)"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --require-hashes -r sensor/requirements/dev.txt
	@$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable sensor
	@touch $@

lint: venv ## style of the Python code and of the roles
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .

unit: venv ## the tests that need neither root nor servers
	@$(BIN)/pytest -q -n 2 tests/unit tests/topology

clean: ## remove what the build made in this folder
	rm -rf $(VENV) .build
