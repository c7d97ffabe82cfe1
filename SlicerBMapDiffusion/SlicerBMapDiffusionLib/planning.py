"""From the user's choices to the images that are wanted: where they lie, which beam, which labels, and what is missing.

A plan names what the user has to do in one sentence wherever something is missing, and changes nothing in the scene.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import slicer
from numpy.typing import NDArray
from slicer.i18n import tr as _

from SlicerBMapDiffusionLib import scene
from SlicerBMapDiffusionLib.geometry.beams import BeamSettings
from SlicerBMapDiffusionLib.geometry.frames import Frame, FrameSize
from SlicerBMapDiffusionLib.jobs.job import Request
from SlicerBMapDiffusionLib.models.bundles import Model
from SlicerBMapDiffusionLib.models.class_table import ClassTable
from SlicerBMapDiffusionLib.parameters import BeamKind, BeamSource, FrameKind, OutputKind


@dataclass(frozen=True, eq=False)
class Plan:
    """Images that can be drawn.

    Args:
        request: all that decides them.
        labels: (count, rows, columns) uint8; None for a model without labels.
        images: what to start from, as ``labels``; None from noise.
        segmentation: the node the labels come from, None for a model without labels.
        volume: the node the images come from, None without.
        view: the slice view that is turned to the result; None leaves all as they are.
    """

    request: Request
    labels: NDArray[np.uint8] | None
    images: NDArray[np.uint8] | None
    segmentation: Any
    volume: Any
    view: Any

    @property
    def frame(self) -> Frame:
        """Where the images lie."""
        return Frame.from_dict(self.request.frame)

    @property
    def anatomy(self) -> str:
        """SHA-256 of labels and images, to see whether the scene still holds what a result was made from."""
        digest = hashlib.sha256()
        for frames in (self.labels, self.images):
            digest.update(b"" if frames is None else np.ascontiguousarray(frames).tobytes())
        return digest.hexdigest()

    def record(self, weights_sha256: str, seeds: Sequence[int]) -> dict[str, Any]:
        """What is written on a result: all that made it, enough to draw it again.

        Args:
            weights_sha256: of the model that drew it, which may be removed by now.
            seeds: of the images, as the job's result names them.
        """
        return {
            "model": self.request.model,
            "weights_sha256": weights_sha256,
            "seed": self.request.seed,
            "steps": self.request.steps,
            "attenuation_db": self.request.attenuation_db,
            "label_mapping": dict(self.request.mapping),
            "seeds": list(seeds) if self.request.variants > 1 else None,
            "anatomy_sha256": self.anatomy,
            "request": self.request.to_json(),
        }


def training_size(model: Model) -> FrameSize:
    """The frame that the model was trained on."""
    return FrameSize(*model.image_size, *model.spacing_mm)


def size_of(parameters: Any, model: Model) -> FrameSize:
    """The frame's size: the model's, or the user's own; a sweep's number and distance of images."""
    if parameters.own_size:
        sides = (parameters.rows, parameters.columns, parameters.row_mm, parameters.column_mm)
    else:
        sides = (*model.image_size, *model.spacing_mm)
    if parameters.output_kind is OutputKind.SWEEP:
        return FrameSize(*sides, parameters.sweep_count, parameters.sweep_step)
    return FrameSize(*sides)


def frame_of(parameters: Any, model: Model) -> Frame:
    """Where the images lie.

    Raises:
        ValueError: no node is chosen, or the chosen one gives no plane.
    """
    size, kind = size_of(parameters, model), parameters.frame_kind
    if kind is FrameKind.VIEW:
        return scene.frame_from_view(_chosen(parameters.view, _("Choose the slice view that the image lies in.")), size)
    if kind is FrameKind.PROBE:
        return scene.frame_from_probe(_chosen(parameters.probe, _("Choose the transform of the probe.")), size)
    if kind is FrameKind.MARKUP:
        markup = _chosen(parameters.markup, _("Choose a line or a plane: draw one with the Markups module."))
        return scene.frame_from_markup(markup, size, view=parameters.view)
    volume = _chosen(parameters.volume, _("Choose the loaded image whose slices are the planes."))
    index = None if parameters.slice_number < 0 else parameters.slice_number
    return scene.frame_from_slices(volume, size, index=index, count=size.count, upside_down=parameters.upside_down)


def settings_of(parameters: Any) -> BeamSettings:
    """The beam that the numbers of the panel describe, in mm."""
    return BeamSettings(
        parameters.beam_kind.value,
        parameters.beam_depth,
        width_mm=parameters.beam_width,
        radius_mm=max(parameters.beam_radius, 0.1),
        half_angle_deg=parameters.beam_half_angle,
        steering_deg=parameters.beam_steering,
        offset_mm=(parameters.beam_down, parameters.beam_right),
    )


def model_settings(model: Model) -> BeamSettings:
    """The model's usual beam in mm."""
    return BeamSettings.from_pixels(model.beam, training_size(model))


def write_settings(parameters: Any, beam: BeamSettings) -> None:
    """Put a beam's numbers into the panel, each within its limits."""
    before = parameters.StartModify()
    try:
        parameters.beam_kind = BeamKind(beam.kind)
        parameters.beam_depth = _within(beam.depth_mm, 1, 400)
        parameters.beam_width = _within(beam.width_mm, 1, 400)
        parameters.beam_radius = _within(beam.radius_mm, 0, 200)
        parameters.beam_half_angle = _within(beam.half_angle_deg, 1, 90)
        parameters.beam_steering = _within(beam.steering_deg, -60, 60)
        parameters.beam_down = _within(beam.offset_mm[0], -200, 200)
        parameters.beam_right = _within(beam.offset_mm[1], -200, 200)
    finally:
        parameters.EndModify(before)


def beam_of(parameters: Any, model: Model, size: FrameSize) -> dict[str, Any]:
    """The beam in pixels of the frame.

    Raises:
        ValueError: the model was not trained on beams of this shape, or it has no place in the frame.
    """
    if parameters.beam_source is BeamSource.MODEL:
        usual = training_size(model)
        same = (size.rows, size.columns, size.row_mm, size.column_mm) == (
            usual.rows,
            usual.columns,
            usual.row_mm,
            usual.column_mm,
        )
        return dict(model.beam) if same else model_settings(model).to_pixels(size)
    beam = settings_of(parameters).to_pixels(size)
    if beam["kind"] != model.beam_kind:
        usual_name = BeamKind.LINEAR.label() if model.beam_kind == "linear" else BeamKind.CURVILINEAR.label()
        raise ValueError(
            _("This model draws images of another probe. Choose the shape {shape} under Beam.").format(shape=usual_name)
        )
    return beam


def middle_of_anatomy(parameters: Any, model: Model) -> NDArray[np.float64]:
    """RAS of the middle of the mapped segments.

    Raises:
        ValueError: there is no segmentation, none of its segments is mapped, or all of them are empty.
    """
    mapped = ClassTable.from_text(parameters.class_table).labels(model.classes)
    if parameters.segmentation is None or not mapped:
        raise ValueError(_("Choose a segmentation, and say in the table which segment is which structure."))
    return scene.middle_of(parameters.segmentation, mapped)


def reason_not_ready(parameters: Any, model: Model | None) -> str | None:
    """What the user has to do before images can be drawn, in a sentence; None if nothing."""
    if model is None:
        return _("Choose a model.")
    if model.labels:
        if parameters.segmentation is None:
            return _("Choose a segmentation: load one, or make one in the Segment Editor.")
        if not scene.segments_of(parameters.segmentation):
            return _("This segmentation is empty: draw a segment in the Segment Editor.")
        if not ClassTable.from_text(parameters.class_table).labels(model.classes):
            return _("Say in the table which segment is which structure of the model.")
    if parameters.from_image and parameters.volume is None:
        return _("Choose the loaded image to start from, or untick it under Advanced.")
    try:
        beam_of(parameters, model, frame_of(parameters, model).size)
    except ValueError as error:
        return str(error)
    return None


def plan(parameters: Any, model: Model, seed: int) -> Plan:
    """Collect all that decides the images.

    Raises:
        ValueError: something is missing, or the segmentation does not reach the frame.
    """
    if reason := reason_not_ready(parameters, model):
        raise ValueError(reason)
    frame = frame_of(parameters, model)
    sweep, variants = parameters.output_kind is OutputKind.SWEEP, parameters.output_kind is OutputKind.VARIANTS
    table = ClassTable.from_text(parameters.class_table)
    request = Request(
        model=model.name,
        bundle=str(model.folder),
        frame=frame.to_dict(),
        beam=beam_of(parameters, model, frame.size),
        mapping=names_by_class(table, parameters.segmentation, model.classes),
        classes=model.classes,
        steps=parameters.steps,
        guidance=parameters.guidance if parameters.use_guidance else None,
        seed=seed,
        attenuation_db=parameters.attenuation_db,
        variants=parameters.variants if variants else 1,
        shared_noise=sweep,
        strength=parameters.strength if parameters.from_image else None,
        device=parameters.device.value,
        preview=parameters.preview,
    )
    view = None if parameters.frame_kind is FrameKind.VIEW else (parameters.view or first_view())
    return _with_anatomy(request, parameters.segmentation, parameters.volume, table, view)


def again(request: Request, segmentation: Any, volume: Any, table: ClassTable) -> Plan:
    """The plan of a result that is drawn once more, with labels and images as the scene has them now.

    Raises:
        ValueError: what it was made from is gone, or does not reach the frame any more.
    """
    if request.classes and segmentation is None:
        raise ValueError(_("The segmentation that this image was made from is no longer in the scene."))
    if request.strength is not None and volume is None:
        raise ValueError(_("The image that this one started from is no longer in the scene."))
    return _with_anatomy(request, segmentation, volume, table, first_view())


def first_view() -> Any:
    """The red slice view, None where there is none."""
    return slicer.mrmlScene.GetNodeByID("vtkMRMLSliceNodeRed")


def _with_anatomy(request: Request, segmentation: Any, volume: Any, table: ClassTable, view: Any) -> Plan:
    frame = Frame.from_dict(request.frame)
    if request.classes:
        labels = scene.labels_in_frame(segmentation, table.labels(request.classes), frame)
    else:
        segmentation, labels = None, None
    images = None if request.strength is None else scene.image_in_frame(volume, frame)
    return Plan(request, labels, images, segmentation, volume if images is not None else None, view)


def names_by_class(table: ClassTable, segmentation: Any, classes: tuple[str, ...]) -> dict[str, list[str]]:
    """Class's name to the names of its segments, for the record."""
    names = {segment.id: segment.name for segment in scene.segments_of(segmentation)} if segmentation else {}
    chosen = [(name, names[segment]) for segment, name in table.rows if name in classes and segment in names]
    return {name: [segment for other, segment in chosen if other == name] for name, _segment in chosen}


def _chosen(node: Any, otherwise: str) -> Any:
    if node is None:
        raise ValueError(otherwise)
    return node


def _within(value: float, low: float, high: float) -> float:
    return float(min(max(value, low), high))
