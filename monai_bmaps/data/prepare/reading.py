"""Opening frames, sequences and volumes of any format, with where their pixels lie and how large they are.

PNG and JPEG through Pillow, NIfTI through nibabel, MetaImage and NRRD through SimpleITK. Volumes are mapped, not
loaded: a compressed one is unpacked into a scratch folder first, for memory is scarcer than disk.
"""

from __future__ import annotations

import gzip
import math
import re
import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import nibabel
import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage
from PIL import ImageOps

from monai_bmaps.data.prepare.orientation import Layout

Array: TypeAlias = NDArray[Any]

_PILLOW = (".png", ".jpg", ".jpeg")
_NIFTI = (".nii", ".nii.gz")
_LARGEST = 2**30  # bytes of a frame or sequence that is read at once
_SLAB = 2**26  # bytes of a volume in memory at a time


@dataclass(frozen=True)
class Stored:
    """What a file holds: an array with axes i, j, k, single frames having one of them of length 1.

    Args:
        path: the file.
        array: (i, j, k), perhaps mapped from disk.
        spacing: millimetres between neighbours along i, j and k; ``None`` where the file states none.
        affine: (4, 4) to right-anterior-superior millimetres; ``None`` where the file has no position.
        scale: factor and offset from stored to meant values.
    """

    path: Path
    array: Array
    spacing: tuple[float, float, float] | None
    affine: Array | None
    scale: tuple[float, float] = (1.0, 0.0)

    @property
    def stack(self) -> int:
        """The axis along which frames follow one another: the last one of length 1, else k."""
        return next((axis for axis in (2, 1, 0) if self.array.shape[axis] == 1), 2)

    def plane_spacing(self, layout: Layout) -> tuple[float, float] | None:
        """Millimetres between rows and between columns."""
        return None if self.spacing is None else (self.spacing[layout.row], self.spacing[layout.column])

    def planes(self, layout: Layout) -> Iterator[Array]:
        """Frames (height, width) along the stack, holding no more than a slab of them in memory."""
        count = self.array.shape[layout.stack]
        thickness = max(1, _SLAB * count // max(1, self.array.nbytes))
        factor, offset = self.scale
        for first in range(0, count, thickness):
            for plane in np.moveaxis(_slab(self.array, layout.stack, first, thickness), layout.stack, 0):
                frame = layout.frame(plane)
                yield frame if self.scale == (1.0, 0.0) else frame * factor + offset


def _slab(array: Array, axis: int, first: int, thickness: int) -> Array:
    """Part of an array along one axis, in memory.

    Mapped pages that were read count as memory until they are unmapped: the array is mapped anew for each part of it.
    """
    chosen = [slice(None)] * 3
    chosen[axis] = slice(first, first + thickness)
    if not isinstance(array, np.memmap) or array.filename is None:
        return np.array(array[tuple(chosen)])
    depth = array.shape[2]
    step = max(1, _SLAB * depth // max(1, array.nbytes)) if axis != 2 else depth
    parts = []
    for start in range(0, depth, step):
        mapped = np.memmap(array.filename, array.dtype, "r", array.offset, array.shape, order="F")
        part = mapped[:, :, start : start + step] if axis != 2 else mapped
        parts.append(np.array(part[tuple(chosen)]))
    return np.concatenate(parts, axis=2) if axis != 2 else parts[0]


def open_frame(path: Path, *, label: bool = False) -> Stored:
    """Read a single frame, colour averaged to grey.

    Args:
        path: the file.
        label: whether it is a label map: palette indices are kept, and colour is refused.

    Raises:
        ValueError: a file that cannot be read, or that holds more than one frame.
        OSError: a file that is not there or may not be read.
    """
    stored = open_sequence(path, label=label)
    if stored.array.shape[stored.stack] != 1:
        raise ValueError(f"{path} holds {stored.array.shape[stored.stack]} frames, not one; export single frames")
    return stored


def open_sequence(path: Path, *, label: bool = False) -> Stored:
    """Read a frame or a sequence of frames whole; otherwise as :func:`open_frame`."""
    name = path.name.lower()
    with _named(path):
        if name.endswith(_PILLOW):
            return _read_picture(path, label)
        if name.endswith(_NIFTI):
            return _open_nifti(path, path, limited=name.endswith(".gz"))
        return _read_itk(path, label)


def open_volume(path: Path, scratch: Path) -> Stored:
    """Map a NIfTI volume; ``.nii.gz`` is unpacked into ``scratch`` first.

    Raises:
        ValueError: a file that cannot be read, or is no volume.
        OSError: a file that is not there or may not be read, or a full disk.
    """
    with _named(path):
        mapped = path
        if path.name.lower().endswith(".gz"):
            mapped = scratch / path.name[:-3]
            scratch.mkdir(parents=True, exist_ok=True)
            with gzip.open(path, "rb") as packed, mapped.open("wb") as plain:
                shutil.copyfileobj(packed, plain, 2**20)
        stored = _open_nifti(path, mapped, limited=False)
    if min(stored.array.shape) < 2:
        raise ValueError(f"{path} has shape {stored.array.shape}: no volume; prepare single frames with 'folder'")
    return stored


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Errors of the libraries as ours, with the file's name: on damaged bytes they raise anything at all."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", PillowImage.DecompressionBombWarning)
            yield
    except (ImportError, _RefusedError):
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise ValueError(
            f"{path} cannot be read ({reason}); it is damaged, or not what its name says: fetch it again"
        ) from error


class _RefusedError(ValueError):
    """An error that already names the file and the remedy."""


def _read_picture(path: Path, label: bool) -> Stored:
    with PillowImage.open(path) as opened:
        picture = ImageOps.exif_transpose(opened)
        if picture.mode == "P" and not label:
            picture = picture.convert("RGB")
        elif picture.mode in ("LA", "La", "RGBA", "RGBa", "CMYK", "YCbCr", "1", "PA"):
            picture = picture.convert({"LA": "L", "La": "L", "1": "L", "PA": "P"}.get(picture.mode, "RGB"))
        pixels = np.asarray(picture)
    return Stored(path, _single_channel(path, pixels, label).T[:, :, None], None, None)


def _single_channel(path: Path, pixels: Array, label: bool) -> Array:
    """Grey (height, width) of colour (height, width, channels)."""
    if pixels.ndim == 2:
        return pixels
    colours = pixels[..., :3] if pixels.shape[-1] >= 3 else pixels[..., :1]
    if (colours == colours[..., :1]).all():
        return np.asarray(colours[..., 0])
    if label:
        raise _RefusedError(f"{path} is a label map in colour; export label numbers, one channel")
    return np.asarray(colours.mean(-1).round())


def _open_nifti(path: Path, mapped: Path, limited: bool) -> Stored:
    image: Any = nibabel.load(mapped)
    header = image.header
    shape = tuple(int(n) for n in image.shape)
    _check_shape(path, shape)
    if limited and math.prod(shape) * header.get_data_dtype().itemsize > _LARGEST:
        raise _RefusedError(f"{path} declares {shape} pixels, too many for a frame or sequence; export single frames")
    array = np.asanyarray(image.dataobj.get_unscaled())
    if array.dtype.names is not None:
        array = np.mean([array[name] for name in array.dtype.names[:3]], axis=0).round()
    placed = int(header["sform_code"]) > 0 or int(header["qform_code"]) > 0
    zooms = tuple(float(x) for x in header.get_zooms()[:3]) + (1.0,) * (3 - min(3, len(shape)))
    if placed:
        zooms = tuple(float(x) for x in np.linalg.norm(image.affine[:3, :3], axis=0))
    scale = (float(image.dataobj.slope), float(image.dataobj.inter))
    affine = np.asarray(image.affine, np.float64) if placed else None
    return _placed(path, array, zooms, affine, scale)


def _read_itk(path: Path, label: bool) -> Stored:
    sitk = _simple_itk(path)
    _check_header(path)
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    reader.ReadImageInformation()
    size = tuple(reader.GetSize())
    _check_shape(path, size)
    channels = reader.GetNumberOfComponents()
    if math.prod(size) * channels > _LARGEST:
        raise _RefusedError(f"{path} declares {size} pixels, too many for a frame or sequence; export single frames")
    image = reader.Execute()
    pixels = sitk.GetArrayFromImage(image)
    if channels > 1:
        flat = _single_channel(path, pixels.reshape(1, -1, channels), label)
        pixels = flat.reshape(pixels.shape[:-1])
    spatial = image.GetDimension()
    affine = np.eye(4)
    directions = np.array(image.GetDirection()).reshape(spatial, spatial)[:3, :3]
    affine[: len(directions), : len(directions)] = directions * np.array(image.GetSpacing())[None, :3]
    affine[:2] *= -1  # ITK's axes run to the left and the back
    spacing = tuple(float(x) for x in (*image.GetSpacing(), 1.0)[:3])
    return _placed(path, pixels.T, spacing, affine, (1.0, 0.0))


def _simple_itk(path: Path) -> Any:
    try:
        import SimpleITK
    except ImportError as error:
        raise ImportError(f"{path} needs SimpleITK; install it with pip install 'monai-bmaps[data]'") from error
    library: Any = SimpleITK
    library.ProcessObject.SetGlobalWarningDisplay(False)
    return library


def _check_header(path: Path) -> None:
    """A header may name its pixel file, but only one beside it."""
    with path.open("rb") as stream:
        named = re.findall(rb"(?im)^(?:ElementDataFile\s*=|data ?file:)[ \t]*(.*?)\s*$", stream.read(2**16))
    for name in named:
        if b"/" in name or b"\\" in name or name.startswith(b".."):
            shown = name.decode(errors="replace")
            raise _RefusedError(f"{path} takes its pixels from {shown}, not from beside it; put the file there")


def _check_shape(path: Path, shape: tuple[int, ...]) -> None:
    if len([n for n in shape if n > 1]) > 3 or any(n > 1 for n in shape[3:]):
        raise _RefusedError(f"{path} is {len(shape)}-dimensional, {shape}; export volumes or single frames")
    if len(shape) < 2 or min(shape) < 1:
        raise _RefusedError(f"{path} has shape {shape}, which holds no frame; export it again")


def _placed(
    path: Path, array: Array, spacing: tuple[float, ...], affine: Array | None, scale: tuple[float, float]
) -> Stored:
    array = array.reshape((*array.shape, 1, 1)[:3], order="F") if array.ndim != 3 else array
    if not all(math.isfinite(x) and x > 0 for x, count in zip(spacing, array.shape, strict=False) if count > 1):
        raise _RefusedError(f"{path} states a pixel size of {spacing}, which none has; repair its header")
    first, second, third = spacing[:3]
    return Stored(path, array, (first, second, third), affine, scale)
