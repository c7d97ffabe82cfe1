"""What a synthetic file tells of itself, whether it is still so, and the image drawn again from it.

``python -m monai_bmaps.provenance verify FILE ...`` is the command.
"""

from monai_bmaps.provenance.formats import read_pixels, read_record, write_nifti, write_nrrd, write_png
from monai_bmaps.provenance.record import (
    Record,
    condition_digest,
    decisive,
    digest_of,
    pixels_digest,
    record_of,
    sealed,
)

__all__ = [
    "Record",
    "condition_digest",
    "decisive",
    "digest_of",
    "pixels_digest",
    "read_pixels",
    "read_record",
    "record_of",
    "sealed",
    "write_nifti",
    "write_nrrd",
    "write_png",
]
