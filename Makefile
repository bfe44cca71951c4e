# Two commands matter on a fresh machine: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Where Python is told not to keep what it compiled, the tests would be compiled by each run anew.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: help demo demo-down venv tools test test-slow test-all test-fast test-crash test-dev test-fuzz lint docs reference pictures audit licences sbom bench clean

help:
	@echo "make demo       an extension that answers, with what this machine can offer"
	@echo "make demo-down  take it down again, data included"
	@echo "make test       style, types, layers, and every behaviour on real servers"
	@echo "make test-slow  the tests that make test leaves out: other runtimes, engines and inputs"
	@echo "make test-all   both"
	@echo "make test-fast  what needs no engine, no servers and no browser: under a minute"
	@echo "make test-crash kills at every step boundary, on both runtimes (half an hour)"
	@echo "make test-dev   edits at random while algaenv dev runs, on both runtimes (ALGAENV_DEV_SECONDS each)"
	@echo "make test-fuzz  1.5 minutes of made-up requests to gateway and runner"
	@echo "make docs       the documentation as a site, in site/; a broken link fails"
	@echo "make reference  the parts of docs/reference that are written from the code"
	@echo "make pictures   the pictures of README.md, from a real run"
	@echo "make audit      known vulnerabilities of the locked dependencies"
	@echo "make licences   the licence of every dependency"
	@echo "make sbom       every dependency with its hashes, as CycloneDX JSON"
	@echo "make bench      speed, as ratios in the same run: against Compose, the stock binding"
	@echo "make clean      remove the virtual environment and caches"

$(VENV)/.embedded: pyproject.toml uv.lock .ci/venv .ci/uv
	PYTHON=$(PYTHON) .ci/venv $(VENV) embedded
	@touch $@

$(VENV)/.test: pyproject.toml uv.lock .ci/venv .ci/uv
	PYTHON=$(PYTHON) .ci/venv $(VENV) test
	@touch $@ $(VENV)/.embedded

venv: $(VENV)/.test

demo: $(VENV)/.embedded
	$(BIN)/algaenv up -f stacks/hello-world/algaenv.yaml

demo-down:
	$(BIN)/algaenv down -f stacks/hello-world/algaenv.yaml --volumes --yes

PYTEST = PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m pytest -n 2 --dist worksteal

tools: $(VENV)/.test
	.ci/engine
	.ci/minio
	.ci/guests $(BIN)/python
	.ci/browser
	.ci/mermaid $(VENV)/mermaid.min.js

test: tools
	$(MAKE) lint
	$(PYTEST) -m "not slow"

test-slow: tools
	.ci/podman
	$(PYTEST) -m slow

test-all:
	$(MAKE) test
	$(MAKE) test-slow

test-fast: $(VENV)/.test
	$(BIN)/python -m pytest --fast -m "not slow" -n 2 --dist worksteal -p no:schemathesis

test-crash: $(VENV)/.test
	.ci/engine
	.ci/minio
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m pytest -s tests/crash/long.py

test-dev: $(VENV)/.test
	.ci/engine
	.ci/minio
	ALGAENV_DEV_SECONDS=$${ALGAENV_DEV_SECONDS:-1800} ALGAENV_DEV_SEED=$${ALGAENV_DEV_SEED:-0} PATH="$(CURDIR)/$(BIN):$$PATH" \
	    $(BIN)/python -m pytest -s tests/scenario/test_dev_random.py

test-fuzz: $(VENV)/.test
	ALGAENV_FUZZ_SECONDS=30 $(BIN)/python -m pytest tests/gateway/test_limits.py tests/runner/test_limits.py -k nothing_that_comes

lint: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy docs/site docs/pictures
	$(BIN)/mypy --platform darwin --cache-dir .mypy_cache/darwin -p algaenv
	$(BIN)/lint-imports
	$(BIN)/codespell algaenv benchmarks docs *.md

reference: $(VENV)/.test
	$(BIN)/python docs/site/reference.py

pictures: tools
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python docs/pictures/make.py

docs: $(VENV)/.test
	.ci/mermaid $(VENV)/mermaid.min.js
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

audit: $(VENV)/.test
	.ci/audit $(BIN)/uv

licences: $(VENV)/.test
	@$(BIN)/pip-licenses --python $(BIN)/python --order license

sbom: $(VENV)/.test
	@$(BIN)/uv export --quiet --frozen --no-dev --extra embedded --format cyclonedx1.5

bench: $(VENV)/.test
	.ci/engine
	.ci/minio
	.ci/guests $(BIN)/python
	.ci/browser
	.ci/wrk
	$(BIN)/python -m benchmarks
	$(BIN)/python -m benchmarks.runner
	$(BIN)/python -m benchmarks.gateway

clean:
	rm -rf $(VENV) .uv .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis dist build site
