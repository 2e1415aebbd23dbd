# Every target sets up what it needs, and is quick the second time.
PYTHON ?= python3
BIN := .venv/bin
export PIP_DISABLE_PIP_VERSION_CHECK := 1
ROOMS := fin_sql udfs catalog
SOURCES := $(shell find $(ROOMS) -name '*.pyx' -o -name '*.pxd')

# The sanitizers must be loaded before the interpreter. They watch malloc, so Python and Arrow must
# take their memory there: in a pool of theirs one block may run into the next. What leaks at exit
# is Python's own.
SANITIZED = PYTHONSAFEPATH=1 PYTHONPATH="$(CURDIR)/build/checked" PYTHONMALLOC=malloc \
	ARROW_DEFAULT_MEMORY_POOL=system LD_PRELOAD="$$(gcc -print-file-name=libasan.so)" \
	ASAN_OPTIONS=detect_leaks=0:allocator_may_return_null=1 UBSAN_OPTIONS=print_stacktrace=1

.PHONY: help demo test browser lint checked kafka package bench bench-peers docs clean FORCE

help:
	@echo 'make demo     simulate a small market and run feature queries over it'
	@echo 'make test     run the tests'
	@echo 'make browser  look at plots in headless Chromium, which apt installs where it may'
	@echo 'make lint     ruff, cython-lint, mypy, and whether docs/functions.md is fresh'
	@echo 'make checked  build with address and undefined-behaviour checks, run the laws (needs gcc)'
	@echo 'make kafka    tests that need Apache Kafka, fetched by Maven (needs Java 17 and Maven)'
	@echo 'make package  sdist, wheel from the sdist, an empty environment, the README in it'
	@echo 'make bench    what every kernel costs, beside a copy and beside Polars'
	@echo 'make bench-peers  queries from Parquet beside DuckDB, Polars and pandas (some minutes)'
	@echo 'make docs     print docs/functions.md and docs/kernels'
	@echo 'make clean    remove what the others made'
	@echo
	@echo 'PYTHON=python3.12 takes another Python; ARGS="-k ewma" goes on to pytest or to the demo.'

demo: build/.built .venv/.ready
	$(BIN)/fin-sql demo $(ARGS)

test: build/.built .venv/.dev
	$(BIN)/python -m pytest -q $(ARGS)

# Without a browser, and where apt may not install one, the tests are skipped and say so.
browser: build/.built .venv/.dev
	@for name in chromium chromium-browser google-chrome google-chrome-stable; do \
		command -v $$name > /dev/null && exit 0; done; \
		{ apt-get -qq update && apt-get -qq install -y chromium > /dev/null; } \
		|| echo 'no browser, and apt could not install Chromium'
	$(BIN)/python -m pytest -q -rs $(ARGS) tests/plot/test_browser.py

lint: build/.built .venv/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	PATH="$(CURDIR)/$(BIN):$$PATH" cython-lint $(ROOMS) tests
	$(BIN)/mypy | tee build/mypy.txt
	@# mypy leaves out what it does not find, in silence: it must have seen every module
	@files=$$(find $(ROOMS) -name '*.py' -o -name '*.pyi' | wc -l); \
	grep -qx "Success: no issues found in $$((files)) source files" build/mypy.txt || \
	{ echo "mypy should have passed $$((files)) files"; exit 1; }
	$(BIN)/python -m fin_sql.pages --check docs

checked: build/.built .venv/.dev
	@# a module whose source is gone would still be loaded
	@[ ! build/files.txt -nt build/checked ] || rm -rf build/checked
	FIN_SQL_CHECKED=1 CC=gcc $(BIN)/python setup.py -q build --build-lib build/checked \
		--build-temp build/checked-objects > build/checked.log 2>&1 || { cat build/checked.log; exit 1; }
	$(SANITIZED) $(BIN)/python -c 'from fin_sql import abi, udfs; print(abi.__file__); \
		assert all("build/checked" in m.__file__ for m in (abi, udfs))'
	$(SANITIZED) $(BIN)/python -m pytest -q --capture=sys -p no:cacheprovider $(ARGS) \
		tests/laws tests/exec tests/abi \
		$(wildcard tests/catalog/test_json_*.py tests/catalog/test_avro_*.py)

kafka: build/.built .venv/.dev
	$(BIN)/python -m fin_sql.testing.apache build
	$(BIN)/python -m pytest -q -m kafka $(ARGS) tests/kafka

package: build/.built .venv/.dev
	$(BIN)/python -m pytest -q -m package $(ARGS) tests/test_package.py

bench: build/.built .venv/.dev
	$(BIN)/python -m pytest -q -s -m bench --ignore=tests/bench/test_peers.py $(ARGS) tests/bench

bench-peers: build/.built .venv/.dev
	$(BIN)/python -m pytest -q -s -m bench $(ARGS) tests/bench/test_peers.py

docs: build/.built .venv/.ready
	$(BIN)/python -m fin_sql.pages docs

clean:
	rm -rf .venv build dist *.egg-info
	find $(ROOMS) -name '*.so' -delete

# An environment with what it takes to build, ...
.venv/.tools: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and \
		f"fin_sql needs Python 3.11 or later, this is {sys.version}; try: make PYTHON=python3.12")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["build-system"]["requires"], sep="\n")' \
		> .venv/build-requires.txt
	$(BIN)/pip install -q -r .venv/build-requires.txt
	@touch $@

# ... the modules in place, and build/mirror, which follows every file that comes or goes; ...
build/.built: .venv/.tools $(SOURCES) setup.py build/files.txt
	@# a module whose source is gone would still be loaded
	@find $(ROOMS) -name '*.so' | while read -r so; do [ -e "$${so%%.*}.pyx" ] || rm "$$so"; done
	$(if $(filter setup.py,$?),CYTHON_FORCE_REGEN=1) $(BIN)/python setup.py -q build_ext --inplace \
		$(if $(filter setup.py,$?),--force) > build/build.log 2>&1 || { cat build/build.log; exit 1; }
	@touch $@

build/files.txt: FORCE
	@mkdir -p build
	@find $(ROOMS) -name '*.py' -o -name '*.py[xi]' -o -name '*.pxd' | sort > $@.new
	@cmp -s $@.new $@ && rm $@.new || mv $@.new $@

# ... the package, which points at them (they are not built a second time), and what it imports; ...
.venv/.ready: pyproject.toml | build/.built
	FIN_SQL_BUILT=1 $(BIN)/pip install -q --no-build-isolation -e .
	@touch $@

# ... and what tests, checks and measures it.
.venv/.dev: .venv/.ready
	FIN_SQL_BUILT=1 $(BIN)/pip install -q --no-build-isolation -e '.[bench,build,lint,test]'
	@touch $@
