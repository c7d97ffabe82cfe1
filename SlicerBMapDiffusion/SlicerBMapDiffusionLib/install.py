"""The Python packages that the worker needs, put into Slicer's Python after asking.

PyTorch comes through the PyTorch extension, which picks the build for the graphics card; the rest through pip, held by
constraints so that nothing Slicer itself uses is ever replaced; this package's own wheel last, without dependencies.
What is there is read from metadata: torch is not imported to find out. (``installTorch`` of the PyTorch extension does
import it, once, in the session that installs it.)
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from SlicerBMapDiffusionLib import places

TORCH = ">=2.4"
"""Releases of torch that the package supports; the newest that fits the driver is chosen."""

_TORCH_SET = ("torch", "torchaudio", "torchvision")

PROTECTED = (
    # what Slicer's own modules run on: DICOM, readers and writers, the extensions manager
    "certifi",
    "charset-normalizer",
    "dicomweb-client",
    "idna",
    "lxml",
    "numpy",
    "pillow",
    "pydicom",
    "requests",
    "scipy",
    "SimpleITK",
    "urllib3",
    "vtk",
    # a matching set, chosen by the PyTorch extension
    *_TORCH_SET,
)
"""Installed packages that an installation may not replace."""

VERIFIED = ("torch", "monai.bundle", "ignite.engine", "fire", "nibabel", "PIL", "einops", "monai_bmaps.handlers")
"""Modules that must import in the worker's Python."""

_REQUESTER = "B-Map Diffusion"
_REQUIREMENT = re.compile(r"([A-Za-z0-9._-]+)((?:(?:>=|<)[0-9.]+(?:,|$))*)")


class InstallError(RuntimeError):
    """Why the worker cannot run, and what to do."""


class InstallDeclined(InstallError):  # noqa: N818 - the user's wish, no error
    """The user said no; nothing was changed."""


@dataclass(frozen=True)
class Plan:
    """What is not there yet.

    Attributes:
        torch: PyTorch, or a newer one.
        packages: lines for pip, ``monai>=1.5``.
        wheel: this package's wheel, None where it is installed as shipped.
    """

    torch: bool
    packages: tuple[str, ...]
    wheel: Path | None

    def __bool__(self) -> bool:
        """Whether anything is to be done."""
        return bool(self.torch or self.packages or self.wheel)

    def names(self) -> list[str]:
        """What a person reads: one line for each package, in the order in which they are installed."""
        ours = [] if self.wheel is None else [f"{'-'.join(self.wheel.name.split('-')[:2])} (part of this extension)"]
        return [*([f"PyTorch{TORCH} (large: some GB)"] if self.torch else []), *self.packages, *ours]


def missing() -> list[str]:
    """Names of what is not installed, for a question to the user; empty when the worker can run."""
    return plan().names()


def plan(requirements: Path | None = None) -> Plan:
    """What an installation would do now.

    Raises:
        InstallError: the package is not installed and the extension has no wheel of it (a checkout without one).
    """
    requirements = requirements or places.resources_folder() / "requirements.txt"
    torch = _version("torch")
    lines = [line for line in _lines(requirements) if not _satisfied(line)]
    return Plan(torch is None or not _fits(torch, TORCH), tuple(lines), _wheel_to_install())


def constraints_text() -> str:
    """A pip constraints file that pins the protected packages to the versions that are installed now."""
    pinned = ((name, _version(name)) for name in PROTECTED)
    return "".join(f"{name}=={version}\n" for name, version in pinned if version)


def ensure(ask: Callable[[str], bool]) -> None:
    """Install what is missing, after one question, and check in the worker's Python that it imports.

    Args:
        ask: shows what would be installed, one package a line, and says whether the user agrees. Not called where
            nothing is missing.

    Raises:
        InstallDeclined: the user said no.
        InstallError: no PyTorch extension, no network, a conflict with Slicer's packages, or packages that do not work.
        RuntimeError: not on the main thread, where pip would crash Slicer.
    """
    if threading.current_thread() is not threading.main_thread():
        raise RuntimeError("packages are installed on the main thread only: Slicer crashes otherwise; use a QTimer")
    todo = plan()
    if not todo:
        return
    if todo.torch:
        _pytorch_extension()  # ask for nothing that cannot be done
    if not ask("\n".join(todo.names())):
        raise InstallDeclined("The Python packages were not installed: without them no image can be generated.")
    with getattr(_util(), "WaitCursor", nullcontext)():
        _install(todo)
        verify(python_executable())


