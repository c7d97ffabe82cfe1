"""A slice view of the scene as a picture, drawn offscreen by Slicer's own displayable managers (EGL or Mesa).

For the documentation: what it draws is the harness, not the application's window.
"""

from __future__ import annotations

import os
from ctypes.util import find_library
from pathlib import Path
from typing import Any

import numpy as np
import slicer
import vtk
from numpy.typing import NDArray
from vtk.util.numpy_support import numpy_to_vtk, vtk_to_numpy

_MANAGERS = (
    "vtkMRMLVolumeGlyphSliceDisplayableManager",
    "vtkMRMLModelSliceDisplayableManager",
    "vtkMRMLSegmentationsDisplayableManager2D",
    "vtkMRMLMarkupsDisplayableManager",
    "vtkMRMLRulerDisplayableManager",
)


def can_render() -> bool:
    """Whether this machine has what draws without a display (Debian: libegl1, libgl1-mesa-dri)."""
    return find_library("EGL") is not None


class SliceView:
    """A slice view of (width, height) pixels: ``node`` is its vtkMRMLSliceNode."""

    def __init__(self, application: Any, name: str = "Red", size: tuple[int, int] = (480, 400)) -> None:
        # Without it VTK asks for an X server first, and complains.
        os.environ["VTK_DEFAULT_OPENGL_WINDOW"] = "vtkEGLRenderWindow"
        self.logic = application.add_slice_view(name, size)
        application.logic.GetSliceLogics().AddItem(self.logic)
        self.node = self.logic.GetSliceNode()
        self.composite = self.logic.GetSliceCompositeNode()
        self._renderer = vtk.vtkRenderer()
        self._window = vtk.vtkRenderWindow()
        self._window.SetOffScreenRendering(1)
        self._window.SetSize(*size)
        self._window.AddRenderer(self._renderer)
        # The managers crash without one.
        self._interactor = vtk.vtkRenderWindowInteractor()
        self._interactor.SetRenderWindow(self._window)
        self._interactor.Initialize()
        self._managers = _managers(application, self._renderer, self.node)
        self._add_image()

    def ruler(self) -> None:
        """Show a scale in mm."""
        self.node.SetRulerType(self.node.RulerTypeThin)

    def render(self) -> NDArray[np.uint8]:
        """What the view shows: (height, width, 3), the first row on top."""
        self.logic.UpdatePipeline()
        self._mapper.SetInputConnection(self.logic.GetImageDataConnection())
        for _ in range(2):  # the first one makes the managers' actors
            self._window.Render()
        grab = vtk.vtkWindowToImageFilter()
        grab.SetInput(self._window)
        grab.ReadFrontBufferOff()
        grab.Update()
        width, height, _depth = grab.GetOutput().GetDimensions()
        pixels = vtk_to_numpy(grab.GetOutput().GetPointData().GetScalars())
        return np.array(pixels.reshape(height, width, 3)[::-1])

    def save(self, path: Path) -> NDArray[np.uint8]:
        """Write the picture as PNG and return it."""
        pixels = self.render()
        write_picture(pixels, path)
        return pixels

    def caption(self, text: str) -> None:
        """Small words at the lower left, such as that this is no screenshot of the application."""
        words = vtk.vtkTextActor()
        words.SetInput(text)
        words.SetPosition(8, 6)
        words.GetTextProperty().SetFontSize(13)
        words.GetTextProperty().SetColor(0.7, 0.7, 0.7)
        self._renderer.AddViewProp(words)

    def _add_image(self) -> None:
        self._mapper = vtk.vtkImageMapper()
        self._mapper.SetColorWindow(255)
        self._mapper.SetColorLevel(127.5)
        actor = vtk.vtkActor2D()
        actor.SetMapper(self._mapper)
        actor.GetProperty().SetDisplayLocationToBackground()
        self._renderer.AddViewProp(actor)


def write_picture(pixels: NDArray[np.uint8], path: Path) -> None:
    """Write (height, width, 3), the first row on top, as PNG."""
    image = vtk.vtkImageData()
    image.SetDimensions(pixels.shape[1], pixels.shape[0], 1)
    image.GetPointData().SetScalars(numpy_to_vtk(np.ascontiguousarray(pixels[::-1]).reshape(-1, 3), deep=True))
    writer = vtk.vtkPNGWriter()
    writer.SetInputData(image)
    writer.SetFileName(str(path))
    writer.Write()


def _managers(application: Any, renderer: Any, node: Any) -> Any:
    factory = slicer.vtkMRMLSliceViewDisplayableManagerFactory.GetInstance()
    factory.SetMRMLApplicationLogic(application.logic)
    for name in _MANAGERS:
        if not factory.IsDisplayableManagerRegistered(name):
            factory.RegisterDisplayableManager(name)
    group = slicer.vtkMRMLDisplayableManagerGroup()
    group.SetRenderer(renderer)
    group.Initialize(factory, renderer)
    group.SetMRMLDisplayableNode(node)
    return group
