# `make demo` and `make test` do all their own set-up; both are safe to repeat.
VENV := .venv
BIN := $(VENV)/bin
PYTHON ?= python3

.PHONY: setup demo test test-slow test-all faults mutants lint format docs bench clean

# pip compiles one module after the other, and other packages' tests, too: this uses every core. A
# file that does not compile is nobody's fault here, and is told when it is imported.
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile \
	-c constraints.txt
COMPILE := $(BIN)/python -m compileall -qq -j 0 -x /tests/ $(VENV)/lib || true

setup: $(VENV)/.complete

# Made again when what they are made from changes; a mark is set last, so that an interrupted
# set-up is never taken for a finished one. The package alone runs; the rest is for who works on it.
# Python reads the `.pth` when it starts: here torchvision can be of another build than torch, and
# what mends that then comes before whatever is imported first.
$(VENV)/.runs: WHAT := .
$(VENV)/.complete: WHAT := .[dev]
$(VENV)/.runs $(VENV)/.complete: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(INSTALL) -e '$(WHAT)'
	cd $(VENV)/lib/python*/site-packages && echo 'import iavit._torchvision' > iavit_torchvision.pth
	$(COMPILE)
	touch $(VENV)/.runs $@

demo: $(VENV)/.runs
	$(BIN)/iavit demo --output runs/demo

# A worker a core. What takes long (processes, kills, whole commands, browsers) is marked `slow` and
# has a target of its own; the two together are all.
PYTEST := $(BIN)/python -m pytest -q -n auto --dist worksteal

test: setup
	$(PYTEST) -m 'not slow'

test-slow: setup
	$(PYTEST) -m slow

test-all: setup
	$(PYTEST)

# Hundreds of runs that are ended at every change they make to the disk, and gone on with: half an
# hour or more. Once more with the system's temporary files on another file system; then the other
# commands, at twenty changes each.
faults: setup
	$(BIN)/python -m tests.faults kill torn full sigkill term int --points all --moments 50
	TMPDIR=/dev/shm $(BIN)/python -m tests.faults kill full --points all
	$(BIN)/python -m tests.audit_faults --moments 20
	$(BIN)/python -m tests.faults kill full sigkill term --draw 20 --moments 20 \
		--cases evaluate,explain,report,card,export,web,reproduce

# Faults planted in the package one at a time, those of tests/mutants.csv that have no result yet.
mutants: setup
	$(BIN)/python -m tests.mutants run

lint: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: setup
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# The table of docs/ that is read off the code, and the site, in build/site: any warning is an error.
docs: setup
	$(BIN)/python docs/families.py
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict

bench: setup
	$(BIN)/python benchmarks/train_step.py --json benchmarks/results/train_step.json
	$(BIN)/python benchmarks/growth.py --json benchmarks/results/growth.json
	$(BIN)/python benchmarks/predict.py --json benchmarks/results/predict.json
	$(BIN)/python benchmarks/demo_profile.py --json benchmarks/results/demo_profile.json
	$(BIN)/python benchmarks/received.py --json benchmarks/results/received.json
	$(BIN)/python benchmarks/loading.py --json benchmarks/results/loading.json
	$(BIN)/python benchmarks/perturbation.py --json benchmarks/results/perturbation.json
	$(BIN)/python benchmarks/memory.py --json benchmarks/results/memory.json
	$(BIN)/python benchmarks/explainers.py --json benchmarks/results/explainers.json
	$(BIN)/python benchmarks/export.py --json benchmarks/results/export.json
	$(BIN)/python benchmarks/serve.py --json benchmarks/results/serve.json

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
