# `make demo`, `make test` and `make docs`. Each makes .venv at first and reuses it afterwards.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEMO := gformer-demo
# one process a core, each on one thread: processes of several threads slow each other many times over
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses auto -q

.PHONY: demo test test-slow docs lint format clean

demo: $(VENV)/.installed
	$(BIN)/gformer demo --out $(DEMO) --overwrite

test: lint
	$(PYTEST) --dist worksteal -m "not slow"

test-slow: $(VENV)/.installed
	$(PYTEST) --dist loadfile -m slow

# the pages as a site in site/; a link that leads nowhere is an error. Open site/index.html, or: mkdocs serve
docs: $(VENV)/.installed
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

lint: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/.installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) $(DEMO) site

# installed in editable mode, so only a change of the dependencies asks for another install
$(VENV)/.installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable ".[dev]"
	touch $@
