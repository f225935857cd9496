# `make help` lists what there is. Every target sets up what it needs.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.dev-stamp
DEMO_STAMP := $(VENV)/.demo-stamp
SLOW_STAMP := $(VENV)/.slow-stamp
FRAMEWORKS_STAMP := $(VENV)/.frameworks-stamp
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help setup frameworks demo test test-slow faults lint format bench protos lock clean

help: ## list the targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

setup: $(STAMP) ## make .venv with all that development needs

$(STAMP): requirements/dev.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("Fogline needs Python 3.11 or later") if sys.version_info < (3, 11) else None'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --require-hashes -r requirements/dev.txt
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation -e .
	@touch $@ $(DEMO_STAMP)

$(DEMO_STAMP): requirements/demo.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("Fogline needs Python 3.11 or later") if sys.version_info < (3, 11) else None'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --require-hashes -r requirements/demo.txt
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation -e .
	@touch $@

$(SLOW_STAMP): requirements/slow.txt $(STAMP)
	$(BIN)/python -m pip install --quiet --require-hashes -r requirements/slow.txt
	@touch $@

frameworks: $(FRAMEWORKS_STAMP) ## also what trains other models than scikit-learn's; tests of them then run

$(FRAMEWORKS_STAMP): requirements/frameworks.txt $(STAMP)
	$(BIN)/python -m pip install --quiet -r requirements/frameworks.txt
	@touch $@

demo: $(DEMO_STAMP) ## the whole loop on fifty years of real weather (ARGS="--seed 2", ARGS=--shuffle)
	@$(BIN)/python -m examples.rainfall $(ARGS)

test: $(STAMP) ## the test suite
	$(BIN)/python -m pytest -n 2 --dist worksteal $(ARGS)

test-slow: $(SLOW_STAMP) ## what takes minutes: the demo on five seeds, crashes of the whole loop
	$(BIN)/python -m pytest -m slow --timeout 1800 $(ARGS)

faults: $(STAMP) ## kill the whole loop at every write boundary
	$(BIN)/python -m pytest -m slow --timeout 600 tests/faults $(ARGS)

lint: $(STAMP) ## ruff, mypy strict, import-linter
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(STAMP) ## let ruff rewrite the code
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

bench: $(STAMP) ## every benchmark in short, one table each (2: something to build with is missing)
	@for f in benchmarks/[a-z]*.py; do echo "== $$f"; \
	  $(BIN)/python -m benchmarks.$$(basename $$f .py) $$(grep -qe '"--quick"' $$f && echo --quick) \
	    || [ $$? = 2 ] || exit 1; \
	done

protos: $(STAMP) ## generate src/fogline/wire from protos/
	$(BIN)/python -m protos.generate

lock: $(STAMP) ## pin every dependency by hash
	$(BIN)/python -m pip install --quiet uv
	for set in dev demo slow; do \
	  $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate \
	    --custom-compile-command "make lock" --constraint requirements/bounds.txt \
	    --extra $$set pyproject.toml requirements/build.in \
	    --output-file requirements/$$set.txt || exit 1; \
	done

clean: ## remove what the other targets made
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache demo-output
