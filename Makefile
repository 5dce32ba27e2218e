# One virtual environment for everything; a second run of any target installs nothing.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install -qq --disable-pip-version-check

.PHONY: demo test test-all lint format clean

demo: $(VENV)/.core
	$(BIN)/python -m experiments.quickstart

# Compiling dominates, which uses one core: several processes share the files of tests, each
# fixture made once. Compiled programs are kept, for other files, processes and the next time;
# those of `test` are not optimised, which takes longer than they run, and made by XLA's older,
# faster emitters. Those of `test-all` are made as a user's are.
COMPILED := JAX_COMPILATION_CACHE_DIR=$(CURDIR)/.pytest_cache/compiled \
	JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS=0.02 JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES=-1
QUICKLY := JAX_DISABLE_MOST_OPTIMIZATIONS=1 \
	XLA_FLAGS="--xla_cpu_use_fusion_emitters=false $$XLA_FLAGS"
PYTEST := $(COMPILED) $(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile

test: $(VENV)/.dev
	$(QUICKLY) $(PYTEST)

test-all: $(VENV)/.dev
	$(PYTEST) -m "slow or not slow"

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

format: $(VENV)/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) .pytest_cache .ruff_cache .hypothesis

$(VENV)/.made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "jaxsel needs Python 3.11 or newer, %s is %s: say make PYTHON=python3.12, for example" % (sys.executable, sys.version.split()[0]))'
	@echo "making the virtual environment $(VENV)"
	@$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.core: $(VENV)/.made pyproject.toml constraints.txt
	@echo "installing jaxsel (about a minute, 1.2 GB)"
	@$(PIP) -e . -c constraints.txt
	@touch $@

$(VENV)/.dev: $(VENV)/.core
	@echo "installing what the tests and checks need (about a minute, 1 GB)"
	@$(PIP) -e '.[dev]' -c constraints.txt
	@touch $@
