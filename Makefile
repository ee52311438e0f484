# Two commands: `make demo` and `make test`. Both make .venv at first and reuse it afterwards.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEMO := gformer-demo

.PHONY: demo test test-slow lint format clean

demo: $(VENV)/.installed
	$(BIN)/gformer demo --out $(DEMO) --overwrite

test: lint
	$(BIN)/python -m pytest -m "not slow" -q

test-slow: $(VENV)/.installed
	$(BIN)/python -m pytest -m slow -q

lint: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/.installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) $(DEMO)

# installed in editable mode, so only a change of the dependencies asks for another install
$(VENV)/.installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable ".[dev]"
	touch $@
