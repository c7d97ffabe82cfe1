"""The panel on PythonQt's manners and real MRML: every state, both ways between widgets, parameters and node."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("PySide6", reason="PySide6 is not installed here; `make test-slicer` runs these")

from slicer_module import panels
from slicer_module.pythonqt import process_events

UI = (panels.SOURCES / "Resources" / "UI" / "SlicerBMapDiffusion.ui").read_text(encoding="utf-8")


def drawn_labels(opened: panels.Opened) -> set[int]:
    """The labels in what Generate would draw now."""
    from SlicerBMapDiffusionLib import planning

    model = opened.panel.logic.shelf.models[opened.parameters.model]
    return set(np.unique(planning.plan(opened.parameters, model, 0).labels).tolist())


def planned_frame(opened: panels.Opened) -> Any:
    """Where Generate would draw now."""
    from SlicerBMapDiffusionLib import planning

    model = opened.panel.logic.shelf.models[opened.parameters.model]
    return planning.frame_of(opened.parameters, model)


def table_of(opened: panels.Opened) -> dict[str, str]:
    table = opened.ui.classTable
    return {table.item(row, 0).text(): table.cellWidget(row, 1).currentText for row in range(table.rowCount)}


# --- What a new user sees ---------------------------------------------------------------------------------------------


def test_an_empty_scene_says_what_to_do_first(opened: panels.Opened) -> None:
    assert not opened.ui.generateButton.enabled
    assert opened.ui.generateButton.toolTip == "Choose a segmentation: load one, or make one in the Segment Editor."
    assert opened.status == opened.ui.generateButton.toolTip


def test_a_loaded_phantom_is_ready_without_a_click(heart: panels.Opened) -> None:
    assert heart.ui.generateButton.enabled
    assert heart.status == ""


def test_the_slices_of_the_only_image_are_the_planes_where_they_show_the_anatomy(heart: panels.Opened) -> None:
    assert heart.ui.frameKindSelector.currentText == "The slices of the volume"
    assert heart.parameters.volume.GetName() == "Heart phantom"
    assert drawn_labels(heart) == {0, 1, 2, 3}


def test_the_slice_is_the_one_through_the_middle_of_the_mapped_segments(opened: panels.Opened) -> None:
    opened.load("thyroid")
    assert opened.ui.sliceNumberBox.value >= 0
    assert 1 in drawn_labels(opened)


def test_an_image_that_shows_the_anatomy_too_deep_for_the_model_is_not_chosen(
    opened: panels.Opened, scene: Any
) -> None:
    scene.StartState(scene.ImportState)
    volume, _segmentation = opened.load("thyroid")
    volume.SetOrigin(*np.add(volume.GetOrigin(), 300 * np.eye(3)[1]))
    scene.EndState(scene.ImportState)
    opened.settle()
    assert opened.ui.frameKindSelector.currentText == "A slice view: probe at its top edge"
    assert opened.parameters.volume is None


def test_of_two_images_none_is_chosen(opened: panels.Opened, scene: Any) -> None:
    scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "another")
    opened.load("heart")
    assert opened.parameters.volume is None


def test_the_segments_are_guessed_and_the_cavity_is_drawn_over_the_wall(heart: panels.Opened) -> None:
    assert table_of(heart) == {
        "Left atrium": "left atrium",
        "Myocardium": "myocardium",
        "Left ventricle": "left-ventricle cavity",
    }
    assert list(table_of(heart))[-1] == "Left ventricle"


def test_the_thyroid_phantom_chooses_the_thyroid_model_and_leaves_vessels_out(opened: panels.Opened) -> None:
    opened.load("thyroid")
    assert opened.parameters.model == "thyroid_bmap_sdm"
    assert opened.ui.modelSelector.currentText == "Thyroid B-map semantic diffusion"
    assert table_of(opened) == {
        "Carotid artery": "(left out)",
        "Jugular vein": "(left out)",
        "Thyroid gland": "thyroid",
    }


def test_the_model_is_described_with_its_licence_and_labels(heart: panels.Opened) -> None:
    assert "apical" in heart.ui.modelLabel.text
    assert "CC BY-NC-SA 4.0" in heart.ui.modelLabel.text
    assert "left-ventricle cavity, myocardium, left atrium" in heart.ui.modelLabel.toolTip


def test_every_control_explains_itself(opened: panels.Opened) -> None:
    plain = "ComboBox|SpinBox|DoubleSpinBox|CheckBox|PushButton|ToolButton|TableWidget"
    kinds = f"Q(?:{plain})|ctkSliderWidget|qMRMLNodeComboBox"
    names = re.findall(rf'<widget class="(?:{kinds})" name="(\w+)"', UI)
    assert len(names) > 40
    assert [name for name in names if not getattr(opened.ui, name).toolTip] == []


def test_every_parameter_has_one_widget_or_is_set_by_the_panel(opened: panels.Opened) -> None:
    bound = re.findall(r'<property name="SlicerParameterName" stdset="0">\s*<string notr="true">(\w+)</string>', UI)
    assert len(bound) == len(set(bound))
    assert set(opened.parameters.allParameters) - set(bound) == {"model", "class_table"}
    assert set(bound) <= set(opened.parameters.allParameters)


# --- Parameters, widgets, node ----------------------------------------------------------------------------------------

NUMBERS = {
    "steps": ("stepsBox", 7),
    "seed": ("seedBox", 11),
    "attenuation_db": ("attenuationSlider", 20.0),
    "guidance": ("guidanceSlider", 2.5),
    "strength": ("strengthSlider", 0.25),
    "sweep_count": ("sweepCountBox", 5),
    "sweep_step": ("sweepStepBox", 2.5),
    "variants": ("variantsBox", 3),
    "rows": ("rowsBox", 96),
    "columns": ("columnsBox", 64),
    "row_mm": ("rowSpacingBox", 0.25),
    "column_mm": ("columnSpacingBox", 0.75),
    "slice_number": ("sliceNumberBox", 4),
    "beam_depth": ("beamDepthSlider", 77.0),
    "beam_width": ("beamWidthSlider", 33.0),
    "beam_radius": ("beamRadiusSlider", 44.0),
    "beam_half_angle": ("beamAngleSlider", 30.0),
    "beam_steering": ("beamSteeringSlider", 10.0),
    "beam_down": ("beamDownSlider", 3.0),
    "beam_right": ("beamRightSlider", -4.0),
}


@pytest.mark.parametrize("name", NUMBERS)
def test_a_number_goes_from_widget_to_node_and_back(opened: panels.Opened, name: str) -> None:
    widget, value = NUMBERS[name]
    getattr(opened.ui, widget).value = value
    assert float(opened.parameters.parameterNode.GetParameter(name)) == value
    opened.parameters.parameterNode.SetParameter(name, str(type(value)(value + 1) if isinstance(value, int) else value))
    assert getattr(opened.ui, widget).value == getattr(opened.parameters, name)


FLAGS = {
    "use_guidance": "guidanceBox",
    "random_seed": "randomSeedBox",
    "from_image": "fromImageBox",
    "own_size": "ownSizeBox",
    "preview": "previewBox",
    "show_outline": "outlineBox",
    "upside_down": "upsideDownBox",
}


@pytest.mark.parametrize("name", FLAGS)
def test_a_tick_goes_from_widget_to_node_and_back(opened: panels.Opened, name: str) -> None:
    widget = getattr(opened.ui, FLAGS[name])
    before = getattr(opened.parameters, name)
    widget.checked = not before
    assert opened.parameters.parameterNode.GetParameter(name) == str(not before)
    opened.parameters.parameterNode.SetParameter(name, str(before))
    assert widget.checked is before


CHOICES = {
    "frame_kind": "frameKindSelector",
    "beam_source": "beamSourceSelector",
    "beam_kind": "beamKindSelector",
    "output_kind": "outputKindSelector",
    "device": "deviceSelector",
}


@pytest.mark.parametrize("name", CHOICES)
def test_a_choice_shows_sentences_and_goes_both_ways(opened: panels.Opened, name: str) -> None:
    widget, kind = getattr(opened.ui, CHOICES[name]), type(getattr(opened.parameters, name))
    assert [widget.itemText(index) for index in range(widget.count)] == [member.label() for member in kind]
    for index, member in enumerate(kind):
        widget.currentIndex = index
        assert opened.parameters.parameterNode.GetParameter(name) == member.name
    first = next(iter(kind))
    opened.parameters.parameterNode.SetParameter(name, first.name)
    assert widget.currentText == first.label()


def test_nodes_go_both_ways(opened: panels.Opened, scene: Any) -> None:
    transform = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "ProbeToWorld")
    opened.ui.probeSelector.setCurrentNode(transform)
    assert opened.parameters.probe is transform
    opened.parameters.probe = None
    assert opened.ui.probeSelector.currentNode() is None


def test_only_images_lines_and_planes_are_offered(opened: panels.Opened, scene: Any) -> None:
    for kind in (
        "vtkMRMLScalarVolumeNode",
        "vtkMRMLVectorVolumeNode",
        "vtkMRMLLabelMapVolumeNode",
        "vtkMRMLMarkupsLineNode",
        "vtkMRMLMarkupsPlaneNode",
        "vtkMRMLMarkupsFiducialNode",
    ):
        scene.AddNewNodeByClass(kind, kind)
    opened.settle()

    def offered(selector: Any) -> set[str]:
        return {selector.itemText(index) for index in range(1, selector.count)}

    assert offered(opened.ui.volumeSelector) == {"vtkMRMLScalarVolumeNode", "vtkMRMLVectorVolumeNode"}
    assert offered(opened.ui.markupSelector) == {"vtkMRMLMarkupsLineNode", "vtkMRMLMarkupsPlaneNode"}


def test_choices_survive_saving_and_loading_the_scene(
    heart: panels.Opened, scene: Any, tmp_path: Path, complaints: list[str]
) -> None:
    heart.parameters.steps, heart.parameters.sweep_step = 13, 2.25
    heart.parameters.output_kind = sweep = type(heart.parameters.output_kind).SWEEP
    heart.ui.classTable.cellWidget(0, 1).setCurrentIndex(0)
    table = heart.parameters.class_table
    path = str(tmp_path / "scene.mrb")
    assert scene.WriteToMRB(path)
    scene.Clear(0)
    assert scene.ReadFromMRB(path)
    heart.settle()
    assert (heart.parameters.steps, heart.parameters.sweep_step) == (13, 2.25)
    assert heart.parameters.output_kind is sweep
    assert heart.parameters.segmentation.GetName() == "Heart anatomy"
    assert heart.parameters.class_table == table
    assert heart.ui.stepsBox.value == 13
    complaints.clear()  # the file holds a slice view whose orientation only the application knows


# --- The table --------------------------------------------------------------------------------------------------------


def test_the_user_s_class_is_kept_when_a_segment_is_renamed(heart: panels.Opened) -> None:
    heart.ui.classTable.cellWidget(0, 1).setCurrentIndex(2)
    heart.parameters.segmentation.GetSegmentation().GetNthSegment(0).SetName("Kammer")
    heart.settle()
    assert table_of(heart) == {
        "Left atrium": "myocardium",
        "Myocardium": "myocardium",
        "Kammer": "left-ventricle cavity",
    }


def test_a_new_segment_is_guessed_and_a_removed_one_leaves(heart: panels.Opened) -> None:
    segmentation = heart.parameters.segmentation.GetSegmentation()
    segmentation.RemoveSegment("Segment_3")
    segmentation.AddEmptySegment("new", "left atrium cavity")
    heart.until(lambda: "left atrium cavity" in table_of(heart))
    assert table_of(heart) == {
        "Myocardium": "myocardium",
        "Left ventricle": "left-ventricle cavity",
        "left atrium cavity": "left atrium",
    }


def test_rows_move_and_stay_chosen(heart: panels.Opened) -> None:
    heart.ui.classTable.selectRow(0)
    heart.ui.downButton.click()
    assert list(table_of(heart)) == ["Myocardium", "Left atrium", "Left ventricle"]
    heart.ui.downButton.click()
    heart.ui.downButton.click()
    assert list(table_of(heart)) == ["Myocardium", "Left ventricle", "Left atrium"]
    heart.ui.upButton.click()
    assert list(table_of(heart)) == ["Myocardium", "Left atrium", "Left ventricle"]


def test_guess_again_forgets_what_was_chosen(heart: panels.Opened) -> None:
    guessed = table_of(heart)
    heart.ui.classTable.cellWidget(1, 1).setCurrentIndex(0)
    heart.ui.guessButton.click()
    heart.settle()
    assert table_of(heart) == guessed


def test_a_table_without_a_class_is_not_ready(heart: panels.Opened) -> None:
    for row in range(3):
        heart.ui.classTable.cellWidget(row, 1).setCurrentIndex(0)
    heart.settle()
    assert heart.ui.generateButton.toolTip == "Say in the table which segment is which structure of the model."


def test_a_model_without_labels_needs_no_segmentation(opened: panels.Opened) -> None:
    opened.ui.modelSelector.currentIndex = 2
    opened.settle()
    assert opened.parameters.model == "liver_bmap_gd"
    assert not opened.shown("segmentationSelector")
    assert not opened.shown("classBox")
    assert opened.ui.generateButton.enabled


# --- The plane --------------------------------------------------------------------------------------------------------

ROWS = {
    "VIEW": {"viewSelector"},
    "SLICES": {"volumeSelector", "sliceBox"},
    "PROBE": {"probeSelector"},
    "MARKUP": {"viewSelector", "markupSelector"},
}


@pytest.mark.parametrize("kind", ROWS)
def test_only_what_the_kind_of_plane_needs_is_shown(heart: panels.Opened, kind: str) -> None:
    heart.parameters.frame_kind = type(heart.parameters.frame_kind)[kind]
    heart.settle()
    rows = {"viewSelector", "volumeSelector", "sliceBox", "probeSelector", "markupSelector"}
    assert {name for name in rows if heart.shown(name)} == ROWS[kind]


REASONS = {
    "SLICES": "Choose the loaded image whose slices are the planes.",
    "PROBE": "Choose the transform of the probe.",
    "MARKUP": "Choose a line or a plane: draw one with the Markups module.",
}


@pytest.mark.parametrize("kind", REASONS)
def test_a_plane_without_its_node_says_which(heart: panels.Opened, kind: str) -> None:
    panels.in_view(heart)
    heart.parameters.frame_kind = type(heart.parameters.frame_kind)[kind]
    heart.settle()
    assert heart.ui.generateButton.toolTip == REASONS[kind]
    assert not heart.ui.generateButton.enabled


def test_the_size_of_the_image_is_told_and_doubts_with_it(heart: panels.Opened) -> None:
    assert "180 mm wide, 180 mm deep; 128 x 128 pixels" in heart.ui.planeLabel.text
    assert "&#9888;" not in heart.ui.planeLabel.text
    heart.parameters.own_size, heart.parameters.row_mm, heart.parameters.column_mm = True, 0.3, 0.3
    heart.settle()
    assert "&#9888; Pixels of 0.30 x 0.30 mm; the model was trained on 1.41 x 1.41 mm." in heart.ui.planeLabel.text


def test_a_moved_view_moves_the_outline(heart: panels.Opened, scene: Any) -> None:
    panels.in_view(heart)
    before = np.array(panels.outline_of(scene).GetPolyData().GetBounds())
    heart.parameters.view.JumpSlice(0, 0, 12)
    heart.until(lambda: not np.allclose(before, panels.outline_of(scene).GetPolyData().GetBounds()))
    heart.ui.outlineBox.checked = False
    heart.settle()
    assert panels.outline_of(scene) is None


def let_pass(seconds: float) -> None:
    """Let timers end, and nobody else ask the panel to look."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        process_events()


