# One command for each thing to do; every target makes its own set-up first.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PYTEST := $(BIN)/python -m pytest
# Several processes carry out the tests, and one list shows all: tests/side_by_side.py. Fewer where tests start
# many processes of their own.
SIDE_BY_SIDE := -p tests.side_by_side -n
# For example: make test PYTEST_ARGS="-k claims -x"
PYTEST_ARGS ?=
# Tests that start many processes of their own; with `make interop`, so that `make test` stays under three minutes.
PROCESSES := tests/chaos tests/storm tests/flood tests/rolling tests/reload tests/independent tests/store/test_killed.py tests/cli/test_check.py tests/app/test_check_agrees.py tests/transport/test_many_certificates.py

.PHONY: help venv run test lint format interop bench soak clean

help:  ## show this list
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /  make \1\t/' | expand -t 18

venv: $(STAMP)  ## make .venv with the package, its test tools and its linters

$(STAMP): setup.cfg pyproject.toml ops/ci/make-venv.sh
	@echo "making $(VENV) with everything that is needed; once, half a minute with a warm package cache"
	@PYTHON="$(PYTHON)" ops/ci/make-venv.sh "$(VENV)"
	@touch $@

run: $(STAMP)  ## start the laboratory: two organisations, a DNS server, first messages (ONCE=1: and leave; FAIL=1: cut one side)
	@$(BIN)/python -m imxrouter.lab $(if $(ONCE),--once) $(if $(FAIL),--fail)

test: $(STAMP)  ## unit, property, attack and end-to-end tests
	$(PYTEST) $(SIDE_BY_SIDE) 3 tests --ignore=tests/interop --ignore=tests/bench $(PROCESSES:%=--ignore=%) -m "not soak and not interop" $(PYTEST_ARGS)

lint: $(STAMP)  ## style, types, layout, generated documents
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy imxrouter tests
	$(PYTEST) -q tests/test_layout.py tests/test_compliance.py
	if [ -e imxrouter/config/reference.py ]; then $(BIN)/python -m imxrouter.config.reference --check; fi

format: $(STAMP)  ## let ruff rewrite what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

interop: $(STAMP)  ## tests with many processes, and against peers from Debian packages (installs them when root)
	ops/ci/install-peers.sh
	$(PYTEST) $(SIDE_BY_SIDE) 2 $(PROCESSES) tests/interop -m "not soak" $(PYTEST_ARGS)

bench: $(STAMP)  ## measure the router and print the table
	$(BIN)/python -m tests.bench

soak: $(STAMP)  ## the long forms: fuzzing, chaos, simulated worlds, floods, reloads; prints figures
	$(BIN)/python -m pip install --quiet -e '.[fuzz]'
	if [ "$$(id -u)" -eq 0 ]; then ops/ci/install-peers.sh; fi # others skip what needs root
	$(PYTEST) -s tests -m soak -o faulthandler_timeout=900 $(PYTEST_ARGS)

clean:  ## remove everything that was made here
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
	rm -f twisted/plugins/dropin.cache
