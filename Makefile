# make setup | demo | test | clean. Everything lives in .venv; nothing outside this folder is touched.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PIP := $(BIN)/python -m pip install --quiet --no-input --disable-pip-version-check -c constraints.txt

.DEFAULT_GOAL := help
.PHONY: help setup demo test lint types check clean
.NOTPARALLEL:

help: ## what there is
	@sed -n 's/^\([a-z]*\):[^#]*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 16

setup: $(STAMP) ## a virtual environment in .venv with everything that is needed (1.8 GB, some minutes, once)

demo: setup ## the whole pipeline on the embedded teacher, offline
	$(BIN)/python -m distill demo

test: setup lint types check ## style, types, tests

lint: setup
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .

types: setup
	$(BIN)/python -m mypy

check: setup
	$(BIN)/python -m pytest -n 2 --dist loadfile # whole files: what their tests share is made once

clean: ## remove .venv and what tests and tools left; runs/ stays
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis lightning_logs
	find . -path ./.git -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +

# The stamp says that these two files are installed as they stand. torch goes first: see constraints.txt.
$(STAMP): pyproject.toml constraints.txt
	@command -v $(PYTHON) >/dev/null || \
	    { echo "no $(PYTHON) here: install Python 3.11 or newer, or say: make setup PYTHON=/path/to/python" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	    { echo "$$($(PYTHON) --version) is too old: minituo needs Python 3.11 or newer; say: make setup PYTHON=python3.11" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
	    { echo "$(PYTHON) cannot make virtual environments; on Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV)
	@echo "installing into $(VENV) (1.8 GB, some minutes)"
	$(PIP) torch
	$(PIP) -e '.[dev]'
	@touch $(STAMP)
