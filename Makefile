# One word per chore. `make run` and `make test` need nothing but Debian 12 or alike and python3 >= 3.11.
PYTHON ?= python3
BIN := .venv/bin
IMAGES ?=
TESTS ?=
# What the tests need beside Python: brokers, what boots a throw-away machine with a real systemd, and what makes the root
# of another Debian for one. Upgrades are done with what people do them with.
PACKAGES := rabbitmq-server redis-server systemd-container dbus polkitd iproute2 util-linux mmdebstrap gcc libc6-dev \
    python3-dev git rsync vim-tiny

# The fast tests share nothing: a process of them for each processor.
SIDE_BY_SIDE := --numprocesses=logical --dist=worksteal
# The slow ones mostly wait: three for each processor. Those that share a machine stay in one process.
LANES ?= $(shell expr 3 '*' $$(nproc))
IN_LANES := --numprocesses=$(LANES) --dist=loadgroup
FAST := tests/unit tests/contract tests/simulation tests/docs
SLOW := tests/process tests/upgrades tests/faults tests/applications tests/system tests/nspawn
# The package, the services and the units as on a Debian 13, whose root tests/support/release.py makes: systemd 257, Python 3.13.
ON_DEBIAN13 = TRAPD_TEST_DEBIAN=trixie $(BIN)/python -m pytest tests/nspawn

.PHONY: help venv run test test-long test-debian13 check unit system mutants bench deb format clean python packages dev

help:
	@echo "make run [IMAGES=\"a.fits b.fits\"]  upgrade Trap under running workers, and watch"
	@echo "make test      install what the tests need, then check and run all of them (25 to 50 minutes on two processors)"
	@echo "make check     lint, types, import contracts"
	@echo "make unit      the fast tests: unit, contract, simulation, docs; random lives are left to make test"
	@echo "make system    the slow tests: real processes, brokers, applications, pip and systemd"
	@echo "make test-long repeat a lot what make test repeats a little; its figures: docs/repetitions.md"
	@echo "make test-debian13 the tests that need machines, on machines of Debian 13 (makes a root of it: 350 MB)"
	@echo "make mutants   take out, one by one, what keeps each promise: does a test notice? (an hour)"
	@echo "make bench     the figures of benchmarks/README.md, but upgrades (--before REVISION)"
	@echo "make deb       build the Debian package, in dist/"
	@echo "make format    let ruff format the code"
	@echo "make clean     remove what make made"

run: venv
	$(BIN)/python -m demo $(IMAGES)

# What fails soonest comes first.
test: packages check
	$(BIN)/python -m pytest $(SIDE_BY_SIDE) $(FAST)
	@echo "the tests on Debian 13 run beside the others, and speak after them"; \
	words=$$(mktemp); $(ON_DEBIAN13) -m debian13 >$$words 2>&1 & beside=$$!; \
	$(BIN)/python -m pytest $(IN_LANES) $(SLOW); slow=$$?; \
	wait $$beside; beside=$$?; cat $$words; rm $$words; exit $$((slow || beside))

# What repeats something by chance, far more often; docs/repetitions.md has what came of it.
test-long: packages dev
	@bash .ci/packages postgresql
	TRAPD_LONG=1 $(BIN)/python -m pytest $(SIDE_BY_SIDE) -p tests.support.repetitions -m long --figures docs/repetitions.md $(TESTS)

test-debian13: packages dev
	$(ON_DEBIAN13) $(IN_LANES)

check: dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --config setup.cfg

# Without what repeats something by chance, which "test" does; some wait, so two processes for each processor.
unit: dev
	$(BIN)/python -m pytest --numprocesses=$(shell expr 2 '*' $$(nproc)) --dist=worksteal -m 'not long' $(FAST)

system: packages dev
	$(BIN)/python -m pytest $(IN_LANES) $(SLOW)

mutants: packages dev
	$(BIN)/python -m tests.mutants

bench: packages dev
	$(BIN)/python -m benchmarks.idle
	$(BIN)/python -m benchmarks.upgrade_under_load
	$(BIN)/python -m benchmarks.settling
	$(BIN)/python -m benchmarks.peers
	$(BIN)/python -m benchmarks.long_tasks
	$(BIN)/python -m benchmarks.generations
	$(BIN)/python -m benchmarks.scale
	$(BIN)/python -m benchmarks.task_cost
	$(BIN)/python -m benchmarks.wedges
	$(BIN)/python -m benchmarks.replaced
	$(BIN)/python -m benchmarks.fairness
	$(BIN)/python -m benchmarks.numba_cache

deb: | python
	bash systemd/debian/build.sh dist

format: dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# --- set-up ---

venv: .venv/installed
dev: .venv/installed-dev

.venv/installed: setup.cfg pyproject.toml | python
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --editable '.[demo]'
	@touch $@

.venv/installed-dev: .venv/installed
	$(BIN)/python -m pip install --quiet --editable '.[test,lint]'
	@touch $@

# Debian's python3 comes without the part of venv that installs pip.
python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	    { echo "$(PYTHON) is older than 3.11; name another one: make PYTHON=/path/to/python3.11 ..." >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || bash .ci/packages python3-venv

packages:
	@bash .ci/packages $(PACKAGES)

clean:
	rm -rf .venv build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
