"""Numbers of a report: a value or a reason, and a key."""

from __future__ import annotations

import doctest

import pytest

from monai_bmaps.metrics.findings import measured
from monai_bmaps.metrics.findings.measured import Measured


def test_a_measure_has_a_value_or_a_reason() -> None:
    for arguments in ({}, {"value": 1.0, "left_out": "no weights"}):
        with pytest.raises(ValueError, match="either a value or a reason"):
            Measured("key", "name", **arguments)


def test_examples_hold() -> None:
    result = doctest.testmod(measured)
    assert (result.failed, result.attempted) == (0, 1)
