# Two commands do everything in a fresh clone: `make demo` and `make test`.
PYTHON ?= python3
BIN := .venv/bin
export UV_PYTHON_DOWNLOADS := never
export PATH := $(CURDIR)/$(BIN):$(PATH)

.PHONY: install demo test check test-all lint manual benchmark

install: .venv/installed

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt uv
	$(BIN)/uv pip install --quiet --python $(BIN)/python --compile-bytecode --constraint constraints.txt --editable '.[dev]'
	touch $@

demo: install
	snakemake --cores all
	@cat results/demo/tables/summary.md
	@echo "Report:  results/demo/report.html   (all tables and figures in one page)"
	@echo "Gallery: results/demo/gallery.html  (every heatmap, with a threshold slider)"

PYTEST := pytest --numprocesses logical --dist loadfile --no-loadscope-reorder

test: install
	$(PYTEST) -m "not slurm and not browser and not long"

# The quick ones, while you write: nothing is trained, and no workflow runs.
check: install
	$(PYTEST) -m "not slurm and not browser and not long" tests/config tests/data tests/equations tests/evaluation \
	  tests/experiment tests/models tests/reporting tests/results tests/runtime tests/test_rooms.py tests/test_declared.py

# What `make test` leaves out: it needs SLURM or Chromium, or takes long.
test-all: install
	$(PYTEST) -m "slurm or browser or long"

# A quarter of an hour; nothing else should run. `pip install adeval` in .venv adds one more to compare with.
benchmark: install
	python -m benchmarks

lint: install
	ruff check .
	ruff format --check .
	mypy
	snakefmt --check Snakefile workflow
	snakemake --lint
	codespell

# The manual as a site, in site/; REPOSITORY is the address to which its links to code lead.
manual: install
	mkdocs build --strict
