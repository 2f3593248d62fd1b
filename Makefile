# Everything that a developer or a curious administrator runs here. Nothing is installed outside this folder.
# `make help` lists the targets; PYTHON=/path/to/python3 chooses the interpreter.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

PYTHON ?= $(shell command -v python3 || command -v python3.13 || command -v python3.12 || command -v python3.11)
export PYTHON
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PIP_CACHE_DIR ?= $(CURDIR)/build/pip-cache
VENV := $(CURDIR)/.venv
RUN := $(VENV)/bin/python -m tests.tools

.PHONY: help
help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

.PHONY: venv
venv:  ## make .venv with the pinned tools
	@[ -n "$(PYTHON)" ] || { echo "No python3 on PATH. On Debian and Ubuntu: apt-get install python3 python3-venv" >&2; exit 1; }
	@"$(PYTHON)" tests/tools/bootstrap.py

.PHONY: lint
lint: venv  ## ruff, mypy --strict, yamllint
	@$(RUN).gates --group lint

.PHONY: test
test: venv  ## every gate and every test, with a closing line of totals
	@$(RUN).gates

.PHONY: unit
unit: venv  ## the tests of the engines alone
	@$(RUN).gates --only unit

.PHONY: clean
clean:  ## remove everything that these targets made
	rm -rf build .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis
