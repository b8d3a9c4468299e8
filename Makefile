# The front door. `make help` lists what there is.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-builtin-rules
PYTHON := .venv/bin/python
STATE ?= state
RUN ?=
DSP ?=
LINES_BENCH ?=
SIP_BENCH ?=
WIRE_BENCH ?=
SOAK ?= 50

SETUP := tools/setup.sh tools/packages.txt pyproject.toml tools/requirements.txt tools/requirements-host.txt
EXTENSIONS := $(wildcard firmware/dsp/*.pyx firmware/dsp/*.pxd firmware/dsp/*.h firmware/sim/*.pyx firmware/sim/*.pxd firmware/sip/*.pyx firmware/sip/*.pxd)
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

.PHONY: states
states: ## Write docs/states from the tables of the line machines and of the configuration
	@$(PYTHON) -m tools.states

.PHONY: test
test: .venv/.ready-test ext prompts far ## Lint and every test: unit, dsp, property, real time, end to end
	@tools/test.sh

.PHONY: far
far: .venv/.ready-test ## Unpack Asterisk and Kamailio, far ends of tests, into build/far
	@tools/far_ends.sh || [ $$? = 3 ]

.PHONY: soak-unit
soak-unit: .venv/.ready-test ext prompts ## Property tests with 50 times the examples (SOAK=N for N times)
	@BRANCHPBX_SOAK=$(SOAK) $(PYTHON) -m pytest -q -n 2 -m hypothesis tests

.PHONY: soak-dsp
soak-dsp: .venv/.ready-test ext ## Signal tests with their full counts: an hour of talk-off, hours of random input (SOAK=N for N times)
	@BRANCHPBX_SOAK=$(SOAK) $(PYTHON) -m pytest -q -n 2 tests/dsp

.PHONY: soak-lines
soak-lines: .venv/.ready-test ext prompts ## Lines with their full counts: hours of talk nobody may be cut off from, an hour of two clocks, 10 000 calls with faults (CALLS=N)
	@BRANCHPBX_SOAK=$(SOAK) $(PYTHON) -m pytest -q -n 2 tests/dsp/test_disconnect_corpus.py tests/dsp/test_disconnect_learn.py tests/dsp/test_disconnect_tables.py tests/unit/test_engine_drift.py
	@$(PYTHON) -m firmware sim soak --faults --calls $(or $(CALLS),10000)

.PHONY: soak-sip
soak-sip: .venv/.ready-test ext ## A day of 40 SIP telephones in virtual time, with faults: calls, lamps, transfers; what is left over, memory (HOURS=24 PHONES=40)
	@nice $(PYTHON) -m tools.soak_sip --hours $(or $(HOURS),24) --phones $(or $(PHONES),40) --json build/soak-sip.json

.PHONY: soak-fuzz
soak-fuzz: .venv/.ready-test ext ## Fuzz SIP: framing, parser, SDP, transactions, calls, WebSocket, STUN; what it finds is kept (EXECUTIONS=1000000)
	@nice $(PYTHON) -m tools.fuzz_sip --executions $(or $(EXECUTIONS),1000000) --json build/soak-fuzz.json

.PHONY: soak-acd
soak-acd: .venv/.ready-test ext ## A call-centre week in virtual time, compared with its records and reports; waits against Erlang C and A (SEED=N CALLS=4000)
	@mkdir -p build
	@nice $(PYTHON) -m firmware sim week $(if $(SEED),--seed $(SEED)) --calls $(or $(CALLS),4000) --days 7 --erlang 20000 --json >build/soak-acd.json || { tail -n 40 build/soak-acd.json; exit 1; }
	@$(PYTHON) -m tools.soak_acd build/soak-acd.json

.PHONY: lint
lint: .venv/.ready-test ## ruff and mypy --strict
	@tools/test.sh lint

.PHONY: ext
ext: build/.extensions ## Compile the Cython extensions and the Python modules that changed
	@$(PYTHON) -m compileall -q firmware

.PHONY: prompts
prompts: build/prompts/.made ## Speak the prompts that changed into build/prompts

.PHONY: bench-calls
bench-calls: ext prompts ## Calls one core carries, delays, memory: a table and build/bench/calls.json
	@mkdir -p build/bench
	@$(PYTHON) tools/bench_calls.py

.PHONY: bench-acd
bench-acd: ext ## 30 queue calls, 50 agents, 20 queues on one core: agent's answer to sound, commands; build/bench/acd.json (HOURS=1)
	@$(PYTHON) -m tools.bench_acd

.PHONY: far-acd
far-acd: .venv/.ready-test ext far ## Our queue and Asterisk's app_queue on the same calls: waits, logs, known complaints; build/bench/acd-beside.json (SECONDS_LIVED=600 SEED=6)
	@$(PYTHON) -m tools.bench_acd_beside --seconds $(or $(SECONDS_LIVED),600) --seed $(or $(SEED),6)

.PHONY: bench-config
bench-config: ext ## 500 extensions, 64 queues, 200 routes: check, compare, commit, memory, idle cost, beside msgspec; build/bench/config.json
	@$(PYTHON) -m tools.bench_config

.PHONY: bench-dsp
bench-dsp: .venv/.ready-bench ext ## Signal blocks against spandsp and SpeexDSP: tables, goals, build/bench/dsp.json (DSP='--quick echo', DSP=--docs)
	@$(PYTHON) -m tools.bench_dsp $(DSP)

.PHONY: bench-lines
bench-lines: .venv/.ready-bench ext ## Hang-ups, caller id, ringing beside spandsp and plain counters, cost of eight ports: tables, goals (LINES_BENCH='--quick disconnect', LINES_BENCH=--docs)
	@$(PYTHON) -m tools.bench_lines $(LINES_BENCH)

.PHONY: bench-sip
bench-sip: .venv/.ready-bench ext prompts far ## SIP beside Asterisk on one core: CPU, delay, memory, start; build/bench/sip.json (SIP_BENCH=--quick, SIP_BENCH=--docs)
	@$(PYTHON) -m tools.bench_sip $(SIP_BENCH)

.PHONY: bench-wire
bench-wire: .venv/.ready-bench ## The serial line beside ZMODEM: share of 9600 to 3 M baud, with noise too; build/bench/wire.json (WIRE_BENCH=--quick)
	@$(PYTHON) -m tools.bench_wire $(WIRE_BENCH)

.PHONY: sbom
sbom: .venv/.ready-run ## Software bill of materials (CycloneDX): build/sbom.json
	@$(PYTHON) tools/sbom.py build/sbom.json

.PHONY: vm
vm: .venv/.ready-image ext prompts ## The appliance image on an emulated ARM board, through U-Boot to its serial console; leave with Ctrl-A X (BOARD=qemu-armv7)
	@$(PYTHON) -m tools.vm run --board $(or $(BOARD),qemu-armv7)

.PHONY: bundle
bundle: .venv/.ready-image ext prompts ## A signed update bundle of the emulated board (VERSION=1.2.3)
	@$(PYTHON) -m tools.vm bundle --board $(or $(BOARD),qemu-armv7) $(if $(VERSION),--version $(VERSION))

.PHONY: test-image
test-image: .venv/.ready-image ext prompts ## The image in the emulator: start, set-up by cable, a telephone and its call, an update during a call, roll-back, power cuts
	@BRANCHPBX_IMAGE=1 $(PYTHON) -m pytest -x -q -rs -p no:xdist --durations=8 tests/image
	@cat build/vm/story/table.json

.PHONY: soak-power
soak-power: .venv/.ready-image ## Disk states after power cuts, out of what `make test-image` wrote, some of them started (STATES=1000 SEED=N STARTS=10)
	@nice $(PYTHON) -m tools.vm.powercut build/vm/story/board/before.img build/vm/story/board/writes.log --slots build/vm/story/slots.json \
		--marks build/vm/story/marks.json --states $(or $(STATES),1000) $(if $(SEED),--seed $(SEED)) \
		--boot $(or $(STARTS),10) --loader "$$(cat build/vm/story/loader)"

.PHONY: soak-flash
soak-flash: .venv/.ready-image ext prompts ## What the emulated board writes into its flash, at rest and for a call: a year of it against the budget (MINUTES=60)
	@BRANCHPBX_IMAGE=1 BRANCHPBX_WEAR=$(or $(MINUTES),60) nice $(PYTHON) -m pytest -x -q -rs -p no:xdist tests/image/test_wear.py
	@cat build/vm/wear/table.json

.PHONY: image
image: .venv/.ready-image ext prompts ## The image of a board by Buildroot: disk, block map, bundle, manifest in build/buildroot/BOARD; hours (BOARD=am335x-linecard BUILDROOT_DIR=)
	@tools/vm_buildroot.sh build $(or $(BOARD),am335x-linecard)

.PHONY: buildroot-check
buildroot-check: .venv/.ready-test ## Checks of the Buildroot tree that need no build; needs BUILDROOT_DIR
	@tools/vm_buildroot.sh check

.PHONY: docs
docs: .venv/.ready-test ## Check the documentation: links, targets, dependency reasons
	@$(PYTHON) -m pytest -q tests/test_docs.py

.PHONY: clean
clean: ## Remove what was built (keeps .venv and the state folder)
	rm -rf build .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find firmware -name '*.so' -delete
	find firmware/dsp firmware/sim firmware/sip -name '*.c' -delete
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

.venv/.ready-image: $(SETUP) tools/requirements-dev.txt
	@tools/setup.sh image
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
