# Fieldproof. `make demo` and `make test` do all set-up themselves, in .venv; nothing else is touched,
# except that `make test` installs what the tests start where it may (scripts/debian-packages).

PYTHON ?= python3
BIN := .venv/bin
DEMO := .venv/.installed-demo
DEV := .venv/.installed-dev
INTEROP := .venv-interop/.installed
FUZZ := .venv-fuzz/.installed
PEERS := .venv-peers/.installed
# `make bench-peers`: the length of its scenario, for each of five peers.
MINUTES = 10
SECONDS = 600
# `make pi`: how many power cuts, after how many of them the machine boots again, and the dice.
CUTS = 75
REBOOTS = 25
PI_PACKAGES := debootstrap qemu-system-arm qemu-user-static binfmt-support qemu-utils cpio e2fsprogs openssh-client
# What tests start beside Python: a broker, a TPM and its tools, systemd-creds, a terminal. The name of a command or a package.
TEST_PACKAGES := mosquitto chromium shellcheck strace swtpm tpm2-tools systemd tmux
# Node.js may be from elsewhere, and its package is not called like its command.
TEST_PACKAGES += $(if $(shell command -v node 2>/dev/null),,nodejs) $(if $(shell command -v npm 2>/dev/null),,npm)
# Several tests wait at once; a process that has nothing left takes over what another still has to do.
PARALLEL := -n auto --dist worksteal
# They start hundreds of processes; where Python may keep no bytecode each compiles what it imports anew.
test test-all: export PYTHONDONTWRITEBYTECODE =

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
# Two set-ups of one environment at once would damage it.
.NOTPARALLEL:
.PHONY: help demo install uninstall purge deb test test-all crash powercut fuzz check vectors vectors-check docs interop bench
.PHONY: pi pi-owner year bench-peers clean

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 16

demo: $(DEMO) ## a simulated node, a broker and a gateway on this machine (WORLD=path for another world)
	@$(BIN)/fieldproof-sim demo $(if $(WORLD),--world "$(WORLD)")

# These three are for root; what they do stands in systemd/README.md.
install: ## the agent as a service on this machine; again is an upgrade (sudo make install)
	@PYTHON="$(PYTHON)" systemd/install

uninstall: ## remove it; keys, data and configuration stay
	@systemd/uninstall

purge: ## remove it with keys, data and configuration, after asking
	@systemd/uninstall --purge

deb: ## a Debian package into dist/ (ARCH=arm64 or amd64, on any machine)
	@PYTHON="$(PYTHON)" systemd/deb/build $(ARCH)

test: $(DEV) ## the quick suite, under five minutes
	@scripts/debian-packages $(TEST_PACKAGES)
	@$(BIN)/python -m pytest $(PARALLEL) -m "not slow"

test-all: $(DEV) ## every test, then ten minutes of fuzzing
	@scripts/debian-packages $(TEST_PACKAGES)
	@$(BIN)/python -m pytest $(PARALLEL)
	@$(MAKE) --no-print-directory fuzz SECONDS=600

crash: $(DEV) ## kill agent, gateway and broker N times and break what can break (N=1000; SEED=… for one world)
	@scripts/debian-packages mosquitto gcc
	@$(BIN)/python -m tests.crash.campaign --kills $(or $(N),1000) $(if $(SEED),--seed $(SEED))

powercut: $(DEV) ## power cuts at every sync of a long run, every disk they may leave (ROUNDS=12 SEED=1)
	@scripts/debian-packages strace
	@$(BIN)/python -m tests.crash.power_cuts $(if $(ROUNDS),--rounds $(ROUNDS)) $(if $(SEED),--seed $(SEED))

fuzz: $(DEV) ## arbitrary bytes into every decoder of the drivers (SECONDS=600)
	@if [ -e $(FUZZ) ] || $(BIN)/python -m pip install -q --dry-run --no-deps --only-binary :all: "atheris>=3" 2>/dev/null; \
	then $(MAKE) --no-print-directory $(FUZZ) && .venv-fuzz/bin/python tests/fuzz/fuzz_decoders.py -max_total_time=$(SECONDS); \
	else echo "fieldproof: fuzzing is skipped: atheris has no wheel for this machine and Python (or no network)"; fi

check: $(DEV) ## ruff (rules and format), mypy, import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check --quiet .
	$(BIN)/mypy
	$(BIN)/lint-imports

vectors: $(DEV) ## write tests/vectors again from the code
	$(BIN)/python tests/vectors/build_vectors.py

vectors-check: $(DEV) ## fail if the code would write other vectors than the committed ones
	$(BIN)/python tests/vectors/build_vectors.py --check

docs: $(DEV) ## write again what is made from the code in docs/
	$(BIN)/python -m scripts.build_docs

interop: $(INTEROP) ## another COSE library (python-cwt) verifies the committed vectors
	.venv-interop/bin/python tests/interop/verify_with_cwt.py

pi: $(DEV) ## power cuts of a virtual machine of a Raspberry Pi's class, as root (CUTS=75 REBOOTS=25 SEED=1)
	@scripts/debian-packages $(PI_PACKAGES)
	@$(BIN)/python -m tests.pi_vm.power_cuts --cuts $(CUTS) --reboots $(REBOOTS) --seed $(or $(SEED),1)

pi-owner: $(DEV) ## in a fresh one: make install, setup, an upgrade that fails, the package (DEB=dist/….deb)
	@scripts/debian-packages $(PI_PACKAGES)
	@$(BIN)/python -m tests.pi_vm.installing $(if $(DEB),--deb $(DEB))

bench: $(DEMO) ## the figures of the README, into docs/benchmarks.md (needs mosquitto)
	@scripts/debian-packages mosquitto strace
	@$(BIN)/python -m benchmarks.run_all
	@$(MAKE) --no-print-directory bench-peers

bench-peers: $(DEMO) $(PEERS) .venv/.installed-calibrate ## the same outage for Fieldproof and its peers (MINUTES=10, for each; TOGETHER=1 at once)
	@scripts/debian-packages mosquitto strace
	@$(BIN)/python -m benchmarks.bench_peers --minutes $(MINUTES) $(if $(TOGETHER),--together)

year: $(DEV) ## a simulated year of one node, and what came of it (DAYS=365 SEED=1)
	@$(BIN)/python -m tests.crash.year $(if $(DAYS),$(DAYS) $(or $(SEED),1))

clean: ## remove environments, caches and builds
	rm -rf .venv .venv-interop .venv-fuzz .venv-peers .verify-elsewhere .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/.installed-%: pyproject.toml scripts/make-venv
	@scripts/make-venv "$(PYTHON)" .venv -e ".[$*]"
	@touch $@

# An environment of its own: python-cwt needs cbor2 < 6, the project needs cbor2 >= 6.
$(INTEROP): scripts/make-venv
	@scripts/make-venv "$(PYTHON)" .venv-interop "cwt>=3" "cbor2<6"
	@touch $@

# What a user would pick instead, pinned; none of it is a part of the project.
$(PEERS): benchmarks/peers/requirements.txt scripts/make-venv
	@scripts/make-venv "$(PYTHON)" .venv-peers -r $<
	@touch $@

# Another: coverage is counted by rewriting what is imported, and dev tools have no part in it.
$(FUZZ): pyproject.toml scripts/make-venv
	@scripts/make-venv "$(PYTHON)" .venv-fuzz --only-binary atheris -e ".[fuzz]"
	@touch $@
