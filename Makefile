# make demo   inverts HOG, HOGb and DSIFT of a photograph and writes out/demo/report.html
# make test   runs the tests
# make lint   runs the linters
# make bench  times gradient steps on this machine, in two minutes; BENCH="--rows hog" other ones, see BENCH=--help
# Each sets up .venv by itself; PYTHON=python3.12 picks another interpreter (3.11 or newer).

PYTHON ?= python3
BIN := .venv/bin
BENCH ?= --quick

.PHONY: demo test lint bench clean

demo: .venv/installed
	$(BIN)/invjax run configs/demo.py --workdir out/demo

test: .venv/installed-dev
	$(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist worksteal

lint: .venv/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: .venv/installed
	$(BIN)/python -m experiments.bench $(BENCH)

clean:
	rm -rf .venv out

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "invjax needs Python 3.11 or newer: make PYTHON=python3.12"; exit 1; }
	$(PYTHON) -m venv .venv || { echo "on Debian and Ubuntu: apt install python3-venv"; rm -rf .venv; exit 1; }

.venv/installed: setup.cfg pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	@touch $@

.venv/installed-dev: setup.cfg pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[test,dev]'
	@touch $@ .venv/installed