def test_the_panel_follows_changes_that_never_pause(heart: panels.Opened, scene: Any) -> None:
    panels.in_view(heart)
    before = np.array(panels.outline_of(scene).GetPolyData().GetBounds())
    view = heart.view.GetSliceNode()
    for step in range(20):  # every 10 ms, as a tracked probe or a mouse that drags
        view.SetSliceOffset(float(step))
        let_pass(0.01)
    assert not np.allclose(before, panels.outline_of(scene).GetPolyData().GetBounds())


def test_a_volume_that_is_moved_moves_the_outline(heart: panels.Opened, scene: Any) -> None:
    import vtk

    transform = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    heart.parameters.volume.SetAndObserveTransformNodeID(transform.GetID())
    let_pass(0.1)
    before = np.array(panels.outline_of(scene).GetPolyData().GetBounds())
    matrix = vtk.vtkMatrix4x4()
    matrix.SetElement(0, 3, 50.0)
    transform.SetMatrixTransformToParent(matrix)
    let_pass(0.1)
    assert not np.allclose(before, panels.outline_of(scene).GetPolyData().GetBounds())


def test_a_plane_markup_that_only_changes_its_size_moves_the_outline(heart: panels.Opened, scene: Any) -> None:
    plane = scene.AddNewNodeByClass("vtkMRMLMarkupsPlaneNode")
    plane.SetOrigin(0, 0, 0)
    plane.SetNormal(0, 0, 1)
    plane.SetSize(60, 60)
    heart.parameters.markup = plane
    heart.parameters.frame_kind = type(heart.parameters.frame_kind).MARKUP
    let_pass(0.1)
    before = np.array(panels.outline_of(scene).GetPolyData().GetBounds())
    plane.SetSize(120, 120)
    let_pass(0.1)
    assert not np.allclose(before, panels.outline_of(scene).GetPolyData().GetBounds())


