# Every target sets itself up: all it needs is make and a Python from 3.11 on.
#
#   make demo             see the sidecar at work, in front of a sample service
#   make demo-check       have the demo's own steps run and checked
#   make test             run the tests
#   make check            run the linters and the type checker; make fix mends what they can mend
#   make conformance      run the public HTTP cache test suite (needs Node 20)
#   make bench            measure the sidecar beside nginx, Varnish and HAProxy (needs Linux, nginx and wrk)
#   make bench-micro      measure each stage of a request by itself
#   make bench-coherence  measure how fast purges, leases and events travel between three sidecars
#   make figures          measure the sample service's hits beside the figures of the reference (needs Linux)
#   make lock             resolve the dependencies anew; make clean removes what was made

VENV := .venv
BIN := $(VENV)/bin
IS_RECENT := import sys; sys.exit(sys.version_info < (3, 11))
PYTHON ?= $(shell for python in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$python -c '$(IS_RECENT)' 2>/dev/null && echo $$python && break; done)

# The list above.
help:
	@sed -n 's/^#   //p' Makefile

.PHONY: help demo demo-check test conformance bench bench-micro bench-coherence figures check fix lock clean

demo: $(VENV)/demo.stamp
	@$(BIN)/python -m cacheproxy demo

# The demo's own steps, run and checked instead of printed.
demo-check: $(VENV)/demo.stamp
	@$(BIN)/python -m cacheproxy demo --self-test

test: $(VENV)/dev.stamp
	$(BIN)/python -m pytest -q

# The public suite, as it comes from npm, through a sidecar with config/examples/rfc9111.yaml.
conformance: $(VENV)/dev.stamp
	$(BIN)/python tests/conformance/run.py

# Side by side with what is installed, on pinned cores. ARGS=--quick takes two minutes and writes no page.
bench: $(VENV)/dev.stamp
	$(BIN)/python benchmarks/run.py $(ARGS)

# Each stage of a request by itself, in microseconds.
bench-micro: $(VENV)/dev.stamp
	$(BIN)/python benchmarks/micro_stages.py

# Purges, leases and events between three sidecars on one Valkey, each figure beside its aim.
bench-coherence: $(VENV)/dev.stamp
	$(BIN)/python benchmarks/coherence.py $(ARGS)

# Hits, refresh and cold keys in front of the sample service. Writes docs/figures.md; takes two and a half minutes.
figures: $(VENV)/dev.stamp
	$(BIN)/python benchmarks/figures.py $(ARGS)

check: $(VENV)/dev.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

fix: $(VENV)/dev.stamp
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# What is installed is what the lock files name, by hash. The development set is a superset of the other.
$(VENV)/demo.stamp: requirements.lock
$(VENV)/dev.stamp: requirements-dev.lock
$(VENV)/%.stamp: pyproject.toml
	@test -n "$(PYTHON)" || { echo "cacheproxy needs Python 3.11 or later" >&2; exit 1; }
	@test -x $(BIN)/python || { echo "setting up $(VENV), once"; $(PYTHON) -m venv $(VENV); }
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $(filter %.lock,$^)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

# For every platform and Python that we run on at once, which pip's own resolver cannot do.
COMPILE = UV_CUSTOM_COMPILE_COMMAND="make lock" $(VENV)/lock/bin/uv pip compile --quiet --no-config --universal \
	--python-version 3.11 --generate-hashes --no-annotate
lock:
	$(PYTHON) -m venv $(VENV)/lock
	$(VENV)/lock/bin/pip install --quiet uv
	echo 'setuptools>=77' | $(COMPILE) --extra embedded --extra demo --extra crypto --extra compress -o requirements.lock pyproject.toml -
	$(COMPILE) --extra dev --constraint requirements.lock -o requirements-dev.lock pyproject.toml

clean:
	rm -rf $(VENV)/*.stamp .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build *.egg-info
