# The one list of verbs, for people and for CI. Each sets up what it needs: any of them may be the first.
SHELL := /bin/sh
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

# The distribution's Python before a version manager's, where both are on the PATH: the first is compiled with a profile,
# the second by default without, and then all that is written in Python takes a quarter longer.
PYTHON ?= $(shell case ":$$PATH:" in (*:/usr/bin:*) /usr/bin/python3.11 -c 'import ensurepip' 2>/dev/null;; (*) false;; esac \
	&& echo /usr/bin/python3.11 || command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
# uv: trust what the machine trusts, as pip does (a company's proxy signs with its own authority).
# Four processes share the tests out, file by file, the longest first (tests/durations.json); each has a Kafka and a
# Redis of its own. Four on two cores: the tests of the whole system wait more than they compute. JOBS=0: one process.
JOBS ?= 4
# Where the environment forbids Python to write bytecode, each process would compile three hundred files of tests.
# Linear algebra has one thread in each: more of them than cores wait for each other by computing.
PYTEST := PYTHONDONTWRITEBYTECODE= OMP_NUM_THREADS=1 $(BIN)/pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder
# What a copy of this folder brings along points to the folder it was copied from.
MOVED := $(shell test ! -e $(INSTALLED) || grep -qs "^command = .* $(CURDIR)/$(VENV)$$" $(VENV)/pyvenv.cfg || echo moved)
COMPILE := uv pip compile --quiet --system-certs --universal --python-version 3.11 --generate-hashes --no-header --no-emit-package flipside-client

.PHONY: help
help: ## this list
	@echo "Flipside: price experiments on streams. First: make demo"
	@echo
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1	\2/p' Makefile | expand -t 22
	@echo
	@echo "Options:  make test ARGS='-k topics'   one set of tests;   make install PYTHON=python3.12   another Python"

.PHONY: install
install: $(INSTALLED) ## everything into .venv: pinned, checked against hashes (nothing else is touched)

# Compiled ahead: where the environment forbids Python to write bytecode, every start would compile two thousand files.
$(INSTALLED): requirements-uv.lock requirements-dev.lock pyproject.toml client/pyproject.toml $(MOVED)
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Flipside needs Python 3.11 or newer, this is " + sys.version.split()[0] + ": make install PYTHON=python3.11")'
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || "$(PYTHON)" -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-uv.lock
	$(BIN)/uv pip install --quiet --system-certs --compile-bytecode --python $(BIN)/python --require-hashes -r requirements-dev.lock
	$(BIN)/uv pip install --quiet --system-certs --python $(BIN)/python --no-deps --no-build-isolation -e . -e client
	@$(BIN)/python -m compileall -q controller streams analysis flipside client/flipside_client
	@touch $@

.PHONY: moved
moved:
	@echo "$(VENV) was made for another folder than $(CURDIR): it is made anew"
	rm -rf $(VENV)

.PHONY: demo
demo: $(INSTALLED) ## a simulated market for a month, in a minute: no Docker, no Java
	$(BIN)/flipside demo $(ARGS)

.PHONY: broker
broker: $(INSTALLED) ## fetch and prepare the real Kafka that the tests run on (needs Java and Maven; once)
	$(BIN)/python -m tests.parts.class_archive

# Ahead of the tests, so that a slow network is no test that timed out, and no process compiles what another one does;
# without Java the tests say what they leave out.
.PHONY: parts
parts: $(INSTALLED)
	@$(BIN)/python -m tests.parts.compiled_forest & \
	{ $(BIN)/python -m tests.parts.class_archive >/dev/null || test -z "$$CI"; } && wait $$!

.PHONY: test
test: parts ## the tests (minutes), on a real Kafka and a real Redis that they start themselves
	@$(PYTEST) -m "not slow" $(ARGS)

.PHONY: test-fast
test-fast: $(INSTALLED) ## the tests without a broker or a browser: two minutes
	@$(PYTEST) -m "not slow and not broker and not browser" $(ARGS)

.PHONY: cover
cover: parts ## the tests, and the lines that they do not reach (ARGS=tests/controller for one room's)
	@$(PYTEST) -m "not slow" --cov --cov-report=term-missing:skip-covered $(ARGS)

.PHONY: test-all
test-all: parts ## the tests and the slow ones
	@$(PYTEST) $(ARGS)

# By day `make test` takes 5,000 steps, always the same ones; here they are new ones each time.
.PHONY: model
model: $(INSTALLED) ## the controller's promises under 200,000 random steps (minutes), for the night
	@FLIPSIDE_MODEL_STEPS=$${FLIPSIDE_MODEL_STEPS:-200000} $(BIN)/pytest tests/controller/decisions/test_model.py $(ARGS)

.PHONY: replays
replays: bench-whole_replays ## every design through the whole system on real sales, ten seeds each (hours), for the night

.PHONY: chaos
chaos: parts ## the whole product under faults, and the verdict of every rule (ARGS="--minutes 30 --seed 7")
	$(BIN)/python -m tests.chaos $(ARGS)

.PHONY: chaos-bugs
chaos-bugs: parts ## plant one bug after the other, and show which rule of make chaos catches it (a quarter of an hour)
	$(BIN)/python -m tests.chaos.faults.plant $(ARGS)

.PHONY: chaos-struck
chaos-struck: $(INSTALLED) ## plant an error that nobody foresaw at each named place, for one market, and show that the rest goes on
	$(BIN)/python -m tests.chaos.faults.struck $(ARGS)

.PHONY: lint
lint: $(INSTALLED) ## style, types, the walls between the rooms, the compose file
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	@if command -v docker-compose >/dev/null; then echo docker-compose config -q; docker-compose config -q; \
	else echo "docker-compose is not installed: docker-compose.yml is not checked" >&2; test -z "$$CI"; fi

.PHONY: format
format: $(INSTALLED) ## write the code in its style; mend what can be mended without a thought
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

.PHONY: types
types: $(INSTALLED) ## the types alone, those of tests and benchmarks too (part of make lint)
	$(BIN)/mypy

# A benchmark is a file in a room of benchmarks/ that can be run; what takes long is asked for by name.
BENCHES := $(patsubst %.py,bench-%,$(notdir $(shell grep -ls __main__ benchmarks/*/*.py)))

$(VENV)/.peers: $(INSTALLED) requirements-bench.lock
	$(BIN)/uv pip install --quiet --system-certs --python $(BIN)/python --require-hashes -r requirements-bench.lock
	@touch $@

.PHONY: bench
bench: $(filter-out bench-calibration bench-whole_way bench-replay_coverage bench-replay_designs bench-whole_replays bench-rare_sales bench-coverage bench-check_power bench-forest bench-econml_peer bench-graph bench-zeros bench-all bench-floods,$(BENCHES)) ## every measurement of speed, each beside its peer (or one: make bench-panel)
	@test -n "$(BENCHES)" || { echo "there is nothing to run under benchmarks/" >&2; exit 1; }

.PHONY: bench-streams
bench-streams: $(VENV)/.peers ## the streams: ingest, latency, flips, workers, rebuild (ARGS="--only latency --write FILE")
	$(BIN)/python -m benchmarks.streams.all $(ARGS)

bench-%: $(VENV)/.peers
	@file=$$(echo benchmarks/*/$*.py); test -f "$$file" || { echo "benchmarks/ has no $*.py that can be run; there are: $(BENCHES)" >&2; exit 1; }; \
	$(BIN)/python -m $$(echo "$${file%.py}" | tr / .) $(ARGS)

.PHONY: calibrate
calibrate: bench-whole_way bench-calibration ## the product's whole way, then every interval and test, in simulation (long)

.PHONY: calibration
calibration: $(INSTALLED) ## coverage of every interval in six designs and five kinds of shops; docs/coverage.md anew (hours)
	$(BIN)/python -m benchmarks.randomised.coverage --json benchmarks/results/coverage.json $(ARGS)
	$(BIN)/python -m benchmarks.randomised.coverage --page

.PHONY: schemas
schemas: $(INSTALLED) ## write schemas/ anew from the models and the topics
	$(BIN)/python -m flipside.schemas

.PHONY: access
access: $(INSTALLED) ## write deploy/kafka/access.sh, deploy/redis/users.sh and their table anew from flipside/topics/access.py
	$(BIN)/python -m flipside.topics.access_files

.PHONY: reference
reference: $(INSTALLED) ## write the reference part of docs/commands.md anew from the commands and the settings
	$(BIN)/python -m flipside.reference

.PHONY: examples
examples: $(INSTALLED) ## write the generated sales of examples/ anew
	$(BIN)/python -m flipside.simulated_shop.sample

.PHONY: lock
lock: $(INSTALLED) ## the lock files anew from pyproject.toml; what is pinned stays (ARGS=--upgrade moves it)
	$(BIN)/$(COMPILE) $(ARGS) pyproject.toml -o requirements.lock
	$(BIN)/$(COMPILE) $(ARGS) pyproject.toml --group dev -c requirements.lock -o requirements-dev.lock
	$(BIN)/$(COMPILE) $(ARGS) --group bench -c requirements-dev.lock -o requirements-bench.lock
	$(BIN)/$(COMPILE) $(ARGS) --group install -c requirements-dev.lock -o requirements-uv.lock

.PHONY: clean
clean: ## remove .venv and all caches of this folder (not the broker's jars: those serve all checkouts)
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .coverage build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
