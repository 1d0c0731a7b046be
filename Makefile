# `make demo` and `make test` set up all they need by themselves (scripts/setup).
PYTHON ?= python3
BIN := .venv/bin
SETUP := $(PYTHON) scripts/setup

.PHONY: help demo test fix bench torture simulate lock clean

help:
	@echo "make demo    run the main job: make a recording, transcode it, find its commercials"
	@echo "make test    all checks and tests, as CI runs them"
	@echo "make fix     format the code and mend what ruff can"
	@echo "make bench   throughput, latency, backlog, idle, start-up"
	@echo "make torture kill master, agents and reapers under load: CYCLES=100 SEED=1"
	@echo "make simulate SEEDS=N FIRST=S  whole clusters in simulated time (docs/simulation.md)"
	@echo "make lock    renew requirements/*.txt from pyproject.toml"
	@echo "make clean   remove .venv and the caches"

demo:
	@$(SETUP) demo
	@exec $(BIN)/python examples/demo

test:
	@$(SETUP) test
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports
	SIMULATION_SEEDS=$(or $(SIMULATION_SEEDS),2000) $(BIN)/pytest

fix:
	@$(SETUP) test
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

bench:
	@$(SETUP) bench
	$(BIN)/python bench/latency.py
	$(BIN)/python bench/throughput.py
	$(BIN)/python bench/backlog.py
	$(BIN)/python bench/idle.py
	$(BIN)/python bench/process_bench.py
	$(BIN)/python bench/startup.py

CYCLES ?= 100
SEED ?= 1

torture:
	@$(SETUP) test
	$(BIN)/python -m tests.acceptance.torture --cycles $(CYCLES) --seed $(SEED)

# One seed again with REPLAY=S, a kept list of faults with PLAN=FILE, a spoilt rule with MUTANT=NAME.
SEEDS ?= 200
FIRST ?= 1
simulate:
	@$(SETUP) test
	@$(BIN)/python -m tests.simulation --seeds $(SEEDS) --first $(FIRST) \
		$(if $(REPLAY),--seed $(REPLAY)) $(if $(PLAN),--plan $(PLAN)) \
		$(if $(MUTANT),--mutant $(MUTANT)) $(if $(LARGE),--large)

# The locks hold for every Python from 3.11 on and every architecture; hashes, no addresses.
LOCK = $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-annotate --no-header $(LOCKFLAGS)

lock:
	@$(SETUP) dev
	$(LOCK) pyproject.toml -o requirements/run.txt
	$(LOCK) pyproject.toml --group test -c requirements/run.txt -o requirements/test.txt
	$(LOCK) --group build -c requirements/test.txt -o requirements/build.txt
	$(LOCK) --group dev -c requirements/test.txt -o requirements/dev.txt

clean:
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find src tests bench examples -name __pycache__ -type d -prune -exec rm -rf {} +
