# Everything a person needs here. `make` alone lists the targets.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready

# Without bytecode every process would compile all that it imports: 4 s instead of 1.
unexport PYTHONDONTWRITEBYTECODE
# Exported by make, and not written into the recipes: the path may hold spaces and quotes.
export VIRTUAL_ENV := $(CURDIR)/$(VENV)

.PHONY: help setup demo dev test test-all check clean

help: ## List the targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1|\2/' | column -t -s '|'

setup: $(READY) ## Make .venv with everything in it

# uv is installed into the environment itself, so that nothing outside this folder is touched.
$(READY): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' || { echo "Python 3.11, 3.12 or 3.13 is needed: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@test -x $(BIN)/uv || $(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	@echo "Installing packages into $(VENV) …"
	@$(BIN)/uv pip install --quiet --group dev --editable .
	@touch $@

demo: $(READY) ## Make sample data, export them in every format, say what lies where
	@$(BIN)/export-pipeline demo

dev: $(READY) ## Start Dagster's UI on http://127.0.0.1:3000
	@$(BIN)/export-pipeline dev

test: $(READY) ## Run the tests that take a moment each
	@$(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder -m "not slow"

test-all: $(READY) ## Run every test; print the slowest ten
	@$(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder --durations 10

check: $(READY) ## Lint, types, import walls, Dagster definitions
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/deptry .
	@PATH="$$PWD/$(BIN):$$PATH" $(BIN)/dg check defs

clean: ## Remove what demo and tests made (keeps .venv)
	@rm -rf demo_data demo_files store exports .staging .dagster_home .pytest_cache .mypy_cache .ruff_cache .cache