def test_a_click_turns_the_view_to_where_the_anatomy_hangs_in_the_beam(heart: panels.Opened) -> None:
    panels.in_view(heart)
    heart.parameters.view.JumpSlice(500, -300, 200)
    heart.settle()
    heart.ui.generateButton.click()
    assert "press Go to the anatomy" in heart.status
    heart.ui.anatomyButton.click()
    heart.settle()
    assert drawn_labels(heart) == {0, 1, 2, 3}
    assert heart.status == ""


def test_a_click_finds_the_slice_of_the_anatomy(opened: panels.Opened) -> None:
    opened.load("thyroid")
    found = opened.parameters.slice_number
    opened.parameters.slice_number = 0
    opened.settle()
    opened.parameters.view.JumpSlice(500, -300, 200)
    opened.ui.anatomyButton.click()
    assert opened.ui.sliceNumberBox.value == found
    matrix = opened.parameters.view.GetSliceToRAS()
    shown = [matrix.GetElement(row, 3) for row in range(3)]
    assert shown == pytest.approx(planned_frame(opened).centre.tolist())


def test_without_a_mapped_segment_there_is_nothing_to_go_to(heart: panels.Opened) -> None:
    for row in range(3):
        heart.ui.classTable.cellWidget(row, 1).setCurrentIndex(0)
    heart.settle()
    heart.ui.anatomyButton.click()
    assert "say in the table which segment" in heart.status


