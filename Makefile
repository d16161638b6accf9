# Two commands: `make demo` and `make test`. Both set up everything they need, say what they wait for, and start the
# cluster again when it is not there. Everything that is built lies in CACHE, keyed by content, outside the checkout.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.ONESHELL:
MAKEFLAGS += --no-print-directory
# Where it is set, every process compiles torch and its like anew: half of what the fast tests cost.
unexport PYTHONDONTWRITEBYTECODE
CACHE := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/tradewind
UV_VERSION := 0.13.9
LOCK := constraints/locked/host.txt
VOCABULARIES := constraints/locked/vocabularies.txt
UV := $(CACHE)/uv-$(UV_VERSION)/bin/uv
BIN := .venv/bin
SETUP_KEY := $(shell cat pyproject.toml $(LOCK) $(VOCABULARIES) Makefile 2>/dev/null | sha256sum | cut -c1-16)
STAMP := .venv/.ready-$(SETUP_KEY)

.PHONY: help demo test bench check check-fast check-static check-charts cluster clean packages

help:  ## what there is
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' Makefile
	@echo "  options: make demo COST_BP=1.2; make test SOAK=1; CLUSTER=current IMAGE_REGISTRY=... for a cluster of your own"

demo: packages $(STAMP) cluster  ## the whole loop on a real cluster: outcomes -> LoRA -> KServe -> A/B test -> verdict
	@$(BIN)/python demo/run.py

test: export OMP_NUM_THREADS := 1
test: packages check  ## everything: checks, fast tests, then the real cluster (SOAK=1: also the long soaks)
	@echo "== the S3 server of the tests, built the first time"
	$(BIN)/python -m workshop.stores
	echo "== tests without a cluster"
	$(BIN)/pytest tests -m "not e2e and not slow and not whole" -n auto
	echo "== recipes, hooks and benchmarks as a whole"
	$(BIN)/pytest tests -m whole -n auto
	$(MAKE) cluster
	echo "== tests on the real cluster"
	eval "$$(python3 cluster env)"
	$(MAKE) check-charts
	E2E_REQUIRED=1 $(BIN)/pytest tests -m "e2e and not slow"
	if [ -n "$(SOAK)" ]; then echo "== soaks (Kueue is built and vLLM is fetched the first time)"; $(BIN)/python -m workshop.kueue; $(BIN)/python -m workshop.vllm; $(BIN)/pytest tests -m slow -rP; fi

bench: $(STAMP)  ## every benchmark, one after the other: ratios against their goals, and how long each takes
	@$(BIN)/python benchmarks

check: check-static check-charts  ## ruff, mypy, layers, generated files, kinds against the last release, charts

check-fast: check-static  ## check-static, and the tests that need no root, cluster, PostgreSQL, browser or torch
	@echo "== tests that need nothing else"
	$(BIN)/pytest tests --fast -n auto

check-static: $(STAMP)
	@echo "== check"
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/tradewind crds --check
	$(BIN)/tradewind crds --since
	$(BIN)/python docs/generate.py --check
	$(BIN)/towncrier build --draft --version next >/dev/null
	$(BIN)/tradewind lint crds/samples/*.yaml

check-charts:
	@helm=$$(command -v helm || ls $(CACHE)/cluster/bin/helm 2>/dev/null || true)
	if [ -z "$$helm" ]; then echo "helm lint: once \`make cluster\` has built helm (make test does it then)"; exit 0; fi
	"$$helm" lint --strict --quiet --set database.existingSecret.name=rds charts/tradewind
	"$$helm" lint --strict --quiet charts/tradewind-crds

cluster: packages $(STAMP)  ## a real Kubernetes with KServe and our images, or the one that KUBECONFIG names (CLUSTER=current)
	@python3 cluster make

clean:  ## end exactly what was started; caches stay
	@python3 cluster down
	rm -rf build .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis

packages:
	@if ! ls /usr/lib/postgresql/*/bin/postgres >/dev/null 2>&1 || ! command -v ip >/dev/null || ! command -v chromium >/dev/null; then
	  echo "   apt: postgresql (the tests start a real one), iproute2, chromium (a test measures the report in it)"
	  export DEBIAN_FRONTEND=noninteractive
	  mkdir -p /etc/postgresql-common && echo "create_main_cluster = false" > /etc/postgresql-common/createcluster.conf
	  apt-get update -qq && apt-get install -y -qq --no-install-recommends postgresql iproute2 ca-certificates chromium fonts-dejavu-core >/dev/null
	fi

$(STAMP): pyproject.toml $(LOCK) $(VOCABULARIES)
	@echo "== setup: Python environment (first time about a minute; later seconds)"
	if [ ! -x $(UV) ]; then python3 -m venv $(CACHE)/uv-$(UV_VERSION) && $(CACHE)/uv-$(UV_VERSION)/bin/pip install -q --require-hashes -r constraints/locked/uv.txt; fi
	[ -x $(BIN)/python ] || $(UV) venv -q --python python3 .venv
	# Not in an environment of its own: uv does not hold that one to hashes.
	$(UV) pip install -q --python $(BIN)/python --verify-hashes -c $(LOCK) setuptools
	$(UV) pip install --python $(BIN)/python --verify-hashes -c $(LOCK) --no-build-isolation -e '.[operator,gateway,predictor,trainer,gpu,demo,xlsx,dev]'
	$(UV) pip install -q --python $(BIN)/python --no-deps --require-hashes -r $(VOCABULARIES)
	rm -f .venv/.ready-* && touch $@
