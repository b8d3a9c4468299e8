# The front door. `make help` lists what there is.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-builtin-rules
PYTHON := .venv/bin/python
STATE ?= state
RUN ?=
DSP ?=
SOAK ?= 50

SETUP := tools/setup.sh tools/packages.txt pyproject.toml tools/requirements.txt
EXTENSIONS := $(wildcard firmware/dsp/*.pyx firmware/dsp/*.pxd firmware/dsp/*.h firmware/sim/*.pyx firmware/sim/*.pxd)
# `make run` ends with the appliance's own status when it is interrupted; see the C file.
ifeq ($(MAKECMDGOALS),run)
-load build/make_interrupt.so
endif

PROMPTS := $(wildcard firmware/prompts/*.toml) firmware/prompts/__init__.py firmware/call/speech.py

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  \033[1m%-14s\033[0m %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: run
run: ext prompts ## Start the appliance with the simulated world (4 lines, 4 phones, people); ends with Ctrl-C; RUN='--language zh'
	@$(PYTHON) tools/foreground.py .venv/bin/branchpbx sim run --state $(STATE) $(RUN)

.PHONY: test
test: .venv/.ready-test ext prompts ## Lint and every test: unit, dsp, property, real time, end to end
	@tools/test.sh

.PHONY: soak-unit
soak-unit: .venv/.ready-test ext prompts ## Property tests with 50 times the examples (SOAK=N for N times)
	@BRANCHPBX_SOAK=$(SOAK) $(PYTHON) -m pytest -q -n 2 -m hypothesis tests

.PHONY: soak-dsp
soak-dsp: .venv/.ready-test ext ## Signal tests with their full counts: an hour of talk-off, hours of random input (SOAK=N for N times)
	@BRANCHPBX_SOAK=$(SOAK) $(PYTHON) -m pytest -q -n 2 tests/dsp

.PHONY: lint
lint: .venv/.ready-test ## ruff and mypy --strict
	@tools/test.sh lint

.PHONY: ext
ext: build/.extensions ## Compile the Cython extensions that changed

.PHONY: prompts
prompts: build/prompts/.made ## Speak the prompts that changed into build/prompts

.PHONY: bench-calls
bench-calls: ext prompts ## Calls one core carries, delays, memory: a table and build/bench/calls.json
	@mkdir -p build/bench
	@$(PYTHON) tools/bench_calls.py

.PHONY: bench-dsp
bench-dsp: .venv/.ready-bench ext ## Signal blocks against spandsp and SpeexDSP: tables, goals, build/bench/dsp.json (DSP='--quick echo', DSP=--docs)
	@$(PYTHON) -m tools.bench_dsp $(DSP)

.PHONY: sbom
sbom: .venv/.ready-run ## Software bill of materials (CycloneDX): build/sbom.json
	@$(PYTHON) tools/sbom.py build/sbom.json

.PHONY: docs
docs: .venv/.ready-test ## Check the documentation: links, targets, dependency reasons
	@$(PYTHON) -m pytest -q tests/test_docs.py

.PHONY: clean
clean: ## Remove what was built (keeps .venv and the state folder)
	rm -rf build .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find firmware -name '*.so' -delete
	find firmware/dsp firmware/sim -name '*.c' -delete
	find firmware tools tests -name __pycache__ -prune -exec rm -rf {} +

.venv/.ready-run: $(SETUP)
	@tools/setup.sh run
	@touch $@

.venv/.ready-test: $(SETUP) tools/requirements-dev.txt
	@tools/setup.sh test
	@touch .venv/.ready-run $@

.venv/.ready-bench: $(SETUP) tools/requirements-dev.txt
	@tools/setup.sh bench
	@touch .venv/.ready-run .venv/.ready-test $@

build/make_interrupt.so: tools/make_interrupt.c | .venv/.ready-run
	@cc -shared -fPIC -O1 -o $@ $<

build/.extensions: .venv/.ready-run setup.py $(EXTENSIONS)
	@mkdir -p build
	@echo "== Compiling extensions"
	@$(PYTHON) setup.py -q build_ext --inplace >build/ext.log 2>&1 || { cat build/ext.log >&2; exit 1; }
	@touch $@

build/prompts/.made: .venv/.ready-run tools/make_prompts.py $(PROMPTS)
	@$(PYTHON) tools/make_prompts.py
	@touch $@
