# Everything a person does with this checkout. `make demo` and `make test` set up what they need.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

# services and commands start in half the time from compiled modules
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: conformance help setup demo stubs baseline lock check quick test format clean diagrams golden soak bench

help:  ## what there is
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

$(BIN)/pip:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "exeunt needs Python 3.11 or newer: make PYTHON=python3.11 …" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "python3-venv is missing: apt-get install python3-venv" >&2; exit 1; }
	@rm -rf $(VENV)
	@$(PYTHON) -m venv $(VENV)

$(STAMP): requirements/uv.txt requirements/all.txt pyproject.toml hatch_build.py $(wildcard proto/exeunt/v1/*.proto proto/exeunt/internal/v1/*.proto) | $(BIN)/pip
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements/uv.txt
	@$(BIN)/uv pip sync --quiet --python $(BIN)/python --require-hashes requirements/all.txt
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation -e .
	@touch $@

setup: $(STAMP)  ## the tools and the program, in .venv

demo: $(STAMP)  ## a workflow, its exit handlers, the ledger and the events
	@examples/demo.sh $(BIN)/exeunt

stubs: $(BIN)/pip  ## exeunt/v1 and exeunt/internal anew from proto/
	@$(BIN)/python hatch_build.py

baseline: $(STAMP)  ## proto/v1.json, what is promised of exeunt.v1; at a release only
	@$(BIN)/python -m tests.proto.baseline

lock:  ## requirements/*.txt anew from pyproject.toml
	@$(BIN)/uv lock --quiet && $(BIN)/uv export --quiet --format requirements-txt --no-header --no-annotate --no-emit-project --all-groups -o requirements/all.txt
	@$(BIN)/uv export --quiet --format requirements-txt --no-header --no-annotate --no-emit-project --no-default-groups -o requirements/run.txt; rm -f uv.lock
	@$(BIN)/uv pip compile --quiet requirements/uv.in --generate-hashes --no-header --no-annotate -o requirements/uv.txt

check: $(STAMP)  ## format, lint, types, import contract, dead code
	@$(BIN)/ruff format --check --quiet . || { echo "formatting differs: make format" >&2; exit 1; }
	@$(BIN)/ruff check --quiet .
	@$(BIN)/mypy --no-error-summary
	@$(BIN)/lint-imports --no-logo >/dev/null || $(BIN)/lint-imports --no-logo
	@! $(BIN)/vulture | grep -vE '^(tests|bench)/'  # those are looked at for what they use of ours

quick: check  ## the checks, and the tests of language, engine and driver: about a minute
	@$(BIN)/pytest -q tests/language tests/engine tests/driver

test: check  ## all checks and tests
	@$(BIN)/pytest -rs

format: $(STAMP)  ## format and mend what can be mended
	@$(BIN)/ruff check --fix --quiet . ; $(BIN)/ruff format --quiet .

clean:  ## remove what was set up and generated
	@rm -rf $(VENV) exeunt/v1 exeunt/internal *.egg-info .mypy_cache .ruff_cache .pytest_cache

diagrams: $(STAMP)  ## the diagrams of the pages as SVG, in build/diagrams
	@$(BIN)/python -m tests.docs.diagrams build/diagrams

conformance: $(STAMP)  ## Argo's own examples on the real services (EXAMPLES=FILE…)
	@$(BIN)/python -m tests.conformance $(EXAMPLES)

golden: $(STAMP)  ## Argo's recorded cases against the engine (CASES=FILE…)
	@$(BIN)/python -m tests.golden $(CASES)

N ?= 200
soak: $(STAMP)  ## generated workflows (ten minutes), the simulation (100 runs for each of N rounds), faults, N rounds
	@$(BIN)/python -m tests.generated --seconds 600
	@$(BIN)/python -m tests.simulation --runs $$((100 * $(N))) --jobs 2
	@$(BIN)/python -m tests.faults.kills --rounds $(N)

bench: $(STAMP)  ## figures beside their limits
	@$(BIN)/python -m bench
