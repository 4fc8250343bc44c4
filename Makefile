# make demo   a fresh venv, install, train on real data, evaluate, report (about 15 minutes on 2 CPU cores)
# make test   a fresh venv, install with the test extra, the whole unit suite
# make test-slurm  a SLURM cluster of two nodes on this machine: requeue a run in its middle, compare (as root)
# make test-explore  the search page in headless Chromium, in an environment of its own (gradio's pins are older)
# make test-targets  every export read by its target in an environment without mmcontrast (several GB of packages)
# make check  lint, types and import contracts, in the same venv
VENV ?= .venv
PYTHON ?= python3
# Processes of the unit suite; each takes 2.5 GB.
JOBS ?= 2
BIN = $(VENV)/bin

.PHONY: demo test test-slow test-slurm test-explore test-targets check goldens clean

$(VENV)/.installed: setup.cfg pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable .
	touch $@

$(VENV)/.installed-test: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --editable ".[test]"
	touch $@

$(VENV)-explore/.installed: setup.cfg pyproject.toml
	$(PYTHON) -m venv $(VENV)-explore
	$(VENV)-explore/bin/python -m pip install --quiet --editable ".[explore]" playwright pytest hypothesis
	touch $@

demo: $(VENV)/.installed
	$(BIN)/mmcontrast train configs/quickstart.yaml
	$(BIN)/mmcontrast eval run runs/quickstart --suite quickstart

test: $(VENV)/.installed-test
	$(BIN)/python -m pytest --numprocesses $(JOBS) --dist loadfile

test-slow: $(VENV)/.installed-test
	$(BIN)/python -m pytest -m slow

test-slurm: $(VENV)/.installed-test
	$(BIN)/python -m tests.slurm.preemption

test-explore: $(VENV)-explore/.installed
	$(VENV)-explore/bin/python -m pytest -m "slow or not slow" -rs tests/search/test_explore.py

test-targets: $(VENV)/.installed-test
	$(BIN)/python -m tests.export.fresh_venv

check: $(VENV)/.installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

goldens: $(VENV)/.installed-test
	$(BIN)/python -m tests.goldens.regenerate

clean:
	rm -rf $(VENV) $(VENV)-explore build dist *.egg-info
