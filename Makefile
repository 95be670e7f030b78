# Every target makes what it needs first: `make demo` works in a fresh clone.
.DEFAULT_GOAL := help
.PHONY: help demo test sources profile readme clean
PYTHON ?= python3
BIN := .venv/bin
# The fivetran command sends usage data unless this is set.
export DO_NOT_TRACK := 1
CONNECTORS := $(notdir $(wildcard connectors/*))

help: ## list the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## */\t/' | awk -F'\t' '{printf "  make %-9s %s\n", $$1, $$2}'

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

profile: .venv/ready ## where a connector's memory goes: make profile CONNECTOR=files
	@$(BIN)/python -m profiling.profile_connector $(or $(CONNECTOR),files)

readme: .venv/ready ## write the settings tables of the connectors' READMEs anew
	@$(BIN)/python -m tests.readmes

clean: ## remove the virtual environment and what the tools left
	rm -rf .venv .mypy_cache .ruff_cache .hypothesis

.venv/ready: requirements.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "python3 is $$($(PYTHON) --version): 3.11 to 3.14 is needed; name another one with: make PYTHON=python3.12 ..."; exit 1; }
	@echo "setting up .venv (once, about a minute)"
	@rm -rf .venv
	@$(PYTHON) -m venv .venv
	@$(BIN)/pip install --quiet --disable-pip-version-check -r requirements.txt
	@touch $@
