# vultus: make demo | test | test-long | lint | check | test-shared | checksums | clean

VENV := .venv
BIN := $(VENV)/bin
# The first Python that vultus works with; `make demo PYTHON=/path/to/python` chooses another.
PYTHON ?= $(shell for python in python3 python3.12 python3.11 python3.10; do \
	"$$python" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 12))' 2>/dev/null \
	&& { echo "$$python"; break; }; done)
SOURCES := src tests scripts benchmarks examples

.PHONY: demo test test-long test-shared lint format check checksums clean

demo: $(VENV)/.installed
	@$(BIN)/vultus reconstruct src/vultus/assets/astronaut.jpg -o demo --overwrite
	@echo
	@echo "Look at   $(CURDIR)/demo/astronaut/overlay.png"
	@echo "Open      $(CURDIR)/demo/astronaut/face.glb   (Blender, three.js, model-viewer)"
	@echo "Your own: $(BIN)/vultus reconstruct PHOTO... -o OUT"

# What needs no data beside the repository, in under three minutes on two cores; a file stays in one process, with what its tests share.
# One thread each is said here because plugins of pytest load numpy, which reads it, before tests/conftest.py can say it.
test: $(VENV)/.installed-dev
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "not shared and not long" -n 2 --dist loadfile --no-loadscope-reorder

# What takes half a minute each, of the makers of training data and of training.
test-long: $(VENV)/.installed-dev
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "long and not shared"

# What needs ../shared.
test-shared: $(VENV)/.installed-dev
	@$(BIN)/python -m pytest -m shared

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/lint-imports --no-cache

format: $(VENV)/.installed-dev
	$(BIN)/ruff check --fix $(SOURCES)
	$(BIN)/ruff format $(SOURCES)

check: lint test

# After changing a data file of the package on purpose.
checksums: $(VENV)/.installed-dev
	$(BIN)/python -m vultus.cli.assets

clean:
	rm -rf demo build dist .pytest_cache .ruff_cache
	find src tests -name __pycache__ -prune -exec rm -rf {} +

$(VENV)/.installed: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable .
	@touch $@

$(VENV)/.installed-dev: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@ $(VENV)/.installed

$(VENV)/bin/python:
	@test -n "$(PYTHON)" || { echo "vultus needs Python 3.10, 3.11 or 3.12, and none of them is on the PATH (python3 is:" \
		"$$(python3 --version 2>&1)). Install one, or say where it is: make $(or $(MAKECMDGOALS),demo) PYTHON=/path/to/python" >&2; exit 2; }
	@$(PYTHON) -m venv $(VENV) || { echo "$(PYTHON) cannot make virtual environments; on Debian and Ubuntu: apt install python3-venv" >&2; \
		rm -rf $(VENV); exit 2; }
