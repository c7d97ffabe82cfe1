"""What a new user finds chosen: a model with its own numbers, the scene's segmentation, a plane that shows it."""

from __future__ import annotations

from typing import Any

import slicer

from SlicerBMapDiffusionLib import planning, scene
from SlicerBMapDiffusionLib.models.bundles import Model
from SlicerBMapDiffusionLib.models.class_table import ClassTable
from SlicerBMapDiffusionLib.models.shelf import Shelf
from SlicerBMapDiffusionLib.parameters import BeamSource, FrameKind


def adopt(parameters: Any, model: Model) -> None:
    """Choose a model with its own numbers: what fits one misleads another."""
    before = parameters.StartModify()
    try:
        parameters.model = model.name
        parameters.steps, parameters.attenuation_db = model.steps, model.attenuation_db
        parameters.beam_source = BeamSource.MODEL
        parameters.rows, parameters.columns = model.image_size
        parameters.row_mm, parameters.column_mm = model.spacing_mm
        planning.write_settings(parameters, planning.model_settings(model))
    finally:
        parameters.EndModify(before)


def choose_what_is_there(parameters: Any, shelf: Shelf) -> None:
    """Choose where there is one choice: view and segmentation; for a new segmentation the model and plane that fit."""
    if parameters.view is None:
        first = planning.first_view() or slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLSliceNode")
        if first is not None:
            parameters.view = first
    if parameters.segmentation is None and slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 1:
        parameters.segmentation = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLSegmentationNode")
    node = parameters.segmentation
    if node is None or ClassTable.from_text(parameters.class_table).segmentation == node.GetID():
        return
    fitting = shelf.fitting(parameters.model, scene.segments_of(node))
    if fitting is not None:
        adopt(parameters, fitting)
    model = shelf.models.get(parameters.model)
    if model is not None and model.labels:
        update_table(parameters, model)
        _choose_plane(parameters, model)


def update_table(parameters: Any, model: Model) -> ClassTable:
    """Bring the class table in line with model and segmentation: choices are kept, what is new is guessed."""
    segmentation = parameters.segmentation
    table = ClassTable.from_text(parameters.class_table)
    table = table.updated(model.name, segmentation.GetID(), scene.segments_of(segmentation), model.classes)
    if table.to_text() != parameters.class_table:
        parameters.class_table = table.to_text()
    return table


def _choose_plane(parameters: Any, model: Model) -> None:
    """The slices of the scene's only image, where nothing else was chosen and they show the anatomy to the model."""
    images = [node for node in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode") if _is_image(node)]
    if len(images) != 1 or parameters.volume is not None or parameters.frame_kind is not FrameKind.VIEW:
        return
    try:
        middle = planning.middle_of_anatomy(parameters, model)
        index = scene.slice_through(images[0], middle)
        size = planning.size_of(parameters, model)
        fits = scene.frame_from_slices(images[0], size, index=index).shows(middle)
    except ValueError:  # nothing to look at: the panel says so once the user asks for it
        return
    if fits:
        before = parameters.StartModify()
        parameters.frame_kind, parameters.volume, parameters.slice_number = FrameKind.SLICES, images[0], index
        parameters.EndModify(before)


def _is_image(volume: Any) -> bool:
    return not volume.IsA("vtkMRMLLabelMapVolumeNode") and not scene.is_synthetic(volume)
