# Each target does its whole set-up: on a fresh machine, `make demo` and `make test` are all one needs.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
# The pinned set is what the tests passed with; pyproject.toml says what is allowed.
PIP    := $(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt

# Other people's networks need torchvision, which must be of torch's own build: they get an environment of their own.
TEACHERS     ?= .venv-teachers
TEACHERS_PIP := $(TEACHERS)/bin/pip install --quiet --disable-pip-version-check --constraint constraints-teachers.txt

# Ray is 0.9 GB that only clusters need.
CLUSTER     ?= .venv-cluster
CLUSTER_PIP := $(CLUSTER)/bin/pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: demo test check test-teachers test-cluster clean

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

# The tests that `make test` skips: other people's networks, at full size where they have no other. About 7 GB, once.
test-teachers: $(TEACHERS)/.teachers
	@$(TEACHERS_PIP) --no-deps --force-reinstall .
	$(TEACHERS)/bin/python -W ignore -c "import spandrel, spandrel_extra_arches"
	$(TEACHERS)/bin/python -m pytest -q -m teachers tests/runtime/test_zoo.py tests/runtime/test_super_resolution.py \
		tests/distill/test_public_teachers.py

# The batch over a real local Ray of three workers, one of them killed midway.
test-cluster: $(CLUSTER)/.cluster
	@$(CLUSTER_PIP) --no-deps --force-reinstall .
	$(CLUSTER)/bin/python -m pytest -q tests/runtime/test_batch_cluster.py

$(VENV)/.all: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) '.[all]'
	@touch $@

$(VENV)/.dev: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) '.[dev]'
	@touch $@

$(TEACHERS)/.teachers: pyproject.toml constraints-teachers.txt
	$(PYTHON) -m venv $(TEACHERS)
	$(TEACHERS_PIP) '.[teachers]' pytest scikit-image
	@touch $@

$(CLUSTER)/.cluster: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(CLUSTER)
	$(CLUSTER_PIP) '.[cluster]' pytest
	@touch $@

clean:
	rm -rf $(VENV) $(TEACHERS) $(CLUSTER) build *.egg-info demo .pytest_cache .ruff_cache
