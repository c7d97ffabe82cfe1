"""Ultrasound frames out of DICOM files: grey, cropped to the calibrated region, without the patient.

Geometry comes from SequenceOfUltrasoundRegions alone (DICOM PS3.3, C.8.5.5); what it does not say is reported as
uncalibrated, never guessed. No message, name or result holds a value of a patient's attribute.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from monai_bmaps.data.dicom.headers import check_header, kind_of, pseudonym, read_header
from monai_bmaps.data.dicom.pixels import Grey, decoded, grey_of
from monai_bmaps.data.dicom.refusals import refusing
from monai_bmaps.data.dicom.regions import Box, placed

_RUN_KEY = secrets.token_bytes(32)


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
    region: Box | None
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
    header = read_header(path)
    check_header(header, path)
    box, spacing, remark = placed(header, region, path)
    group = pseudonym(header, path, key or _RUN_KEY)
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
    return pseudonym(read_header(path), path, key)


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
    if root.is_file() and kind_of(root) != "directory":
        return [root]
    root = root.parent if root.is_file() else root
    found = [
        path
        for folder, _, names in os.walk(root)
        for path in (Path(folder) / name for name in names if not name.startswith("."))
        if (kind := kind_of(path)) == "dicom" or (kind is None and path.suffix.lower() == ".dcm")
    ]
    if not found:
        raise FileNotFoundError(f"{root} holds no DICOM file; files are known by 'DICM' at byte 128 or by .dcm")
    return sorted(found)


def _frames(
    path: Path,
    header: Any,
    box: Box | None,
    spacing: tuple[float, float] | None,
    group: str,
    remark: str,
) -> Iterator[DicomFrame]:
    count, index = int(header.get("NumberOfFrames") or 1), -1
    top, left, bottom, right = box or (0, 0, int(header.Rows), int(header.Columns))
    for index, pixels in enumerate(islice(decoded(path, header), count)):
        with refusing(path, f"frame {index} cannot be shown; its palette or window is damaged, export it again"):
            image, colour_share = grey_of(pixels[top:bottom, left:right], header)
        yield DicomFrame(index, count, image, spacing, group, box, colour_share, remark)
    if index + 1 < count:
        raise ValueError(f"{path} is cut short: {index + 1} of {count} frames are there; copy or export it again")
