"""Preparing a data set as it was downloaded for every bundle: the one place of ``data`` that opens pixels."""

try:
    import scipy.ndimage  # noqa: F401
except ImportError as error:
    raise ImportError("preparing data needs SciPy; install it with pip install 'monai-bmaps[data]'") from error

from monai_bmaps.data.prepare.camus_source import CamusSource
from monai_bmaps.data.prepare.dicom_source import DicomSource, read_or_make_key
from monai_bmaps.data.prepare.engine import Prepared, prepare
from monai_bmaps.data.prepare.folder_source import FolderSource
from monai_bmaps.data.prepare.frames import Frame, Item, LeftOut, Source
from monai_bmaps.data.prepare.orientation import Orientation
from monai_bmaps.data.prepare.segthy_source import SegThySource
from monai_bmaps.data.prepare.values import LabelRule

__all__ = [
    "CamusSource",
    "DicomSource",
    "FolderSource",
    "Frame",
    "Item",
    "LabelRule",
    "LeftOut",
    "Orientation",
    "Prepared",
    "SegThySource",
    "Source",
    "prepare",
    "read_or_make_key",
]
