"""Images with their record, as PNG text, as a comment of a NIfTI header and as key/value fields of NRRD."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from nibabel.filebasedimages import ImageFileError
from numpy.typing import NDArray
from PIL import Image as PillowImage
from PIL import PngImagePlugin

from monai_bmaps.files import replacing
from monai_bmaps.pictures import Pixels
from monai_bmaps.provenance.record import Record

Affine = NDArray[np.float64]
"""``(4, 4)``: from (row, column, 0, 1) of an image to millimetres, to the right, to the front and upwards."""
VOLUMES = (".nii.gz", ".nii", ".nrrd")
"""Endings of what can be written beside a PNG."""

_COMMENT = 6  # NIfTI's code of an extension that is plain text
_DAMAGED = (OSError, SyntaxError, ValueError, EOFError, zlib.error, ImageFileError, RuntimeError)
_LPS = np.diag([-1.0, -1.0, 1.0])  # NRRD's and DICOM's axes: to the left, to the back


def write_png(path: Path, pixels: Pixels, record: Record) -> None:
    """Write 8-bit pixels ``(H, W)``, or ``(H, W, 3)`` of an overview, with their record, whole or not at all."""
    text = PngImagePlugin.PngInfo()
    for key, value in record.items():
        text.add_text(key, value)
    with replacing(path) as partial:
        PillowImage.fromarray(pixels).save(partial, pnginfo=text)


def check_volumes(ending: str) -> None:
    """Refuse an ending that nothing can be written with here, before images are drawn for it.

    Raises:
        ValueError: another ending than :data:`VOLUMES`.
        ImportError: SimpleITK is needed and not installed.
    """
    if ending not in VOLUMES:
        raise ValueError(f"volumes must end in {', '.join(VOLUMES)}, got {ending!r}")
    if ending == ".nrrd":
        _simple_itk(f"writing {ending}")


def write_volume(path: Path, pixels: Pixels, record: Record, affine: Affine) -> None:
    """Write NIfTI or NRRD, by the path's ending, whole or not at all."""
    write = write_nrrd if path.name.lower().endswith(".nrrd") else write_nifti
    write(path, pixels, record, affine)


def write_nifti(path: Path, pixels: Pixels, record: Record, affine: Affine) -> None:
    """Write 8-bit pixels ``(H, W)`` as a slice, column index first, with their record as a comment of the header."""
    image = nibabel.Nifti1Image(pixels.T[..., None], affine[:, [1, 0, 2, 3]])
    image.header["descrip"] = b"synthetic ultrasound, monai-bmaps"
    text = json.dumps(record).encode()
    image.header.extensions.append(nibabel.nifti1.Nifti1Extension(_COMMENT, text))
    with replacing(path) as partial:
        nibabel.save(image, partial)


def write_nrrd(path: Path, pixels: Pixels, record: Record, affine: Affine) -> None:
    """Write 8-bit pixels ``(H, W)`` as a slice, with a field for each entry of their record.

    Raises:
        ImportError: SimpleITK is not installed.
    """
    library = _simple_itk(path)
    image = library.GetImageFromArray(np.ascontiguousarray(pixels)[None])
    axes = _LPS @ affine[:3, [1, 0, 2]]
    spacing = np.linalg.norm(axes, axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetDirection((axes / spacing).flatten().tolist())
    image.SetOrigin((_LPS @ affine[:3, 3]).tolist())
    for key, value in record.items():
        image.SetMetaData(key, value)
    with replacing(path) as partial:
        library.WriteImage(image, str(partial), True)


def read_record(path: Path) -> Record | None:
    """The record of a PNG, NIfTI or NRRD.

    ``None`` where there is no file, or one that does not decode to its end. Empty where a file tells nothing.
    """
    try:
        return _reader(path)(path)[0]
    except _DAMAGED:
        return None


def read_pixels(path: Path) -> Pixels:
    """Pixels ``(H, W)`` uint8 of a PNG, NIfTI or NRRD of one frame, row 0 nearest the probe.

    Raises:
        ValueError: not one frame of 8-bit grey, or a file that cannot be read.
    """
    try:
        pixels = _reader(path)(path)[1]
    except _DAMAGED as error:
        raise ValueError(f"{path} cannot be read as an image ({error})") from error
    if pixels.ndim != 2 or pixels.dtype != np.uint8:
        raise ValueError(f"{path} has {pixels.dtype} pixels {pixels.shape}, not one frame of 8-bit grey")
    return pixels


def _reader(path: Path) -> Callable[[Path], tuple[Record, Pixels]]:
    name = path.name.lower()
    if name.endswith((".nii", ".nii.gz")):
        return _read_nifti
    return _read_nrrd if name.endswith(".nrrd") else _read_png


def _read_png(path: Path) -> tuple[Record, Pixels]:
    with PillowImage.open(path, formats=["PNG"]) as picture:
        picture.load()
        return dict(picture.text), np.asarray(picture)  # type: ignore[attr-defined]


def _read_nifti(path: Path) -> tuple[Record, Pixels]:
    image = nibabel.load(path)
    pixels = np.asanyarray(image.dataobj)
    comments = [text for extension in image.header.extensions if (text := _comment(extension))]
    return next(iter(comments), {}), pixels[..., 0].T if pixels.ndim == 3 and pixels.shape[2] == 1 else pixels


def _comment(extension: Any) -> Record:
    """The record in a header's extension; empty where it holds something else."""
    if extension.get_code() != _COMMENT:
        return {}
    content = extension.get_content()
    try:
        told = json.loads(content if isinstance(content, str) else content.rstrip(b"\0"))
    except ValueError:
        return {}
    return {str(key): str(value) for key, value in told.items()} if isinstance(told, dict) else {}


def _read_nrrd(path: Path) -> tuple[Record, Pixels]:
    image = _simple_itk(path).ReadImage(str(path))
    pixels = _simple_itk(path).GetArrayFromImage(image)
    record = {key: image.GetMetaData(key) for key in image.GetMetaDataKeys() if not key.startswith(("ITK_", "NRRD_"))}
    return record, pixels[0] if pixels.ndim == 3 and len(pixels) == 1 else pixels


def _simple_itk(what: object) -> Any:
    try:
        import SimpleITK
    except ImportError as error:
        raise ImportError(f"{what} needs SimpleITK; install it with pip install 'monai-bmaps[data]'") from error
    library: Any = SimpleITK
    return library
