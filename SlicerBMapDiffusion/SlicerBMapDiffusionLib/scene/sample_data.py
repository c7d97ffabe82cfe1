"""The phantoms that come with the extension: a simulated image and its segmentation, files and no downloads."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import slicer
from slicer.i18n import tr as _

from SlicerBMapDiffusionLib import places


@dataclass(frozen=True)
class Sample:
    """A phantom: short name, what the user reads, and its files' folder."""

    name: str
    title: str
    folder: Path

    @property
    def thumbnail(self) -> Path:
        """The picture on its button."""
        return self.folder / f"{self.name}.png"


def samples() -> list[Sample]:
    """The phantoms in the order in which they are offered."""
    folder = places.resources_folder() / "SampleData"
    return [
        Sample("heart", _("Heart phantom (B-map diffusion)"), folder),
        Sample("thyroid", _("Thyroid phantom (B-map diffusion)"), folder),
    ]


def load(name: str) -> list[Any]:
    """Load a phantom's image and segmentation into the scene and show them.

    Raises:
        OSError: a file is missing or cannot be read; the scene is then as it was.
    """
    sample = next(sample for sample in samples() if sample.name == name)
    volume = _read(sample, ".nrrd", "vtkMRMLScalarVolumeNode", slicer.vtkMRMLNRRDStorageNode())
    try:
        segmentation = _read(sample, ".seg.nrrd", "vtkMRMLSegmentationNode", slicer.vtkMRMLSegmentationStorageNode())
    except OSError:
        slicer.mrmlScene.RemoveNode(volume)
        raise
    segmentation.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    slicer.util.setSliceViewerLayers(background=volume, fit=True)
    return [volume, segmentation]


def _read(sample: Sample, suffix: str, kind: str, reader: Any) -> Any:
    path = sample.folder / f"{sample.name}{suffix}"
    node = slicer.mrmlScene.AddNewNodeByClass(
        kind, sample.name.capitalize() + (" anatomy" if "seg" in suffix else " phantom")
    )
    reader.SetFileName(str(path))
    if not path.is_file() or not reader.ReadData(node):
        slicer.mrmlScene.RemoveNode(node)
        raise OSError(_("{path} cannot be read; install the extension again.").format(path=path))
    node.CreateDefaultDisplayNodes()
    return node
