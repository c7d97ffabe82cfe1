"""pydicom, and its failures in words that quote no patient."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


class RefusalError(Exception):
    """A reason that holds no value of an attribute and may be shown."""


@contextmanager
def refusing(path: Path, reason: str) -> Iterator[None]:
    """Turn whatever fails into a ValueError without the library's words, which may quote a patient's attributes."""
    log = logging.getLogger("pydicom")
    disabled, log.disabled = log.disabled, True
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except RefusalError as refusal:
        raise ValueError(f"{path}: {refusal}") from None
    except Exception as error:
        raise ValueError(f"{path}: {reason} ({type(error).__name__})") from None
    finally:
        log.disabled = disabled


def pydicom_library() -> Any:
    """The package pydicom.

    Raises:
        ImportError: it is not installed.
    """
    try:
        import pydicom
        import pydicom.filereader
        import pydicom.pixels
    except ImportError as error:
        raise ImportError("reading DICOM needs pydicom; pip install monai-bmaps[data]") from error
    return pydicom
