"""Names of numbers for logs and JSON."""

from __future__ import annotations

import re


def key_of(name: str) -> str:
    """A name for people as a key.

    >>> key_of("left-ventricle cavity")
    'left_ventricle_cavity'
    """
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")
