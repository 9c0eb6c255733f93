# `make` prints what there is. Everything runs in .venv, which is set up by the first target that needs it.
PYTHON ?= python3
BIN = .venv/bin
AUDIO ?= tests/data/speech

ENV = env PYTHONPATH=.:tests HF_HUB_OFFLINE=1

.PHONY: help demo test lint docs slow coverage conformance fuzz faults soak audit oldest newest clean
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

coverage: .venv/ready  ## the tests of make test again, with the branches that they reach, by module
	$(BIN)/python -m pip install --quiet 'pytest-cov>=5'
	$(BIN)/python -m pytest --cov=fastast_hf --cov-branch --cov-report=term

# The rest takes long, and is described in docs/reliability.md. ARGS are handed on.
conformance: .venv/ready  ## transformers' own tests on FastAST's classes
	$(BIN)/python -m pip install --quiet parameterized
	FASTAST_CONFORMANCE=$$($(BIN)/python tests/conformance/fetch.py .venv/conformance) && \
	  FASTAST_CONFORMANCE=$$FASTAST_CONFORMANCE $(ENV) $(BIN)/python -m pytest tests/conformance $(ARGS)

fuzz: .venv/ready  ## 10 minutes each of broken sound, json, results, recipes and requests
	$(ENV) $(BIN)/python tests/fuzz/run.py $(ARGS)

faults: .venv/ready  ## commands that are killed, or find the disk full, and are run again
	$(ENV) $(BIN)/python tests/faults/run.py $(ARGS)

soak: .venv/ready  ## a day of sound, 100,000 files, a busy server: does anything grow?
	$(ENV) $(BIN)/python tests/soak/run.py $(ARGS)

audit: .venv/ready  ## known weaknesses of what is installed, and licences by extra
	$(BIN)/python tests/supply/licences.py
	$(PYTHON) -m venv .venv/audit
	.venv/audit/bin/python -m pip install --quiet pip-audit
	.venv/audit/bin/pip-audit --strict --skip-editable --path "$$($(BIN)/python -c 'import site; print(site.getsitepackages()[0])')"

oldest:  ## the tests with the oldest dependencies that setup.cfg allows
	$(PYTHON) -m venv .venv-oldest
	.venv-oldest/bin/python -m pip install --quiet -c tests/supply/constraints/oldest.txt --editable '.[test]'
	.venv-oldest/bin/python -m pytest $(ARGS)

newest:  ## the tests with the newest ones, and without torchaudio, which holds torch back
	$(PYTHON) -m venv .venv-newest
	.venv-newest/bin/python -m pip install --quiet -c tests/supply/constraints/newest.txt --editable \
	  '.[demo,docs,live,onnx,parquet,ray,serve,train]' \
	  argcomplete selenium pytest hypothesis ruff mypy import-linter webvtt-py pyannote.database 'moto[s3]' flask \
	  flask-cors codespell
	.venv-newest/bin/python -m pytest $(ARGS)

clean:  ## remove .venv and build products
	rm -rf .venv .venv-oldest .venv-newest build *.egg-info .mypy_cache .ruff_cache .pytest_cache

.venv/ready: setup.cfg pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
	  { echo "make: $(PYTHON) is older than Python 3.10; run make PYTHON=python3.12, say" >&2; exit 2; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	@# Without setuptools' warning that this folder is named as the package is.
	PYTHONWARNINGS=ignore $(BIN)/python -m pip install --quiet --editable '.[test]'
	touch $@
