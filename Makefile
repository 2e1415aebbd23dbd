# Every target sets up what it needs, and is quick the second time.
PYTHON ?= python3
BIN := .venv/bin
SOURCES := $(shell find fin_sql udfs catalog -name '*.pyx' -o -name '*.pxd') setup.py
# The sanitizers must be loaded before the interpreter; leaks are Python's own, at exit.
SANITIZED := PYTHONSAFEPATH=1 LD_PRELOAD="$$(gcc -print-file-name=libasan.so)" ASAN_OPTIONS=detect_leaks=0 \
	UBSAN_OPTIONS=print_stacktrace=1

.PHONY: help demo test lint checked package bench docs clean

help:
	@echo 'make demo     simulate a small market and run feature queries over it'
	@echo 'make test     run the tests'
	@echo 'make lint     ruff, cython-lint, mypy, and whether docs/functions.md is fresh'
	@echo 'make checked  build with address and undefined-behaviour checks, run the laws'
	@echo 'make package  sdist, wheel from the sdist, an empty environment, the README in it'
	@echo 'make bench    what every kernel costs, beside a copy and beside Polars'
	@echo 'make docs     print docs/functions.md'
	@echo 'make clean    remove what the others made'

demo: build/.built
	$(BIN)/fin-sql demo

test: build/.built
	$(BIN)/python -m pytest -q

lint: build/.built
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	PATH="$(CURDIR)/$(BIN):$$PATH" cython-lint fin_sql udfs catalog
	$(BIN)/mypy | tee build/mypy.txt
	@# mypy leaves out what it does not find, in silence: it must have seen every module
	@files=$$(find fin_sql udfs catalog -name '*.py' | wc -l); \
	stubs=$$(find fin_sql udfs catalog -name '*.pyi' | wc -l); \
	grep -q "in $$((files + stubs)) source files" build/mypy.txt || \
	{ echo "mypy should have checked $$((files + stubs)) files"; exit 1; }
	$(BIN)/python -m fin_sql.docs --check docs/functions.md

checked: build/.built
	FIN_SQL_CHECKED=1 $(BIN)/python setup.py -q build --build-lib build/checked \
		--build-temp build/checked-objects > build/checked.log 2>&1 || (cat build/checked.log; exit 1)
	$(SANITIZED) PYTHONPATH=build/checked $(BIN)/python -m pytest -q --capture=sys -p no:cacheprovider \
		tests/laws tests/exec tests/abi

package: build/.built
	$(BIN)/python -m pytest -q -m package tests/test_package.py

bench: build/.built
	$(BIN)/python -m pytest -q -s -m bench tests/bench

docs: build/.built
	$(BIN)/python -m fin_sql.docs docs/functions.md

clean:
	rm -rf .venv build dist *.egg-info
	find fin_sql udfs catalog tests -name '*.so' -delete

.venv/.ready: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["build-system"]["requires"], sep="\n")' > .venv/build-requires.txt
	$(BIN)/pip install -q -r .venv/build-requires.txt
	$(BIN)/pip install -q --no-build-isolation -e '.[bench,build,lint,test]'
	touch $@

build/.built: .venv/.ready $(SOURCES)
	$(BIN)/python setup.py -q build_ext --inplace > build/build.log 2>&1 || (cat build/build.log; exit 1)
	touch $@
