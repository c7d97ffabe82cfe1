"""What a DICOM file says of itself before its pixels: kind, size, patient, and whether it is ultrasound."""

from __future__ import annotations

import hashlib
import zlib
from pathlib import Path
from typing import Any

from monai_bmaps.data.dicom.refusals import RefusalError, pydicom_library, refusing

_MAX_SIDE, _MAX_PIXELS = 16384, 2**25  # a frame of 33 megapixels takes 100 MB in colour; none is larger
_MAX_INFLATED = 2**28  # bytes; a kilobyte of deflated zeros can claim to be a gigabyte
_CLASS = "1.2.840.10008.5.1.4.1.1."
_ULTRASOUND = {_CLASS + tail for tail in ("3", "3.1", "6", "6.1")}  # single and multi-frame, retired ones too
_VOLUME = _CLASS + "6.2"
DEFLATED = "1.2.840.10008.1.2.1.99"
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


def kind_of(path: Path) -> str | None:
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


def read_header(path: Path) -> Any:
    """The attributes needed and no others, without pixels."""
    dcmread = pydicom_library().dcmread
    with path.open("rb"):  # a missing or locked file keeps its own error
        pass
    if (kind := kind_of(path)) != "dicom":
        what = "is a DICOMDIR; give its folder" if kind else "is no DICOM file; remove it or give its right path"
        raise ValueError(f"{path} {what}")
    with refusing(path, "its header cannot be read; export it again"):
        _check_inflated(path)
        return dcmread(path, stop_before_pixels=True, specific_tags=_NEEDED, force=True)


def _check_inflated(path: Path) -> None:
    """Refuse a deflated file that grows beyond measure, before anything inflates it at once."""
    with path.open("rb") as stream:
        head = stream.read(1024)
        if DEFLATED.encode() not in head:
            return
        if head[128:132] != b"DICM":
            raise RefusalError("it is deflated and has no preamble; store it uncompressed")
        meta = pydicom_library().filereader.read_file_meta_info(path)
        stream.seek(132 + 12 + int(meta.FileMetaInformationGroupLength))
        inflate, total, rest = zlib.decompressobj(-zlib.MAX_WBITS), 0, stream.read(2**16)
        while rest and not inflate.eof:
            total += len(inflate.decompress(rest, 2**20))
            if total > _MAX_INFLATED:
                raise RefusalError(f"it inflates to more than {_MAX_INFLATED // 2**20} MiB; store it uncompressed")
            rest = inflate.unconsumed_tail or stream.read(2**16)


def check_header(header: Any, path: Path) -> None:
    """Refuse what is no ultrasound image, or none that can be decoded within reason."""
    with refusing(path, "its attributes cannot be read; export it again"):
        kind, modality = str(header.get("SOPClassUID", "")), str(header.get("Modality", ""))
        if kind == _VOLUME:
            raise RefusalError("it is an ultrasound volume, not frames; export planes of it")
        if modality != "US" and kind not in _ULTRASOUND:
            raise RefusalError("it is not ultrasound (Modality US or an ultrasound SOP class); leave it out")
        rows, columns, frames = (int(header.get(k) or 0) for k in ("Rows", "Columns", "NumberOfFrames"))
        if not (0 < rows <= _MAX_SIDE and 0 < columns <= _MAX_SIDE and rows * columns <= _MAX_PIXELS and frames >= 0):
            raise RefusalError(
                f"it claims {frames} frames of {rows} x {columns} pixels; allowed are 1 to {_MAX_SIDE} a side and "
                f"{_MAX_PIXELS} in all, so it holds no image or is damaged; leave it out"
            )
        if header.get("PhotometricInterpretation") not in _PHOTOMETRIC:
            raise RefusalError(
                f"its pixels are none of {', '.join(sorted(_PHOTOMETRIC))}; convert it with dcmdjpeg or gdcm"
            )
        if header.get("BitsAllocated") not in (8, 16):
            raise RefusalError("its pixels have neither 8 nor 16 bits; export it again as 8-bit")


def pseudonym(header: Any, path: Path, key: bytes) -> str:
    """Keyed hash of the patient, else of the study, else of the folder: too coarse rather than too fine."""
    with refusing(path, "its patient and study cannot be read; export it again"):
        names = (str(header.get(k) or "").strip() for k in ("PatientID", "StudyInstanceUID"))
        who = next((name for name in names if name), str(path.resolve().parent))
        return hashlib.blake2b(who.casefold().encode(), key=key, digest_size=8).hexdigest()
