# `make help` lists the targets. All of them work in .venv, which the first one creates.

# Tests side by side: a file's tests in one process, files in their order, the long ones among the first.
JOBS ?= 2
SIDE_BY_SIDE = -n $(JOBS) --dist loadfile --no-loadscope-reorder
DEMO_STEPS ?= 3000
DEMO_SEEDS ?= 3
FAULTS ?= bounded

# The first interpreter that runs, is new enough and can create environments. A name on the PATH
# may be a launcher for a version that is not there, so each one is tried.
USABLE := import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))
PYTHON ?= $(shell for name in python3 python3.13 python3.12 python3.11; do \
	if $$name -c '$(USABLE)' >/dev/null 2>&1; then echo $$name; break; fi; done)

# An environment that is there keeps its Python, unless another one is named: make PYTHON=...
VERSION := import sys; print("%d.%d" % sys.version_info[:2])
NAMED := $(if $(filter command environment,$(origin PYTHON)),$(shell $(PYTHON) -c '$(VERSION)' 2>/dev/null))
# $(call outdated,DIR): a word, if DIR has another version than the one that is named.
outdated = $(if $(NAMED),$(if $(filter-out $(NAMED),$(shell $(1)/bin/python -c '$(VERSION)' 2>/dev/null)),renewed))

export PIP_DISABLE_PIP_VERSION_CHECK := 1
BIN := .venv/bin
STAMP := .venv/.installed
BENCH_STAMP := .venv-bench/.installed
SMALL_STAMP := .venv-small/.installed
EXTRAS_STAMP := .venv-extras/.installed
RAY_STAMP := .venv-ray/.installed
ROBOTICS_STAMP := .venv-robotics/.installed
SITE_STAMP := .venv-docs/.installed

.DEFAULT_GOAL := help
.PHONY: help demo test test-all test-long test-small test-faults test-extras test-ray test-robotics newest renewed check check-format check-lint check-types check-tests format bench docs site clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(STAMP)  ## train Pendulum-v1 (DEMO_STEPS=3000, DEMO_SEEDS=3), then evaluate the best policy
	@set -e; \
	name="demo-$$(date +%Y%m%d-%H%M%S)"; \
	$(BIN)/python -m qmu train Pendulum-v1 --seeds $(DEMO_SEEDS) \
		--train.total-steps $(DEMO_STEPS) --train.eval-interval 1000 \
		--log.dir runs --log.name "$$name"; \
	run="$$(ls -td runs/Pendulum-v1/"$$name"-*/ | head -n 1)"; \
	test -n "$$run" || exit 1; \
	run="$${run%/}"; \
	$(BIN)/python -m qmu eval "$$run" --episodes 20; \
	echo; \
	echo "The run is in $$run:"; \
	for entry in "$$run"/*; do echo "  $$entry"; done

test: $(STAMP)  ## run the tests, but those that take long, kill runs or need extras
	$(BIN)/python -m pytest $(SIDE_BY_SIDE) --durations 10

# One after the other, also with -j: each has its own use for all cores.
test-all:  ## all tests that there are, in all environments (an hour or two)
	@set -e; for tests in test-long test-faults test-extras test-robotics test-ray; do \
		$(MAKE) --no-print-directory $$tests; done

test-long: $(STAMP)  ## the tests of `make test` and the long ones, properties with more examples
	$(BIN)/python -m pytest $(SIDE_BY_SIDE) --durations 10 \
		-m "not fault and not extra" --hypothesis-profile full

test-faults: $(STAMP)  ## run the tests that kill and starve runs (FAULTS=full: as long as it takes)
	XLA_FLAGS= QMU_FAULTS=$(FAULTS) $(BIN)/python -m pytest -m fault

test-small: $(SMALL_STAMP)  ## the quick tests of the extras that are small to install (.venv-small)
	.venv-small/bin/python -m pytest $(SIDE_BY_SIDE) --durations 10 -r fE \
		-m "extra and not long and not fault"

test-extras: $(EXTRAS_STAMP)  ## the tests that need packages of extras, all but robotics (.venv-extras)
	.venv-extras/bin/python -m pytest -m extra

test-ray: $(RAY_STAMP)  ## the tests that start clusters of Ray and kill parts of them (.venv-ray)
	XLA_FLAGS= .venv-ray/bin/python -m pytest -m extra $(wildcard tests/extras/test_ray*.py)

test-robotics: $(ROBOTICS_STAMP)  ## train in the worlds of Gymnasium-Robotics (.venv-robotics)
	.venv-robotics/bin/python -m pytest -m extra tests/extras/test_robotics.py

# The newest Python that is here, and wheels only: what a user gets who installs without constraints.
ifeq ($(NAMED),)
# With pyenv, a name on the PATH runs only where its version was chosen.
newest: PYTHON = $(shell for name in $(foreach minor,14 13 12 11,python3.$(minor) \
	$(wildcard $(HOME)/.pyenv/versions/3.$(minor).*/bin/python)); do \
	if $$name -c '$(USABLE)' >/dev/null 2>&1; then echo $$name; break; fi; done)
newest: NAMED = $(shell $(PYTHON) -c '$(VERSION)')
endif
newest:  ## the fast tests with the newest versions of everything, without constraints (.venv-newest)
	$(call environment,.venv-newest)
	@.venv-newest/bin/python -m pip install -q --upgrade --upgrade-strategy eager --only-binary :all: -e '.[dev]'
	@.venv-newest/bin/python -m pip list --format freeze | grep -iE '^(jax|jaxlib|numpy|scipy|mujoco|gymnasium|equinox|optax)=='
	.venv-newest/bin/python -m pytest $(SIDE_BY_SIDE) -m "not slow and not long and not fault and not extra" -q

