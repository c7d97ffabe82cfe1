"""The packages that the module installs are enough, and Slicer finds its terminology."""

from __future__ import annotations

import importlib.metadata
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from SlicerBMapDiffusionLib.setup import packages

ROOT = Path(__file__).parents[2]
REQUIREMENTS = ROOT / "SlicerBMapDiffusion" / "Resources" / "requirements.txt"
TERMINOLOGY = ROOT / "SlicerBMapDiffusion" / "Resources" / "Terminologies" / "BMapDiffusion.term.json"


def closure(names: list[str]) -> set[str]:
    """The named distributions and what they require without extras, as pip would bring them."""
    found: set[str] = set()
    while names:
        name = re.sub(r"[-_.]+", "-", names.pop()).lower()
        if name in found:
            continue
        found.add(name)
        try:
            required = importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:
            continue  # for another platform
        names += [re.split(r"[^A-Za-z0-9._-]", line)[0] for line in required if "extra ==" not in line]
    return found


def test_a_model_draws_with_what_is_installed_and_nothing_more(tmp_path: Path) -> None:
    """All else that this environment has is hidden from the worker."""
    pytest.importorskip("monai", reason="the package's own environment is needed; `make test` runs this")
    names = [packages._REQUIREMENT.fullmatch(line)[1] for line in packages._lines(REQUIREMENTS)]  # type: ignore[index]
    there = closure([*names, "torch", "torchvision", "monai-bmaps"]) | {"monai-bmaps"}
    hidden = {
        module
        for module, owners in importlib.metadata.packages_distributions().items()
        if not {re.sub(r"[-_.]+", "-", owner).lower() for owner in owners} & there
    }
    assert {"scipy", "matplotlib", "tensorboard", "skimage", "pydicom"} <= hidden
    code = f"""
import runpy, sys
from importlib.machinery import PathFinder
class Hiding:
    find_distributions = staticmethod(PathFinder.find_distributions)
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] not in {sorted(hidden)!r}:
            return PathFinder.find_spec(name, path, target)
sys.meta_path[sys.meta_path.index(PathFinder)] = Hiding()
output = ["--output_dir", sys.argv[1]]
quick = ["--num_inference_steps", "1", "--batch_size", "4"]
sys.argv[1:] = ["run", "--config_file", "configs/inference.json", *quick, *output]
runpy.run_module("monai.bundle", run_name="__main__")
"""
    bundle = ROOT / "bundles" / "cardiac_bmap_sdm"
    command = [sys.executable, "-W", "ignore", "-c", code, str(tmp_path / "out")]
    environment = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "HOME": str(tmp_path)}
    done = subprocess.run(command, cwd=bundle, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "out").glob("heart_*.png"))) == 4


def test_the_module_asks_for_what_the_package_declares() -> None:
    tomllib = pytest.importorskip("tomllib", reason="Python 3.11 or newer reads pyproject.toml")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    declared = {line for line in project["dependencies"] if not line.startswith("torch")}
    assert declared <= set(packages._lines(REQUIREMENTS))
    assert f"torch{packages.TORCH}" in project["dependencies"]


def test_slicer_reads_the_terminology_with_each_class(application: Any) -> None:
    import slicer

    logic = slicer.vtkSlicerTerminologiesModuleLogic()
    name = logic.LoadTerminologyFromFile(str(TERMINOLOGY))
    category, found = slicer.vtkSlicerTerminologyCategory(), {}
    assert logic.GetNthCategoryInTerminology(name, 0, category)
    for index in range(logic.GetNumberOfTypesInTerminologyCategory(name, category)):
        kind = slicer.vtkSlicerTerminologyType()
        assert logic.GetNthTypeInTerminologyCategory(name, category, index, kind)
        found[kind.GetCodeValue()] = kind.GetCodeMeaning()
    assert found == {
        "87878005": "Left ventricle",
        "74281007": "Myocardium",
        "82471001": "Left atrium",
        "69748006": "Thyroid gland",
    }
