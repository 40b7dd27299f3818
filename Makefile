# Each target sets up what it needs: a virtual environment, the tools, the compiled modules.
# Needs Python >= 3.10, gcc and make; another interpreter: make test PYTHON=python3.12

PYTHON ?= python3
VENV ?= .venv
EXTRAS ?= dev
PYTHONS ?= 3.10 3.11 3.12 3.13
# Workers at a time in `make compat`; mostly they wait.
COMPAT_JOBS ?= 2
# Tests at a time in `make test`: many of them wait. 1: one after the other.
TEST_JOBS ?= 2
# Files of tests at a time in `make faults`: most wait for processes of their own.
FAULT_JOBS ?= 3
# How long `make soak` takes; ARGS="--seed N" repeats a run.
SOAK_SECONDS ?= 600

# The commit that `make cost` compares with.
OLDER ?= 357821c

# Nothing of the caller's Python set-up may leak into ours.
unexport PYTHONPATH
unexport PYTHONHOME
unexport PYTHONSTARTUP
export PIP_DISABLE_PIP_VERSION_CHECK = 1

PY := $(VENV)/bin/python
PIP := $(PY) -m pip --require-virtualenv install --quiet

# As in pyproject.toml's build-system: the build here is not isolated, so that it is quick.
BUILD_TOOLS := "setuptools>=77" "Cython>=3.1,<4"

