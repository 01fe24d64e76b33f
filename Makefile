# `make demo` and `make test` need nothing but Linux, Python 3.11 or newer, and make.

PYTHON ?= python3
BIN := .venv/bin
LOCK := sdedge/requirements.lock

# The build backend comes first, so that its version too is the one that was chosen. What an older
# one leaves in the tree would be read in place of the installed metadata.
install = $(1)/bin/python -m pip install --quiet $(2) setuptools && \
	$(1)/bin/python -m pip install --quiet --no-build-isolation $(2) --editable '.[dev]' && \
	rm -rf sdedge.egg-info
suite = OMP_NUM_THREADS=1 $(1)/bin/python -m pytest -n 2 --dist worksteal

.PHONY: demo test check lint types test-floor test-latest lock format docs clean

demo: .venv/.installed
	$(BIN)/sdedge demo

test: lint  # the suite type-checks as well
	$(call suite,.venv)

check: lint types  # the quick half of `make test`
	$(call suite,.venv) -m "not slow"

lint: .venv/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: .venv/.installed
	$(BIN)/python tools/typecheck.py

test-floor: .venv-floor/.installed  # the lower bounds of pyproject.toml
	$(call suite,.venv-floor)

test-latest:  # the newest releases that pyproject.toml admits today
	$(PYTHON) -m venv .venv-latest
	$(call install,.venv-latest,--upgrade --upgrade-strategy eager)
	$(call suite,.venv-latest)

# After a green `make test-latest` on the oldest Python that sdedge supports.
lock:
	(echo '# Constraints for pip, written by `make lock`: the versions that `make` installs.'; \
	.venv-latest/bin/python -m pip freeze --all --exclude pip --exclude sdedge) > $(LOCK)

format: .venv/.installed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: .venv/.installed  # the tables of docs/ that follow from registries
	$(BIN)/python tools/docs_tables.py

clean:
	rm -rf .venv* build *.egg-info .mypy_cache .ruff_cache .pytest_cache

.venv/.installed: pyproject.toml $(LOCK)
	$(PYTHON) -m venv .venv
	$(call install,.venv,--constraint $(LOCK))
	touch $@

.venv-floor/.installed: pyproject.toml tools/floor.py
	$(PYTHON) -m venv .venv-floor
	$(PYTHON) tools/floor.py > .venv-floor/constraints.txt
	$(call install,.venv-floor,--constraint .venv-floor/constraints.txt)
	touch $@
