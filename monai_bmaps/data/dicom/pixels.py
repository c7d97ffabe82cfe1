"""Decoded frames, and grey as a viewer shows it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from monai_bmaps.data.dicom.headers import DEFLATED
from monai_bmaps.data.dicom.refusals import RefusalError, pydicom_library, refusing

Grey: TypeAlias = NDArray[np.uint8]

_COLOUR_SPREAD = 32  # grey levels between an RGB pixel's channels; JPEG leaves greys within about 16
_JPEG = "1.2.840.10008.1.2.4."
_DECODER = dict.fromkeys((_JPEG + "50", _JPEG + "90", _JPEG + "91"), "pillow") | dict.fromkeys(
    (_JPEG + "80", _JPEG + "81"), "pyjpegls"
)  # JPEG, JPEG 2000; JPEG-LS


def decoded(path: Path, header: Any) -> Iterator[NDArray[Any]]:
    """Frames as stored, YBR as RGB."""
    coding = str(header.file_meta.get("TransferSyntaxUID", ""))
    # Named, so that GDCM is not asked where it is installed: it fills what a truncated file lacks with grey, and a
    # damaged one can make it end the process.
    plugin = _DECODER.get(coding, "")
    with refusing(path, "its pixels cannot be found; export it again"):
        _check_whole(path)
        source = pydicom_library().dcmread(path) if coding == DEFLATED else path
    frames = pydicom_library().pixels.iter_pixels(source, decoding_plugin=plugin)
    while True:
        with refusing(
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
        header = pydicom_library().dcmread(stream, stop_before_pixels=True, specific_tags=["Rows"], force=True)
        if not getattr(header.file_meta.get("TransferSyntaxUID"), "is_encapsulated", False):
            return
        stream.seek(12, os.SEEK_CUR)  # tag, OB and undefined length of the pixels: fragments follow
        size = path.stat().st_size
        while (item := stream.read(8))[:4] == b"\xfe\xff\x00\xe0" and len(item) == 8:
            if stream.seek(int.from_bytes(item[4:], "little"), os.SEEK_CUR) > size:
                break
        if item[:4] != b"\xfe\xff\xdd\xe0":
            raise RefusalError("its pixels are cut short; copy or export it again")


def grey_of(pixels: NDArray[Any], header: Any) -> tuple[Grey, float]:
    """Grey as a viewer shows it, and the share of coloured pixels."""
    if header.PhotometricInterpretation == "PALETTE COLOR":
        pixels = pydicom_library().pixels.apply_color_lut(pixels, header)
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
