# The same targets serve a person, pre-commit and CI. `make demo` and `make test` set themselves up in .venv, and
# `make test-slicer` in .venv-slicer: slicer-core pins its own VTK (another version: make test-slicer SLICER_CORE=5.12.4.0).
# The browser workbench has .venv-workbench, since trame-slicer wants an older slicer-core.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
SLICER_CORE ?= 5.13.31053.0
SLICER_VENV := .venv-slicer/$(SLICER_CORE)
SLICER_BIN := $(SLICER_VENV)/bin
SLICER_STAMP := $(SLICER_VENV)/.installed
WORKBENCH_VENV := .venv-workbench
WORKBENCH_BIN := $(WORKBENCH_VENV)/bin
WORKBENCH_STAMP := $(WORKBENCH_VENV)/.installed
BUNDLE := bundles/cardiac_bmap_sdm
QUALITY := benchmark_results/cardiac_quality

# Waiting threads sleep: where other programs are busy, spinning ones slow each other down many times.
demo test test-slicer workbench test-workbench: export OMP_WAIT_POLICY ?= PASSIVE

.PHONY: setup setup-slicer setup-workbench demo test test-slicer workbench test-workbench lint wheel translations bench bench-quality clean

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

setup-workbench: $(WORKBENCH_STAMP)

$(WORKBENCH_STAMP): SlicerBMapDiffusion/Workbench/requirements.txt tests/workbench/requirements.txt
	$(PYTHON) -m venv $(WORKBENCH_VENV)
	$(WORKBENCH_BIN)/python -m pip install --quiet --upgrade pip
	$(WORKBENCH_BIN)/python -m pip install --quiet --requirement SlicerBMapDiffusion/Workbench/requirements.txt \
		--requirement tests/workbench/requirements.txt
	touch $(WORKBENCH_STAMP)

# The same work in a browser on this computer, without Slicer. Another port: make workbench PORT=8081.
PORT ?= 8080
workbench: setup setup-workbench
	BMAP_WORKER_PYTHON=$(abspath $(BIN)/python) $(WORKBENCH_BIN)/python SlicerBMapDiffusion/Workbench --port $(PORT)

# Chromium clicks through the workbench (Debian: apt-get install chromium; elsewhere CHROMIUM names it).
test-workbench: setup setup-workbench
	env -u DISPLAY BMAP_WORKER_PYTHON=$(abspath $(BIN)/python) \
		$(WORKBENCH_BIN)/python -m pytest --confcutdir=tests/workbench tests/workbench

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
	rm -rf $(VENV) .venv-slicer $(WORKBENCH_VENV) demo_output build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache
