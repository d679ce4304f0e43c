# The whole interface of a working copy. On a fresh machine with Python alone: `make demo`, `make test`.
#
#   make install    .venv with Flux and the demo's server
#   make demo       install, then `flux demo`
#   make test       .venv with everything, the servers, then every test (ARGS='-k blame' picks some)
#   make check      what CI runs: lint, types, contracts, test
#   make bench      every benchmark; make bench-NAME one: cold, ingest, profile, freshness, memory,
#                   ask, burden, recorder, storage, first_hour, tui, debezium (needs Java; installs 200 MB of libraries)
#   make soak       kills, cuts and restarts under load for MINUTES=60, then 10,000 reads beside a writer; checked
#                   against the database (`make test` does a little of each)
#   make fuzz       damaged streams and messages for MINUTES=10, led by the decoder's code coverage; what it finds becomes
#                   a seed that `make test` replays
#   make docs     docs/CLI.md and docs/tui.md anew, the screens from a real terminal (tmux)
#   make format     rewrite the sources as `make lint` wants them
#   make clean      remove what the targets above made, but .venv

SHELL := /bin/sh
.DEFAULT_GOAL := check

# The first Python that is new enough: a machine may carry an older `python3` beside it.
PYTHON ?= $(shell for python in python3 python3.13 python3.12 python3.11 python3.14; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 \
	&& echo $$python && break; done)
WORKERS ?= 2
ARGS ?=

BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
ROOMS := $(patsubst %/__init__.py,%,$(filter-out package/__init__.py,$(wildcard */__init__.py)))
# As pip does with what it installs otherwise; without it every start compiles where Python may not keep bytecode.
COMPILE := @$(BIN)/python -m compileall -q $(ROOMS) package
POSTGRES_15 := /usr/lib/postgresql/15

.PHONY: install demo dev servers foreign test check bench docs soak fuzz lint format types contracts clean

install: .venv/.demo-installed

demo: install
	$(BIN)/flux demo $(ARGS)

dev: .venv/.dev-installed

test: dev servers foreign
	$(BIN)/pytest -n $(WORKERS) --dist worksteal $(ARGS)

check:
	./.ci/run

# The figures of docs/PERFORMANCE.md; leave the machine alone meanwhile.
BENCHES := cold ingest profile freshness memory ask burden recorder storage first_hour tui debezium
bench: $(addprefix bench-,$(BENCHES))

bench-%: dev servers
	PYTHONPATH=tests $(BIN)/python bench/$*.py $(ARGS)

docs: dev
	@command -v tmux >/dev/null || ./.ci/apt tmux
	$(BIN)/python -m flux.cli.reference > docs/CLI.md
	$(BIN)/python -m flux.tui.reference docs/tui.md
	PYTHONPATH=tests $(BIN)/python tests/tui/session.py docs/tui.md

soak: MINUTES ?= 60
soak: dev servers
	FLUX_SOAK_MINUTES=$(MINUTES) $(BIN)/pytest tests/oracle/test_exactly_once.py \
		tests/ledger/test_durability.py::test_readers_beside_a_writer_see_whole_commits \
		tests/ledger/test_faults.py $(ARGS)

# Atheris has wheels for Linux alone, so it is not in `dev`.
fuzz: MINUTES ?= 10
fuzz: .venv/.fuzz-installed servers
	PYTHONPATH=tests $(BIN)/python tests/decoder/recorded.py build/fuzz/streams
	PYTHONPATH=tests $(BIN)/python tests/decoder/fuzz.py build/fuzz $(MINUTES)

lint: dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: dev build/types
	MYPYPATH=build/types:tests $(BIN)/mypy -p flux
	MYPYPATH=build/types:tests $(BIN)/mypy --explicit-package-bases tests
	MYPYPATH=build/types:tests:bench $(BIN)/mypy --explicit-package-bases bench

contracts: dev build/types
	PYTHONPATH=build/types $(BIN)/lint-imports --no-cache

# PostgreSQL 15, wal2json, pgbouncer and Redis come from the distribution; the other majors are wheels in `dev`.
servers:
	@test -x $(POSTGRES_15)/bin/postgres -a -e $(POSTGRES_15)/lib/wal2json.so -a -x /usr/sbin/pgbouncer \
		-a -x /usr/bin/redis-server \
	|| ./.ci/apt postgresql-15 postgresql-15-wal2json pgbouncer redis-server

# OpenTelemetry's SDK for Node, which the intake is tested with: a client that knows nothing of Flux.
NODE := tests/intake/node
foreign: $(NODE)/node_modules/.package-lock.json

$(NODE)/node_modules/.package-lock.json: $(NODE)/package-lock.json
	@command -v npm >/dev/null || ./.ci/apt nodejs npm
	@if command -v npm >/dev/null; then \
		npm ci --prefix $(NODE) --ignore-scripts --no-audit --no-fund --loglevel error && touch $@; fi

clean:
	rm -rf build *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +

# mypy and import-linter do not see through an editable install: here the rooms lie as they are imported.
.PHONY: build/types
build/types:
	@rm -rf $@ && mkdir -p $@/flux
	@ln -s $(addprefix ../../../,$(ROOMS) $(wildcard package/*.py package/py.typed)) $@/flux/

.venv/.demo-installed: pyproject.toml | .venv/bin/python
	$(PIP) install --editable '.[demo,recorder]'
	$(COMPILE)
	@touch $@

.venv/.dev-installed: pyproject.toml | .venv/bin/python
	$(PIP) install --editable '.[demo,recorder,dev]'
	$(COMPILE)
	@touch $@ .venv/.demo-installed

.venv/.fuzz-installed: .venv/.dev-installed
	$(PIP) install --editable '.[fuzz]'
	@touch $@

# Debian keeps `venv` in a package of its own.
.venv/bin/python:
	@test -n "$(PYTHON)" || { echo "Flux needs Python 3.11 or newer; none was found" >&2; exit 1; }
	$(PYTHON) -m venv .venv || { rm -rf .venv && ./.ci/apt python3-venv && $(PYTHON) -m venv .venv; }
