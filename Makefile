# Every target makes what it needs first: `make demo` works in a fresh clone.
.DEFAULT_GOAL := help
.PHONY: help setup demo test sources show new format readme profile causes bench bench-check clean
PYTHON ?= python3
BIN := .venv/bin
# The fivetran command sends usage data unless this is set.
export DO_NOT_TRACK := 1
CONNECTORS := $(notdir $(wildcard connectors/*))

help: ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## */\t/' | awk -F'\t' '{printf "  make %-12s %s\n", $$1, $$2}'

setup: .venv/ready ## install what all of this needs into .venv

demo: .venv/ready ## sync three real sources twice with `fivetran debug` and compare every value with its source
	@$(BIN)/python -m tests.demo

test: .venv/ready ## lint, types, and the tests against real servers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy shared tests profiling
	@for name in $(CONNECTORS); do echo "mypy connectors/$$name"; (cd connectors/$$name && ../../$(BIN)/mypy --config-file ../../pyproject.toml .) || exit 1; done
	$(BIN)/pytest

sources: .venv/ready ## keep the practice sources running, for `fivetran debug connectors/NAME` in another terminal
	@$(BIN)/python -m tests.sources

show: .venv/ready ## what the last `fivetran debug` delivered: make show CONNECTOR=files
	@$(BIN)/python -m tests.show $(or $(CONNECTOR),files)

new: .venv/ready ## a new connector as a copy of another: make new NAME=orders FROM=rest_api
	@$(BIN)/python -m tests.new_connector "$(NAME)" "$(or $(FROM),rest_api)"

format: .venv/ready ## put code and imports into the form that `make test` asks for
	$(BIN)/ruff check --fix-only --quiet .
	$(BIN)/ruff format .

profile: .venv/ready ## where a connector's memory and time go, as a report: make profile CONNECTOR=files (or any folder)
	@$(BIN)/python -m profiling.profile_connector $(or $(CONNECTOR),files) $(if $(CONFIGURATION),--configuration "$(CONFIGURATION)") $(if $(STATE),--state "$(STATE)")

causes: .venv/ready ## the seven causes of high memory, bad and good side by side; rewrites the figures in profiling/causes
	@$(BIN)/python -m profiling.causes

bench: .venv/ready ## speed and memory of every connector beside the fastest possible; QUICK=1: less data; CONNECTOR=rest: one
	@$(BIN)/python -m profiling.bench $(CONNECTOR) $(if $(QUICK),--quick)

bench-check: .venv/ready ## the quick benchmark, its ratios compared with the stored ones; names what got worse
	@$(BIN)/python -m profiling.bench --check $(CONNECTOR)

readme: .venv/ready ## write the settings tables and configuration.json of all connectors anew
	@$(BIN)/python -m tests.readmes

clean: ## remove the virtual environment and what the tools left
	rm -rf .venv .mypy_cache .ruff_cache .hypothesis connectors/*/.mypy_cache connectors/*/files connectors/*/crash-reports
	find . -name __pycache__ -prune -exec rm -rf {} +

.venv/ready: requirements.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "python3 is $$($(PYTHON) --version): 3.11 to 3.14 is needed; name another one with: make PYTHON=python3.12 ..."; exit 1; }
	@echo "setting up .venv (once, about a minute)"
	@rm -rf .venv
	@$(PYTHON) -m venv .venv
	@$(BIN)/pip install --quiet --disable-pip-version-check -r requirements.txt
	@touch $@
