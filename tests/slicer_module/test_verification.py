"""A child process imports the packages, and says what does not."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from SlicerBMapDiffusionLib.jobs import verification
from SlicerBMapDiffusionLib.jobs.process import JobProcess


def checked(folder: Path, python: str, *modules: str) -> JobProcess:
    """What a check that has ended knows."""
    process = JobProcess(verification.command(python, modules), folder, explain=verification.explained)
    process.start()
    process.wait()
    return process


def test_packages_that_import_pass_in_a_process_of_their_own(tmp_path: Path) -> None:
    assert checked(tmp_path, sys.executable, "json", "this").state == "done"
    assert "this" not in sys.modules


def test_a_package_that_does_not_import_is_named(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("import a_package_that_is_not_there")
    assert checked(tmp_path, sys.executable, "broken").failure == (
        "The packages are installed but do not work: ModuleNotFoundError: No module named "
        "'a_package_that_is_not_there'. Restart Slicer and try again; if it stays so, uninstall PyTorch in the module "
        "'PyTorch Utils' and install again."
    )


def test_a_crash_is_named_and_not_the_listing_below_it(tmp_path: Path) -> None:
    deep = "def fall(n): fall(n - 1) if n else os.abort()\n"
    (tmp_path / "crashing.py").write_text(f"import os\n{deep}fall(200)")
    failure = checked(tmp_path, sys.executable, "json", "crashing").failure
    assert failure is not None
    assert failure.startswith("The packages are installed but do not work: Fatal Python error: Aborted. Restart")


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (["OSError: no libcudart", "the end."], "OSError: no libcudart. Restart"),
        (["TypeError: first", "", "ImportError: second."], "ImportError: second. Restart"),
        (["killed"], "killed. Restart"),
        ([], "exit code 3. Restart"),
    ],
)
def test_the_last_error_is_told_or_else_the_last_line(lines: list[str], said: str) -> None:
    assert f"do not work: {said}" in verification.explained(3, lines)


def test_a_python_that_is_not_there_is_named(tmp_path: Path) -> None:
    failure = checked(tmp_path, str(tmp_path / "PythonSlicer"), "json").failure
    assert "PythonSlicer cannot be started" in str(failure)
