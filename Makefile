# Every target can be run again at any time, says what it does and how long it takes, and installs the tools it needs
# into .venv and the cache ($SLUICE_CACHE, else ~/.cache/sluice).
.DEFAULT_GOAL := help
.PHONY: help demo test test-vllm check generate cluster-up cluster-down image bench bootstrap
MAKEFLAGS += --no-print-directory

PYTHON_BIN := .venv/bin/python
STEP := hack/step
export CLUSTER ?= embedded

help: ## List the targets
	@echo "Targets (times: 2 cores, warm cache; the first run builds and downloads, and says so):"
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo "Variables: CLUSTER=embedded|kind|existing  KEEP=1 (demo)  NAME=<benchmark> [RUNS=<n>] (bench)  LEVELS=\"unit crd\" (test)"

bootstrap:
	@$(STEP) "Prepare .venv" "nothing to do: 1 s; first time: 1 min" hack/bootstrap

demo: bootstrap ## A model promoted, one rejected, one rolled back, on a real cluster: 5 min (first time: 15 min)
	@$(STEP) "Demo" "5 min; first time: 15 min" $(PYTHON_BIN) -m hack.demo

test: bootstrap ## All checks and tests that this machine can run: 25 min (first time: 50 min)
	@$(STEP) "Test" "25 min; first time: 50 min" $(PYTHON_BIN) -m hack.ladder $(LEVELS)

test-vllm: bootstrap ## The tests against real vLLM on this CPU: 4 min (first time: 8 min, 1.3 GB to download)
	@$(STEP) "Test with real vLLM" "4 min; first time: 8 min" $(PYTHON_BIN) -m hack.ladder vllm

check: bootstrap ## Lint, types, layers, generated files, conventions: 1 min
	@$(STEP) "Check" "1 min" hack/check

generate: bootstrap ## Write crds/, manifests/rbac.yaml and docs/reference.md from the code: 2 s
	@$(STEP) "Generate" "2 s" hack/generate

cluster-up: bootstrap ## Start the cluster: 15 s (first time: 10 min)
	@$(STEP) "Start the cluster" "15 s; first time: 10 min" $(PYTHON_BIN) -m hack.cluster up

cluster-down: bootstrap ## Stop the cluster and leave nothing behind: 10 s
	@$(STEP) "Stop the cluster" "10 s" $(PYTHON_BIN) -m hack.cluster down

image: bootstrap ## Build the operator's image: 1 min
	@$(STEP) "Build the operator image" "1 min" $(PYTHON_BIN) -m hack.images build operator

bench: bootstrap ## Run one benchmark, NAME=propagation|drain|autoscale|operator_scale|verdict_quality: 2-15 min; writes build/bench/<name>.json
	@$(STEP) "Benchmark $(NAME)" "propagation: 2 min; verdict_quality: 10 min; on a cluster: up to 15 min" $(PYTHON_BIN) -m tests.bench $(NAME) $(if $(RUNS),--runs $(RUNS))
