"""Ultrasound frames out of DICOM files: grey, cropped to the calibrated region, without the patient.

Geometry comes from SequenceOfUltrasoundRegions alone (DICOM PS3.3, C.8.5.5); what it does not say is reported as
uncalibrated, never guessed. No message, name or result holds a value of a patient's attribute.
"""

from __future__ import annotations

import hashlib
import logging
import math
import os
import secrets
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Grey: TypeAlias = NDArray[np.uint8]

_MAX_SIDE, _MAX_PIXELS = 16384, 2**25  # a frame of 33 megapixels takes 100 MB in colour; none is larger
_MAX_INFLATED = 2**28  # bytes; a kilobyte of deflated zeros can claim to be a gigabyte
_COLOUR_SPREAD = 32  # grey levels between an RGB pixel's channels; JPEG leaves greys within about 16
_RUN_KEY = secrets.token_bytes(32)

_CLASS = "1.2.840.10008.5.1.4.1.1."
_ULTRASOUND = {_CLASS + tail for tail in ("3", "3.1", "6", "6.1")}  # single and multi-frame, retired ones too
_VOLUME = _CLASS + "6.2"
_DEFLATED = "1.2.840.10008.1.2.1.99"
_JPEG = "1.2.840.10008.1.2.4."
_DECODER = dict.fromkeys((_JPEG + "50", _JPEG + "90", _JPEG + "91"), "pillow") | dict.fromkeys(
    (_JPEG + "80", _JPEG + "81"), "pyjpegls"
)  # JPEG, JPEG 2000; JPEG-LS
_DIRECTORY = b"1.2.840.10008.1.3.10"
_PHOTOMETRIC = {"MONOCHROME1", "MONOCHROME2", "RGB", "PALETTE COLOR", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT"}
_PALETTE = [
    f"{prefix}{colour}PaletteColorLookupTable{part}"
    for colour in ("Red", "Green", "Blue")
    for prefix, part in (("", "Descriptor"), ("", "Data"), ("Segmented", "Data"))
]
_NEEDED = [
    *("SOPClassUID", "Modality", "PatientID", "StudyInstanceUID", "SequenceOfUltrasoundRegions", "NumberOfFrames"),
    *("Rows", "Columns", "BitsAllocated", "BitsStored", "PixelRepresentation", "PhotometricInterpretation"),
    *("SamplesPerPixel", "RescaleSlope", "RescaleIntercept", "WindowCenter", "WindowWidth", *_PALETTE),
]
_TISSUE, _FLOW = 1, 2  # RegionDataType
_TWO_DIMENSIONAL, _CENTIMETRES = 1, 3  # RegionSpatialFormat; PhysicalUnitsXDirection and ...YDirection
_OVER_TIME = {2, 3}  # RegionSpatialFormat: M-mode and spectral Doppler


@dataclass(frozen=True, eq=False)
class DicomFrame:
    """One frame, as grey, and what the file says about it.

    Attributes:
        index: place in its file, from 0.
        count: number of frames in the file.
        image: (height, width), uint8, row 0 at the top.
        spacing: (row, column) in mm between pixel centres; ``None`` where the file has no calibration that holds.
        group: pseudonym of the patient, the same for all files read under one key.
        region: (top, left, bottom, right) of ``image`` in the file's frame, ends exclusive; ``None`` if it is the
            whole frame, where text may be burned in: mask it by its beam before anyone sees it.
        colour_share: share of ``image`` that is coloured (Doppler, cursors, a tinted grey map), in [0, 1].
        remark: why ``spacing`` or ``region`` is ``None``; empty if neither is.
    """

    index: int
    count: int
    image: Grey = field(repr=False)
    spacing: tuple[float, float] | None
    group: str
    region: tuple[int, int, int, int] | None
    colour_share: float
    remark: str = ""


def read_frames(path: str | Path, *, region: int | None = None, key: bytes | None = None) -> Iterator[DicomFrame]:
    """The frames of an ultrasound file, decoded one at a time.

    A frame is cropped to its largest two-dimensional region of tissue, which removes text and scales around it, not
    those drawn inside. Colour becomes luminance ``0.299 R + 0.587 G + 0.114 B``: Doppler stays, as grey, and counts in
    ``colour_share``. Over 8 bits, the file's window decides what is black and white, else its stored range.

    JPEG of 8 bits, JPEG 2000, JPEG-LS and RLE are decoded; JPEG Lossless where pydicom finds a decoder that you
    installed (pylibjpeg-libjpeg, under the GPL); video is not.

    Args:
        path: the file.
        region: which entry of SequenceOfUltrasoundRegions to crop to, from 0; ``None`` takes the largest.
        key: 1 to 64 bytes, secret, that pseudonyms depend on; ``None`` is drawn anew by every process. Keep one to
            give a patient the same ``group``, hence the same split, in a later run.

    Returns:
        An iterator; damage that only decoding finds is raised when it gets there.

    Raises:
        ImportError: pydicom is not installed.
        OSError: the file cannot be opened.
        ValueError: no DICOM file, no ultrasound, no two-dimensional image, damaged, or larger than is sensible.
    """
    path = Path(path)
    header = _header(path)
    _check(header, path)
    box, spacing, remark = _placed(header, region, path)
    group = _pseudonym(header, path, key or _RUN_KEY)
    return _frames(path, header, box, spacing, group, remark)


def patient_of(path: str | Path, *, key: bytes) -> str:
    """Pseudonym of a file's patient, the ``group`` of its frames, without decoding any.

    Args:
        path: the file.
        key: as for :func:`read_frames`.

    Raises:
        ImportError: pydicom is not installed.
        OSError: the file cannot be opened.
        ValueError: no DICOM file, or damaged.
    """
    path = Path(path)
    return _pseudonym(_header(path), path, key)


def list_dicoms(root: str | Path) -> list[Path]:
    """DICOM files in a folder and below, sorted; known by their first bytes, or by the ending ``.dcm``.

    Names need no ending. A DICOMDIR is left out (what it lists lies beside it), as are hidden files. Given a file,
    that file; given a DICOMDIR, its folder.

    Raises:
        FileNotFoundError: there is no such place, or it holds no DICOM file.
    """
    root = Path(root)
    if not root.exists():
        raise FileNotFoundError(f"{root} does not exist; give a DICOM file or a folder of them")
    if root.is_file() and _kind(root) != "directory":
        return [root]
    root = root.parent if root.is_file() else root
    found = [
        path
        for folder, _, names in os.walk(root)
        for path in (Path(folder) / name for name in names if not name.startswith("."))
        if (kind := _kind(path)) == "dicom" or (kind is None and path.suffix.lower() == ".dcm")
    ]
    if not found:
        raise FileNotFoundError(f"{root} holds no DICOM file; files are known by 'DICM' at byte 128 or by .dcm")
    return sorted(found)


def _kind(path: Path) -> str | None:
    """What a file is by its first bytes: "dicom", "directory" (a DICOMDIR), or None."""
    try:
        with path.open("rb") as stream:
            head = stream.read(1024)
    except OSError:
        return None
    # Files from before 1993 have no preamble; they begin with a tag of group 0008, or 0002.
    bare = head[:2] in (b"\x08\x00", b"\x02\x00") and head[3:4] == b"\x00" and len(head) > 131
    if head[128:132] != b"DICM" and not bare:
        return None
    return "directory" if _DIRECTORY in head[:512] or path.name.upper() == "DICOMDIR" else "dicom"


def _header(path: Path) -> Any:
    """The attributes needed and no others, without pixels."""
    dcmread = _pydicom().dcmread
    with path.open("rb"):  # a missing or locked file keeps its own error
        pass
    if (kind := _kind(path)) != "dicom":
        what = "is a DICOMDIR; give its folder" if kind else "is no DICOM file; remove it or give its right path"
        raise ValueError(f"{path} {what}")
    with _refusing(path, "its header cannot be read; export it again"):
        _check_inflated(path)
        return dcmread(path, stop_before_pixels=True, specific_tags=_NEEDED, force=True)


def _check_inflated(path: Path) -> None:
    """Refuse a deflated file that grows beyond measure, before anything inflates it at once."""
    with path.open("rb") as stream:
        head = stream.read(1024)
        if _DEFLATED.encode() not in head:
            return
        if head[128:132] != b"DICM":
            raise _RefusalError("it is deflated and has no preamble; store it uncompressed")
        meta = _pydicom().filereader.read_file_meta_info(path)
        stream.seek(132 + 12 + int(meta.FileMetaInformationGroupLength))
        inflate, total, rest = zlib.decompressobj(-zlib.MAX_WBITS), 0, stream.read(2**16)
        while rest and not inflate.eof:
            total += len(inflate.decompress(rest, 2**20))
            if total > _MAX_INFLATED:
                raise _RefusalError(f"it inflates to more than {_MAX_INFLATED // 2**20} MiB; store it uncompressed")
            rest = inflate.unconsumed_tail or stream.read(2**16)


def _check(header: Any, path: Path) -> None:
    """Refuse what is no ultrasound image, or none that can be decoded within reason."""
    with _refusing(path, "its attributes cannot be read; export it again"):
        kind, modality = str(header.get("SOPClassUID", "")), str(header.get("Modality", ""))
        if kind == _VOLUME:
            raise _RefusalError("it is an ultrasound volume, not frames; export planes of it")
        if modality != "US" and kind not in _ULTRASOUND:
            raise _RefusalError("it is not ultrasound (Modality US or an ultrasound SOP class); leave it out")
        rows, columns, frames = (int(header.get(k) or 0) for k in ("Rows", "Columns", "NumberOfFrames"))
        if not (0 < rows <= _MAX_SIDE and 0 < columns <= _MAX_SIDE and rows * columns <= _MAX_PIXELS and frames >= 0):
            raise _RefusalError(
                f"it claims {frames} frames of {rows} x {columns} pixels; allowed are 1 to {_MAX_SIDE} a side and "
                f"{_MAX_PIXELS} in all, so it holds no image or is damaged; leave it out"
            )
        if header.get("PhotometricInterpretation") not in _PHOTOMETRIC:
            raise _RefusalError(
                f"its pixels are none of {', '.join(sorted(_PHOTOMETRIC))}; convert it with dcmdjpeg or gdcm"
            )
        if header.get("BitsAllocated") not in (8, 16):
            raise _RefusalError("its pixels have neither 8 nor 16 bits; export it again as 8-bit")


def _placed(
    header: Any, wanted: int | None, path: Path
) -> tuple[tuple[int, int, int, int] | None, tuple[float, float] | None, str]:
    """Box to crop to, spacing, and what is missing."""
    with _refusing(path, "its ultrasound regions cannot be read; export it again"):
        regions = list(header.get("SequenceOfUltrasoundRegions") or [])
        kinds = [(r.get("RegionSpatialFormat"), r.get("RegionDataType")) for r in regions]
        flat = [i for i, kind in enumerate(kinds) if kind == (_TWO_DIMENSIONAL, _TISSUE)]
        flat = flat or [i for i, kind in enumerate(kinds) if kind == (_TWO_DIMENSIONAL, _FLOW)]
        if wanted is not None and wanted not in flat:
            raise _RefusalError(
                f"region {wanted} is no two-dimensional image; of {len(regions)} regions these are: {flat}"
            )
        if not flat and any(kind in _OVER_TIME for kind, _ in kinds):
            raise _RefusalError("it shows M-mode or spectral Doppler only, no two-dimensional image; leave it out")
        if not flat:
            return None, None, "uncalibrated: the file marks no two-dimensional region"
        size = (int(header.Rows), int(header.Columns))
        boxes = {i: _box(regions[i], size) for i in flat}
        chosen = wanted if wanted is not None else max(flat, key=lambda i: _area(boxes[i]))
        if (box := boxes[chosen]) is None:
            # Viewers that shrink a frame often leave its regions as they were: their spacing is then wrong as well.
            return None, None, "uncalibrated: the file's region lies outside its frame, which was resized or cut"
        spacing = _spacing(regions[chosen])
        return box, spacing, "" if spacing else "uncalibrated: the file's region has no size in cm"


def _box(region: Any, size: tuple[int, int]) -> tuple[int, int, int, int] | None:
    """(top, left, bottom, right), ends exclusive, or None where the region is not inside the frame."""
    names = ("MinY0", "MinX0", "MaxY1", "MaxX1")
    ends = [region.get(f"RegionLocation{name}") for name in names]
    if any(end is None for end in ends):
        return None
    top, left, last_row, last_column = map(int, ends)
    # The last row and column count; several makers write the size instead, one too many.
    if top < 0 or left < 0 or last_row > size[0] or last_column > size[1]:
        return None
    bottom, right = min(last_row + 1, size[0]), min(last_column + 1, size[1])
    return (top, left, bottom, right) if top < bottom and left < right else None


def _area(box: tuple[int, int, int, int] | None) -> int:
    return 0 if box is None else (box[2] - box[0]) * (box[3] - box[1])


def _spacing(region: Any) -> tuple[float, float] | None:
    """(row, column) in mm."""
    if any(region.get(f"PhysicalUnits{axis}Direction") != _CENTIMETRES for axis in "XY"):
        return None
    row, column = (abs(float(region.get(f"PhysicalDelta{axis}") or 0.0)) * 10 for axis in "YX")
    return (row, column) if all(math.isfinite(x) and x > 0 for x in (row, column)) else None


def _pseudonym(header: Any, path: Path, key: bytes) -> str:
    """Keyed hash of the patient, else of the study, else of the folder: too coarse rather than too fine."""
    with _refusing(path, "its patient and study cannot be read; export it again"):
        names = (str(header.get(k) or "").strip() for k in ("PatientID", "StudyInstanceUID"))
        who = next((name for name in names if name), str(path.resolve().parent))
        return hashlib.blake2b(who.casefold().encode(), key=key, digest_size=8).hexdigest()


def _frames(
    path: Path,
    header: Any,
    box: tuple[int, int, int, int] | None,
    spacing: tuple[float, float] | None,
    group: str,
    remark: str,
) -> Iterator[DicomFrame]:
    count, index = int(header.get("NumberOfFrames") or 1), -1
    top, left, bottom, right = box or (0, 0, int(header.Rows), int(header.Columns))
    for index, pixels in enumerate(islice(_decoded(path, header), count)):
        with _refusing(path, f"frame {index} cannot be shown; its palette or window is damaged, export it again"):
            image, colour_share = _grey(pixels[top:bottom, left:right], header)
        yield DicomFrame(index, count, image, spacing, group, box, colour_share, remark)
    if index + 1 < count:
        raise ValueError(f"{path} is cut short: {index + 1} of {count} frames are there; copy or export it again")


def _decoded(path: Path, header: Any) -> Iterator[NDArray[Any]]:
    """Frames as stored, YBR as RGB."""
    coding = str(header.file_meta.get("TransferSyntaxUID", ""))
    # Named, so that GDCM is not asked where it is installed: it fills what a truncated file lacks with grey, and a
    # damaged one can make it end the process.
    plugin = _DECODER.get(coding, "")
    with _refusing(path, "its pixels cannot be found; export it again"):
        _check_whole(path)
        source = _pydicom().dcmread(path) if coding == _DEFLATED else path
    frames = _pydicom().pixels.iter_pixels(source, decoding_plugin=plugin)
    while True:
        with _refusing(
            path,
            "its pixels are missing, cut short or in a coding that no installed decoder reads; copy or export it "
            "again, or store it uncompressed (dcmdjpeg, gdcmconv --raw)",
        ):
            if (frame := next(frames, None)) is None:
                return
        yield frame


def _check_whole(path: Path) -> None:
    """Refuse compressed pixels that the file's end cuts off: some decoders make up the rest."""
    with path.open("rb") as stream:
        header = _pydicom().dcmread(stream, stop_before_pixels=True, specific_tags=["Rows"], force=True)
        if not getattr(header.file_meta.get("TransferSyntaxUID"), "is_encapsulated", False):
            return
        stream.seek(12, os.SEEK_CUR)  # tag, OB and undefined length of the pixels: fragments follow
        size = path.stat().st_size
        while (item := stream.read(8))[:4] == b"\xfe\xff\x00\xe0" and len(item) == 8:
            if stream.seek(int.from_bytes(item[4:], "little"), os.SEEK_CUR) > size:
                break
        if item[:4] != b"\xfe\xff\xdd\xe0":
            raise _RefusalError("its pixels are cut short; copy or export it again")


def _grey(pixels: NDArray[Any], header: Any) -> tuple[Grey, float]:
    """Grey as a viewer shows it, and the share of coloured pixels."""
    if header.PhotometricInterpretation == "PALETTE COLOR":
        pixels = _pydicom().pixels.apply_color_lut(pixels, header)
        if pixels.dtype != np.uint8:
            # Some palettes are declared with 16 bits and filled with 8.
            pixels = (pixels >> 8 if pixels.max(initial=0) > 255 else pixels).astype(np.uint8)
    if pixels.ndim == 2:
        return _shown(pixels, header), 0.0
    red, green, blue = np.moveaxis(_eight_bits(pixels, header), -1, 0).astype(np.int32)
    spread = np.maximum(np.maximum(red, green), blue) - np.minimum(np.minimum(red, green), blue)
    grey = (299 * red + 587 * green + 114 * blue + 500) // 1000  # whole numbers keep R = G = B as it is
    return grey.astype(np.uint8), float((spread > _COLOUR_SPREAD).mean())


def _eight_bits(pixels: NDArray[Any], header: Any) -> NDArray[Any]:
    return pixels if pixels.dtype == np.uint8 else pixels >> max(int(header.BitsStored) - 8, 0)


def _shown(pixels: NDArray[Any], header: Any) -> Grey:
    """Monochrome values between black and white, inverted where 0 is white."""
    bits, signed = int(header.BitsStored), bool(header.get("PixelRepresentation"))
    slope, intercept = (
        float(header.get(name) or default) for name, default in (("RescaleSlope", 1.0), ("RescaleIntercept", 0.0))
    )
    lowest = -(2 ** (bits - 1)) if signed else 0
    black, white = (slope * x + intercept for x in (lowest, lowest + 2**bits - 1))
    centre, width = (_first(header.get(name)) for name in ("WindowCenter", "WindowWidth"))
    if bits > 8 and centre is not None and width is not None and width >= 2:
        black, white = centre - 0.5 - (width - 1) / 2, centre - 0.5 + (width - 1) / 2  # PS3.3, C.11.2.1.2.1
    level = (slope * pixels.astype(np.float64) + intercept - black) / (white - black)
    grey: Grey = np.rint(level.clip(0.0, 1.0) * 255).astype(np.uint8)
    return grey if header.PhotometricInterpretation == "MONOCHROME2" else 255 - grey


def _first(value: Any) -> float | None:
    """The first of one or several numbers."""
    if value is None or value == "":
        return None
    return float(value[0] if hasattr(value, "__getitem__") else value)


class _RefusalError(Exception):
    """A reason that holds no value of an attribute and may be shown."""


@contextmanager
def _refusing(path: Path, reason: str) -> Iterator[None]:
    """Turn whatever fails into a ValueError without the library's words, which may quote a patient's attributes."""
    log = logging.getLogger("pydicom")
    disabled, log.disabled = log.disabled, True
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except _RefusalError as refusal:
        raise ValueError(f"{path}: {refusal}") from None
    except Exception as error:
        raise ValueError(f"{path}: {reason} ({type(error).__name__})") from None
    finally:
        log.disabled = disabled


def _pydicom() -> Any:
    try:
        import pydicom
        import pydicom.filereader
        import pydicom.pixels
    except ImportError as error:
        raise ImportError("reading DICOM needs pydicom; pip install monai-bmaps[data]") from error
    return pydicom