check: check-format check-lint check-types check-tests  ## format, lint, types and the fast tests

check-format: $(STAMP)  ## is everything formatted?
	$(BIN)/ruff format --check .

check-lint: $(STAMP)  ## ruff's rules
	$(BIN)/ruff check .

check-types: $(STAMP)  ## mypy, strict
	$(BIN)/mypy

check-tests: $(STAMP)  ## the fast tests, until the first failure
	$(BIN)/python -m pytest $(SIDE_BY_SIDE) -m "not slow and not long and not fault and not extra" -x -q

format: $(STAMP)  ## format, and fix what ruff can fix
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

bench: $(STAMP) $(BENCH_STAMP)  ## measure the speed (the rivals live in .venv-bench)
	$(BIN)/python benchmarks/speed.py

docs: $(STAMP)  ## check the links and examples of the documentation
	$(BIN)/python -m pytest -q tests/test_docs.py

# Not --quiet: mkdocs would count no warnings, and --strict would be none.
site: $(SITE_STAMP)  ## build the documentation's site into site/ (its tools live in .venv-docs)
	NO_MKDOCS_2_WARNING=1 .venv-docs/bin/mkdocs build --strict
	@echo "The site begins with site/index.html"

clean:  ## remove environments, builds and caches here; runs/ and ~/.cache/qmu stay
	rm -rf .venv .venv-bench .venv-docs .venv-extras .venv-newest .venv-ray .venv-robotics .venv-small \
		build dist site .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find src tests benchmarks docs examples -type d -name __pycache__ -prune -exec rm -rf {} +

# $(call environment,DIR): create DIR, unless it is there, works, and has the Python that is named.
define environment
	@test -n "$(PYTHON)" || { echo "qmu needs Python 3.11 or newer, with venv:" \
		"install one, or name it: make PYTHON=/path/to/python3" >&2; exit 1; }
	@$(PYTHON) -c '$(USABLE)' || \
		{ echo "$(PYTHON) is not a Python 3.11 or newer, with venv" >&2; exit 1; }
	@test -z "$(call outdated,$(1))" && $(1)/bin/python -m pip --version >/dev/null 2>&1 || \
		$(PYTHON) -m venv --clear $(1)
endef

$(STAMP): pyproject.toml constraints.txt $(call outdated,.venv)
	$(call environment,.venv)
	@echo "Installing qmu and its tools into .venv (a few minutes the first time)"
	@$(BIN)/python -m pip install -q -c constraints.txt -e '.[dev]'
	@touch $@

$(SMALL_STAMP): pyproject.toml constraints.txt $(call outdated,.venv-small)
	$(call environment,.venv-small)
	@echo "Installing qmu and its small extras into .venv-small"
	@.venv-small/bin/python -m pip install -q -c constraints.txt \
		-e '.[dev,box2d,onnx,pybullet,video,wandb]'
	@touch $@

# PyTorch first and by itself: once it is there, no other package pulls in another build of it.
$(EXTRAS_STAMP): pyproject.toml constraints.txt $(call outdated,.venv-extras)
	$(call environment,.venv-extras)
	@echo "Installing qmu and its extras into .venv-extras"
	@.venv-extras/bin/python -m pip install -q "$$(grep '^torch==' constraints.txt)"
	@.venv-extras/bin/python -m pip install -q -c constraints.txt \
		-e '.[dev,box2d,dm-control,docs,notebook,onnx,pybullet,torch,video,wandb]'
	@touch $@

$(RAY_STAMP): pyproject.toml constraints.txt $(call outdated,.venv-ray)
	$(call environment,.venv-ray)
	@echo "Installing qmu with Ray and W&B into .venv-ray"
	@.venv-ray/bin/python -m pip install -q -c constraints.txt -e '.[dev,ray,wandb]'
	@touch $@

# An older mujoco than that of dm-control.
$(ROBOTICS_STAMP): pyproject.toml constraints-robotics.txt $(call outdated,.venv-robotics)
	$(call environment,.venv-robotics)
	@echo "Installing qmu with Gymnasium-Robotics into .venv-robotics"
	@.venv-robotics/bin/python -m pip install -q -c constraints-robotics.txt -e '.[dev,robotics]'
	@touch $@

$(BENCH_STAMP): benchmarks/requirements.txt $(call outdated,.venv-bench)
	$(call environment,.venv-bench)
	@echo "Installing the rivals into .venv-bench"
	@.venv-bench/bin/python -m pip install -q "$$(grep '^torch==' $<)"
	@.venv-bench/bin/python -m pip install -q -r $<
	@touch $@

# The site's tools by themselves: they read the sources and do not import them.
$(SITE_STAMP): pyproject.toml constraints.txt $(call outdated,.venv-docs)
	$(call environment,.venv-docs)
	@echo "Installing the site's tools into .venv-docs"
	@.venv-docs/bin/python -c 'import tomllib; extras = tomllib.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"]; print(*extras["docs"], sep="\n")' > .venv-docs/requirements.txt
	@.venv-docs/bin/python -m pip install -q -c constraints.txt -r .venv-docs/requirements.txt
	@touch $@
