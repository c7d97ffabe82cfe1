# The same targets serve a person, pre-commit and CI. `make demo` and `make test` set themselves up in .venv, and
# `make test-slicer` in .venv-slicer: slicer-core pins its own VTK (another version: make test-slicer SLICER_CORE=5.12.4.0).
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
SLICER_CORE ?= 5.13.31053.0
SLICER_VENV := .venv-slicer/$(SLICER_CORE)
SLICER_BIN := $(SLICER_VENV)/bin
SLICER_STAMP := $(SLICER_VENV)/.installed
BUNDLE := bundles/cardiac_bmap_sdm
QUALITY := benchmark_results/cardiac_quality

# Waiting threads sleep: where other programs are busy, spinning ones slow each other down many times.
demo test test-slicer: export OMP_WAIT_POLICY ?= PASSIVE

.PHONY: setup setup-slicer demo test test-slicer lint wheel translations bench bench-quality clean

setup: $(STAMP)

$(STAMP): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable ".[dev]"
	touch $(STAMP)

setup-slicer: $(SLICER_STAMP)

$(SLICER_STAMP): tests/slicer_module/requirements.txt
	$(PYTHON) -m venv $(SLICER_VENV)
	$(SLICER_BIN)/python -m pip install --quiet --upgrade pip
	$(SLICER_BIN)/python -m pip install --quiet slicer-core==$(SLICER_CORE) --requirement tests/slicer_module/requirements.txt
	touch $(SLICER_STAMP)

demo: setup
	cd $(BUNDLE) && ../../$(BIN)/python -W ignore -m monai.bundle run --config_file configs/inference.json --output_dir ../../demo_output

test: setup
	$(BIN)/python -m pytest

# Slicer's scene without Slicer, offscreen; jobs run in the package's own environment, as they do in PythonSlicer.
test-slicer: setup setup-slicer
	env -u DISPLAY QT_QPA_PLATFORM=offscreen BMAP_WORKER_PYTHON=$(abspath $(BIN)/python) \
		$(SLICER_BIN)/python -m pytest --confcutdir=tests/slicer_module tests/slicer_module

# For a checkout whose SlicerBMapDiffusion/ is added to Slicer's module paths: what the extension ships as Resources/Wheels.
wheel: setup
	$(BIN)/cmake -DPYTHON=$(abspath $(BIN)/python) -DSOURCE=$(CURDIR) -DWORK=$(CURDIR)/build/wheel -DWHEELS=$(CURDIR)/dist \
		-P SlicerBMapDiffusion/CMake/BuildWheel.cmake

translations: setup-slicer
	cd tests && ../$(SLICER_BIN)/python -m slicer_module.translations

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
	rm -rf $(VENV) .venv-slicer demo_output build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache
