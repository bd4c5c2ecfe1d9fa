# The two commands to know: make run, make test. Everything else: make help.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
BENCH_VENV ?= .venv-bench
WHEELS ?= .whl
GPU_SITE ?= .site-gpu
DEVICE ?= cuda

.DEFAULT_GOAL := help
.PHONY: help setup run test table tables notebooks golden kills kills-midway bench test-gpu bench-gpu docker-check lint format notice docs clean

help: ## show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

setup: $(VENV)/.ready ## make the environment (VENV=.venv) with the pinned versions of constraints.txt

$(VENV)/.ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade-strategy only-if-needed -c constraints.txt torch==2.13.0
	$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[dev,docs,parallel,export,onnx,search,tensorboard,mlflow,notebooks,report]"
	@touch $@

run: setup ## train the default: the VDIB autoencoder on event data (ARGS="method=stbp data=digits" for another run)
	$(BIN)/python -m snnlab $(ARGS)

test: setup ## run the test suite
	$(BIN)/python -m pytest -q -n 3 --dist worksteal $(ARGS)

notebooks: setup ## open the notebooks in JupyterLab (make test ARGS=tests/test_notebooks.py executes them)
	$(BIN)/python -m pip install --quiet -c constraints.txt jupyterlab==4.6.6
	$(BIN)/jupyter lab notebooks $(ARGS)

golden: setup ## run the golden set and hold its numbers against tests/golden/golden.json, to the bit (ARGS=--write keeps new ones)
	$(BIN)/python tests/golden/record.py $(ARGS)

table: setup ## remake a paper's table (TABLE=stbp; ARGS="--budget full"); python -m snnlab.tables --list names them
	$(BIN)/python -m snnlab.tables $(TABLE) $(ARGS)

tables: setup ## remake every table at the small budget: two cores, about 3 hours; stopped, it goes on
	$(BIN)/python -m snnlab.tables all $(ARGS)

kills: setup ## kill 12 methods at 6 moments and hold what they come to against runs that nobody killed (ARGS="--only stbp")
	$(BIN)/python tests/kills/kill.py $(ARGS)

kills-midway: setup ## kill 50 runs at random steps, damage 200 files, start 8 processes on an empty cache
	$(BIN)/python tests/kills/midway.py
	$(BIN)/python tests/kills/mutants.py
	$(BIN)/python tests/shared/together.py

bench: $(BENCH_VENV)/.ready ## speed and memory beside other libraries, in an environment of its own (ARGS="mlp rounds=15")
	$(BENCH_VENV)/bin/python -m snnlab.bench $(ARGS)

# the peers come without what they ask for: some of it would bring another torch, or torchvision
$(BENCH_VENV)/.ready: pyproject.toml constraints.txt benchmarks/peers.txt
	$(PYTHON) -m venv $(BENCH_VENV)
	$(BENCH_VENV)/bin/python -m pip install --quiet -c constraints.txt torch==2.13.0
	$(BENCH_VENV)/bin/python -m pip install --quiet -c constraints.txt -e .
	$(BENCH_VENV)/bin/python -m pip install --quiet --no-deps -r benchmarks/peers.txt
	@touch $@

test-gpu: $(GPU_SITE) ## on a GPU, in under 5 minutes: kernels, every method, resume, evaluation (DEVICE=cpu: a small trial)
	PYTHONPATH=$(CURDIR)/$(GPU_SITE):$(CURDIR)/src $(PYTHON) tests/gpu/check.py device=$(DEVICE) $(ARGS)

bench-gpu: $(GPU_SITE) ## on a GPU, in under 3 minutes: speed and memory beside the floor and SpikingJelly (DEVICE=cpu: a small trial)
	PYTHONPATH=$(CURDIR)/$(GPU_SITE):$(CURDIR)/src $(PYTHON) -m snnlab.bench.gpu device=$(DEVICE) $(ARGS)

# a GPU machine has torch for its card already: only what it lacks comes, from wheels that were gathered beforehand
$(GPU_SITE): $(wildcard $(WHEELS)/*.whl)
	PYTHON=$(PYTHON) benchmarks/wheels.sh install $(WHEELS) $@

docker-check: setup ## build the image and run it without an engine, as root, in about 13 minutes (docs/docker.md)
	$(BIN)/python tests/docker/check.py

lint: setup ## ruff, format check, mypy
	$(BIN)/ruff check src tests notebooks
	$(BIN)/ruff format --check src tests notebooks
	$(BIN)/mypy

format: setup ## let ruff mend what it can
	$(BIN)/ruff check --fix src tests notebooks
	$(BIN)/ruff format src tests notebooks

docs: setup ## build the site of the documentation into site-docs/, strictly: open site-docs/index.html
	$(BIN)/python docs/site.py

notice: setup ## write NOTICE: every dependency with its licence, from what is installed
	$(BIN)/python docs/notice.py

clean: ## remove the environment and caches; results and outputs stay
	rm -rf $(VENV) $(BENCH_VENV) $(GPU_SITE) site-docs .pytest_cache .mypy_cache .ruff_cache build dist
