# Two commands do it all: `make quickstart` and `make test`. `make help` lists the rest.
PYTHON ?= python3
VENV ?= .venv
TORCH ?=
BIN := $(VENV)/bin
INSTALL := $(PYTHON) scripts/install.py --venv $(VENV) $(if $(TORCH),--torch $(TORCH))
# what an installation depends on; the code itself is installed in place
SPEC := pyproject.toml scripts/install.py $(wildcard constraints/*.txt)
# two cores are common where this runs, and small tensors gain nothing from threads
export OMP_NUM_THREADS ?= 1
export TOKENIZERS_PARALLELISM ?= false

.DEFAULT_GOAL := help
.PHONY: help install setup engines quickstart quickstart-compare test test-all test-fast test-engines e2e contracts lint format docs
.PHONY: bench gpu clean

help:  ## list the targets
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  %-20s %s\n", $$1, $$2}'

quickstart: $(VENV)/.core  ## evaluate the embedded model, train it with ALP, evaluate again, write a report
	$(BIN)/tersely quickstart

quickstart-compare: $(VENV)/.core  ## the same, compared with plain GRPO, truncation and DLER
	$(BIN)/tersely quickstart --methods alp,grpo,truncation,dler

# two processes run the tests, each whole files of them
WORKERS ?= 2
PYTEST := $(BIN)/python -m pytest -n $(WORKERS) --dist loadgroup --no-loadscope-reorder

test: $(VENV)/.dev  ## run the tests; a test of an engine that is not installed is skipped, with the reason
	$(PYTEST) -m 'not exhaustive'

test-all: $(VENV)/.dev  ## the same, with every preset end to end and more examples of each property
	$(PYTEST) -m '' --hypothesis-profile=all

test-fast: $(VENV)/.dev  ## run only the unit tests
	$(BIN)/python -m pytest -m 'not slow and not e2e and not vllm and not deepspeed and not browser and not exhaustive'

test-engines: $(VENV)/.engines  ## install vLLM (its CPU build without a GPU) and DeepSpeed, and run the tests
	$(PYTEST) -m 'not exhaustive'

e2e: $(VENV)/.dev  ## run only the tests with real processes and engines
	$(PYTEST) -m '(e2e or vllm or deepspeed or browser) and not exhaustive'

contracts: $(VENV)/.engines  ## run our use of each supported release of TRL, vLLM, ... against its code (no GPU needed)
	TERSELY_CONTRACTS=all $(BIN)/python -m pytest tests/contracts

lint: $(VENV)/.dev  ## check style, format, spelling and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/codespell
	$(BIN)/mypy

format: $(VENV)/.dev  ## format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(VENV)/.dev  ## write the generated tables, and check links, commands and names in the pages
	$(BIN)/python docs/gen_tables.py --write $$(grep -l ': begin -->' docs/*.md)
	$(BIN)/python -m pytest tests/docs

# those that train models for several seeds take hours and are started by hand: see benchmarks/
SPEED := startup rewards engine trainer losses verifier hostile evaluation

bench: $(VENV)/.engines  ## run the benchmarks of speed and memory; each prints its ratios
	@for name in $(SPEED); do echo "== $$name"; $(BIN)/python benchmarks/$$name.py || exit 1; done

gpu: $(VENV)/.engines  ## check every engine, recipe family and the memory estimate on one GPU; writes gpu-report.md
	$(BIN)/python scripts/gpu.py

install: $(VENV)/.core  ## create .venv and install the package

setup: $(VENV)/.dev  ## also install the dependencies of development and tests

engines: $(VENV)/.engines  ## also install vLLM (its CPU build if there is no GPU) and DeepSpeed

$(VENV)/.core: $(SPEC)
	$(INSTALL) core
	@touch $@

$(VENV)/.dev: $(SPEC)
	$(INSTALL) dev
	@touch $(VENV)/.core $@

$(VENV)/.engines: $(SPEC)
	$(INSTALL) engines
	@touch $(VENV)/.core $(VENV)/.dev $@

clean:  ## remove .venv and caches; runs stay
	rm -rf $(VENV) .pytest_cache .ruff_cache .mypy_cache .hypothesis build *.egg-info
