"""Small trees with the layouts of real data sets: asymmetric fans, so that every flip and transpose shows."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import SimpleITK
from numpy.typing import NDArray
from PIL import Image

from monai_bmaps.geometry import Beam, LinearBeam, SectorBeam

Grey = NDArray[np.uint8]

SHAPE = (60, 52)
FAN = SectorBeam(apex=(3.0, 25.0), radii=(4.0, 54.0), half_angle_deg=26.0, steering_deg=3.0)
BAND = LinearBeam(top=9.0, bottom=50.0, left=6.0, right=45.0)


def frame(beam: Beam = FAN, shape: tuple[int, int] = SHAPE, seed: int = 0) -> Grey:
    """Brighter to the right and downwards inside the beam, black outside; the seed moves the noise."""
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    noise = np.random.default_rng(seed).integers(0, 12, shape)
    inside = beam.mask(shape).numpy()
    return np.where(inside, 40 + 100 * rows // shape[0] + 60 * columns // shape[1] + noise, 0).astype(np.uint8)


def labels(beam: Beam = FAN, shape: tuple[int, int] = SHAPE, values: tuple[int, ...] = (1, 2, 3)) -> Grey:
    """Boxes of different sizes, none of them in the middle."""
    drawn = np.zeros(shape, np.uint8)
    boxes = [(18, 26, 18, 24), (20, 30, 24, 34), (34, 46, 20, 30), (30, 34, 30, 36), (46, 49, 22, 25)]
    for value, (top, bottom, left, right) in zip(values, boxes, strict=False):
        drawn[top:bottom, left:right] = value
    return drawn * beam.mask(shape).numpy().astype(np.uint8)


def nifti(
    path: Path, pixels: NDArray[Any], spacing: tuple[float, ...] = (1.0, 1.0), axes: str = "LPS", placed: bool = True
) -> Path:
    """Save frames with rows in depth, (height, width) or (slices, height, width), with stored axes of any order.

    ``axes`` are the directions in which the first, second and third index grow; spacing is (row, column, slice).
    """
    row, column, *others = spacing
    array = pixels.T[..., None] if pixels.ndim == 2 else pixels.transpose(2, 1, 0)
    affine = np.diag([-column, -row, others[0] if others else 1.0, 1.0])
    affine[:3, 3] = (11.0, -7.0, 3.0)
    image = nibabel.Nifti1Image(array, affine)
    turn = nibabel.orientations.ornt_transform(
        nibabel.orientations.axcodes2ornt("LPS"), nibabel.orientations.axcodes2ornt(tuple(axes))
    )
    image = image.as_reoriented(turn)
    if not placed:
        image.set_sform(None, 0)
        image.set_qform(None, 0)
        image.header.set_zooms(image.header.get_zooms())
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(image, path)
    return path


def itk(path: Path, pixels: NDArray[Any], spacing: tuple[float, float] = (1.0, 1.0), deep: bool = True) -> Path:
    """Save a frame (height, width) as MetaImage or NRRD."""
    image = SimpleITK.GetImageFromArray(pixels[None] if deep else pixels)
    image.SetSpacing((spacing[1], spacing[0], *((1.0,) if deep else ())))
    path.parent.mkdir(parents=True, exist_ok=True)
    SimpleITK.WriteImage(image, str(path))
    return path


def png(path: Path, pixels: NDArray[Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def camus_nifti(root: Path, patients: int = 4, axes: str = "LPS", spacing: tuple[float, float] = (1.0, 1.0)) -> Path:
    """``database_nifti`` of a few patients, all views and phases."""
    for number in range(1, patients + 1):
        patient = f"patient{number:04d}"
        folder = root / "database_nifti" / patient
        for index, (view, phase) in enumerate((v, p) for v in ("2CH", "4CH") for p in ("ED", "ES")):
            stem = folder / f"{patient}_{view}_{phase}"
            nifti(Path(f"{stem}.nii.gz"), frame(seed=10 * number + index), spacing, axes)
            nifti(Path(f"{stem}_gt.nii.gz"), labels(), spacing, axes)
            info = folder / f"Info_{view}.cfg"
            info.write_text("ED: 1\nES: 18\nNbFrame: 18\nSex: F\nAge: 56\nImageQuality: Good\nEF: 54\n")
    return root


def camus_sequence(root: Path, patient: str = "patient0001", count: int = 5, labelled: bool = True) -> Path:
    """A half sequence of a patient's 2-chamber view."""
    stem = root / "database_nifti" / patient / f"{patient}_2CH_half_sequence"
    nifti(Path(f"{stem}.nii.gz"), np.stack([frame(seed=90 + index) for index in range(count)]), (1.0, 1.0, 1.0))
    if labelled:
        nifti(Path(f"{stem}_gt.nii.gz"), np.stack([labels()] * count), (1.0, 1.0, 1.0))
    return root


def camus_metaimage(root: Path, patients: int = 2, spacing: tuple[float, float] = (1.0, 1.0)) -> Path:
    """The older layout; its ``testing`` numbers other patients from 1 again and has no labels."""
    for part, count in (("training", patients), ("testing", 1)):
        for number in range(1, count + 1):
            patient = f"patient{number:04d}"
            for view in ("2CH", "4CH"):
                stem = root / part / patient / f"{patient}_{view}_ED"
                itk(Path(f"{stem}.mhd"), frame(seed=number), spacing)
                if part == "training":
                    itk(Path(f"{stem}_gt.mhd"), labels(), spacing)
    return root


def segthy(
    root: Path, names: tuple[str, ...] = ("001_P1_1_left", "002_P2_1_right"), axes: str = "LPS", slices: int = 6
) -> Path:
    """Volumes whose slices 1 to ``slices - 2`` show the thyroid; one more is empty."""
    base = root / "US_volunteer_dataset" / "ground_truth_data"
    for number, name in enumerate(names):
        frames = np.stack([frame(BAND, seed=100 * number + index) for index in range(slices)])
        maps = np.stack([labels(BAND, values=(1, 2, 3, 4, 5))] * slices)
        maps[[0, -1]] = np.where(maps[[0, -1]] == 1, 0, maps[[0, -1]])
        frames[2] = 0
        spacing = (0.5, 0.5, 1.25)
        nifti(base / "US" / f"{name}_US.nii", frames, spacing, axes)
        nifti(base / "US_thyroid_label" / f"{name}.nii", maps, spacing, axes)
    return root


def flat(root: Path, count: int = 3, beam: Beam = FAN) -> Path:
    """``images``, ``labels`` of PNG."""
    for index in range(count):
        png(root / "images" / f"exam{index:02d}.png", frame(beam, seed=index))
        png(root / "labels" / f"exam{index:02d}.png", labels(beam))
    return root


def fingerprint(root: Path) -> dict[str, tuple[str, int]]:
    """Content and time of every file below a folder."""
    return {
        str(path.relative_to(root)): (hashlib.sha1(path.read_bytes()).hexdigest(), path.stat().st_mtime_ns)
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }
