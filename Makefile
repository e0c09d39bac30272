# The commands a person types. `make help` lists them. Needs python3 (3.11 or later) and make; the rest is installed here.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
TESTS ?= backup_pipeline_tests
# Tests write into memory where that has room: on a disk they mostly wait for it.
IN_MEMORY := $(shell test "$$(df -k --output=avail /dev/shm 2>/dev/null | tail -1)" -gt 8388608 2>/dev/null && echo /dev/shm)
PYTEST = PYTEST_DEBUG_TEMPROOT=$(IN_MEMORY) $(BIN)/python -m pytest -n 4 --dist loadfile --no-loadscope-reorder
ARGS ?=
# Each of the many processes of the tests would compile the package anew.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help setup backup up test test-all check fix bench lock wheels floors floors-env floors-of clean

help:  ## List these commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP)  ## Make .venv with the exact versions of requirements.lock

$(STAMP): requirements.lock pyproject.toml setup.py $(wildcard backup_pipeline/native/*.c)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "Python 3.11 or later is needed; $(PYTHON) is $$($(PYTHON) --version 2>&1). Try: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 2; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo "Python's venv is missing. On Debian and Ubuntu: sudo apt install python3-venv"; exit 2; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing the packages of requirements.lock (a minute or two the first time)..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps --only-binary :all: -r requirements.lock
	@echo "Compiling the loops over rows..."
	@CFLAGS=-Werror $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@$(BIN)/python -m pip check >/dev/null
	@touch $@

backup: $(STAMP)  ## Run the full backup (embedded PostgreSQL and ISP demo, unless a database and its catalog are set)
	@$(BIN)/backup-pipeline backup $(ARGS)

up: $(STAMP)  ## PostgreSQL, migrations, Dagster's web server and daemon; Ctrl-C stops them all
	@exec $(BIN)/backup-pipeline up $(ARGS)

test: $(STAMP)  ## Run the tests
	@$(PYTEST) -m "not slow" $(TESTS) $(ARGS)

test-all: $(STAMP)  ## Run the tests, those of full size too
	@$(PYTEST) $(TESTS) $(ARGS)

check: $(STAMP)  ## Format, lint, types, layers, limits of the tree, definitions
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/python tools/house.py
	@$(BIN)/backup-pipeline catalog check --offline

fix: $(STAMP)  ## Format, and correct what ruff can
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

bench: $(STAMP)  ## Measure; the report goes to benchmarks/
	@$(BIN)/python -m benchmarks $(ARGS)

# Not after `setup`: until the lock is made anew, a dependency that was just added is missing there.
lock:  ## Make requirements.lock anew from pyproject.toml
	@test -x $(BIN)/uv || $(MAKE) setup
	@$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header \
	  --all-extras --group dev pyproject.toml --output-file requirements.lock

# What they compile for: the targets of setup.py. Linux is tested, macOS builds, Windows is none of them.
WHEELS := x86_64-linux-gnu.2.28 aarch64-linux-gnu.2.28 x86_64-linux-musl aarch64-linux-musl x86_64-macos.11.0 aarch64-macos.11.0
DIST ?= dist
wheels: $(STAMP)  ## An sdist, and from it a wheel for each platform, into dist/
	@$(BIN)/uv build --quiet --sdist --no-build-isolation --python $(BIN)/python --out-dir $(DIST)
	@for target in $(WHEELS); do echo "Building for $$target..."; \
	  BACKUP_WHEEL_TARGET=$$target $(BIN)/uv build --quiet --wheel --no-build-isolation --python $(BIN)/python \
	    --out-dir $(DIST) $(DIST)/backup_pipeline-*.tar.gz || exit 1; done
	@ls -l $(DIST)

# The oldest versions that pyproject.toml allows of what it names, in an environment of their own. The program of dg is
# not among the tools: it wants its own version of Dagster.
FLOORS := $(VENV)/floors
FLOOR_TOOLS := pytest pytest-timeout hypothesis swift 'moto[s3]' flask flask-cors playwright axe-playwright-python aiosmtpd polars setuptools ziglang
FLOOR_TESTS := catalogs formats/test_parquet.py formats/test_sheet.py orchestration/test_main_flow.py orchestration/test_internals.py \
  orchestration/test_instance.py cli/test_app.py cli/test_backup.py cli/test_list_listing.py ledger/test_backups.py test_read.py
floors: floors-env  ## Test with the oldest versions that pyproject.toml allows, and note of which in .ci/floors
	@PYTEST_DEBUG_TEMPROOT=$(IN_MEMORY) $(FLOORS)/bin/python -m pytest -m "not slow" $(addprefix $(TESTS)/,$(FLOOR_TESTS)) $(ARGS)
	@$(MAKE) --silent floors-of > .ci/floors

floors-env: $(STAMP)
	@$(BIN)/uv pip compile --quiet --resolution lowest-direct --python-version 3.11 --all-extras --no-emit-index-url --no-header \
	  --no-annotate --only-binary :all: pyproject.toml --output-file $(VENV)/floors.txt
	@test -x $(FLOORS)/bin/python || $(BIN)/uv venv --quiet --python $(BIN)/python $(FLOORS)
	@$(BIN)/uv pip install --quiet --python $(FLOORS)/bin/python --no-build -r $(VENV)/floors.txt $(FLOOR_TOOLS)
	@$(BIN)/uv pip install --quiet --python $(FLOORS)/bin/python --no-deps --no-build-isolation --editable .

floors-of:
	@sed -n '/^dependencies = /,/^\[project.scripts/p' pyproject.toml | cat - requirements.lock | sha256sum

clean:  ## Remove .venv and caches; backups and the demo database in .backup_pipeline stay
	@rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis build dist *.egg-info
