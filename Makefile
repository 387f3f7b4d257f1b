# Needs Python 3.11 or newer and make; everything else is installed into .venv and scripts/vendor/node_modules.
# pip and npm read their usual settings from the environment (PIP_EXTRA_INDEX_URL for a CPU build of torch, and so on).

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= $(shell for name in python3 python3.14 python3.13 python3.12 python3.11; do \
	if $$name -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then echo $$name; break; fi; done)
PORT ?= 8000
JOBS ?= 2
FORCE ?=
TRAIN_ARGS ?=
SALT ?=
COURSE ?= course
# A folder's name for the shell, whatever signs it has; a tilde is for the program.
COURSE_WORD = '$(subst ','\'',$(value COURSE))'
PYTEST_ARGS ?=

PY := .venv/bin/python
ENV := .venv/.installed
WEB := scripts/vendor/node_modules/.installed
ENGINE := playground/node_modules/.installed
MODEL := playground/build/manifest.json
SITE := _build/html
# One thread a worker: two workers on two cores must not fight over them.
PYTEST := OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE $(PY) -m pytest -n $(JOBS) --dist loadfile \
	--nbval --nbval-current-env tests $(wildcard notebooks)
ZH := _build/zh

.PHONY: help env book site model notebooks translations release lab train assignments bench test test-all clean

help: ## show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | while IFS=$$'\t' read -r name text; do printf '  make %-10s %s\n' "$$name" "$$text"; done

env: $(ENV) ## create .venv and install the environment and the package

book: site ## build the site and serve it (PORT=8000)
	@$(PY) scripts/serve.py --port $(PORT)

model: $(MODEL) ## export Still Life and its family for the browser, into playground/build

site: $(ENV) $(WEB) $(MODEL) ## build the site into _build/html from the stored outputs, and the Chinese one into its zh/
	.venv/bin/jupyter-book build . --warningiserror --keep-going
	$(PY) scripts/translations.py site
	.venv/bin/jupyter-book build _build/zh-source --path-output $(ZH) --warningiserror --keep-going
	rm -rf $(SITE)/zh && cp -r $(ZH)/_build/html $(SITE)/zh

notebooks: $(ENV) ## run the chapters whose cells changed and store their outputs (FORCE=1: all, ONLY=name: one)
	$(PY) scripts/notebooks.py $(if $(FORCE),--force) $(ONLY)

translations: $(ENV) ## take messages out of the sources, make the Chinese pages and notebooks (RUN=1: run what is all translated)
	$(PY) scripts/translations.py
	$(PY) scripts/translations.py --check
	$(PY) scripts/notebooks.py --language zh_CN $(if $(RUN),--run) $(ONLY)

release: $(ENV) ## what must hold before a release: nothing stale or untranslated, catalogues right, every Chinese notebook run
	$(PY) scripts/translations.py --check --complete

lab: $(ENV) ## open the chapters in JupyterLab, or a course (COURSE=folder)
	$(PY) scripts/lab.py --course $(if $(filter file,$(origin COURSE)),'',$(COURSE_WORD))

train: $(ENV) ## train Still Life anew (TRAIN_ARGS="--help" shows the stages)
	$(PY) -m accelerate.commands.launch -m diffusion_tutorial.training $(TRAIN_ARGS)

# The salt goes through the environment: it may hold any sign that a shell would read.
assignments: export ASSIGNMENTS_SALT = $(value SALT)
assignments: $(ENV) ## make the graded assignments for a class in course/ (SALT=any text, COURSE=folder)
	$(PY) scripts/assignments.py make --course $(COURSE_WORD)

bench: site ## measure speed and memory, of the package, of the playground and of the pages, and print the tables
	$(PY) scripts/chromium.py --ensure
	$(PY) -m diffusion_tutorial bench
	$(PY) scripts/playground_bench.py
	$(PY) scripts/pages_bench.py

test: $(ENV) $(WEB) $(MODEL) ## every test of the gate: lint, unit, parity, notebooks, site in Chromium
	$(PY) scripts/chromium.py --ensure
	$(PY) -m ruff check .
	$(PYTEST) --ignore=notebooks/zh -m "not slow and not gpu and not hub" $(PYTEST_ARGS)

test-all: $(ENV) $(WEB) $(MODEL) ## the long tests too
	$(PY) scripts/chromium.py --ensure
	$(PY) -m ruff check .
	$(PYTEST) -m "not hub" $(PYTEST_ARGS)

clean: ## remove what was built, but not .venv and runs/
	rm -rf _build build dist *.egg-info .pytest_cache .ruff_cache scripts/vendor/node_modules playground/node_modules \
		playground/build
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +

$(ENV): requirements.txt pyproject.toml
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed, and none was found; set PYTHON=/path/to/python3" >&2; exit 1; }
	@test -x $(PY) || $(PYTHON) -m venv .venv || { echo "$(PYTHON) could not make a virtual environment (on Debian: apt-get install python3-venv)" >&2; exit 1; }
	$(PY) -m pip install --quiet --disable-pip-version-check -r requirements.txt
	$(PY) -m pip install --quiet --disable-pip-version-check --no-deps -e .
	@touch $@

$(ENGINE): playground/package-lock.json playground/package.json $(ENV)
	cd playground && PATH="$(CURDIR)/.venv/bin:$$PATH" npm ci --no-audit --no-fund --loglevel=error
	@touch $@

$(MODEL): $(ENV) $(ENGINE) playground/export.py $(wildcard diffusion_tutorial/still_life/model*/SHA256SUMS)
	$(PY) playground/export.py playground/build

$(WEB): scripts/vendor/package-lock.json scripts/vendor/package.json $(ENV)
	cd scripts/vendor && PATH="$(CURDIR)/.venv/bin:$$PATH" npm ci --no-audit --no-fund --loglevel=error
	@touch $@
