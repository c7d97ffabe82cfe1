"""The one split of the project: by patient, stable across copies of a data set, the same everywhere.

An item is *test* where ``int(sha1("{source}/{group}"), 16) % 5 == 0``; of the rest, one tenth (by the next digit of
the same number) is *validation* and the others are *training*. Shipped weights never see a test item.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any, Literal, get_args

Split = Literal["training", "validation", "test"]

_TEST_SHARE = 5
_VALIDATION_SHARE = 10


def split_of(source: str, group: str) -> Split:
    """The split of a patient, sweep or exam.

    Args:
        source: data set name in lower case, for example ``"camus"``.
        group: what must not be divided: the patient (CAMUS), the sweep (TG3K segment, SegThy volunteer) or the exam
            number (HC18).
    """
    number = int(hashlib.sha1(f"{source}/{group}".encode()).hexdigest(), 16)
    if number % _TEST_SHARE == 0:
        return "test"
    return "validation" if number // _TEST_SHARE % _VALIDATION_SHARE == 0 else "training"


def is_test(source: str, group: str) -> bool:
    """Whether a group is held out for testing."""
    return split_of(source, group) == "test"


def select_split(items: Iterable[Mapping[str, Any]], split: Split | Literal["all"]) -> list[dict[str, Any]]:
    """The items of one split, in their order; each item carries ``source`` and ``group``.

    Raises:
        ValueError: an unknown split.
    """
    allowed = (*get_args(Split), "all")
    if split not in allowed:
        raise ValueError(f"split must be one of {', '.join(allowed)}, got {split!r}")
    return [dict(item) for item in items if split == "all" or split_of(item["source"], item["group"]) == split]