@pytest.mark.parametrize(("kind", "offered"), [("VIEW", True), ("SLICES", True), ("PROBE", False), ("MARKUP", False)])
def test_only_planes_that_can_be_moved_offer_to_go_to_the_anatomy(
    heart: panels.Opened, kind: str, offered: bool
) -> None:
    heart.parameters.frame_kind = type(heart.parameters.frame_kind)[kind]
    heart.settle()
    assert heart.shown("anatomyButton") is offered


def test_leaving_the_module_takes_the_outline_away_and_coming_back_shows_it(heart: panels.Opened, scene: Any) -> None:
    heart.widget.exit()
    assert panels.outline_of(scene) is None
    heart.widget.enter()
    assert panels.outline_of(scene) is not None


def test_unloading_the_module_takes_the_outline_away(heart: panels.Opened, scene: Any) -> None:
    assert panels.outline_of(scene) is not None
    heart.widget.cleanup()
    assert panels.outline_of(scene) is None


# --- Choices that depend on each other --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "rows"),
    [("SINGLE", set()), ("SWEEP", {"sweepCountBox", "sweepStepBox"}), ("VARIANTS", {"variantsBox"})],
)
def test_an_output_shows_the_numbers_that_it_has(heart: panels.Opened, kind: str, rows: set[str]) -> None:
    heart.parameters.output_kind = type(heart.parameters.output_kind)[kind]
    heart.settle()
    assert {name for name in ("sweepCountBox", "sweepStepBox", "variantsBox") if heart.shown(name)} == rows


@pytest.mark.parametrize(
    ("box", "widget", "when"),
    [
        ("guidanceBox", "guidanceSlider", True),
        ("randomSeedBox", "seedBox", False),
        ("fromImageBox", "strengthSlider", True),
    ],
)
def test_a_tick_frees_what_belongs_to_it(heart: panels.Opened, box: str, widget: str, when: bool) -> None:
    for checked in (True, False):
        getattr(heart.ui, box).checked = checked
        heart.settle()
        assert getattr(heart.ui, widget).enabled is (checked is when)


def test_starting_from_an_image_asks_for_one(heart: panels.Opened) -> None:
    panels.in_view(heart)
    heart.ui.fromImageBox.checked = True
    heart.settle()
    assert heart.shown("volumeSelector")
    assert "Choose the loaded image to start from" in heart.ui.generateButton.toolTip


# --- The scene --------------------------------------------------------------------------------------------------------


def test_a_scene_that_is_half_loaded_chooses_nothing(opened: panels.Opened, scene: Any) -> None:
    scene.StartState(scene.ImportState)
    opened.load("thyroid")
    assert opened.parameters.segmentation is None
    scene.EndState(scene.ImportState)
    opened.settle()
    assert opened.parameters.segmentation.GetName() == "Thyroid anatomy"


def test_a_closed_scene_gives_a_new_parameter_node_with_defaults(heart: panels.Opened, scene: Any) -> None:
    heart.parameters.steps = 3
    scene.Clear(0)
    heart.settle()
    assert heart.parameters.steps == heart.panel.logic.shelf.models["cardiac_bmap_sdm"].steps
    assert heart.ui.stepsBox.value == heart.parameters.steps
    heart.ui.stepsBox.value = 12
    assert heart.parameters.steps == 12


def test_a_scene_that_is_closed_while_the_module_is_away_is_taken_up_when_it_comes_back(
    heart: panels.Opened, scene: Any
) -> None:
    heart.widget.exit()
    scene.Clear(0)
    assert heart.parameters is None
    heart.widget.enter()
    heart.ui.stepsBox.value = 12
    assert heart.parameters.steps == 12
