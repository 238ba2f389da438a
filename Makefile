# `make help` lists what there is. Everything sets up what it needs by itself; a second run starts at once.
PYTHON := .venv/bin/python
TODAY := $(shell date -u +%Y-%m-%d)

.DEFAULT_GOAL := help
.PHONY: help setup demo bench bench-full bench-setup test check lint types contracts unit format proto manifests csi-sanity clean

help: ## what there is
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## system packages (as root) and .venv, where missing
	@.ci/setup

demo: setup ## publish, mount and read real files; DATASET=DIR for yours, S3=1 through an S3 server
	@DATASET="$(DATASET)" S3="$(S3)" $(PYTHON) -m bench.demo

bench: bench-setup ## beside JuiceFS, rclone, s3fs and others, in about 12 minutes; PEERS=a,b for some of them
	$(PYTHON) -m bench all --peers "$(PEERS)" --dose normal --out build/bench/results.json
	$(PYTHON) -m bench report build/bench/results.json

bench-full: bench-setup ## the same with more cells and rounds, in about 35 minutes, for bench/results
	$(PYTHON) -m bench all --peers "$(PEERS)" --dose full --out bench/results/$(TODAY).json
	$(PYTHON) -m bench report bench/results/$(TODAY).json

bench-setup: setup
	@$(PYTHON) -m pip install -qq --disable-pip-version-check --editable '.[bench]'
	@$(PYTHON) -m bench setup

test: ## everything: lint, types, import contracts and all tests
	@.ci/setup test
	@$(MAKE) --no-print-directory lint types contracts
	$(PYTHON) -m pytest -n auto --maxprocesses 4 --dist loadfile $(PYTEST)

check: setup lint types contracts ## what needs no test run: ruff, mypy, import contracts

lint: setup
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .

types: setup
	$(PYTHON) -m mypy

contracts: setup
	.venv/bin/lint-imports --no-logo

unit: setup ## the tests that need neither FUSE nor network; takes seconds
	$(PYTHON) -m pytest tests/unit tests/model tests/architecture $(PYTEST)

format: setup ## rewrite the sources the way `make check` wants them
	$(PYTHON) -m ruff check --fix-only .
	$(PYTHON) -m ruff format .

proto: setup ## generate the code of csi/proto again, after a change of its .proto files
	$(PYTHON) -m grpc_tools.protoc -I. --python_out=. --pyi_out=. --grpc_python_out=. csi/proto/*.proto

manifests: ## render the driver's manifests again, after a change of csi/deploy; needs kubectl
	kubectl kustomize csi/deploy/base > csi/deploy/rendered/base.yaml
	kubectl kustomize csi/deploy/overlays/full > csi/deploy/rendered/full.yaml

csi-sanity: setup ## the reference suite of CSI on real mounts, where csi-sanity is on PATH
	@$(PYTHON) -m tests.csi.sanity

clean: ## remove .venv and all caches
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
