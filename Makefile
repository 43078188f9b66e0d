# Each target does its whole set-up: on a fresh machine, `make demo` and `make test` are all one needs.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
# The pinned set is what the tests passed with; pyproject.toml says what is allowed.
PIP    := $(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: demo test check clean

# Restores an aged portrait with teacher and student, exports, verifies, and prints the path of the report.
demo: $(VENV)/.all
	@$(PIP) --no-deps --force-reinstall .
	$(BIN)/python -m pocketface.bench.demo --output demo

# Style, types, tests: what continuous integration runs.
test: $(VENV)/.dev
	@$(PIP) --no-deps --force-reinstall .
	$(MAKE) --no-print-directory check

check:
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/basedpyright --pythonpath $(BIN)/python
	$(BIN)/python -m pytest -q

$(VENV)/.all: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) '.[all]'
	@touch $@

$(VENV)/.dev: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) '.[dev]'
	@touch $@

clean:
	rm -rf $(VENV) build *.egg-info demo .pytest_cache .ruff_cache
