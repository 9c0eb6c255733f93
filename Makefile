# `make` prints what there is. Everything runs in .venv, which is set up by the first target that needs it.
PYTHON ?= python3
BIN = .venv/bin
AUDIO ?= tests/data/speech

.PHONY: help demo test lint docs slow clean
help:  ## show this list
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

demo: .venv/ready  ## classify the bundled clips, or yours: make demo AUDIO=folder
	@$(BIN)/python -m fastast_hf.cli.main demo "$(AUDIO)"

test: .venv/ready lint  ## lint, types and every test that needs no GPU, no network and no patience
	$(BIN)/python -m pytest

lint: .venv/ready  ## ruff, mypy, import-linter, spelling and links
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/codespell
	$(BIN)/python docs/check_links.py

docs: .venv/ready  ## build the site of the documentation, build/docs/site
	$(BIN)/python docs/build_site.py

slow: .venv/ready  ## the tests that take longer than a few seconds each
	$(BIN)/python -m pytest -m slow

clean:  ## remove .venv and build products
	rm -rf .venv build *.egg-info .mypy_cache .ruff_cache .pytest_cache

.venv/ready: setup.cfg pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
	  { echo "make: $(PYTHON) is older than Python 3.10; run make PYTHON=python3.12, say" >&2; exit 2; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	@# Without setuptools' warning that this folder is named as the package is.
	PYTHONWARNINGS=ignore $(BIN)/python -m pip install --quiet --editable '.[test]'
	touch $@
