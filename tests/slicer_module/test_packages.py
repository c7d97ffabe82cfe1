"""What is installed and what is missing: versions, this package's wheel, and pip itself held by the constraints."""

from __future__ import annotations

import importlib.metadata
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from SlicerBMapDiffusionLib.setup import packages
from SlicerBMapDiffusionLib.setup.packages import InstallError


def wheel(path: Path, code: str = "1", name: str = "monai_bmaps", version: str = "0.1.0", requires: str = "") -> Path:
    """A wheel of one module, which pip accepts."""
    made, info = path / f"{name}-{version}-py3-none-any.whl", f"{name}-{version}.dist-info"
    path.mkdir(exist_ok=True)
    record = f"{name}/__init__.py,sha256={code},1\n{info}/RECORD,,\n{info}/METADATA,,\n{info}/WHEEL,,\n"
    with zipfile.ZipFile(made, "w") as archive:
        archive.writestr(f"{name}/__init__.py", code)
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{requires}")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", record)
    return made


@pytest.mark.parametrize(
    ("version", "bounds", "fits"),
    [
        ("2.4", ">=2.4", True),
        ("2.4.0+cu124", ">=2.4.0.0", True),
        ("2.10.0", ">=2.4", True),
        ("2.3.9", ">=2.4", False),
        ("1.6.0rc1", ">=1.5,<2", True),
        ("2.0", ">=1.5,<2", False),
        ("0.1.0", "", True),
        ("unknown", ">=0.1", False),
    ],
)
def test_versions_compare_as_numbers(version: str, bounds: str, fits: bool) -> None:
    assert packages._fits(version, bounds) is fits


def test_a_requirement_of_another_form_is_refused(tmp_path: Path) -> None:
    (tmp_path / "requirements.txt").write_text("# comment\n\nmonai[all]~=1.5\n")
    with pytest.raises(ValueError, match=r"name>=version.*monai\[all\]"):
        packages.plan(tmp_path / "requirements.txt")


# our own wheel


def test_our_wheel_is_installed_unless_the_same_code_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shipped = wheel(tmp_path / "wheels", code="new")
    there: dict[str, str] = {}

    class Distribution:
        def read_text(self, name: str) -> str | None:
            return there.get(name)

    monkeypatch.setattr("SlicerBMapDiffusionLib.places.wheel", lambda: shipped)
    monkeypatch.setattr(importlib.metadata, "distribution", lambda name: Distribution())
    there["RECORD"] = "monai_bmaps/__init__.py,sha256=old,1\n"
    assert packages._wheel_to_install() == shipped
    there["RECORD"] = "monai_bmaps/__init__.py,sha256=new,1\nmonai_bmaps/__pycache__/__init__.cpython-312.pyc,,\n"
    assert packages._wheel_to_install() is None
    there.update({"RECORD": "__editable__.pth,,\n", "direct_url.json": '{"dir_info": {"editable": true}, "url": ""}'})
    assert packages._wheel_to_install() is None


def test_without_a_wheel_and_without_the_package_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> None:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr("SlicerBMapDiffusionLib.places.wheel", lambda: None)
    monkeypatch.setattr(importlib.metadata, "distribution", absent)
    with pytest.raises(InstallError, match=r"Extensions Manager, or run 'make wheel'"):
        packages.plan()


# pip itself


@pytest.fixture
def pip(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Pip without a network, told what to install but not to do it."""
    links = tmp_path / "links"
    wheel(links, name="numpy", version="99.0")
    wheel(links, name="greedy", version="1.0", requires="Requires-Dist: numpy>=99\n")
    command = [sys.executable, "-m", "pip", "install", "--dry-run", "--no-index", "--find-links", links]

    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PIP_")}
        return subprocess.run([*command, *arguments], capture_output=True, text=True, check=False, env=environment)

    return run


def test_our_constraints_make_pip_fail_rather_than_replace_numpy(
    pip: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    file = tmp_path / "constraints.txt"
    file.write_text(packages.constraints_text())
    assert f"numpy=={importlib.metadata.version('numpy')}\n" in file.read_text()
    free, held = pip("greedy"), pip("--constraint", file.as_uri(), "greedy")
    assert "numpy-99.0" in free.stdout
    assert held.returncode
    assert "conflicting dependencies" in held.stderr
