"""Which way is deep: the affine, the stored order or the user's word, and never a guess."""

from __future__ import annotations

import nibabel
import numpy as np
import pytest

from monai_bmaps.data.prepare.orientation import AS_PLACED, Orientation, frame_layout, volume_layout

LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def placed(axes: str) -> np.ndarray:
    """Affine of an array whose indices grow towards these directions."""
    turn = nibabel.orientations.axcodes2ornt(tuple(axes))
    matrix = np.eye(4)
    matrix[:3, :3] = 0
    for axis, (world, sign) in enumerate(turn):
        matrix[int(world), axis] = sign
    return matrix


def test_itk_identity_is_the_order_of_an_image_file() -> None:
    layout = frame_layout(LPS, AS_PLACED)
    assert (layout.row, layout.column, layout.flip_row, layout.flip_column) == (1, 0, False, False)


def test_a_frame_without_a_position_has_the_order_of_an_image_file() -> None:
    assert frame_layout(None, AS_PLACED) == frame_layout(LPS, AS_PLACED)


@pytest.mark.parametrize("axes", ["LPS", "RAS", "PLS", "ARS", "ALI", "RPI"])
def test_rows_run_to_the_back_and_columns_to_the_left_whatever_the_order(axes: str) -> None:
    layout = frame_layout(placed(axes), AS_PLACED)
    assert axes[layout.row] + "-" * layout.flip_row in ("P", "A-")
    assert axes[layout.column] + "-" * layout.flip_column in ("L", "R-")


def test_columns_of_a_lengthwise_plane_run_to_the_feet() -> None:
    layout = frame_layout(placed("SPL"), AS_PLACED)
    assert (layout.row, layout.column, layout.flip_column) == (1, 0, True)


@pytest.mark.parametrize("axes", ["LPS", "SLP", "PSL", "ARI"])
def test_a_volume_is_cut_across_the_long_axis(axes: str) -> None:
    layout = volume_layout(placed(axes), AS_PLACED)
    assert axes[layout.stack] in "SI"
    assert axes[layout.row] in "AP"


def test_an_oblique_affine_is_refused_with_the_angle_and_the_remedy() -> None:
    turned = LPS.copy()
    c = np.sqrt(0.5)
    turned[:2, :2] = [[-c, c], [-c, -c]]
    with pytest.raises(ValueError, match=r"off by 45 degrees; look at the file and give --depth-axis"):
        frame_layout(turned, AS_PLACED)


def test_a_plane_without_the_direction_of_depth_is_refused() -> None:
    with pytest.raises(ValueError, match="does not show which axis is depth"):
        frame_layout(placed("LSP"), AS_PLACED)


def test_a_volume_without_a_position_is_refused_until_told() -> None:
    with pytest.raises(ValueError, match="--depth-axis j"):
        volume_layout(None, AS_PLACED)
    layout = volume_layout(None, Orientation(depth="i-", sweep="j"))
    assert (layout.row, layout.column, layout.stack, layout.flip_row) == (0, 2, 1, True)


def test_the_users_word_counts_before_the_affine() -> None:
    layout = frame_layout(LPS, Orientation(depth="i-"))
    assert (layout.row, layout.column, layout.flip_row) == (0, 1, True)


def test_the_affine_can_be_ignored() -> None:
    assert frame_layout(placed("RAS"), Orientation(use_affine=False)) == frame_layout(LPS, AS_PLACED)


def test_a_broken_affine_is_refused() -> None:
    with pytest.raises(ValueError, match="affine in the file is broken"):
        frame_layout(np.zeros((4, 4)), AS_PLACED)


@pytest.mark.parametrize("given", [{"depth": "j"}, {"depth": "x+"}, {"sweep": "l"}, {"depth": "k+", "sweep": "k"}])
def test_axes_that_do_not_exist_or_coincide_are_refused(given: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="axis"):
        Orientation(**given)


def test_depth_along_the_stack_is_refused() -> None:
    with pytest.raises(ValueError, match="along the stack of frames and cannot be depth"):
        frame_layout(LPS, Orientation(depth="k+"))