NATIVE := $(wildcard shmqueue/*.pyx shmqueue/*.pxd shmqueue/_native/*.h)
FLAGS := $(strip debug=$(SHMQUEUE_DEBUG) sanitize=$(SHMQUEUE_SANITIZE) cc=$(CC))

.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
.PHONY: help build demo test test-all soak faults killpoints double-faults explore storm mutations fuzz asan tsan \
    memcheck rivals cost reliability compat check lint format bench docs-table clean distclean FORCE

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1@\2/p' Makefile | awk -F@ '{printf "%-18s %s\n", $$1, $$2}'

# --- set-up, each step redone only when what it stands on changed ---------------------------------

$(VENV)/.created:
	@command -v $(PYTHON) >/dev/null || { \
	    echo "There is no $(PYTHON) here; shmqueue needs Python 3.10 or later: make PYTHON=..." >&2; exit 1; }
	@$(PYTHON) tools/check_machine.py
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.tools: Makefile | $(VENV)/.created
	$(PIP) $(BUILD_TOOLS)
	@touch $@

# Rewritten only when the flags differ from those of the last build.
$(VENV)/.flags: FORCE | $(VENV)/.created
	@echo '$(FLAGS)' | cmp -s - $@ || echo '$(FLAGS)' > $@

$(VENV)/.built: $(NATIVE) setup.py $(VENV)/.flags $(VENV)/.tools
	$(PY) setup.py --quiet build_ext --inplace
	@touch $@

$(VENV)/.installed: pyproject.toml | $(VENV)/.built
	SHMQUEUE_EXTENSIONS=built $(PIP) --no-build-isolation --config-settings editable_mode=compat \
	    --editable '.[$(EXTRAS)]'
	@touch $@

READY := $(VENV)/.built $(VENV)/.installed

$(VENV)/.bench: benchmarks/requirements.txt $(READY)
	$(PIP) --requirement benchmarks/requirements.txt
	@touch $@

# --- the work --------------------------------------------------------------------------------------

build: $(READY) ## compile the extension modules in place

demo: $(READY) ## the queue at its main job, on real input
	$(PY) -m shmqueue demo

at_a_time = $(if $(filter-out 0 1,$(1)),-n $(1) --dist $(2))

test: $(READY) ## the test suite, TEST_JOBS tests at a time
	$(PY) -m pytest $(call at_a_time,$(TEST_JOBS),worksteal) $(ARGS)

test-all: ## the test suite on each Python of PYTHONS that is here
	@failed=; left_out=; \
	for version in $(PYTHONS); do \
	    if python=$$(sh tools/find_python.sh $$version); then \
	        echo "== Python $$version"; \
	        $(MAKE) --no-print-directory test PYTHON="$$python" VENV=.venv-$$version EXTRAS=test \
	            || failed="$$failed $$version"; \
	    else left_out="$$left_out $$version"; fi; \
	done; \
	test -z "$$left_out" || echo "not found, so not tested:$$left_out"; \
	test -z "$$failed" || { echo "failed on:$$failed" >&2; exit 1; }

soak: $(READY) ## ten minutes of random work, forks and kills; writes docs/soak.md
	$(PY) -m tests.soak --seconds $(SOAK_SECONDS) --report docs/soak.md $(ARGS)

# --- faults: each target writes what it found to docs/reports, `make reliability` a page of it ------

# Those first of which a file takes longest, so that none of them is left at the end.
FAULT_TESTS := tests/models tests/killpoints tests/lifecycle tests/explored tests/surroundings tests/storm \
    tests/hostile tests/faults
REPORTS := docs/reports

# A file's tests stay together: their figures are added up.
faults: $(READY) ## every fault test at full size, in less than ten minutes
	SHMQUEUE_FAULTS=full SHMQUEUE_REPORTS=$(REPORTS) $(PY) -m pytest \
	    $(call at_a_time,$(FAULT_JOBS),loadfile --no-loadscope-reorder) $(FAULT_TESTS) $(ARGS)

killpoints: $(READY) ## kill one at every instruction of every operation, from every state
	$(PY) -m tests.killpoints --singles --reports $(REPORTS) $(ARGS)

double-faults: $(READY) ## kill whoever takes over from the killed, at every instruction of both
	$(PY) -m tests.killpoints --reports $(REPORTS) $(ARGS)

explore: $(READY) ## interleavings with kills, further than `make faults` goes
	$(PY) -m tests.explored --reports $(REPORTS) $(ARGS)

storm: $(READY) ## 10,000 kills on queues and 5,000 on streams, with an account of every item
	$(PY) -m tests.storm --kills 10000 --reports $(REPORTS) $(ARGS)
	$(PY) -m tests.groups.storm --kills 5000 --reports $(REPORTS) $(ARGS)

mutations: $(READY) ## a million random mutations of a segment
	$(PY) -m tests.hostile --mutations 1000000 --reports $(REPORTS) $(ARGS)

# In an environment of its own: there are wheels of atheris for CPython 3.11 and later only.
fuzz: ## the codec under a coverage-guided fuzzer
	PYTHON="$(PYTHON)" VENV=.venv-fuzz sh tools/fuzz.sh --reports "$(abspath $(REPORTS))" $(ARGS)

asan: ## the tests on a build with AddressSanitizer and UndefinedBehaviorSanitizer
	sh tools/sanitized.sh address,undefined $(ARGS)

tsan: ## the tests on a build with ThreadSanitizer
	sh tools/sanitized.sh thread $(ARGS)

memcheck: ## a smoke set under valgrind
	sh tools/sanitized.sh memcheck $(ARGS)

rivals: $(VENV)/.bench ## the same kills for other queues: how many until each stops for good
	$(PY) -m benchmarks.kills --reports $(REPORTS) $(ARGS)

# OLDER: before what these targets look for was looked for, and mended; and before streams.
cost: $(READY) ## CPU time of the hot path, by turns with the commit OLDER
	@git rev-parse --verify --quiet "$(OLDER)^{commit}" >/dev/null || { \
	    echo "There is no commit $(OLDER) here: make cost needs the whole history." >&2; exit 1; }
	rm -rf build/older && mkdir -p build/older
	git archive $(OLDER) | tar -x -C build/older
	cd build/older && "$(abspath $(PY))" setup.py --quiet build_ext --inplace
	$(PY) -m benchmarks.builds build/older . --rounds 9 --names $(OLDER) HEAD --reports $(REPORTS) $(ARGS)

reliability: $(READY) ## write docs/reliability.md from the reports
	$(PY) tools/reliability_page.py

compat: ## CPython's own tests against our queues, on each Python of PYTHONS; writes docs/compat.md
	@rm -rf build/compat; failed=; left_out=; lenders=; outcomes=; page="--markdown docs/compat.md"; \
	for version in $(PYTHONS); do \
	    if python=$$(sh tools/find_python.sh $$version); then \
	        echo "== Python $$version"; \
	        lenders="$$lenders --lender $$python"; outcomes="$$outcomes build/compat/$$version.json"; \
	        $(MAKE) --no-print-directory build PYTHON="$$python" VENV=.venv-$$version EXTRAS=test && \
	        .venv-$$version/bin/python -m tests.compat --jobs $(COMPAT_JOBS) $$lenders \
	            --json build/compat/$$version.json $(ARGS) || failed="$$failed $$version"; \
	    else left_out="$$left_out $$version"; page=; fi; \
	done; \
	test -z "$$left_out" || echo "not found, so not run, and no page written:$$left_out"; \
	$(PYTHON) -m tests.compat.report $$outcomes $$page || failed="$$failed table"; \
	test -z "$$failed" || { echo "failed on:$$failed" >&2; exit 1; }

check: lint $(READY) ## format, lint, types, stubs, layers, docs table
	$(PY) -m mypy
	$(PY) -m mypy.stubtest shmqueue --mypy-config-file pyproject.toml \
	    --allowlist tools/stubtest_allowlist.txt --ignore-unused-allowlist
	$(PY) tools/field_table.py --check
	$(PY) tools/reliability_page.py --check
	$(PY) -m pytest -q tests/test_layers.py tests/test_exports.py tests/test_comments.py

lint: $(READY)
	$(PY) -m ruff format --check .
	$(PY) -m ruff check .
	PATH="$(abspath $(VENV))/bin:$$PATH" cython-lint shmqueue
	$(PY) tools/check_headers.py
	$(PY) tools/check_atomics.py
	$(PY) tools/check_length.py

format: $(READY) ## put the Python files into the house's format
	$(PY) -m ruff format .
	$(PY) -m ruff check --fix .

bench: $(VENV)/.bench ## run the benchmarks, write their tables and plot
	@mkdir -p build docs/img
	$(PY) -m benchmarks.run --only queues --out build/benchmarks.json
	$(PY) -m benchmarks.report build/benchmarks.json --markdown docs/benchmarks.md \
	    --png docs/img/benchmarks.png --readme README.md
	$(PY) -m benchmarks.run --only dropins --out build/benchmarks-dropins.json
	$(PY) -m benchmarks.dropins.report build/benchmarks-dropins.json \
	    --markdown docs/benchmarks-dropins.md
	$(PY) -m benchmarks.run --only large --out build/benchmarks-large.json
	$(PY) -m benchmarks.large.report build/benchmarks-large.json \
	    --markdown docs/benchmarks-large.md --png docs/img/benchmarks-large.png
	$(PY) -m benchmarks.run --only streams --out build/benchmarks-streams.json
	$(PY) -m benchmarks.streams.report build/benchmarks-streams.json \
	    --markdown docs/benchmarks-streams.md --png docs/img/benchmarks-streams.png
	$(PY) -m benchmarks.waits --markdown docs/waiting.md

docs-table: $(READY) ## write docs/layout.md anew from the code
	$(PY) tools/field_table.py

clean: ## remove what was built
	rm -rf build dist *.egg-info shmqueue/*.so .pytest_cache .mypy_cache .ruff_cache
	rm -f .venv*/.built .venv*/.flags .venv*/.installed
	find . -name __pycache__ -type d -not -path './.venv*' -prune -exec rm -rf {} +

distclean: clean ## remove the virtual environments too
	rm -rf .venv .venv-*
