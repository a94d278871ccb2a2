# Everything runs in .venv, which `make setup` creates once, and again when its inputs change.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

# Where `make train` puts its run, and how it tests the objective afterwards.
RUN ?= runs/quickstart-$(shell date +%Y%m%d-%H%M%S)
# The variant that docs/findings.md recommends: the objective sees how good the taken action was.
TRAIN_FLAGS ?= --objective.use-advantage --objective.no-use-next-value --objective.normalization zscore
TEST_ENV ?= InvertedPendulum-v5
TEST_FLAGS ?= --seeds 5 --steps 5000

# A study of experiments/recipes/, at one of its scales: make experiment NAME=generalisation
NAME ?= cheap_family
SCALE ?= small
STUDY ?= runs/experiments/$(NAME)-$(SCALE)
EXPERIMENT_FLAGS ?=

.PHONY: setup train test check docs dist-check bench experiment chaos soak format clean

setup: $(STAMP)

# torch comes first: Ray and the rest then settle on the version that is already there.
$(STAMP): pyproject.toml setup.py constraints.txt $(wildcard learner/native/src/*)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet torch==2.13.0 -c constraints.txt
	$(BIN)/python -m pip install --quiet --editable '.[dev,docs]' -c constraints.txt
	touch $@

# Meta-train; train new agents with what came out, in an environment that was not part of it; the
# same with an objective that was never trained; one picture and one table of it all.
train: setup
	@set -eu; run='$(RUN)'; tests="$$run/tests/$(TEST_ENV)"; \
	$(BIN)/metagenrl train --preset quickstart --run-dir "$$run" $(TRAIN_FLAGS); \
	$(BIN)/metagenrl test --objective "$$run" --version last --env $(TEST_ENV) \
		--run-dir "$$tests/learned" $(TEST_FLAGS); \
	$(BIN)/metagenrl test --objective random --preset quickstart --env $(TEST_ENV) \
		--run-dir "$$tests/random" $(TEST_FLAGS); \
	$(BIN)/python -m metagenrl.commands.summary "$$run" "$$tests/learned" "$$tests/random"

# Tests that start a Ray one after the other, all others beside them.
test: setup
	$(BIN)/python -m pytest -n 2

# Neither mypy nor import-linter sees through an editable installation: they read a plain copy. What setuptools
# leaves in build/lib from an earlier build would end up in that copy.
check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	rm -rf build/types build/lib*
	$(BIN)/python -m pip install --quiet --no-deps --target build/types .
	cd build/types && $(abspath $(BIN))/lint-imports --no-cache --config $(abspath pyproject.toml)
	MYPYPATH=build/types $(BIN)/mypy -p metagenrl
	$(SITE)

# The site, in build/site; a warning fails it. A browser reads it from there, with its search.
# The variable turns off an advertisement of the theme's.
SITE = NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet
docs: setup
	$(SITE)

# Source distribution and wheel, installed and used in clean environments; half an hour.
PYTHONS ?= python3.11 python3.12 python3.13
dist-check: setup
	.ci/dist-check $(PYTHONS)

bench: setup
	$(BIN)/python -m benchmarks.bench

# Goes on wherever it was cut; the table is in $(STUDY)/report.md.
experiment: setup
	PYTHONPATH=experiments $(BIN)/metagenrl experiment --recipe experiments/recipes/$(NAME).yaml --scale $(SCALE) \
		--out $(STUDY) $(EXPERIMENT_FLAGS)

# Processes killed and stopped, a full Redis, networks cut (as root): EVENTS of them at random, and what must hold
# afterwards. `make chaos EVENTS=200 MINUTES=20` is the long one.
EVENTS ?= 100
MINUTES ?= 10
chaos: setup
	$(BIN)/python experiments/chaos.py --minutes $(MINUTES) --events $(EVENTS) --seed 0 --out results/chaos

# Half an hour of memory and object store, which must stay flat.
soak: setup
	$(BIN)/python experiments/soak.py --minutes 30 --out results/soak

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache
