"""The beam in the panel and in the slice views: its numbers, where they come from, and handles to pull at."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("PySide6", reason="PySide6 is not installed here; `make test-slicer` runs these")

from slicer_module import panels


def _handles(scene: Any) -> Any:
    nodes = panels.nodes_of(scene, "vtkMRMLMarkupsFiducialNode")
    return next((node for node in nodes if node.GetAttribute("BMapDiffusion.handles")), None)


def _nodes_named(name: str) -> Any:
    import slicer

    return slicer.mrmlScene.GetFirstNodeByName(name)


def test_the_model_s_beam_is_shown_but_not_to_be_changed(heart: panels.Opened) -> None:
    assert not heart.ui.beamDepthSlider.enabled
    assert heart.ui.beamDepthSlider.value == pytest.approx(150.0, abs=0.2)
    assert not heart.shown("beamButton")


@pytest.mark.parametrize(
    ("kind", "rows"),
    [
        ("LINEAR", {"beamWidthSlider"}),
        ("CURVILINEAR", {"beamRadiusSlider", "beamAngleSlider", "beamSteeringSlider"}),
        ("PHASED", {"beamAngleSlider", "beamSteeringSlider"}),
    ],
)
def test_a_beam_shows_the_numbers_that_it_has(heart: panels.Opened, kind: str, rows: set[str]) -> None:
    heart.parameters.beam_source = type(heart.parameters.beam_source).MANUAL
    heart.parameters.beam_kind = type(heart.parameters.beam_kind)[kind]
    heart.settle()
    all_rows = {"beamWidthSlider", "beamRadiusSlider", "beamAngleSlider", "beamSteeringSlider"}
    assert {name for name in all_rows if heart.shown(name)} == rows
    assert heart.ui.beamDepthSlider.enabled


def manual(opened: panels.Opened) -> Any:
    """Set the beam by hand; the node that holds its handles."""
    opened.parameters.beam_source = type(opened.parameters.beam_source).MANUAL
    opened.settle()
    return _handles(opened.application.scene)


def test_a_beam_that_is_set_by_hand_has_handles_in_its_plane(heart: panels.Opened, scene: Any) -> None:
    assert _handles(scene) is None
    node = manual(heart)
    assert node.GetNumberOfControlPoints() == 3
    bounds = np.array(panels.outline_of(scene).GetPolyData().GetBounds()).reshape(3, 2)
    for index in range(3):
        place = np.array(node.GetNthControlPointPositionWorld(index))
        assert (bounds[:, 0] - 0.1 <= place).all()
        assert (place <= bounds[:, 1] + 0.1).all()
    heart.parameters.beam_source = type(heart.parameters.beam_source).MODEL
    heart.settle()
    assert _handles(scene) is None


def test_pulling_the_far_end_changes_the_numbers_and_the_outline(heart: panels.Opened, scene: Any) -> None:
    node = manual(heart)
    depth = heart.ui.beamDepthSlider.value
    before = np.array(panels.outline_of(scene).GetPolyData().GetBounds())
    face, end = (np.array(node.GetNthControlPointPositionWorld(index)) for index in (0, 1))
    node.SetNthControlPointPositionWorld(1, *(face + 0.5 * (end - face)))
    heart.settle()
    assert heart.ui.beamDepthSlider.value == pytest.approx(depth / 2, abs=0.01)
    assert heart.ui.beamSteeringSlider.value == pytest.approx(0, abs=1e-6)
    assert not np.allclose(before, panels.outline_of(scene).GetPolyData().GetBounds())


def test_pulling_the_face_takes_the_other_handles_along(heart: panels.Opened) -> None:
    node = manual(heart)
    places = [np.array(node.GetNthControlPointPositionWorld(index)) for index in range(3)]
    shift = 0.1 * (places[1] - places[0])
    node.SetNthControlPointPositionWorld(0, *(places[0] + shift))
    heart.settle()
    for index, place in enumerate(places):
        assert node.GetNthControlPointPositionWorld(index) == pytest.approx(place + shift, abs=1e-3)


def test_a_slider_moves_the_handles(heart: panels.Opened) -> None:
    node = manual(heart)
    before = np.array(node.GetNthControlPointPositionWorld(2))
    heart.ui.beamAngleSlider.value = 20.0
    heart.settle()
    after = np.array(node.GetNthControlPointPositionWorld(2))
    assert np.linalg.norm(after - before) > 5
    assert heart.ui.beamAngleSlider.value == 20.0


def test_a_handle_that_stays_where_it_is_pulled_moves_no_other(heart: panels.Opened) -> None:
    node = manual(heart)
    angle = heart.ui.beamAngleSlider.value
    face, end = (np.array(node.GetNthControlPointPositionWorld(index)) for index in (0, 1))
    across = np.cross(end - face, np.array(node.GetNthControlPointPositionWorld(2)) - face)
    aside = np.cross(end - face, across / np.linalg.norm(across))
    node.SetNthControlPointPositionWorld(1, *(end + 0.3 * aside))
    node.InvokeCustomModifiedEvent(node.PointModifiedEvent)  # the others have not followed yet
    heart.settle()
    assert abs(heart.ui.beamSteeringSlider.value) > 10
    assert heart.ui.beamAngleSlider.value == pytest.approx(angle, abs=0.01)


def test_a_handle_that_was_taken_away_comes_back(heart: panels.Opened) -> None:
    node = manual(heart)
    place = node.GetNthControlPointPositionWorld(1)
    node.UnsetNthControlPointPosition(1)
    assert node.GetNthControlPointPositionWorld(1) == pytest.approx(place)
    assert node.GetNthControlPointPositionStatus(1) == node.PositionDefined


def test_a_click_on_a_handle_moves_no_slice_view_as_one_on_other_points_does(heart: panels.Opened, scene: Any) -> None:
    point = scene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode").GetDisplayNode()
    assert point.HasObserver(point.JumpToPointEvent)
    assert not manual(heart).GetDisplayNode().HasObserver(point.JumpToPointEvent)


def test_handles_do_not_take_the_clicks_that_draw_a_line(heart: panels.Opened, scene: Any) -> None:
    line = scene.AddNewNodeByClass("vtkMRMLMarkupsLineNode")
    manual(heart)
    selection = heart.application.logic.GetSelectionNode()
    assert selection.GetActivePlaceNodeID() == line.GetID()
    assert selection.GetActivePlaceNodeClassName() == "vtkMRMLMarkupsLineNode"


def test_handles_are_not_saved_nor_left_behind(heart: panels.Opened, scene: Any, tmp_path: Path) -> None:
    assert not manual(heart).GetSaveWithScene()
    assert not heart.ui.markupSelector.count > 1
    heart.widget.exit()
    assert _handles(scene) is None
    heart.widget.enter()
    assert _handles(scene) is not None
    scene.Clear(0)
    heart.settle()
    assert _handles(scene) is None


def test_a_beam_of_another_probe_than_the_model_s_is_refused(heart: panels.Opened) -> None:
    heart.parameters.beam_source = type(heart.parameters.beam_source).MANUAL
    heart.parameters.beam_kind = type(heart.parameters.beam_kind).LINEAR
    heart.settle()
    assert "This model draws images of another probe" in heart.ui.generateButton.toolTip


def test_a_curved_beam_on_pixels_that_are_not_square_is_refused_in_a_sentence(heart: panels.Opened) -> None:
    heart.parameters.own_size, heart.parameters.row_mm = True, 0.3
    heart.settle()
    assert heart.status.startswith("A curved beam needs square pixels")
    assert heart.status.endswith("for rows and columns.")


def test_the_beam_is_fitted_by_the_child_process(heart: panels.Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    beam = {"kind": "sector", "apex": [10.0, 63.5], "radii": [0.0, 100.0], "half_angle_deg": 33.0, "steering_deg": 0.0}
    monkeypatch.setenv("FAKE_WORKER_BEAM", json.dumps(beam))
    heart.parameters.volume = _nodes_named("Heart phantom")
    heart.parameters.beam_source = type(heart.parameters.beam_source).IMAGE
    heart.settle()
    assert heart.ui.beamButton.text == "Fit"
    heart.ui.beamButton.click()
    heart.until(lambda: not heart.panel.logic.busy)
    assert heart.ui.beamAngleSlider.value == pytest.approx(33.0)
    assert heart.ui.beamDepthSlider.value == pytest.approx(141.0)
    assert heart.ui.generateButton.enabled
    assert "outline" in heart.status


def test_fitting_without_an_image_says_so(heart: panels.Opened) -> None:
    panels.in_view(heart)
    heart.parameters.beam_source = type(heart.parameters.beam_source).IMAGE
    heart.settle()
    heart.ui.beamButton.click()
    assert heart.status == "Choose the loaded image first (2. Image plane)."


def test_a_file_of_slicer_ultrasound_gives_the_beam(heart: panels.Opened, tmp_path: Path) -> None:
    from slicer_module import pythonqt

    mask = {
        "mask_type": "fan",
        "angle1": 50.0,
        "angle2": 130.0,
        "center_rows_px": 12,
        "center_cols_px": 63.5,
        "radius1": 0,
        "radius2": 90,
        "image_size_rows": 128,
        "image_size_cols": 128,
    }
    path = tmp_path / "mask.json"
    path.write_text(json.dumps({"MaskConfig": mask}))
    pythonqt.QFileDialog.answers = [str(path)]
    heart.parameters.volume = _nodes_named("Heart phantom")
    heart.parameters.beam_source = type(heart.parameters.beam_source).FILE
    heart.settle()
    heart.ui.beamButton.click()
    assert heart.ui.beamAngleSlider.value == pytest.approx(40.0)
    assert heart.parameters.beam_kind.name == "PHASED"


@pytest.mark.parametrize(("content", "words"), [("{", "cannot be read"), ("{}", "no mask of SlicerUltrasound")])
def test_another_file_is_refused(heart: panels.Opened, tmp_path: Path, content: str, words: str) -> None:
    from slicer_module import pythonqt

    path = tmp_path / "mask.json"
    path.write_text(content)
    pythonqt.QFileDialog.answers = [str(path)]
    heart.parameters.volume = _nodes_named("Heart phantom")
    heart.parameters.beam_source = type(heart.parameters.beam_source).FILE
    heart.settle()
    heart.ui.beamButton.click()
    assert words in heart.status
