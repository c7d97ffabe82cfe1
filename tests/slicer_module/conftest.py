"""The module's folder on the path, and a scene without Slicer where slicer-core is installed."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "SlicerBMapDiffusion"))

# Another package on PyPI is called slicer, too.
HAS_SLICER = importlib.util.find_spec("slicer_core") is not None

REASON = "slicer-core is not installed here; `make test-slicer` runs these"


@pytest.fixture(scope="session")
def application(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Slicer's scene and logics, started once."""
    if not HAS_SLICER:
        pytest.skip(REASON)
    from slicer_module import headless

    return headless.start(str(tmp_path_factory.mktemp("cache")))


@pytest.fixture(scope="session")
def complaints(application: Any) -> list[str]:
    """What VTK and MRML warned of since the list was last cleared; also on the standard error, where it belongs."""
    import vtk

    found: list[str] = []

    @vtk.calldata_type(vtk.VTK_STRING)
    def note(_window: Any, _event: str, text: str) -> None:
        found.append(text.strip())

    for event in (vtk.vtkCommand.ErrorEvent, vtk.vtkCommand.WarningEvent):
        vtk.vtkOutputWindow.GetInstance().AddObserver(event, note)
    return found


@pytest.fixture
def scene(application: Any, complaints: list[str]) -> Iterator[Any]:
    """An empty MRML scene, which is ``slicer.mrmlScene``; what VTK complains of fails the test."""
    complaints.clear()
    yield application.scene
    application.close_scene()
    application.remove_views()
    assert not complaints, "VTK wrote:\n" + "\n".join(complaints)


@pytest.fixture
def opened(application: Any, scene: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The module's panel, opened on an empty scene, with a fake worker (panels.Opened)."""
    from slicer_module import panels

    for name in ("FAKE_WORKER_FAULT", "FAKE_WORKER_PAUSE", "FAKE_WORKER_BEAM"):
        monkeypatch.delenv(name, raising=False)
    module = panels.Opened(application, panels.fake_python(tmp_path))
    yield module
    module.close()


@pytest.fixture
def heart(opened: Any) -> Any:
    """The panel with the heart phantom loaded."""
    opened.load("heart")
    return opened
