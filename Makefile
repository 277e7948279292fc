# Tidegate's commands. `make` alone lists them.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

CONFIG ?= serve_config.yaml
# cpu or gpu; as .venv is, unless told otherwise.
PROFILE ?= $(or $(shell cat .venv/.install/profile 2>/dev/null),cpu)
# The interpreter to make .venv with; empty: the first suitable one on PATH.
PYTHON ?=
# More for pytest or a benchmark, as in: make test ARGS='-k router'
ARGS ?=
UPGRADE ?=

BIN := .venv/bin
# Unit tests come first, two files at a time. Engines and clusters need the machine for themselves.
UNIT = tests/unit --numprocesses 2 --dist loadfile
LARGE = tests/engine tests/cluster
# pytest's way to say that ARGS has left nothing of one of the two.
NONE = [ $$? -eq 5 ]

.PHONY: help
help: ## list the commands
	@echo 'usage: make COMMAND [VARIABLE=value ...]'
	@awk -F':.*## ' '/^[a-z-]+:.*## / { printf "  %-14s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))
	@echo 'variables: CONFIG=$(CONFIG) PROFILE=$(PROFILE) PYTHON=$(PYTHON) ARGS=$(ARGS)'

.PHONY: serve
serve: install ## install what is missing, then run the service in CONFIG
	@exec $(BIN)/python -m deployments.start --config $(CONFIG)

.PHONY: test
test: check ## install what is missing, then check and run every test
	@$(BIN)/python -m pytest $(UNIT) $(ARGS) || $(NONE)
	@$(BIN)/python -m pytest $(LARGE) $(ARGS) || $(NONE)

.PHONY: unit
unit: install-dev ## the unit tests alone: no engine, no cluster
	@exec $(BIN)/python -m pytest $(UNIT) $(ARGS)

.PHONY: check
check: install-dev ## format, lint, types, layers
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

.PHONY: format
format: install-dev ## format the code and apply the linter's safe fixes
	@$(BIN)/ruff check --fix-only --quiet .
	@$(BIN)/ruff format .

.PHONY: bench-gateway
bench-gateway: install-dev ## measure the gateway against vllm serve
	@exec $(BIN)/python -m benchmarks.gateway $(ARGS)

.PHONY: bench-admission
bench-admission: install-dev ## measure the ledger: limits, deaths, latency
	@for what in over kill latency price; do $(BIN)/python -m benchmarks.admission $$what $(ARGS); done

.PHONY: bench-isolation
bench-isolation: install-dev ## measure fairness, and what cache timing tells
	@for what in noisy timing; do $(BIN)/python -m benchmarks.isolation $$what $(ARGS); done

.PHONY: bench-guards
bench-guards: install-dev ## measure what guards cost, find and miss
	@exec $(BIN)/python -m benchmarks.guards $(ARGS)

.PHONY: bench-disaggregated
bench-disaggregated: install-dev ## measure hand-offs, long prompts, migration, a surge
	@for what in handoff interference migration drill; do $(BIN)/python -m benchmarks.disaggregated $$what $(ARGS); done

.PHONY: bench-weights
bench-weights: install-dev ## measure signing, loading, fetching, standby, recycling
	@work=$$(mktemp -d); trap 'rm -rf "$$work"' EXIT; to=benchmarks/results/weights; \
	$(BIN)/python -m benchmarks.weights.speed $$work/speed --out $$to-speed.json; \
	$(BIN)/python -m benchmarks.weights.loading $$work/loading --out $$to-loading.json; \
	$(BIN)/python -m benchmarks.weights.fetching --gib 1 --runs 5 --out $$to-fetching.json; \
	$(BIN)/python -m benchmarks.weights.tampering models/demo --count 1000 --out $$to-tampering.json; \
	for what in ready 'ready --standby' recycling report; do $(BIN)/python -m benchmarks.weights.$$what; done

.PHONY: bench-forecast
bench-forecast: install-dev ## measure forecasts on two weeks of real demand
	@exec $(BIN)/python -m benchmarks.forecast $(ARGS)

.PHONY: bench-foresight
bench-foresight: install-dev ## measure planning ahead: ticks, a month, a real cluster
	@for what in tick month drill; do $(BIN)/python -m benchmarks.foresight.$$what $(ARGS); done

.PHONY: bench-autoscaling
bench-autoscaling: install-dev ## replay two weeks of demand under every policy; ARGS=--reduced for a part
	@exec $(BIN)/python -m benchmarks.autoscaling $(ARGS)

.PHONY: install
install: ## bring .venv to the lock file of PROFILE
	@PYTHON='$(PYTHON)' scripts/install.sh '$(PROFILE)'

.PHONY: install-dev
install-dev: ## the same, with the development tools
	@PYTHON='$(PYTHON)' scripts/install.sh '$(PROFILE)' dev

.PHONY: lock
lock: ## resolve pyproject.toml into requirements/*.lock; UPGRADE=1 for newest versions
	@scripts/lock.sh '$(or $(PYTHON),python3)' '$(UPGRADE)'

.PHONY: clean
clean: ## remove .venv, caches and build output
	@rm -rf .venv .venv.stale build dist *.egg-info .import_linter_cache .mypy_cache .pytest_cache .ruff_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
