# Everything is one word: make guide, make test.  The work is done by tools/.

VENV ?= .venv
BUILD ?= build
MINUTES ?= 10
ROUNDS ?= 2000
export VENV BUILD PYTHON

.PHONY: help setup build guide test format lint bench peers bench-servers soak cancel outages histories fuzz ledger clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' Makefile

setup: ## packages and a virtual environment (once; PYTHON=python3.12 chooses)
	@tools/setup test

build: ## the C library and the Python module, in build/
	@tools/setup test
	@tools/build

guide: ## runs the guide on SQLite and shows the SQL it sends
	@tools/setup guide
	@tools/build --module
	@tools/guide

test: ## all tests (SUITES="c py" for some; tools/test --list)
	@tools/setup $(if $(CI),ci,test)
	@tools/build $(if $(CI),$(BUILD) -Dwerror=true)
	@$(VENV)/bin/python tools/test $(SUITES)

format: ## formats C and Python
	@tools/format --write

lint: ## formatters and linters, as in CI
	@tools/setup ci
	@tools/build
	@$(VENV)/bin/python tools/test format lint

bench: ## our operations beside the standard library's, as ratios
	@tools/setup test
	@tools/build
	@$(VENV)/bin/python bench/py/run.py --floor $(BUILD)/bench/c/floor $(BENCH)
	@$(VENV)/bin/python bench/py/beside.py $(BENCH)
	@bench/instructions $(VENV)/bin/python $(BUILD)/bench/c/floor

bench-servers: ## the same on PostgreSQL and MariaDB, beside asyncpg, psycopg and asyncmy
	@tools/setup bench
	@tools/build
	@$(VENV)/bin/python bench/py/servers.py --floor $(BUILD)/bench/c $(BENCH)

peers: ## other ORMs, and encode/orm, beside ours as ratios (environments of their own)
	@tools/setup test
	@tools/build
	@bench/peers/setup
	@$(VENV)/bin/python bench/peers/run.py $(PEERS)

soak: ## long forms of tests for MINUTES=10 together; adds to tests/ledger.jsonl
	@tools/setup test
	@tools/build
	@$(VENV)/bin/python -m tests.soak.run --minutes $(MINUTES)

cancel: ## ROUNDS=2000 of cancel-and-use-again on each server, and the control; adds to the ledger
	@tools/setup test
	@tools/build
	@$(VENV)/bin/python -m tests.soak.cancel --rounds $(ROUNDS)
	@$(VENV)/bin/python -m tests.soak.cancel --rounds $(ROUNDS) --database mariadb
	@$(VENV)/bin/python -m tests.soak.cancel --rounds 500 --control

outages: ## servers, clients and connections killed ROUNDS=2000 times each; adds to the ledger
	@tools/setup test
	@tools/build
	@for server in postgresql mariadb; do for victim in server client connection; do \
	  $(VENV)/bin/python -m tests.soak.outages --rounds $(ROUNDS) --kill $$victim \
	    --database $$server || exit 1; done; done

histories: ## ROUNDS=2000 histories under faults on each database, judged; adds to the ledger
	@tools/setup test
	@tools/build
	@for database in sqlite postgresql mariadb; do \
	  $(VENV)/bin/python -m tests.soak.histories --rounds $(ROUNDS) --database $$database \
	    || exit 1; done

fuzz: ## the fuzz targets for MINUTES=10 together; adds to tests/ledger.jsonl
	@tools/setup ci
	@tools/build --fuzz
	@$(VENV)/bin/python -m tests.soak.fuzz --minutes $(MINUTES)

ledger: ## what soak and fuzz have done so far, summed
	@$(VENV)/bin/python -m tests.soak.ledger

clean: ## removes what was built (not the environment)
	@rm -rf build build-* python/orm/_core.*.so
