# Every target sets itself up in .venv first; nothing outside this folder is touched.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet --progress-bar off

.PHONY: help install demo test check docs clean
.DELETE_ON_ERROR:

help:
	@echo "make demo     install, train on the built-in sample, recommend (under 6 minutes on two cores after installing)"
	@echo "make test     install what the tests need and run them"
	@echo "make check    ruff and mypy"
	@echo "make docs     regenerate docs/configuration.md from the code"
	@echo "make install  only install, into .venv"
	@echo "make clean    remove .venv and the demo's files"

install: .venv/.installed

# torch first and pinned, so that the resolver of the second step cannot move it.
.venv/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit("m6rec needs Python 3.11 or newer, this is %d.%d; type: make PYTHON=python3.11" % sys.version_info[:2] if sys.version_info < (3, 11) else 0)'
	@echo "installing into .venv (torch is large: this takes some minutes the first time)"
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv .venv
	@$(PIP) torch==2.13.0
	@$(PIP) -c constraints.txt -e .
	@touch $@

.venv/.installed-dev: .venv/.installed
	@echo "installing what tests and checks need"
	@$(PIP) -c constraints.txt -e '.[dev]'
	@touch $@

demo: .venv/.installed
	@$(BIN)/m6rec demo

test: .venv/.installed-dev
	$(BIN)/python -m pytest

check: .venv/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: .venv/.installed
	$(BIN)/m6rec config-reference --out docs/configuration.md

clean:
	rm -rf .venv runs/demo
