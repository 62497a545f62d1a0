PYTHON ?= python3
BIN := .venv/bin

# One thread per process: two processes share the work, and two threads on a busy core pair are many times slower.
export OMP_NUM_THREADS := 1
export MKL_NUM_THREADS := 1
export OPENBLAS_NUM_THREADS := 1
export NUMBA_NUM_THREADS := 1

.PHONY: demo test lint docs verdicts bench bench-peers clean
demo: .venv/ok
	$(BIN)/theodolite demo

test: .venv/ok
	$(BIN)/python -m pytest -n 2 --dist loadscope

lint: .venv/ok
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

docs: .venv/ok
	$(BIN)/python -m pip install -q -c constraints.txt -e '.[docs]'
	$(BIN)/sphinx-build -W --keep-going -b html docs docs/_build/html

CHAPTERS = $(wildcard src/theodolite/theory/*/README.md)
verdicts: .venv/ok
	$(BIN)/theodolite verify --scale small --into README.md README.zh-CN.md $(CHAPTERS) --out docs/claims/small.json --over docs/claims/paper.json

bench: .venv/ok
	$(BIN)/python -m benchmarks

bench-peers: .venv/ok
	$(BIN)/python -m benchmarks.environments

.venv/ok: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -q -c constraints.txt -e '.[test]'
	touch $@

clean:
	rm -rf .venv .venvs runs
