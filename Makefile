# Targets install what they need into .venv (scripts/setup).
PYTHON ?= python3
BIN := .venv/bin
SETUP := $(PYTHON) scripts/setup

.PHONY: help demo test fix bench torture simulate lock clean

help:
	@echo "make demo    generate a recording, transcode it and find its commercials"
	@echo "make test    run all checks and tests, as CI does"
	@echo "make fix     format the code and apply fixes of ruff"
	@echo "make bench   run the benchmarks (bench/README.md)"
	@echo "make torture kill master, agents and reapers under load: CYCLES=100 SEED=1"
	@echo "make simulate SEEDS=N FIRST=S  simulate whole clusters (docs/simulation.md)"
	@echo "make lock    regenerate requirements/*.txt from pyproject.toml"
	@echo "make clean   remove .venv and the caches"

demo:
	@$(SETUP) demo
	@exec $(BIN)/python examples/demo

# Two processes; each runs whole files, the slow acceptance tests first.
PARALLEL ?= --numprocesses 2 --dist loadfile --no-loadscope-reorder

test:
	@$(SETUP) test
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports
	SIMULATION_SEEDS=$(or $(SIMULATION_SEEDS),300) $(BIN)/python scripts/run-tests $(PARALLEL)

fix:
	@$(SETUP) test
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

bench:
	@$(SETUP) bench
	$(BIN)/python bench/latency.py
	-$(BIN)/python bench/network_latency.py
	$(BIN)/python bench/throughput.py
	$(BIN)/python bench/backlog.py
	$(BIN)/python bench/idle.py
	$(BIN)/python bench/agents.py
	$(BIN)/python bench/process_bench.py
	$(BIN)/python bench/startup.py

CYCLES ?= 100
SEED ?= 1

torture:
	@$(SETUP) test
	$(BIN)/python -m tests.acceptance.torture --cycles $(CYCLES) --seed $(SEED)

# REPLAY=S replays a seed, PLAN=FILE a saved plan; MUTANT=NAME breaks a rule.
SEEDS ?= 200
FIRST ?= 1
simulate:
	@$(SETUP) test
	@$(BIN)/python -m tests.simulation --seeds $(SEEDS) --first $(FIRST) \
		$(if $(REPLAY),--seed $(REPLAY)) $(if $(PLAN),--plan $(PLAN)) \
		$(if $(MUTANT),--mutant $(MUTANT)) $(if $(LARGE),--large) $(if $(SCALE),--scale)

# Locks are valid for Python 3.11 and newer on all architectures. Hashes only, no addresses.
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
