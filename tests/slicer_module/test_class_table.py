"""The table of segments and classes: guesses, choices that are kept, order, and text."""

from __future__ import annotations

import pytest

from SlicerBMapDiffusionLib.models.class_table import ClassTable
from SlicerBMapDiffusionLib.models.mapping import SegmentInfo

CLASSES = ("left-ventricle cavity", "myocardium", "left atrium")
SEGMENTS = [SegmentInfo("a", "Left ventricle"), SegmentInfo("b", "Myocardium"), SegmentInfo("c", "Aorta")]


@pytest.fixture
def table() -> ClassTable:
    return ClassTable().updated("heart", "node1", SEGMENTS, CLASSES)


def test_what_is_unknown_comes_first_and_the_cavity_last(table: ClassTable) -> None:
    assert table.rows == (("c", ""), ("b", "myocardium"), ("a", "left-ventricle cavity"))


def test_text_brings_the_table_back(table: ClassTable) -> None:
    assert ClassTable.from_text(table.to_text()) == table


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", '{"rows": 3}', '{"rows": [["a"]], "model": "", "segmentation": ""}']
)
def test_text_that_is_no_table_gives_an_empty_one(text: str) -> None:
    assert ClassTable.from_text(text) == ClassTable()


def test_a_choice_is_kept_when_segments_come_and_go(table: ClassTable) -> None:
    chosen = table.with_class("c", "left atrium").moved(0, 2)
    later = chosen.updated("heart", "node1", [SEGMENTS[0], SEGMENTS[2], SegmentInfo("d", "LA")], CLASSES)
    assert later.rows == (("a", "left-ventricle cavity"), ("c", "left atrium"), ("d", "left atrium"))


def test_nothing_new_changes_nothing(table: ClassTable) -> None:
    assert table.updated("heart", "node1", SEGMENTS, CLASSES) == table


@pytest.mark.parametrize(("model", "node"), [("thyroid", "node1"), ("heart", "node2")])
def test_another_model_or_segmentation_starts_anew(table: ClassTable, model: str, node: str) -> None:
    fresh = table.with_class("b", "").updated(model, node, SEGMENTS, CLASSES)
    assert dict(fresh.rows)["b"] == "myocardium"


def test_a_class_that_the_model_no_longer_has_is_left_out(table: ClassTable) -> None:
    assert dict(table.updated("heart", "node1", SEGMENTS, CLASSES[:1]).rows)["b"] == ""


@pytest.mark.parametrize(("index", "by"), [(0, -1), (2, 1), (-1, 1), (7, -1)])
def test_a_row_does_not_leave_the_table(table: ClassTable, index: int, by: int) -> None:
    assert table.moved(index, by) == table


def test_labels_follow_the_drawing_order_and_the_model_s_numbers(table: ClassTable) -> None:
    assert list(table.labels(CLASSES).items()) == [("b", 2), ("a", 1)]
    assert list(table.moved(1, 1).labels(CLASSES).items()) == [("a", 1), ("b", 2)]
