# `make` alone explains itself. Nothing but Python 3.11 to 3.13 has to be there.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help setup fit test bench study docs check format clean

help:  ## Show what there is to make
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-8s %s\n", $$1, $$2}'
	@echo
	@echo "  make fit ARGS='--trainer.max_epochs=2 --tuning.rounds=50' overrides options of the main job"

setup: $(VENV)/.ready  ## Create .venv and install the exact versions of constraints.txt; redone only when they change

# torch comes first and by its exact version: on machines that hold a CPU build of it, a looser wish fetches gigabytes of CUDA.
$(VENV)/.ready: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 11) <= v <= (3, 13) else f"Python {v[0]}.{v[1]} is not supported. Use make PYTHON=python3.11 (to 3.13).")'
	@echo "Setting up $(VENV), once; about two minutes."
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --disable-pip-version-check --progress-bar off "$$(grep '^torch==' constraints.txt)"
	$(BIN)/python -m pip install --disable-pip-version-check --progress-bar off -c constraints.txt -e '.[dev]'
	@touch $@

fit: setup  ## Run the main job: pretrain on Meta-World, find prompts by bandit; about 16 minutes on two cores
	$(BIN)/python -m pdt_lightning.fit --config conf/metaworld.yaml $(ARGS)

test: setup  ## Run all tests
	$(BIN)/python -m pytest $(ARGS)

bench: setup  ## Measure speed and memory against the plain way; about 17 minutes on two cores with nothing else running
	$(BIN)/python -m benchmarks $(ARGS)

study: setup  ## Make the evidence anew: pretrainings, comparisons, pages; a day on two cores, and it goes on where it was
	$(BIN)/python -m benchmarks.study --docs docs/studies $(ARGS)

docs: setup  ## Build the site into site/; a warning is an error
	$(BIN)/zensical build --strict --clean

check: setup  ## Check style, format and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: setup  ## Put the code into the project's format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:  ## Remove .venv and caches; runs and demonstrations stay
	rm -rf $(VENV) site .cache .pytest_cache .ruff_cache .hypothesis *.egg-info
