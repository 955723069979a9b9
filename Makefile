# Each target does all of its own set-up: virtual environment, Python packages, system packages. `make help` lists them.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
RUN := $(BIN)/dicom-workflow
UI := worker_ui
CFN_RULES := tools/cfn-lint-rules
# What reads code and templates without running them: `make check` has these, `make test` all others.
STATIC := tests/test_layers.py tests/test_style.py tests/test_requirements.py $(foreach what,checkov evaluation flaws permissions,tests/aws/stacks/test_stack_$(what).py)
# Node from the virtual environment, where the machine has none or an old one.
export PATH := $(abspath $(BIN)):$(PATH)

# Real images for the tests, where they are at hand; the tests that need them skip, saying so, where they are not.
ifneq ($(wildcard ../shared/data/radiographs),)
export DICOM_WORKFLOW_SAMPLE_DATA ?= $(abspath ../shared/data)
endif
# No test and no demo may reach an account.
export AWS_EC2_METADATA_DISABLED ?= true
export PIP_DISABLE_PIP_VERSION_CHECK := 1

DEMO_OPTIONS = $(if $(DATA),--data '$(DATA)') $(if $(TRUTH),--truth '$(TRUTH)') $(if $(ARCHIVE),--archive '$(ARCHIVE)') \
	$(if $(SEED),--seed '$(SEED)') $(if $(DRILL),--drill '$(DRILL)')

.PHONY: help demo demo-search test check e2e ui bench lab up down clean clean-runs distclean env

help: ## list the targets
	@sed -nE 's/^([a-z0-9-]+):.*## (.*)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 20

demo: env ## seven notebooks, from DICOM files to a trained model (DATA=folder TRUTH=table.csv for your own images)
	@scripts/system-packages orthanc
	@$(RUN) demo $(DEMO_OPTIONS)

demo-search: env $(VENV)/search ## search on phantoms with written reports, a network trained first (DATA=folder for your own images and reports)
	@scripts/system-packages orthanc
	@$(RUN) demo --search $(if $(DATA),--data '$(DATA)') $(if $(SEED),--seed '$(SEED)')

test: env $(VENV)/search $(UI)/node_modules/installed ## all other tests, with the real Orthanc and a real browser, then every notebook with its defaults
	@scripts/system-packages orthanc chromium postgresql
	@cd $(UI) && npm run --silent test
	@$(BIN)/python -m pytest -q tests $(STATIC:%=--ignore=%) -n 2 --dist loadfile --no-loadscope-reorder
	@export DICOM_WORKFLOW_WORKSPACE=$$(mktemp -d); \
	trap '$(RUN) down 2>/dev/null; rm -rf "$$DICOM_WORKFLOW_WORKSPACE"' EXIT; \
	$(BIN)/python -m pytest -q --nbmake --nbmake-timeout=300 notebooks/

e2e: env $(UI)/node_modules/installed ## the worker page in a real browser, every claim of it; the last line is JSON
	@scripts/system-packages orthanc chromium
	@$(BIN)/python -m pytest -q tests/e2e --e2e

ui: env $(UI)/node_modules/installed ## build the worker page into the package (only needed if you change the page)
	@cd $(UI) && npm run --silent check && npm run --silent build

check: env $(VENV)/search $(VENV)/checkov/installed $(UI)/node_modules/installed ## ruff, mypy, types of the worker page, who imports whom; AWS templates: cfn-lint, checkov, our rules, permissions
	@$(BIN)/ruff check .
	@$(BIN)/lint-imports --no-cache
	@$(BIN)/python scripts/docstring_shares.py dicom_workflow
	@$(BIN)/python scripts/unused_code.py
	@$(BIN)/python scripts/repeated_code.py dicom_workflow
	@$(BIN)/mypy
	@$(BIN)/mypy source/monai_dicom.py
	@$(BIN)/mypy --config-file $(CFN_RULES)/pyproject.toml
	@PYTHONPATH=$(CFN_RULES)/src $(BIN)/cfn-lint --append-rules cfn_lint_medical_imaging -- cfn/*.yaml
	@cd $(UI) && npm run --silent check
	@$(BIN)/python -m pytest -q $(STATIC) -n 2 --dist loadfile
	@$(BIN)/python -m pytest -q $(CFN_RULES)/tests

bench: env ## one benchmark: NAME=training, training_gpu, quality, scale, upload, manifest, search, retrieval, radiology_reports; the last line is JSON
	@scripts/system-packages orthanc
	@if [[ "$(NAME)" =~ ^(training|quality) ]]; then $(BIN)/python -m pip install -qq -r requirements-bench.txt; fi
	@if [[ "$(NAME)" =~ ^(search|retrieval|radiology) ]]; then $(MAKE) -s $(VENV)/search; fi
	@mkdir -p benchmarks/results
	@$(BIN)/python benchmarks/$(NAME).py | tee >(tail -n 1 > benchmarks/results/$(NAME).json)

lab: env ## JupyterLab on copies of the notebooks in the workspace, with Orthanc and the labeling portal running
	@scripts/system-packages orthanc
	@$(RUN) lab

up: env ## start Orthanc and the labeling portal for a person to use, and search where the workspace has an index
	@scripts/system-packages orthanc
	@$(RUN) up

down: ## stop what `make up` started
	@test ! -x $(RUN) || $(RUN) down

clean: ## remove caches and build outputs; runs and models stay
	@rm -rf .mypy_cache .pytest_cache .ruff_cache .hypothesis build *.egg-info
	@find . -path ./$(VENV) -prune -o -name __pycache__ -type d -print0 | xargs -0 -r rm -rf

clean-runs: ## delete the runs of `make demo`, with their trained models; asks first
	@runs="$${DICOM_WORKFLOW_WORKSPACE:-$$HOME/dicom-workflow}/runs"; \
	if [ ! -d "$$runs" ]; then echo "There are no runs in $$runs."; exit 0; fi; \
	ls -1 "$$runs"; read -r -p "Delete all of these in $$runs, with their trained models? Type yes: " answer || answer=no; \
	if [ "$$answer" = yes ]; then rm -rf "$$runs"; else echo "Nothing was deleted."; fi

distclean: clean ## remove the virtual environment and the Node packages too
	@rm -rf $(VENV) $(UI)/node_modules

env: $(VENV)/installed

$(VENV)/installed: requirements.txt requirements-dev.txt pyproject.toml
	@scripts/system-packages python
	@echo "Installing Python packages into $(VENV): about four minutes the first time …"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install -qq -r requirements.txt -r requirements-dev.txt
	@touch $@

# What search alone needs: the extra of pyproject.toml. The other demos do without it.
$(VENV)/search: $(VENV)/installed pyproject.toml
	@$(BIN)/python -m pip install -qq -e '.[search]'
	@touch $@

$(VENV)/checkov/installed: requirements-checkov.txt $(VENV)/installed
	@test -x $(VENV)/checkov/bin/python || $(PYTHON) -m venv $(VENV)/checkov
	@$(VENV)/checkov/bin/python -m pip install -qq -r requirements-checkov.txt
	@touch $@

$(UI)/node_modules/installed: $(UI)/package.json $(UI)/package-lock.json $(VENV)/installed
	@scripts/system-packages node
	@cd $(UI) && npm ci --no-audit --no-fund --silent
	@touch $@