def verify(python: str, modules: Sequence[str] = VERIFIED, timeout_s: float = 300.0) -> None:
    """Import everything in a process of its own, as the worker will.

    The time-out is generous: a first import after an installation compiles, and virus scanners read along.

    Raises:
        InstallError: with the last line of what Python said.
    """
    code = "import importlib\n" + "".join(f"importlib.import_module({name!r})\n" for name in modules)
    try:
        done = subprocess.run(
            [python, "-c", code],
            capture_output=True,
            check=False,
            creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
            errors="replace",
            text=True,
            timeout=timeout_s,
        )
    except subprocess.TimeoutExpired:
        raise InstallError(f"Python did not import the packages within {timeout_s:.0f} s; try again.") from None
    except OSError as error:
        raise InstallError(f"{python} cannot be started ({error.strerror}); reinstall Slicer.") from error
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise InstallError(
            f"The packages are installed but do not work: {last}. Restart Slicer and try again; if it stays so, "
            "uninstall PyTorch in the module 'PyTorch Utils' and install again."
        )


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


# what is there


def _lines(requirements: Path) -> list[str]:
    lines = [line.strip() for line in requirements.read_text(encoding="utf-8").splitlines()]
    return [line for line in lines if line and not line.startswith("#")]


def _satisfied(line: str) -> bool:
    match = _REQUIREMENT.fullmatch(line)
    if not match:
        raise ValueError(f"a requirement reads name>=version or name>=version,<version, got {line!r}")
    version = _version(match[1])
    return version is not None and _fits(version, match[2])


def _version(name: str) -> str | None:
    try:
        # a package that was removed by hand can leave a folder without a version
        return importlib.metadata.version(name) or None
    except (importlib.metadata.PackageNotFoundError, KeyError):
        return None


def _fits(version: str, bounds: str) -> bool:
    number = _number(version)
    for bound in filter(None, bounds.split(",")):
        if bound.startswith(">=") and number < _number(bound[2:]):
            return False
        if bound.startswith("<") and number >= _number(bound[1:]):
            return False
    return True


def _number(version: str) -> tuple[int, ...]:
    """(2, 6) of ``2.6.0+cu124`` and of ``2.6``, so that both compare as equal."""
    found = re.match(r"\d+(?:\.\d+)*", version)
    parts = [int(part) for part in found[0].split(".")] if found else []
    while parts and parts[-1] == 0:
        parts.pop()
    return tuple(parts)


def _wheel_to_install() -> Path | None:
    """The shipped wheel, unless what is installed has the same files or is a developer's checkout."""
    wheel = places.wheel()
    try:
        there = importlib.metadata.distribution("monai-bmaps")
    except importlib.metadata.PackageNotFoundError:
        if wheel is None:
            raise InstallError(
                "The package monai-bmaps is not installed, and this copy of the extension has no wheel of it; install "
                "the extension with the Extensions Manager, or run 'make wheel' in the checkout."
            ) from None
        return wheel
    if wheel is None or '"editable": true' in (there.read_text("direct_url.json") or ""):
        return None
    return None if _code(_record(wheel)) <= _code(there.read_text("RECORD") or "") else wheel


def _record(wheel: Path) -> str:
    with zipfile.ZipFile(wheel) as opened:
        name = next(name for name in opened.namelist() if name.endswith(".dist-info/RECORD"))
        return opened.read(name).decode()


def _code(record: str) -> set[str]:
    """File, hash and size of each module."""
    return {line for line in record.splitlines() if line.partition(",")[0].endswith(".py")}


# how it is installed


def _install(todo: Plan) -> None:
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
    with _constraints(but=_TORCH_SET) as file, _environment(PIP_CONSTRAINT=file.as_uri()):
        arguments = {"askConfirmation": False, "torchVersionRequirement": TORCH}
        installed = _explained(lambda: logic.installTorch(**arguments), "PyTorch")
    if installed is None:
        raise InstallError("PyTorch was not installed; see the Python console, or the module 'PyTorch Utils'.")
    importlib.invalidate_caches()


def _pip(packages: list[str], constraints: Path) -> None:
    """Slicer 5.12 and newer show a progress dialog; before, there is the busy cursor alone."""
    packaging = _newer_packaging()
    if packaging is None:
        _util().pip_install(["--constraint", str(constraints), *packages])
    else:
        # its first releases take no text
        parsed = [importlib.import_module("packaging.requirements").Requirement(line) for line in packages]
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
    kept = [line for line in constraints_text().splitlines() if line.partition("==")[0] not in but]
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
