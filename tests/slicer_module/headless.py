"""The MRML scene and the module logics of Slicer without its application, on PyPI's slicer-core.

The order of calls follows trame-slicer's SlicerApp (https://github.com/KitwareMedical/trame-slicer, Apache-2.0).
Terminologies are left out: their files are the application's. Added: ``slicer.mrmlScene``, ``slicer.modules``,
``slicer.i18n``, and that a node gets and loses its item in the subject hierarchy, which the application's plugins do.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from types import ModuleType, SimpleNamespace
from typing import Any

import slicer
import vtk

_LOGICS = {
    "colors": ("Colors", "vtkMRMLColorLogic"),
    "volumes": ("Volumes", "vtkSlicerVolumesLogic"),
    "segmentations": ("Segmentations", "vtkSlicerSegmentationsModuleLogic"),
    "subjecthierarchy": ("SubjectHierarchy", "vtkSlicerSubjectHierarchyModuleLogic"),
    "sequences": ("Sequences", "vtkSlicerSequencesLogic"),
    "markups": ("Markups", "vtkSlicerMarkupsLogic"),
}


@dataclass
class Application:
    """What has to stay alive while the scene is used."""

    scene: Any
    logic: Any
    logics: dict[str, Any] = field(default_factory=dict)
    kept: list[Any] = field(default_factory=list)

    def close_scene(self) -> None:
        """Close the scene as the application does, with the events that widgets wait for; views stay."""
        self.scene.Clear(0)
        slicer.vtkMRMLSliceNode.AddDefaultSliceOrientationPresets(self.scene, True)

    def remove_views(self) -> None:
        """Take away what outlives a closed scene, for the next test."""
        for kind in ("SliceCompositeNode", "SliceNode", "ModelNode", "ModelDisplayNode", "LinearTransformNode"):
            for node in slicer.util.getNodesByClass(f"vtkMRML{kind}", self.scene):
                self.scene.RemoveNode(node)

    def add_slice_view(self, name: str = "Red", size: tuple[int, int] = (128, 96)) -> Any:
        """A slice view's logic, its slice node sized (width, height) in pixels of 1 mm."""
        view = slicer.vtkMRMLSliceLogic()
        view.SetMRMLApplicationLogic(self.logic)
        view.SetMRMLScene(self.scene)
        node = view.AddSliceNode(name)
        node.SetDimensions(*size, 1)
        node.SetFieldOfView(*size, 1)
        node.UpdateMatrices()
        return view


def start(cache: str) -> Application:
    """Start once in a process: the scene's logics register themselves. ``cache`` is a folder for what is loaded."""
    scene = slicer.vtkMRMLScene()
    crosshair = slicer.vtkMRMLCrosshairNode()
    crosshair.SetCrosshairName("default")
    scene.AddNode(crosshair)
    application = Application(scene, slicer.vtkSlicerApplicationLogic())
    application.logic.SetMRMLScene(scene)
    application.logic.GetColorLogic().SetMRMLScene(scene)
    # Display nodes look for these, and write errors where they are not.
    application.logic.GetColorLogic().AddDefaultColorNodes()
    application.logic.SetSliceLogics(vtk.vtkCollection())
    application.logic.SetViewLogics(vtk.vtkCollection())
    for key, (name, kind) in _LOGICS.items():
        application.logics[key] = _registered(application, name, getattr(slicer, kind)())
    slicer.vtkMRMLSliceNode.AddDefaultSliceOrientationPresets(scene, True)
    _start_files(application, cache)
    scene.AddObserver(slicer.vtkMRMLScene.NodeAddedEvent, _give_item)
    scene.AddObserver(slicer.vtkMRMLScene.NodeAboutToBeRemovedEvent, _take_item)
    slicer.mrmlScene = scene
    _stand_in(application)
    return application


def _registered(application: Application, name: str, logic: Any) -> Any:
    logic.SetMRMLScene(application.scene)
    logic.SetMRMLApplicationLogic(application.logic)
    application.logic.SetModuleLogic(name, logic)
    return logic


def _start_files(application: Application, cache: str) -> None:
    """What reading an .mrb asks for a cache folder."""
    remote = slicer.vtkMRMLRemoteIOLogic()
    remote.SetMRMLScene(application.scene)
    remote.SetMRMLApplicationLogic(application.logic)
    remote.GetCacheManager().SetRemoteCacheDirectory(cache)
    manager = slicer.vtkDataIOManagerLogic()
    manager.SetMRMLScene(application.scene)
    manager.SetMRMLApplicationLogic(application.logic)
    manager.SetAndObserveDataIOManager(remote.GetDataIOManager())
    remote.AddDataIOToScene()
    application.kept += [remote, manager]


@vtk.calldata_type(vtk.VTK_OBJECT)
def _give_item(scene: Any, _event: str, node: Any) -> None:
    kinds = ("vtkMRMLDisplayableNode", "vtkMRMLSequenceNode", "vtkMRMLSequenceBrowserNode")
    if scene.IsBatchProcessing() or node.GetHideFromEditors() or not any(node.IsA(kind) for kind in kinds):
        return
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    if hierarchy and not hierarchy.GetItemByDataNode(node):
        hierarchy.CreateItem(hierarchy.GetSceneItemID(), node)


@vtk.calldata_type(vtk.VTK_OBJECT)
def _take_item(scene: Any, _event: str, node: Any) -> None:
    if scene.IsBatchProcessing():  # the hierarchy may be about to be merged or closed itself
        return
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    if hierarchy and (item := hierarchy.GetItemByDataNode(node)):
        hierarchy.RemoveItem(item, False, False)


def _stand_in(application: Application) -> None:
    modules = {key: SimpleNamespace(logic=lambda logic=logic: logic) for key, logic in application.logics.items()}
    slicer.modules = SimpleNamespace(**modules)
    if "slicer.i18n" not in sys.modules:
        translation = ModuleType("slicer.i18n")
        translation.tr = lambda text: text
        translation.translate = lambda _context, text: text
        sys.modules["slicer.i18n"] = slicer.i18n = translation
