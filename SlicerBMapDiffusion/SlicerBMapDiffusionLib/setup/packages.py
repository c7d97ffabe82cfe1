"""The Python packages that the worker needs: which are there, which are missing, which may not be replaced.

All of it is read from metadata: nothing is imported to find out, and nothing is changed.
"""

from __future__ import annotations

import importlib.metadata
import re
import zipfile
from dataclasses import dataclass
from pathlib import Path

from SlicerBMapDiffusionLib import places

TORCH = ">=2.4"
"""Releases of torch that the package supports; the newest that fits the driver is chosen."""

TORCH_SET = ("torch", "torchaudio", "torchvision")
"""A matching set, which the PyTorch extension chooses and installs."""

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
    *TORCH_SET,
)
"""Installed packages that an installation may not replace."""

_REQUIREMENT = re.compile(r"([A-Za-z0-9._-]+)((?:(?:>=|<)[0-9.]+(?:,|$))*)")


class InstallError(RuntimeError):
    """Why the worker cannot run, and what to do."""


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
