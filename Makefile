# Two commands do everything in a fresh clone: `make demo` and `make test`.
PYTHON ?= python3
BIN := .venv/bin
export UV_PYTHON_DOWNLOADS := never
export PATH := $(CURDIR)/$(BIN):$(PATH)

.PHONY: install demo test lint

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
	@echo "Gallery: results/demo/gallery.html  (every heatmap, with a threshold to slide)"

test: install
	pytest --numprocesses logical --dist loadfile

lint: install
	ruff check .
	ruff format --check .
	mypy
	snakefmt --check Snakefile workflow
	snakemake --lint
	codespell
