"""The module as a user opens it, on the stand-ins: panel, slice view, fake or real worker."""

from __future__ import annotations

import importlib
import os
import stat
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

SOURCES = Path(__file__).parents[2] / "SlicerBMapDiffusion"
_PATIENCE_S = 20.0


def fake_python(folder: Path) -> str:
    """An executable that stands in for the worker's Python; see fake_worker.py."""
    path = folder / "python"
    path.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{Path(__file__).with_name("fake_worker.py")}" "$@"\n')
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


class Opened:
    """The opened module.

    Args:
        application: of headless.start().
        worker: the interpreter for jobs.
    """

    def __init__(self, application: Any, worker: str) -> None:
        import slicer

        from slicer_module import slicer_stand_ins

        self.application = application
        self.app = slicer_stand_ins.install()
        self.view = application.add_slice_view("Red", (400, 300))
        self._worker_before = os.environ.get("BMAP_WORKER_PYTHON")
        os.environ["BMAP_WORKER_PYTHON"] = worker
        self.module = importlib.import_module("SlicerBMapDiffusion")
        slicer.modules.slicerbmapdiffusion = self.module
        self.widget = self.module.SlicerBMapDiffusionWidget()
        self.panel, self.ui = self.widget.panel, self.widget.panel.ui

    @property
    def parameters(self) -> Any:
        """The parameter node's present wrapper."""
        return self.panel.parameters

    def load(self, name: str) -> tuple[Any, Any]:
        """Load a phantom, fit the view to it, and let the panel see it: (volume, segmentation)."""
        from SlicerBMapDiffusionLib.scene import sample_data

        volume, segmentation = sample_data.load(name)
        self.view.GetSliceCompositeNode().SetBackgroundVolumeID(volume.GetID())
        self.view.FitSliceToBackground(400, 300)
        self.settle()
        return volume, segmentation

    def settle(self) -> None:
        """Let timers and events have their turn."""
        from slicer_module import pythonqt

        pythonqt.process_events()
        self.panel.refresh()

    def until(self, condition: Callable[[], bool], patience_s: float = _PATIENCE_S) -> None:
        """Let the application live until a condition holds."""
        from slicer_module import pythonqt

        end = time.monotonic() + patience_s
        while not condition():
            assert time.monotonic() < end, f"still waiting; the panel says {self.status!r}"
            pythonqt.process_events()
            time.sleep(0.01)
        self.settle()

    def draw(self) -> Any:
        """Press Generate and wait for the result."""
        self.ui.generateButton.click()
        self.until(lambda: not self.panel.logic.busy)
        return self.ui.resultSelector.currentNode()

    @property
    def status(self) -> str:
        """The sentence under the button."""
        return str(self.ui.statusLabel.text)

    def shown(self, name: str) -> bool:
        """Whether a widget of the panel would be seen, were its section open."""
        return not getattr(self.ui, name).isHidden()

    def close(self) -> None:
        """Leave the module."""
        from slicer_module import pythonqt

        self.widget.cleanup()
        os.environ.pop("BMAP_WORKER_PYTHON", None)
        if self._worker_before is not None:
            os.environ["BMAP_WORKER_PYTHON"] = self._worker_before
        for selector in vars(self.ui).values():
            if isinstance(selector, pythonqt.qMRMLNodeComboBox):
                selector.setMRMLScene(None)


def in_view(opened: Opened) -> None:
    """Let the plane be that of the slice view, no image chosen."""
    opened.parameters.frame_kind = type(opened.parameters.frame_kind).VIEW
    opened.parameters.volume = None
    opened.settle()


def nodes_of(scene: Any, kind: str) -> list[Any]:
    return [scene.GetNthNodeByClass(index, kind) for index in range(scene.GetNumberOfNodesByClass(kind))]


def outline_of(scene: Any) -> Any:
    return next(
        (node for node in nodes_of(scene, "vtkMRMLModelNode") if node.GetAttribute("BMapDiffusion.outline")), None
    )
