# Everything that a developer or a curious administrator runs here. Nothing is installed outside this folder.
# `make help` lists the targets; PYTHON=/path/to/python3 chooses the interpreter.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

# Which interpreter an environment gets is decided by tests/tools/bootstrap.py, unless the user names one.
ifneq ($(origin PYTHON),undefined)
export PYTHON
endif
ANY_PYTHON := $(or $(PYTHON),$(shell command -v python3 || command -v python3.13 || command -v python3.12 || command -v python3.11))
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PIP_CACHE_DIR ?= $(CURDIR)/build/pip-cache
VENV := $(CURDIR)/.venv/bin
TOOLS := $(VENV)/python -m tests.tools
ISOLATE := $(TOOLS).isolate $(VENV)/python -m

.PHONY: help
help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

.PHONY: venv
venv:  ## make .venv with the pinned tools
	@[ -n "$(ANY_PYTHON)" ] || { echo "No python3 on PATH. On Debian and Ubuntu: apt-get install python3 python3-venv" >&2; exit 1; }
	@"$(ANY_PYTHON)" tests/tools/bootstrap.py
	@$(VENV)/python -m tests.conftest

.PHONY: demo
demo: venv  ## publish, break, audit and repair seven simulated servers; KEEP=1 leaves such a fleet for trying
	@$(ISOLATE) tests.demo.demo
	@$(if $(KEEP),$(VENV)/python -m tests.demo.keep)

.PHONY: test
test: venv  ## every gate and every test, with a closing line of totals
	@$(TOOLS).gates

.PHONY: lint
lint: venv  ## ruff, mypy --strict, yamllint, ansible-lint, ansible-test sanity, the artifact and its installation
	@$(TOOLS).gates --group lint

.PHONY: sanity
sanity: venv  ## ansible-test sanity alone
	@$(TOOLS).sanity

.PHONY: unit
unit: venv  ## the tests of the engines alone
	@$(TOOLS).gates --only unit

.PHONY: format
format: venv  ## format the Python files
	@$(VENV)/ruff check --quiet --fix . || true
	@$(VENV)/ruff format .

.PHONY: molecule
molecule: venv  ## converge, idempotence and verification of the role against the lab
	@$(TOOLS).gates --only molecule

.PHONY: windows
windows: venv  ## the target script on a real PowerShell: every conformance case in both modes (WSP_PWSH=archive)
	@$(ISOLATE) tests.windows $(ARGUMENTS)

.PHONY: windows-mutants
windows-mutants: venv  ## changes the target script in one place at a time: some conformance case must notice (WSP_PWSH=archive)
	@$(ISOLATE) tests.windows.mutants $(ARGUMENTS)

.PHONY: windows-demo
windows-demo: venv  ## publish, spoil, repair and take off one server whose Windows is real, in a few minutes (WSP_PWSH=archive)
	@$(ISOLATE) tests.windows demo

.PHONY: simulate
simulate: venv  ## the target script in a simulated Windows: every cut times every behaviour, an hour (WSP_PWSH=archive)
	@$(ISOLATE) tests.simulation $(ARGUMENTS)

.PHONY: bench
bench: venv  ## the promised ratios, measured; LANE=role, ini, lab or probe: one benchmark alone
	@$(TOOLS).bench --set-up $(LANE)
	@$(ISOLATE) tests.tools.bench $(LANE)

.PHONY: docs
docs: venv  ## write the generated parts of docs/reference.md anew
	@$(TOOLS).reference

.PHONY: stage
stage: venv  ## copy the tracked files to build/ansible_collections/msexchange/winsock_proxy
	@$(TOOLS).stage

.PHONY: build
build: venv  ## build the artifact that ansible-galaxy installs, into build/artifact
	@$(TOOLS).stage >/dev/null
	@$(VENV)/ansible-galaxy collection build --force --output-path build/artifact build/ansible_collections/msexchange/winsock_proxy

.PHONY: lock
lock: venv  ## pin the newest releases that fit each supported ansible-core
	@$(TOOLS).lock

.PHONY: clean
clean:  ## remove everything that these targets made
	rm -rf build .venv .nox .mypy_cache .ruff_cache .pytest_cache .hypothesis
