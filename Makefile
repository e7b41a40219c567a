# make install | make demo | make test | make lint      See README.md.
#
# PYTHON  the interpreter that makes the environment (3.11 or newer):   make PYTHON=python3.12 install
# VENV    where the environment is:                                      make VENV=/tmp/automat test
PYTHON ?= python3
VENV ?= .venv

BIN := $(VENV)/bin
RUNTIME := $(VENV)/.automat-runtime
DEV := $(VENV)/.automat-dev
PIP := $(BIN)/python -m pip --no-input --disable-pip-version-check

.DELETE_ON_ERROR:
.PHONY: install install-dev demo test lint clean

install: $(RUNTIME)

install-dev: $(DEV)

demo: $(RUNTIME)
	@$(BIN)/automat demo

test: $(DEV)
	$(BIN)/python -m pytest -n auto --dist loadfile

lint: $(DEV)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

clean:
	rm -rf .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis build ./*.egg-info

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "AutoMat needs Python 3.11 or newer; '$(PYTHON)' is $$($(PYTHON) --version 2>&1 || echo missing)." >&2; \
	  echo "Name another one:  make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || { \
	  echo "'$(PYTHON)' cannot make virtual environments; on Debian or Ubuntu: apt install python3-venv" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

# MatterSim declares much that relaxing a structure never imports, and torchvision beside a CPU-only
# torch breaks lightning at import: so its own dependencies are listed in pyproject.toml instead.
$(RUNTIME): pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) install --quiet --constraint constraints.txt --editable .
	$(PIP) install --quiet --constraint constraints.txt --no-deps mattersim
	@touch $@

$(DEV): $(RUNTIME)
	$(PIP) install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@
