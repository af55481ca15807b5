# `make help` lists the targets. Everything runs in .venv, which is made when it is missing.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
UV := uv==0.13.9
DEMO_HOME := $(CURDIR)/build/demo
IMAGES ?=
IN_REPOSITORY = $(if $(IMAGE_REPOSITORY),HFPC_IMAGE_REPOSITORY=$(IMAGE_REPOSITORY))

# Nothing below the set-up touches the network.
export HF_HUB_OFFLINE ?= 1

.DEFAULT_GOAL := help
.PHONY: help setup demo test lint format types compile check wheel lock images push sbom test-docker bench bench-serving clean

help: ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | sort | awk -F'\t' '{printf "  make %-14s %s\n", $$1, $$2}'

setup: $(READY) ## Make .venv with the locked versions

# Bytecode is compiled at once: importing torch and transformers without it takes twice as long,
# and each step of a pipeline is a process of its own.
$(READY): pyproject.toml setup.py requirements/torch.txt requirements/lock.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet $(UV)
	$(BIN)/python -m pip install --quiet -r requirements/torch.txt
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --compile-bytecode -r requirements/lock.txt
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	touch $(READY)

demo: $(READY) ## Fine-tune, evaluate, register, deploy and test a tweet classifier; then ask it
	rm -rf $(DEMO_HOME)
	HFPC_HOME=$(DEMO_HOME) $(BIN)/hfpc run finetune_local --set name=tweets --set labels=negative,positive \
	  --set max_rows=6000 --set epochs=1 --set learning_rate=2e-4 \
	  --set 'min_metrics={"accuracy": 0.85}'
	HFPC_HOME=$(DEMO_HOME) $(BIN)/hfpc predict tweets@champion --served "Hugging Face est incroyable !" \
	  "I love how easy this is" "My flight was cancelled and nobody told me"

test: lint types check ## Lint, check types and generated files, run all tests
	$(BIN)/python -m pytest -n 2 --dist loadfile

lint: $(READY) ## Check style
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

format: $(READY) ## Put the code in style
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

types: $(READY) ## Check types
	$(BIN)/mypy

compile: $(READY) ## Compile all components and pipelines, and the files generated from them
	$(BIN)/python compile.py

check: $(READY) ## Fail when a generated file is stale
	$(BIN)/python compile.py --check

wheel: $(READY) ## Build the wheel into dist/
	$(BIN)/python -m build --no-isolation --wheel --outdir dist .

lock: $(READY) ## Compile requirements/lock.txt anew, and the lock files of the images
	$(BIN)/uv pip compile --quiet --no-header --no-annotate --no-emit-index-url --python-version 3.11 --all-extras \
	  --override requirements/overrides.txt pyproject.toml --output-file requirements/lock.txt
	$(BIN)/python containers/lock.py

images: $(READY) ## Build the container images, or those of IMAGES="cpu serving" (containers/README.md)
	$(IN_REPOSITORY) $(BIN)/python containers/build.py $(IMAGES)

push: $(READY) ## Build and push the images to IMAGE_REPOSITORY, and write their digests to build/digests.json
	$(IN_REPOSITORY) $(BIN)/python containers/build.py --push $(IMAGES)

sbom: $(READY) ## Write what is in the images and its known vulnerabilities to build/sbom; fail when there are any
	$(BIN)/python containers/sbom.py $(IMAGES)

test-docker: $(READY) ## Build the images cpu and serving and test them in Docker, which is installed when missing
	sh containers/test-docker.sh

bench: $(READY) ## Measure side by side with the peers
	env -u OMP_NUM_THREADS $(BIN)/python -m benchmarks

bench-serving: $(READY) ## Measure the server beside the official SageMaker stack (needs Java)
	env -u OMP_NUM_THREADS $(BIN)/python -m benchmarks.serving

clean: ## Remove what was built; .venv stays
	rm -rf build dist *.egg-info
