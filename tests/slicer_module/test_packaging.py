"""The extension configured, built and installed against a stand-in for Slicer: what is shipped, and that it runs."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MODULE = ROOT / "SlicerBMapDiffusion"
LIBRARY = MODULE / "SlicerBMapDiffusionLib"
FOLDER = Path("lib/Slicer-5.10/qt-scripted-modules")
CMAKE = shutil.which("cmake", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")
NOT_SHIPPED = {"CMake", "Drawing", "Screenshots", "Testing", "Workbench", "CMakeLists.txt", "README.md"}
BUNDLES = [path.name for path in sorted((ROOT / "bundles").iterdir()) if (path / "configs").is_dir()]

has_tools = pytest.mark.skipif(
    CMAKE is None or importlib.util.find_spec("monai") is None,
    reason="CMake and the package's own environment are needed; `make test` runs these",
)


def run(*command: object, **options: object) -> str:
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False, **options)  # type: ignore[call-overload]
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Warning" not in done.stderr, done.stderr
    return str(done.stdout)


def tracked(folder: str) -> set[str]:
    """Files below a folder that git knows, relative to it."""
    listed = run("git", "ls-files", "-z", "--", folder, cwd=ROOT).split("\0")
    return {path.removeprefix(f"{folder}/") for path in listed if path}


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def built_here() -> dict[str, int]:
    """What a build of the package leaves in its folder, as an editable install does too, and when it was touched."""
    there = [ROOT / "build", *ROOT.glob("*.egg-info"), *ROOT.glob("*.egg-info/*")]
    return {path.name: path.stat().st_mtime_ns for path in there if path.exists()}


@pytest.fixture(scope="session")
def built_before() -> dict[str, int]:
    return built_here()


@pytest.fixture(scope="session")
def installed(built_before: dict[str, int], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of modules in the package, built and installed below a path with a space."""
    work = tmp_path_factory.mktemp("an extension")
    stub = Path(__file__).parent / "cmake_stub"
    where = [f"-DSlicer_DIR={stub}", f"-DPYTHON_EXECUTABLE={sys.executable}", f"-DCMAKE_INSTALL_PREFIX={work / 'out'}"]
    run(CMAKE, "-S", ROOT, "-B", work / "build", "-DBUILD_TESTING=ON", *where)
    run(CMAKE, "--build", work / "build")
    run(CMAKE, "--install", work / "build")
    assert files(work / "out") == {f"{FOLDER}/{name}" for name in files(work / "out" / FOLDER)}
    # started from the build tree, as Slicer's tests are, the module finds the same
    assert files(work / "build" / FOLDER) == files(work / "out" / FOLDER)
    return work / "out" / FOLDER


def listed(variable: str) -> list[str]:
    match = re.search(rf"set\({variable}\n(.*?)\)", (MODULE / "CMakeLists.txt").read_text(), re.DOTALL)
    assert match
    return [line.strip().replace("${MODULE_NAME}", MODULE.name) for line in match[1].splitlines() if line.strip()]


def test_cmake_lists_every_module_and_every_resource() -> None:
    """A file that is not listed is silently not shipped."""
    there = {name for name in files(MODULE) if "__pycache__" not in name and name.split("/")[0] not in NOT_SHIPPED}
    there -= {"BMapDiffusion.json"} | {name for name in there if name.startswith("Resources/Translations/")}
    lines = [*listed("MODULE_PYTHON_SCRIPTS"), *listed("MODULE_PYTHON_RESOURCES")]
    assert sorted(lines) == sorted(there)


@has_tools
def test_the_package_holds_the_module_the_models_and_the_wheel_and_nothing_else(installed: Path) -> None:
    scripts_and_resources = {*listed("MODULE_PYTHON_SCRIPTS"), *listed("MODULE_PYTHON_RESOURCES")}
    bundles = {f"Resources/Bundles/{name}" for name in tracked("bundles")}
    wheels = {name for name in files(installed) if name.startswith("Resources/Wheels/")}
    assert len(wheels) == 1
    assert files(installed) == scripts_and_resources | bundles | wheels


@has_tools
def test_shipped_models_are_the_ones_of_the_repository(installed: Path) -> None:
    assert len(BUNDLES) == 3
    for name in BUNDLES:
        shipped = installed / "Resources" / "Bundles" / name
        for path in ("LICENSE", "models/model.pt", "configs/inference.json", "docs/data_license.txt"):
            assert (shipped / path).read_bytes() == (ROOT / "bundles" / name / path).read_bytes()


@has_tools
def test_the_wheel_holds_every_module_of_the_package(installed: Path) -> None:
    [wheel] = (installed / "Resources" / "Wheels").iterdir()
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert held == {f"monai_bmaps/{name}" for name in tracked("monai_bmaps")}


@has_tools
def test_building_leaves_the_checkout_as_it_is(built_before: dict[str, int], installed: Path) -> None:
    assert built_here() == built_before


@has_tools
def test_a_second_build_has_nothing_to_do(installed: Path) -> None:
    assert "Building the wheel" not in run(CMAKE, "--build", installed.parents[3] / "build")


LIBRARY = ROOT / "SlicerBMapDiffusion" / "SlicerBMapDiffusionLib"
PURE_ROOMS = ("geometry", "jobs", "models", "setup")  # but the shelf, which asks Slicer's settings
PURE = [f"{path.parent.name}.{path.stem}" for room in PURE_ROOMS for path in sorted((LIBRARY / room).glob("[!_]*.py"))]
PURE = ["places", *(name for name in PURE if name != "models.shelf")]


@has_tools
def test_pure_modules_import_from_the_installed_tree_with_nothing_but_numpy(installed: Path, tmp_path: Path) -> None:
    """In a Python that has nothing of ours: ``-I`` leaves the checkout and the environment out."""
    code = f"""
import sys
sys.path.insert(0, {str(installed)!r})
allowed = set(sys.stdlib_module_names) | {{"numpy", "SlicerBMapDiffusionLib"}}
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] not in allowed:
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Refuse())
import importlib
for name in {PURE!r}:
    module = importlib.import_module("SlicerBMapDiffusionLib." + name)
    assert module.__file__.startswith({str(installed)!r}), module.__file__
from SlicerBMapDiffusionLib import places
print(places.bundles_folder(), places.wheel(), sep="\\n")
"""
    said = run(sys.executable, "-I", "-B", "-c", code, cwd=tmp_path).splitlines()
    assert said[0] == str(installed / "Resources" / "Bundles")
    assert Path(said[1]).parent == installed / "Resources" / "Wheels"


@has_tools
def test_pip_installs_the_shipped_wheel_and_then_wants_it_no_more(installed: Path, tmp_path: Path) -> None:
    wheel = next((installed / "Resources" / "Wheels").iterdir())
    target = tmp_path / "packages"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index"]
    run(*pip, "--target", target, wheel)
    code = f"""
import sys
sys.path[:0] = [{str(target)!r}, {str(installed)!r}]
from SlicerBMapDiffusionLib.setup import packages
print(packages._wheel_to_install())
"""
    run_there = [sys.executable, "-B", "-I", "-c"]
    assert run(*run_there, code, cwd=tmp_path).strip() == "None"
    (target / "monai_bmaps-0.1.0.dist-info" / "RECORD").write_text("monai_bmaps/__init__.py,sha256=other,1\n")
    assert run(*run_there, code, cwd=tmp_path).strip() == str(wheel)
