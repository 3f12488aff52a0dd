# Every target sets itself up in .venv first; nothing outside this folder is touched.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet --progress-bar off

# Third-party browser files are not kept here: they come from the npm registry by name. The console works without them, more plainly.
NPM_FILES := htmx.org@2.0.11 echarts@6.1.0
NPM_TEST_FILES := axe-core@4.14.1
VENDOR := src/m6rec/serving/console/static/vendor
TEST_VENDOR := tests/vendor

.PHONY: help install assets test-assets demo test check docs clean
.DELETE_ON_ERROR:

help:
	@echo "make demo     install, train on the built-in sample, recommend (under 6 minutes on two cores after installing)"
	@echo "make test     install what the tests need and run them"
	@echo "make check    ruff and mypy"
	@echo "make docs     regenerate docs/configuration.md from the code"
	@echo "make install  only install, into .venv"
	@echo "make assets   fetch the console's browser files (htmx, ECharts) with npm; part of install where npm is there"
	@echo "make clean    remove .venv and the demo's files"

install: .venv/.installed

# torch first and pinned, so that the resolver of the second step cannot move it.
.venv/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit("m6rec needs Python 3.11 or newer, this is %d.%d; type: make PYTHON=python3.11" % sys.version_info[:2] if sys.version_info < (3, 11) else 0)'
	@echo "installing into .venv (torch is large: this takes some minutes the first time)"
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv .venv
	@$(PIP) torch==2.13.0
	@$(PIP) -c constraints.txt -e .
	@$(MAKE) --no-print-directory assets
	@touch $@

# $(call fetch,packages,files inside node_modules,folder): each file under its own name, each licence as PACKAGE.LICENSE.txt. Never a failure.
define fetch
	@command -v npm >/dev/null 2>&1 || { echo "npm is missing: the console goes without htmx and charts (install Node.js, then: make $@)"; exit 0; }; \
	folder=$$(mktemp -d) && trap 'rm -rf "$$folder"' EXIT && \
	if npm install --prefix "$$folder" --ignore-scripts --no-audit --no-fund --no-save --silent $(1) >"$$folder/npm.log" 2>&1; then \
		mkdir -p $(3) && for file in $(2); do cp "$$folder/node_modules/$$file" $(3)/; done && \
		for package in $(1); do for word in LICENSE NOTICE; do \
			kept="$$folder/node_modules/$${package%@*}/$$word"; if [ -f "$$kept" ]; then cp "$$kept" "$(3)/$${package%@*}.$$word.txt"; fi; \
		done; done; \
	else echo "npm could not fetch $(1): the console goes without them (try again with: make $@)"; fi
endef

assets:
	$(call fetch,$(NPM_FILES),htmx.org/dist/htmx.min.js echarts/dist/echarts.min.js,$(VENDOR))

test-assets:
	$(call fetch,$(NPM_TEST_FILES),axe-core/axe.min.js,$(TEST_VENDOR))

.venv/.installed-dev: .venv/.installed
	@echo "installing what tests and checks need"
	@$(PIP) -c constraints.txt -e '.[dev]'
	@$(MAKE) --no-print-directory test-assets
	@touch $@

demo: .venv/.installed
	@$(BIN)/m6rec demo

# A process for each core, each with one thread; a file's tests stay together, because its fixtures train models.
test: .venv/.installed-dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile

check: .venv/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: .venv/.installed
	$(BIN)/m6rec config-reference --out docs/configuration.md

clean:
	rm -rf .venv runs/demo
