"""Makes the phantoms of the Sample Data module: ``python SlicerBMapDiffusion/Testing/make_sample_data.py``.

Needs monai_bmaps; nothing of a patient goes in: labels are drawn, images are simulated speckle. Each phantom is a stack
of transverse slices (I to the left, J to the back, K upwards) of shrinking copies of one drawing.
"""

from __future__ import annotations

import gzip
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from monai_bmaps.data import phantoms
from monai_bmaps.data.speckle import speckle_image
from monai_bmaps.geometry import Beam

FOLDER = Path(__file__).parents[1] / "Resources" / "SampleData"
SLICES = 13
_MASTER = "Segmentation category and type - DICOM master list"
_ENTRY = _MASTER + "~SCT^123037004^Anatomical Structure~SCT^{}^{}~^^~Anatomic codes - DICOM master list~^^~^^"
_SPECKLE = {"heart": "heart", "thyroid": dict(enumerate((-33.0, -24.0, -50.0, -50.0)))}


@dataclass(frozen=True)
class Structure:
    """A segment: name, colour (0 to 1) and SNOMED CT code."""

    name: str
    colour: tuple[float, float, float]
    code: str


@dataclass(frozen=True)
class Phantom:
    """What is drawn, in pixels of ``spacing`` mm and slices of ``step`` mm."""

    name: str
    structures: tuple[Structure, ...]
    beam: Beam
    drawing: NDArray[np.uint8]
    centre: tuple[float, float]
    spacing: float
    step: float


def heart() -> Phantom:
    """The left heart as an apical view shows it."""
    structures = (
        Structure("Left ventricle", (0.60, 0.22, 0.05), "87878005"),
        Structure("Myocardium", (0.82, 0.47, 0.43), "74281007"),
        Structure("Left atrium", (0.47, 0.35, 0.78), "82471001"),
    )
    drawing = phantoms.heart_labels((128, 128)).numpy().astype(np.uint8)
    return Phantom("heart", structures, phantoms.heart_beam((128, 128)), drawing, (64, 64), 1.41, 3.0)


def thyroid() -> Phantom:
    """The neck to one side of the trachea."""
    structures = (
        Structure("Thyroid gland", (0.24, 0.64, 0.45), "69748006"),
        Structure("Carotid artery", (0.85, 0.20, 0.20), "69105007"),
        Structure("Jugular vein", (0.20, 0.40, 0.85), "12123001"),
    )
    drawing = phantoms.thyroid_labels((104, 128)).numpy().astype(np.uint8)
    return Phantom("thyroid", structures, phantoms.thyroid_beam((104, 128)), drawing, (46, 70), 0.39, 2.0)


def stack(phantom: Phantom) -> NDArray[np.uint8]:
    """(slices, rows, columns): the drawing in the middle, smaller towards both ends."""
    rows, columns = np.indices(phantom.drawing.shape)
    found = []
    for height in np.linspace(-1, 1, SLICES):
        scale = np.sqrt(1 - (0.75 * height) ** 2)
        row = np.rint(phantom.centre[0] + (rows - phantom.centre[0]) / scale).astype(int)
        column = np.rint(phantom.centre[1] + (columns - phantom.centre[1]) / scale).astype(int)
        inside = (row >= 0) & (row < rows.shape[0]) & (column >= 0) & (column < rows.shape[1])
        labels = np.zeros_like(phantom.drawing)
        labels[inside] = phantom.drawing[row[inside], column[inside]]
        found.append(labels * phantom.beam.mask(labels.shape).numpy())
    return np.stack(found)


def simulated(phantom: Phantom, labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The speckle of each slice, as ``labels``."""
    generator = torch.Generator().manual_seed(1)
    slices = [
        speckle_image(torch.from_numpy(each).long(), phantom.beam, kind=_SPECKLE[phantom.name], generator=generator)
        for each in labels
    ]
    return (torch.stack(slices) * 255).round().to(torch.uint8).numpy()


def write_nrrd(path: Path, voxels: NDArray[np.uint8], phantom: Phantom, extra: str = "") -> None:
    """A compressed NRRD file; its space is left-posterior-superior, its middle the origin."""
    slices, rows, columns = voxels.shape
    across, step = phantom.spacing, phantom.step
    origin = (-across * (columns - 1) / 2, -across * (rows - 1) / 2, -step * (slices - 1) / 2)
    header = (
        "NRRD0004\ntype: unsigned char\ndimension: 3\nspace: left-posterior-superior\n"
        f"sizes: {columns} {rows} {slices}\n"
        f"space directions: ({across},0,0) (0,{across},0) (0,0,{step})\nkinds: domain domain domain\nencoding: gzip\n"
        f"space origin: ({origin[0]:.4f},{origin[1]:.4f},{origin[2]:.4f})\n{extra}\n"
    )
    path.write_bytes(header.encode("ascii") + gzip.compress(voxels.tobytes(), 9, mtime=0))


def segments_text(phantom: Phantom, shape: tuple[int, ...]) -> str:
    """The lines that make an NRRD file a segmentation."""
    lines = ["Segmentation_SourceRepresentation:=Binary labelmap", "Segmentation_ReferenceImageExtentOffset:=0 0 0"]
    for index, structure in enumerate(phantom.structures):
        entries = {
            "ID": f"Segment_{index + 1}",
            "Name": structure.name,
            "Color": " ".join(map(str, structure.colour)),
            "LabelValue": index + 1,
            "Layer": 0,
            "Extent": f"0 {shape[2] - 1} 0 {shape[1] - 1} 0 {shape[0] - 1}",
            "Tags": f"TerminologyEntry:{_ENTRY.format(structure.code, structure.name)}|",
        }
        lines += [f"Segment{index}_{key}:={value}" for key, value in entries.items()]
    return "\n".join(lines) + "\n"


def write_thumbnail(path: Path, image: NDArray[np.uint8], labels: NDArray[np.uint8], phantom: Phantom) -> None:
    """The middle slice with its segments in colour."""
    colours = np.array([(0, 0, 0), *(structure.colour for structure in phantom.structures)]) * 255
    shade = np.repeat(image[..., None], 3, axis=2).astype(float)
    mixed = np.where(labels[..., None] > 0, 0.55 * shade + 0.45 * colours[labels], shade)
    Image.fromarray(mixed.round().astype(np.uint8)).resize((256, 256 * image.shape[0] // image.shape[1])).quantize(
        64
    ).save(path)


def main() -> None:
    """Write both phantoms."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for phantom in (heart(), thyroid()):
        labels = stack(phantom)
        image = simulated(phantom, labels)
        write_nrrd(FOLDER / f"{phantom.name}.nrrd", image, phantom)
        write_nrrd(FOLDER / f"{phantom.name}.seg.nrrd", labels, phantom, segments_text(phantom, labels.shape))
        write_thumbnail(FOLDER / f"{phantom.name}.png", image[SLICES // 2], labels[SLICES // 2], phantom)


if __name__ == "__main__":
    main()
