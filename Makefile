# Comserv's commands; `make` alone lists them. Nothing but git, make, python3 and python3-venv is needed before them.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check -q

.DEFAULT_GOAL := help
.PHONY: help setup demo run test lint bench campaign locks clean

help: ## list the commands
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(VENV)/.runtime ## make .venv with comserv and pve-simulator in it

demo: $(VENV)/.runtime ## start Comserv with a simulated estate and print one link
	@exec $(BIN)/python demo/demo.py

run: $(VENV)/.runtime ## start Comserv for real, on an empty data folder (var/run)
	@COMSERV_DATA_DIR=$${COMSERV_DATA_DIR:-var/run} exec $(BIN)/comserv serve

test: $(VENV)/.dev ## run every check and test; installs chromium and PostgreSQL where they are missing
	@exec scripts/test

lint: $(VENV)/.dev ## format, style, types and the direction of imports
	@exec scripts/lint

bench: $(VENV)/.dev ## measure against floors and peers; writes build/bench.json
	@exec $(BIN)/python -m benchmarks.bench

campaign: $(VENV)/.dev ## break everything at once and look whether Comserv stays true: RUNS=1000 SEED=7
	@exec $(BIN)/python -m campaign --runs $(or $(RUNS),100) --seed $(or $(SEED),1)

locks: $(VENV)/.dev ## make the lock files anew from pyproject.toml and package.json
	@exec scripts/lock

clean: ## remove what was made here, the demo's and the run's data included
	rm -rf $(VENV) build var src/comserv/web/static/vendor

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { echo "Python 3.11 or newer is missing. On Debian: apt-get install -y python3 python3-venv"; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { echo "Python's venv is missing. On Debian: apt-get install -y python3-venv"; exit 1; }
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.runtime: $(VENV)/bin/python requirements.lock pyproject.toml build_frontend.py package-lock.json src/comserv/web/icons.py
	@echo "Setting up $(VENV) …"
	@$(PIP) install --require-hashes -r requirements.lock
	@$(PIP) install --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/.dev: $(VENV)/.runtime requirements-dev.lock
	@echo "Adding what tests and checks need …"
	@$(PIP) install --require-hashes -r requirements-dev.lock
	@touch $@
