"""8-bit grey PNG files, written without an imaging library."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray


def write_png(path: str | Path, pixels: NDArray[np.uint8]) -> None:
    """Write ``(rows, columns)`` uint8, losslessly.

    Raises:
        ValueError: another shape or type.
    """
    if pixels.ndim != 2 or pixels.dtype != np.uint8 or pixels.size == 0:
        raise ValueError(f"pixels must be (rows, columns) uint8, got {pixels.shape} {pixels.dtype}; convert them")
    rows, columns = pixels.shape
    header = struct.pack(">IIBBBBB", columns, rows, 8, 0, 0, 0, 0)  # 8 bit, grey, and the only methods there are
    unfiltered = np.pad(pixels, ((0, 0), (1, 0)))  # each row begins with its filter: 0, none
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(unfiltered.tobytes(), 6)), (b"IEND", b""))
    Path(path).write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(*chunk) for chunk in chunks))


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
