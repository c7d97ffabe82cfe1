"""Where the extension keeps what it ships and what it downloads.

An installed extension has everything beside its module file (``Resources/Bundles``, ``Resources/Wheels``). A checkout
that a developer adds to Slicer's module paths has the bundles at its root and the wheel where ``make wheel`` puts it.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

_MODULE = Path(__file__).resolve().parents[1]
_CHECKOUT = _MODULE.parent


def resources_folder() -> Path:
    """The module's ``Resources``."""
    return _MODULE / "Resources"


def module_folder() -> Path:
    """The folder in which a Python finds this library."""
    return _MODULE


def bundles_folder() -> Path:
    """The folder that holds one folder for each shipped model."""
    shipped = resources_folder() / "Bundles"
    return shipped if shipped.is_dir() else _CHECKOUT / "bundles"


def wheel() -> Path | None:
    """The package's wheel, or None in a checkout where none was built."""
    for folder in (resources_folder() / "Wheels", _CHECKOUT / "dist"):
        found = list(folder.glob("monai_bmaps-*.whl"))
        if found:
            return max(found, key=lambda path: path.stat().st_mtime)
    return None


def downloads_folder() -> Path:
    """This user's folder for downloaded models, which need not exist; the same for every Slicer of this user."""
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "SlicerBMapDiffusion"
