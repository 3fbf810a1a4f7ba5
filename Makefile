# make run: open the app (LAN=1: to the network too; ENGINE=cuda: on Linux with an NVIDIA GPU).  make test: everything that CI runs.  A virtual environment is made at the first call.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PORT ?=
LAN ?=
ENGINE ?= cpu
BENCH ?= demo
SIDE_BY_SIDE := tests/unit tests/contract tests/parity tests/fuzz tests/faults tests/ui tests/mlx tests/jobs
BROWSER := tests/e2e
# known holes that no version closes; docs/security.md says why nobody reaches them
EXPLAINED := CVE-2024-35515 CVE-2026-69112 CVE-2025-3000 PYSEC-2025-194 PYSEC-2026-139 PYSEC-2024-277

.PHONY: run test test-all check types style audit llama-engine bench demo-model clean

$(VENV)/.run: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Tunesmith needs Python 3.11 or newer; try: make $(MAKECMDGOALS) PYTHON=python3.12"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[$(ENGINE)]'
	@touch $@

$(VENV)/.dev: $(VENV)/.run
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[dev,parity,eval]'
	@touch $@

run: $(VENV)/.run
	$(BIN)/tunesmith serve $(if $(PORT),--port $(PORT)) $(if $(LAN),--lan)

check: $(VENV)/.dev
	@$(MAKE) --no-print-directory --jobs=2 types style

types:
	$(BIN)/mypy

style:
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/hadolint Containerfile
	$(BIN)/bandit -q -ll -r src app.py pages

test: check llama-engine
	OPENBLAS_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist loadfile -m "not slow" $(SIDE_BY_SIDE)
	OPENBLAS_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist loadfile -m "not slow" --reruns 1 $(BROWSER)  # on busy machines browsers trip; the summary says which

test-all: check llama-engine
	OPENBLAS_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist loadfile $(SIDE_BY_SIDE)
	TUNESMITH_TESTS_KEEP_PICTURES=1 OPENBLAS_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist loadfile $(BROWSER)  # pictures: tests/e2e/screenshots

llama-engine:  # llama.cpp for the tests of GGUF files, which are skipped without it
	@if command -v npm >/dev/null; then .ci/llama-engine; fi

audit: $(VENV)/.dev  # known holes of the installed packages: asks PyPI, and fails where it cannot
	$(BIN)/pip freeze --exclude-editable > $(VENV)/.frozen
	sed 's/+.*//' $(VENV)/.frozen > $(VENV)/.packages  # the index knows no +cpu
	$(BIN)/pip-audit --strict --no-deps --disable-pip --progress-spinner off $(addprefix --ignore-vuln ,$(EXPLAINED)) -r $(VENV)/.packages

bench: $(VENV)/.dev
	$(BIN)/python -m benchmarks.$(BENCH)

demo-model: $(VENV)/.dev
	$(BIN)/python -m demo.recipe

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache
