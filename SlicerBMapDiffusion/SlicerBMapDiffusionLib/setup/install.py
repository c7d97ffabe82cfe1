"""The Python packages that the worker needs, put into Slicer's Python after asking.

PyTorch comes through the PyTorch extension, which picks the build for the graphics card; the rest through pip, held by
constraints so that nothing Slicer itself uses is ever replaced; this package's own wheel last, without dependencies.
(``installTorch`` of the PyTorch extension imports torch, once, in the session that installs it.)
"""

from __future__ import annotations

import importlib
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import ModuleType

from SlicerBMapDiffusionLib.setup import packages
from SlicerBMapDiffusionLib.setup.packages import InstallError

__all__ = ["InstallDeclined", "InstallError", "ensure", "python_executable"]

_REQUESTER = "B-Map Diffusion"


class InstallDeclined(InstallError):  # noqa: N818 - the user's wish, no error
    """The user said no; nothing was changed."""


def ensure(ask: Callable[[str], bool]) -> bool:
    """Install what is missing, after one question.

    Args:
        ask: shows what would be installed, one package a line, and says whether the user agrees. Not called where
            nothing is missing.

    Returns:
        Whether anything was installed: then check that it works (:mod:`~SlicerBMapDiffusionLib.jobs.verification`).

    Raises:
        InstallDeclined: the user said no.
        InstallError: no PyTorch extension, no network, or a conflict with Slicer's packages.
        RuntimeError: not on the main thread, where pip would crash Slicer.
    """
    if threading.current_thread() is not threading.main_thread():
        raise RuntimeError("packages are installed on the main thread only: Slicer crashes otherwise; use a QTimer")
    todo = packages.plan()
    if not todo:
        return False
    if todo.torch:
        _pytorch_extension()  # ask for nothing that cannot be done
    if not ask("\n".join(todo.names())):
        raise InstallDeclined("The Python packages were not installed: without them no image can be generated.")
    with getattr(_util(), "WaitCursor", nullcontext)():
        _install(todo)
    return True


def python_executable() -> str:
    """The Python that runs the worker: ``PythonSlicer``, or this interpreter outside of Slicer.

    Raises:
        InstallError: the application runs but has no PythonSlicer.
    """
    found = shutil.which("PythonSlicer")
    if found:
        return found
    if "python" in Path(sys.executable).stem.lower():
        return sys.executable
    raise InstallError("PythonSlicer was not found beside Slicer; reinstall Slicer.")


def _install(todo: packages.Plan) -> None:
    if todo.torch:
        _install_torch()
    with _constraints() as file:
        if todo.packages:
            _explained(lambda: _pip(list(todo.packages), file), ", ".join(todo.packages))
        if todo.wheel:
            # the same version can hold other code, in a preview of the extension
            arguments = ["--no-deps", "--no-index", "--force-reinstall", str(todo.wheel)]
            _explained(lambda: _util().pip_install(arguments), todo.wheel.name)
    importlib.invalidate_caches()


def _pytorch_extension() -> ModuleType:
    try:
        return importlib.import_module("PyTorchUtils")
    except ImportError:
        raise InstallError(
            "Slicer's PyTorch extension is not installed. Install 'PyTorch' in the Extensions Manager, restart Slicer "
            "and try again."
        ) from None


def _install_torch() -> None:
    logic = _pytorch_extension().PyTorchUtilsLogic()
    # pip splits the variable at spaces, which a user's folder can have and an address has not
    with _constraints(but=packages.TORCH_SET) as file, _environment(PIP_CONSTRAINT=file.as_uri()):
        arguments = {"askConfirmation": False, "torchVersionRequirement": packages.TORCH}
        installed = _explained(lambda: logic.installTorch(**arguments), "PyTorch")
    if installed is None:
        raise InstallError("PyTorch was not installed; see the Python console, or the module 'PyTorch Utils'.")
    importlib.invalidate_caches()


def _pip(lines: list[str], constraints: Path) -> None:
    """Slicer 5.12 and newer show a progress dialog; before, there is the busy cursor alone."""
    packaging = _newer_packaging()
    if packaging is None:
        _util().pip_install(["--constraint", str(constraints), *lines])
    else:
        # its first releases take no text
        parsed = [importlib.import_module("packaging.requirements").Requirement(line) for line in lines]
        packaging.pip_ensure(parsed, constraints=str(constraints), prompt_install=False, requester=_REQUESTER)


def _newer_packaging() -> ModuleType | None:
    try:
        packaging = importlib.import_module("slicer.packaging")
    except ImportError:
        return None
    return packaging if hasattr(packaging, "pip_ensure") else None


def _util() -> ModuleType:
    return importlib.import_module("slicer.util")


@contextmanager
def _constraints(but: Sequence[str] = ()) -> Iterator[Path]:
    """A constraints file for pip that lives as long as the ``with`` block."""
    kept = [line for line in packages.constraints_text().splitlines() if line.partition("==")[0] not in but]
    with tempfile.TemporaryDirectory(prefix="SlicerBMapDiffusion-") as folder:
        file = Path(folder) / "constraints.txt"
        file.write_text("\n".join([*kept, ""]), encoding="utf-8")
        yield file


@contextmanager
def _environment(**values: str) -> Iterator[None]:
    """Set environment variables for the processes started in the ``with`` block."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name)
            if value is not None:
                os.environ[name] = value


def _explained(install: Callable[[], object], what: str) -> object:
    """Run an installation; what it raises as an InstallError."""
    try:
        return install()
    except subprocess.CalledProcessError as error:
        raise InstallError(
            f"Installing {what} failed (exit code {error.returncode}); the Python console shows why. Usual reasons: no "
            "network, a proxy (set HTTPS_PROXY before starting Slicer), a full disk, or a package that would replace "
            "one of Slicer's own, which is not allowed."
        ) from error
    except (ImportError, OSError, RuntimeError) as error:
        raise InstallError(f"Installing {what} failed: {error}. Restart Slicer and try again.") from error
