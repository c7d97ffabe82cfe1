"""The module's self-test: the whole way from a phantom to an image, in the application or in the harness."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import slicer
import vtk
from slicer.i18n import tr as _

from SlicerBMapDiffusionLib import defaults, planning, scene
from SlicerBMapDiffusionLib.logic import Logic
from SlicerBMapDiffusionLib.parameters import FrameKind, Parameters
from SlicerBMapDiffusionLib.scene import sample_data
from SlicerBMapDiffusionLib.setup import packages

PATIENCE_S = 300.0


class Recorder:
    """Listens to the logic and keeps what it hears."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.fractions: list[float] = []
        self.failures: list[str] = []
        self.ended = False

    def on_progress(self, fraction: float | None, text: str) -> None:
        """Keep the share."""
        if fraction is not None:
            self.fractions.append(fraction)

    def on_preview(self, image: Any) -> None:
        """Not needed."""

    def on_finished(self, node: Any, text: str) -> None:
        """Keep the result."""
        self.nodes.append(node)
        self.ended = True

    def on_failed(self, text: str, details: str) -> None:
        """Keep the reason."""
        self.failures.append(f"{text}\n{details}")
        self.ended = True

    def on_cancelled(self) -> None:
        """Nothing comes any more."""
        self.ended = True

    def on_beam(self, beam: Any) -> None:
        """Not needed."""

    def on_model(self, model: Any) -> None:
        """Not needed."""


def run(test: Any, parameter_node: Any, python: str | None = None, name: str = "heart", steps: int = 3) -> Any:
    """Draw one image of a phantom and check where it lies and what is written on it.

    Args:
        test: the unittest.TestCase to check with.
        parameter_node: gives the module's parameter node.
        python: the worker's interpreter; None is Slicer's own.
        name: of the phantom.
        steps: denoising steps.

    Returns:
        The result's node; None where the packages that draw are not installed, as on a build machine.
    """
    recorder = Recorder()
    logic = Logic(recorder, python)
    volume, segmentation = sample_data.load(name)
    parameters = Parameters(parameter_node())
    model = next(
        model
        for model in logic.shelf.models.values()
        if name in model.name or (name == "heart" and "cardiac" in model.name)
    )
    parameters.model, parameters.segmentation, parameters.volume = model.name, segmentation, volume
    parameters.frame_kind, parameters.steps, parameters.random_seed = FrameKind.SLICES, steps, False
    parameters.seed = 7
    defaults.update_table(parameters, model)
    test.assertIsNone(planning.reason_not_ready(parameters, model))
    test.assertEqual(int(planning.plan(parameters, model, 7).labels.max()), len(model.classes))
    if logic.uses_own_python and packages.missing():
        test.delayDisplay(_("Python packages are missing: the test ends before an image is drawn."))
        return None
    logic.generate(parameters)
    wait(recorder)
    test.assertEqual(recorder.failures, [])
    result = recorder.nodes[0]
    expected = planning.frame_of(parameters, model).ijk_to_ras
    matrix = vtk.vtkMatrix4x4()
    result.GetIJKToRASMatrix(matrix)
    test.assertLess(float(np.abs(slicer.util.arrayFromVTKMatrix(matrix) - expected).max()), 1e-9)
    test.assertTrue(scene.is_synthetic(result))
    test.assertEqual(scene.record_of(result)["seed"], 7)
    test.assertGreater(float(slicer.util.arrayFromVolume(result).std()), 5.0)
    return result


def wait(recorder: Recorder) -> None:
    """Let the application live until the drawing has ended, or for as long as patience lasts."""
    end = time.monotonic() + PATIENCE_S
    while not recorder.ended and time.monotonic() < end:
        slicer.app.processEvents()
        time.sleep(0.01)
