# The same targets serve a person, pre-commit and CI. `make demo` and `make test` set themselves up in .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
BUNDLE := bundles/cardiac_bmap_sdm
QUALITY := benchmark_results/cardiac_quality

# Waiting threads sleep: where other programs are busy, spinning ones slow each other down many times.
demo test: export OMP_WAIT_POLICY ?= PASSIVE

.PHONY: setup demo test lint bench bench-quality clean

setup: $(STAMP)

$(STAMP): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable ".[dev]"
	touch $(STAMP)

demo: setup
	cd $(BUNDLE) && ../../$(BIN)/python -W ignore -m monai.bundle run --config_file configs/inference.json --output_dir ../../demo_output

test: setup
	$(BIN)/python -m pytest

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: setup
	$(BIN)/python -W ignore benchmarks/run.py --output docs/benchmarks.md

# Hours; a stopped run goes on where it was: make bench-quality DATA=/data/camus_apical [STEM=inception.pth]
bench-quality: setup
	@test -n "$(DATA)" || { echo "DATA must name a folder of CAMUS apical frames (images/, labels/, sectors/)"; exit 2; }
	$(BIN)/python -W ignore benchmarks/cardiac_quality.py --data $(DATA) $(if $(STEM),--stem $(STEM)) --work $(QUALITY)
	cp $(QUALITY)/report.json docs/benchmark_quality.json
	cp $(QUALITY)/curve.png docs/benchmark_quality.png

clean:
	rm -rf $(VENV) demo_output build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache
