"""What the scene holds inside a frame: label maps from segments, grey values from a volume, and doubts about both."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

import numpy as np
import slicer
import vtk
from numpy.typing import NDArray
from slicer.i18n import tr as _
from vtk.util.numpy_support import vtk_to_numpy

from SlicerBMapDiffusionLib.geometry.frames import Frame
from SlicerBMapDiffusionLib.geometry.resampling import resampled
from SlicerBMapDiffusionLib.models.mapping import SegmentInfo
from SlicerBMapDiffusionLib.scene.frames import volume_to_ras, world_matrix
from SlicerBMapDiffusionLib.scene.surfaces import contained

# A volume of this many voxels fills a laptop's memory as soon as anything copies it.
_HUGE = 2**29
# Spacing and depth may differ from training by this factor before the user is warned.
_FAR = 1.5
_LUMA = (0.299, 0.587, 0.114)


def segments_of(segmentation: Any) -> list[SegmentInfo]:
    """Id, name and terminology of every segment, in the segmentation's order."""
    return [
        SegmentInfo(identifier, segment.GetName() or "", _terminology(segment))
        for identifier, segment in _segments(segmentation)
    ]


def labels_in_frame(segmentation: Any, mapping: Mapping[str, int], frame: Frame) -> NDArray[np.uint8]:
    """The label map that a frame sees of a segmentation, the nearest voxel at each pixel's centre.

    Args:
        segmentation: a vtkMRMLSegmentationNode; left as it is.
        mapping: label, 1 to 255, of each segment id; where segments overlap, the later one in this order wins.
        frame: where to look.

    Returns:
        (count, rows, columns), 0 where no mapped segment is.

    Raises:
        ValueError: there are no segments, none is mapped, a mapped one is gone or has neither binary voxels nor a
            surface, all are empty or outside the frame, or the segmentation lies under a non-linear transform.
    """
    segments = dict(_segments(segmentation)) if segmentation is not None else {}
    if not segments:
        raise ValueError(_("There is no segment; choose a segmentation, or draw one in the Segment Editor."))
    if not mapping:
        raise ValueError(_("No segment is mapped to a class; choose a class for at least one segment."))
    if missing := sorted(set(mapping) - set(segments)):
        raise ValueError(_("These segments are gone: {names}. Choose them again.").format(names=", ".join(missing)))
    to_world = world_matrix(segmentation)
    source = segmentation.GetSegmentation().GetSourceRepresentationName()
    labels = np.zeros((frame.count, frame.rows, frame.columns), dtype=np.uint8)
    for identifier, label in mapping.items():
        if not 1 <= label <= 255:
            raise ValueError(_("A label must lie in 1 to 255, got {label}.").format(label=label))
        labels[_shown(segments[identifier], source, to_world, frame)] = label
    if not labels.any():
        raise ValueError(_why_nothing([segments[identifier] for identifier in mapping]))
    return labels


def middle_of(segmentation: Any, identifiers: Collection[str]) -> NDArray[np.float64]:
    """RAS of the middle of what some segments fill together: that of the box about them, along the segmentation's axes.

    Raises:
        ValueError: all are empty or gone, or the segmentation lies under a non-linear transform.
    """
    chosen = [segment for identifier, segment in _segments(segmentation) if identifier in identifiers]
    boxes = [box for box in map(_box, chosen) if box is not None]
    if not boxes:
        raise ValueError(_why_nothing(chosen))
    low, high = np.min([box[0] for box in boxes], axis=0), np.max([box[1] for box in boxes], axis=0)
    return np.asarray((world_matrix(segmentation) @ (*(low + high) / 2, 1))[:3])


def image_in_frame(volume: Any, frame: Frame) -> NDArray[np.uint8]:
    """The grey image that a frame sees of a volume, interpolated; colours become their luminance.

    8-bit values stay; others are scaled from the volume's own range to 0..255.

    Args:
        volume: a vtkMRMLScalarVolumeNode or vtkMRMLVectorVolumeNode.
        frame: where to look.

    Returns:
        (count, rows, columns), 0 outside the volume.

    Raises:
        ValueError: the volume is empty, does not meet the frame, or lies under a non-linear transform.
    """
    matrix = volume_to_ras(volume)
    voxels = slicer.util.arrayFromVolume(volume)
    image = resampled(voxels, matrix, frame, "linear", outside=np.nan)
    if image.ndim == 4:
        image = image[..., :3] @ np.array(_LUMA, dtype=np.float32) if image.shape[-1] >= 3 else image[..., 0]
    if np.isnan(image).all():
        raise ValueError(_("The volume {name} lies outside the frame; move one of them.").format(name=volume.GetName()))
    if voxels.dtype != np.uint8:
        low, high = volume.GetImageData().GetScalarRange()
        image = (image - low) * (255 / (high - low) if high > low else 0)
    return np.asarray(np.nan_to_num(image, nan=0.0).clip(0, 255).round().astype(np.uint8))


def warnings_for(source: Any, model: Any) -> list[str]:
    """What may be wrong with a volume, or with a frame for a model; empty where nothing is.

    Args:
        source: a vtkMRMLVolumeNode or a Frame.
        model: has ``spacing_mm`` (row, column) and ``depth_mm``, typical of its training.
    """
    return [*(_doubts_about_frame(source, model) if isinstance(source, Frame) else _doubts_about_volume(source))]


def _doubts_about_volume(volume: Any) -> Iterator[str]:
    if all(abs(spacing - 1) < 1e-6 for spacing in volume.GetSpacing()):
        yield _(
            "The spacing of {name} is 1 mm in every direction, which is what Slicer takes where a file says nothing: "
            "sizes may be wrong. Set the spacing in the Volumes module."
        ).format(name=volume.GetName())
    image = volume.GetImageData()
    if image is not None and image.GetNumberOfPoints() > _HUGE:
        yield _("{name} is very large; crop it (Crop Volume module) if memory gets short.").format(
            name=volume.GetName()
        )


def _doubts_about_frame(frame: Frame, model: Any) -> Iterator[str]:
    row, column, _step = frame.spacing
    if any(_apart(given, trained) for given, trained in zip((row, column), model.spacing_mm, strict=True)):
        yield _("Pixels of {row:.2f} x {column:.2f} mm; the model was trained on {r:.2f} x {c:.2f} mm.").format(
            row=row, column=column, r=model.spacing_mm[0], c=model.spacing_mm[1]
        )
    depth = (frame.rows - 1) * row
    if _apart(depth, model.depth_mm):
        yield _("The image is {depth:.0f} mm deep; the model was trained on about {trained:.0f} mm.").format(
            depth=depth, trained=model.depth_mm
        )


def _apart(given: float, trained: float) -> bool:
    return not trained / _FAR <= given <= trained * _FAR


def _segments(segmentation: Any) -> Iterator[tuple[str, Any]]:
    held = segmentation.GetSegmentation()
    for identifier in held.GetSegmentIDs() if held is not None else ():
        yield identifier, held.GetSegment(identifier)


def _terminology(segment: Any) -> str:
    entry = vtk.reference("")
    return str(entry) if segment.GetTag(segment.GetTerminologyEntryTagName(), entry) else ""


def _shown(segment: Any, source: str, to_world: NDArray[np.float64], frame: Frame) -> NDArray[np.bool_]:
    """Where the frame's pixel centres lie in a segment: cut by its surface where that is the original, or in voxels."""
    labelmap, surface = _representations(segment)
    if surface is not None and (labelmap is None or source == _surface_name()):
        return contained(surface, to_world, frame)
    if labelmap is None:
        raise ValueError(
            _("Segment {name} is stored as {kind}; create a binary labelmap of it in the Segmentations module.").format(
                name=segment.GetName(), kind=source
            )
        )
    voxels, matrix = _voxels(labelmap)
    return np.asarray(resampled(voxels, to_world @ matrix, frame, "nearest") == segment.GetLabelValue())


def _representations(segment: Any) -> tuple[Any, Any]:
    labelmap = slicer.vtkSegmentationConverter.GetSegmentationBinaryLabelmapRepresentationName()
    return segment.GetRepresentation(labelmap), segment.GetRepresentation(_surface_name())


def _surface_name() -> str:
    return str(slicer.vtkSegmentationConverter.GetSegmentationClosedSurfaceRepresentationName())


def _voxels(labelmap: Any) -> tuple[NDArray[Any], NDArray[np.float64]]:
    """The voxels (K, J, I) of a vtkOrientedImageData, whose extent rarely starts at 0, and their matrix."""
    matrix = vtk.vtkMatrix4x4()
    labelmap.GetImageToWorldMatrix(matrix)
    to_segmentation = np.array(slicer.util.arrayFromVTKMatrix(matrix), dtype=np.float64)
    to_segmentation[:3, 3] += to_segmentation[:3, :3] @ labelmap.GetExtent()[::2]
    if labelmap.GetNumberOfPoints() == 0 or labelmap.GetPointData().GetScalars() is None:
        return np.zeros((1, 1, 1), dtype=np.uint8), to_segmentation
    return vtk_to_numpy(labelmap.GetPointData().GetScalars()).reshape(labelmap.GetDimensions()[::-1]), to_segmentation


def _box(segment: Any) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """The lowest and highest corner of a segment in the segmentation's coordinates; None where it is empty."""
    labelmap, surface = _representations(segment)
    if labelmap is None:
        bounds = np.reshape(surface.GetBounds(), (3, 2)) if surface is not None and surface.GetNumberOfCells() else None
        return None if bounds is None else (bounds[:, 0], bounds[:, 1])
    voxels, matrix = _voxels(labelmap)
    inside = voxels == segment.GetLabelValue()
    # K, J, I: the voxels along one axis that any of the planes across it meets
    along = [np.flatnonzero(inside.any(axis=others)) for others in ((1, 2), (0, 2), (0, 1))]
    if not along[0].size:
        return None
    corners = np.array(np.meshgrid(*([axis[0], axis[-1]] for axis in reversed(along)))).reshape(3, -1)
    points = matrix[:3, :3] @ corners + matrix[:3, 3:]
    return points.min(axis=1), points.max(axis=1)


def _why_nothing(segments: list[Any]) -> str:
    empty = [segment.GetName() for segment in segments if _is_empty(segment)]
    if len(empty) == len(segments):
        return str(
            _("The mapped segments are empty: {names}. Draw them in the Segment Editor.").format(names=", ".join(empty))
        )
    return str(
        _("No mapped segment meets the image plane: press Go to the anatomy, or move the plane to where they are.")
    )


def _is_empty(segment: Any) -> bool:
    labelmap, surface = _representations(segment)
    if labelmap is not None:
        return not (_voxels(labelmap)[0] == segment.GetLabelValue()).any()
    return bool(surface.GetNumberOfCells() == 0)
