"""The table of a report: floors stand beside their numbers."""

from __future__ import annotations

from monai_bmaps.metrics import Measured
from monai_bmaps.metrics.findings.table import table


def test_a_floor_stands_beside_its_number_and_not_below_it() -> None:
    rows = [
        Measured("max_pool_1", "near", 0.5, (0.25, 1.0), {"real": 3}),
        Measured("slope_distance", "slope", 2.0),
        Measured("slope_floor", "floor of slope", 4.0),
        Measured("flagged", "flagged", 0.0),
        Measured("floor_max_pool_1", "floor", 0.125, (0.0, 0.5)),
    ]
    assert table(rows)[2:] == [
        "| near | 0.5 | 0.25 to 1 | 0.125 (0 to 0.5) | 3 real |",
        "| slope | 2 |  | 4 |  |",
        "| flagged | 0 |  |  |  |",
    ]


def test_a_floor_without_its_number_keeps_its_line() -> None:
    lines = table([Measured("floor_same_count_max_pool_2", "floor of as few", 0.5)])
    assert lines[0] == "| measure | value | 95 % interval | images |"
    assert lines[2] == "| floor of as few | 0.5 |  |  |"


def test_a_floor_that_was_left_out_says_why_beside_its_number() -> None:
    lines = table([Measured("a", "a", 1.0), Measured("floor_a", "floor", left_out="one patient | give more")])
    assert lines[2] == "| a | 1 |  | left out: one patient / give more |  |"
