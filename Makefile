# make book     build the book into _build/html (creates .venv and installs what is needed, the first time)
# make test     unit tests, comparison with stored vectors, notebooks, pages in a browser
# make test-fast  a part of the unit tests, about a minute
# make lint     ruff, mypy, imports        make lab      JupyterLab on the notebooks
# make bench    two benchmarks          make weights  train everything that is shipped (hours; can be interrupted)
# make clean    remove what was built  make clean-all  remove .venv as well

VENV  := .venv
PY    := $(VENV)/bin/python
JOBS  ?= 2
STAMP := $(VENV)/.installed
BUILT := _build/html/.built
BOOK_SOURCES = $(shell find _config.yml _toc.yml book notebooks pspnb tools -type f \
    -not -path '*/generated/*' -not -path '*/vendor/*' -not -path '*/.*' -not -name '*.pyc')

# The first Python of a supported version; override with `make PYTHON=/path/to/python3.12`.
PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3 python; do \
    "$$p" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null && { echo "$$p"; break; }; done)

# One thread for each of the parallel workers; the tests give the same numbers with any count.
export OMP_NUM_THREADS ?= 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1
PYTEST := $(PY) -m pytest -q

.PHONY: help install book test test-fast test-unit test-notebooks test-pages lint lab weights bench clean clean-all

help:
	@sed -n 's/^# //p' Makefile | head -6

install: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "make: expected Python 3.11, 3.12 or 3.13, found none of them; install one or say make PYTHON=/path/to/it" >&2; exit 1; }
	@$(PY) -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV) || \
	    { echo "make: $(PYTHON) could not create $(VENV); on Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }
	@echo "installing into $(VENV) (about 7 GB the first time)"
	@$(PY) -m pip install --quiet -c constraints.txt -e '.[book,test,dev]'
	@touch $@

book: $(BUILT)

$(BUILT): $(STAMP) $(BOOK_SOURCES)
	$(PY) tools/vendor.py
	$(VENV)/bin/jupyter-book build . --all -W -n --keep-going
	@touch $@

test: test-unit test-notebooks test-pages

# A part of the unit tests from every floor, in about a minute on two cores: for while you write.
test-fast: $(STAMP)
	$(PYTEST) -n $(JOBS) -m fast tests

test-unit: $(STAMP)
	$(PYTEST) -n $(JOBS) tests --ignore=tests/test_notebooks.py --ignore=tests/test_pages.py --ignore=tests/test_lab_pages.py

test-notebooks: $(STAMP)
	PYTHONPATH=tests $(PYTEST) -p nbval_one_start -n $(JOBS) --dist loadfile --nbval notebooks
	$(PYTEST) -n $(JOBS) tests/test_notebooks.py

test-pages: book
	$(PYTEST) -rs tests/test_pages.py tests/test_lab_pages.py

lint: $(STAMP)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports

lab: $(STAMP)
	$(VENV)/bin/jupyter lab notebooks

weights: $(STAMP)
	$(PY) -m pspnb.shipping.weights

bench: $(STAMP)
	$(PY) benchmarks/inference.py
	$(PY) benchmarks/training.py

clean:
	rm -rf _build book/figures/generated book/_static/vendor tests/vendor book/_static/lab/generated .pytest_cache .mypy_cache .ruff_cache
	find book notebooks pspnb tests tools -name __pycache__ -type d -prune -exec rm -rf {} +

clean-all: clean
	rm -rf $(VENV) pspnb.egg-info
