"""Frames: right-handed grids whose first row is the probe's face, exact through JSON, nothing else accepted."""

from __future__ import annotations

import json

import numpy as np
import pytest

from SlicerBMapDiffusionLib.geometry.frames import LARGEST_SIDE, Frame, FrameSize, frame_from_axes

FACE, LATERAL, DEPTH = (10.0, -20.0, 5.0), (0.0, 2.0, 0.0), (0.0, 0.5, -3.0)


def example(count: int = 3) -> Frame:
    return frame_from_axes(FACE, LATERAL, DEPTH, 5, 8, (0.5, 0.25), count, 2.0)


def test_the_middle_of_row_0_of_the_middle_frame_is_the_face():
    assert example().ras(3.5, 0, 1) == pytest.approx(FACE)
    assert example().centre_top == pytest.approx(FACE)


def test_columns_run_laterally_rows_away_and_frames_along_their_cross_product():
    frame = example()
    assert frame.axes == pytest.approx(np.array(((0, 1, 0), (0, 0, -1), (-1, 0, 0))))
    assert frame.ras(4.5, 0, 1) - frame.ras(3.5, 0, 1) == pytest.approx((0, 0.25, 0))
    assert frame.ras(3.5, 4, 1) - FACE == pytest.approx((0, 0, -2))
    assert frame.ras(3.5, 0, 2) - FACE == pytest.approx((-2, 0, 0))


def test_spacing_and_size_are_those_asked_for():
    assert example().spacing == pytest.approx((0.5, 0.25, 2.0))
    assert example().size == FrameSize(5, 8, 0.5, 0.25, 3, 2.0)


def test_a_stack_is_centred_about_its_single_frame():
    assert example(4).moved(1.5).corners() == pytest.approx(example(1).corners())


def test_corners_are_the_outer_edges_of_the_pixels_in_order():
    frame = Frame(np.diag((2.0, 3.0, 1.0, 1.0)), rows=2, columns=4)
    assert frame.corners().tolist() == [[-1, -1.5, 0], [7, -1.5, 0], [7, 4.5, 0], [-1, 4.5, 0]]


def test_the_centre_lies_between_the_first_and_the_last_pixel():
    frame = example()
    assert frame.centre == pytest.approx((frame.ras(0, 0, 0) + frame.ras(7, 4, 2)) / 2)


def test_a_frame_moved_to_a_point_has_its_middle_there_and_is_not_turned():
    moved = example().at_middle((1, 2, 3))
    assert moved.centre == pytest.approx((1, 2, 3))
    assert np.array_equal(moved.axes, example().axes)


def test_a_frame_shows_what_lies_before_its_pixels_out_to_their_outer_edges():
    frame = example()
    for column, row in ((-0.49, -0.49), (7.49, 4.49), (3, 2)):
        assert frame.shows(frame.ras(column, row, 40))
    for column, row in ((-0.51, 2), (7.51, 2), (3, -0.51), (3, 4.51)):
        assert not frame.shows(frame.ras(column, row, 1))


@pytest.mark.parametrize("change", [1e-4, 1e-2])
def test_frames_coincide_within_a_thousandth_of_a_millimetre(change):
    frame = example()
    assert frame.coincides(frame.at_middle(frame.ras(3.5, 2, 1) + np.array((0, change, 0)))) is (change < 1e-3)


def test_frames_of_other_sizes_or_turned_about_their_middle_do_not_coincide():
    frame = example()
    turned = Frame(frame.ijk_to_ras @ np.diag((-1, -1, 1, 1)), 5, 8, 3).at_middle(frame.centre)
    for other in (example(1), frame_from_axes(FACE, LATERAL, DEPTH, 6, 8, (0.5, 0.25), 3, 2.0), turned):
        assert not frame.coincides(other)


def test_a_frame_survives_json_exactly():
    frame = frame_from_axes((1 / 3, 2 / 7, 1e-17), (1, 2, 3), (-3, 1, 0.1), 5, 8, (0.1, 0.3), 3, 0.7)
    back = Frame.from_dict(json.loads(json.dumps(frame.to_dict())))
    assert np.array_equal(back.ijk_to_ras, frame.ijk_to_ras)
    assert (back.rows, back.columns, back.count) == (5, 8, 3)


def test_a_frame_cannot_be_changed_from_outside():
    matrix = np.eye(4)
    frame = Frame(matrix, 2, 3)
    matrix[0, 0] = 9
    assert frame.ijk_to_ras[0, 0] == 1
    with pytest.raises(ValueError, match="read-only"):
        frame.ijk_to_ras[0, 0] = 9


@pytest.mark.parametrize(
    "matrix",
    [
        np.diag((-1.0, 1, 1, 1)),
        np.diag((0.0, 1, 1, 1)),
        np.diag((np.nan, 1, 1, 1)),
        np.eye(3),
        np.array(((1, 0.1, 0, 0), (0, 1, 0, 0), (0, 0, 1, 0), (0, 0, 0, 1.0))),
        np.diag((1.0, 1, 1, 2)),
    ],
    ids=["left-handed", "flat", "not finite", "3 x 3", "sheared", "projective"],
)
def test_matrices_that_are_no_right_handed_grid_are_refused(matrix):
    with pytest.raises(ValueError, match=r"ijk_to_ras must be|right-handed"):
        Frame(matrix, 2, 3)


@pytest.mark.parametrize("size", [(0, 3, 1), (2, -1, 1), (2, 3, 0), (2.5, 3, 1), (True, 3, 1)])
def test_sizes_that_count_nothing_are_refused(size):
    with pytest.raises(ValueError, match="whole number above 0"):
        Frame(np.eye(4), *size)


@pytest.mark.parametrize("size", [(LARGEST_SIDE + 1, 1, 1), (1, LARGEST_SIDE + 1, 1), (4096, 4096, 17)])
def test_frames_that_no_memory_holds_are_refused_before_they_are_filled(size):
    with pytest.raises(ValueError, match="too large"):
        Frame(np.eye(4), *size)


@pytest.mark.parametrize("name", ["row_mm", "column_mm", "step_mm"])
@pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), float("inf")])
def test_distances_that_are_none_are_refused(name, value):
    with pytest.raises(ValueError, match=f"{name} must be a distance"):
        FrameSize(**{"rows": 2, "columns": 3, "row_mm": 1.0, "column_mm": 1.0, name: value})


def test_directions_that_span_no_plane_are_refused():
    with pytest.raises(ValueError, match="along one line"):
        frame_from_axes(FACE, (1, 0, 0), (-2, 0, 0), 2, 3, (1, 1))
    with pytest.raises(ValueError, match="depth must be a direction"):
        frame_from_axes(FACE, (1, 0, 0), (0, 0, 0), 2, 3, (1, 1))


def test_dictionaries_with_missing_or_unknown_keys_are_refused():
    whole = example().to_dict()
    with pytest.raises(ValueError, match=r"needs the keys \['rows'\]"):
        Frame.from_dict({name: value for name, value in whole.items() if name != "rows"})
    with pytest.raises(ValueError, match=r"no keys \['depth'\]"):
        Frame.from_dict(whole | {"depth": 1})
