"""The panel on PythonQt's manners and real MRML: every state, both ways between widgets, parameters and node."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("PySide6", reason="PySide6 is not installed here; `make test-slicer` runs these")

from slicer_module import panels

UI = (panels.SOURCES / "Resources" / "UI" / "SlicerBMapDiffusion.ui").read_text(encoding="utf-8")


@pytest.fixture
def opened(application: Any, scene: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[panels.Opened]:
    for name in ("FAKE_WORKER_FAULT", "FAKE_WORKER_PAUSE", "FAKE_WORKER_BEAM"):
        monkeypatch.delenv(name, raising=False)
    module = panels.Opened(application, panels.fake_python(tmp_path))
    yield module
    module.close()


@pytest.fixture
def heart(opened: panels.Opened) -> panels.Opened:
    opened.load("heart")
    return opened


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
    heart.ui.classTable.cellWidget(0, 1).setCurrentIndex(0)
    table = heart.parameters.class_table
    path = str(tmp_path / "scene.mrb")
    assert scene.WriteToMRB(path)
    scene.Clear(0)
    assert scene.ReadFromMRB(path)
    heart.settle()
    assert (heart.parameters.steps, heart.parameters.sweep_step) == (13, 2.25)
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


# --- Models -----------------------------------------------------------------------------------------------------------


def test_another_model_brings_its_own_defaults(opened: panels.Opened) -> None:
    opened.parameters.steps = 3
    opened.ui.modelSelector.currentIndex = 1
    model = opened.panel.logic.models["thyroid_bmap_sdm"]
    assert (opened.parameters.steps, opened.parameters.attenuation_db) == (model.steps, model.attenuation_db)
    assert (opened.parameters.rows, opened.parameters.row_mm) == (model.image_size[0], model.spacing_mm[0])
    assert opened.parameters.beam_kind.value == "linear"


@pytest.fixture
def trust(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Says OK to every question; the questions."""
    import slicer

    asked: list[str] = []
    monkeypatch.setattr(slicer.util, "confirmOkCancelDisplay", lambda text, **_: asked.append(text) is None)
    return asked


@pytest.fixture
def own_models(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


def copied_bundle(opened: panels.Opened, folder: Path) -> Path:
    source = opened.panel.logic.models["thyroid_bmap_sdm"].folder
    shutil.copytree(source, folder, ignore=shutil.ignore_patterns("*.pt"))
    return folder


def answer(text: str) -> None:
    from slicer_module import pythonqt

    pythonqt.QFileDialog.answers = [text]


def test_a_bundle_is_added_by_its_folder_and_remembered(
    opened: panels.Opened, tmp_path: Path, trust: list[str]
) -> None:
    answer(str(copied_bundle(opened, tmp_path / "my thyroid")))
    opened.panel.add_model()
    opened.settle()
    assert opened.parameters.model == "my thyroid"
    assert "trust" in trust[0]
    opened.panel.logic.find_models()
    assert "my thyroid" in opened.panel.logic.models


def test_an_added_model_is_forgotten_and_its_folder_stays(
    opened: panels.Opened, tmp_path: Path, trust: list[str]
) -> None:
    answer(str(copied_bundle(opened, tmp_path / "my thyroid")))
    opened.panel.add_model()
    opened.settle()
    assert opened.panel.remove_action.enabled
    opened.panel.remove_model()
    opened.settle()
    assert opened.parameters.model == "cardiac_bmap_sdm"
    assert "my thyroid" not in opened.panel.logic.models
    assert (tmp_path / "my thyroid" / "configs").is_dir()
    assert not opened.panel.remove_action.enabled


def test_a_model_is_installed_from_a_file_and_deleted(
    opened: panels.Opened, tmp_path: Path, trust: list[str], own_models: Path
) -> None:
    copied_bundle(opened, tmp_path / "zipped" / "thyroid_new")
    answer(shutil.make_archive(str(tmp_path / "model"), "zip", tmp_path / "zipped"))
    opened.panel.install_model()
    opened.settle()
    assert opened.parameters.model == "thyroid_new"
    folder = opened.panel.logic.models["thyroid_new"].folder
    assert folder.is_relative_to(own_models)
    opened.panel.remove_model()
    assert not folder.exists()


def test_a_shipped_model_cannot_be_removed(opened: panels.Opened, trust: list[str]) -> None:
    opened.panel.remove_model()
    assert trust == []
    assert len(opened.panel.logic.models) == 3


def test_who_does_not_trust_a_model_gets_none(opened: panels.Opened, tmp_path: Path, monkeypatch: Any) -> None:
    import slicer

    monkeypatch.setattr(slicer.util, "confirmOkCancelDisplay", lambda text, **_: False)
    answer(str(copied_bundle(opened, tmp_path / "my thyroid")))
    opened.panel.add_model()
    assert "my thyroid" not in opened.panel.logic.models


def test_a_folder_that_is_no_bundle_is_refused_with_a_remedy(
    opened: panels.Opened, tmp_path: Path, trust: list[str]
) -> None:
    answer(str(tmp_path))
    opened.panel.add_model()
    assert "is no bundle" in opened.status
    assert "Choose the folder" in opened.status


@pytest.mark.parametrize("action", ["add_model", "install_model", "find_beam"])
def test_cancelling_a_file_dialog_changes_nothing(opened: panels.Opened, action: str, trust: list[str]) -> None:
    opened.parameters.beam_source = type(opened.parameters.beam_source).FILE
    answer("")
    before = opened.parameters.parameterNode.GetParameterNamesAsCommaSeparatedList(), opened.parameters.model
    getattr(opened.panel, action)()
    assert (opened.parameters.parameterNode.GetParameterNamesAsCommaSeparatedList(), opened.parameters.model) == before
    assert trust == []


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
    before = np.array(_outline(scene).GetPolyData().GetBounds())
    heart.parameters.view.JumpSlice(0, 0, 12)
    heart.until(lambda: not np.allclose(before, _outline(scene).GetPolyData().GetBounds()))
    heart.ui.outlineBox.checked = False
    heart.settle()
    assert _outline(scene) is None


def test_leaving_the_module_takes_the_outline_away_and_coming_back_shows_it(heart: panels.Opened, scene: Any) -> None:
    heart.widget.exit()
    assert _outline(scene) is None
    heart.widget.enter()
    assert _outline(scene) is not None


# --- The beam ---------------------------------------------------------------------------------------------------------


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


def test_a_beam_of_another_probe_than_the_model_s_is_refused(heart: panels.Opened) -> None:
    heart.parameters.beam_source = type(heart.parameters.beam_source).MANUAL
    heart.parameters.beam_kind = type(heart.parameters.beam_kind).LINEAR
    heart.settle()
    assert "This model draws images of another probe" in heart.ui.generateButton.toolTip


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
    heart.ui.fromImageBox.checked = True
    heart.settle()
    assert heart.shown("volumeSelector")
    assert "Choose the loaded image to start from" in heart.ui.generateButton.toolTip


# --- Drawing ----------------------------------------------------------------------------------------------------------


def test_generate_puts_a_marked_image_over_the_segmentation(heart: panels.Opened) -> None:
    node = heart.draw()
    assert node.GetName() == "Heart anatomy synthetic"
    assert node.GetAttribute("BMapDiffusion.synthetic") == "true"
    assert node.GetAttribute("BMapDiffusion.attenuation_db") == "44.0"
    assert json.loads(node.GetAttribute("BMapDiffusion.label_mapping"))["left atrium"] == ["Left atrium"]
    assert heart.view.GetSliceCompositeNode().GetBackgroundVolumeID() == node.GetID()
    assert f"seed {heart.parameters.seed}" in heart.status


def test_a_random_seed_is_new_each_time_and_written_down(heart: panels.Opened) -> None:
    seeds = {heart.draw().GetAttribute("BMapDiffusion.seed") for _ in range(2)}
    assert len(seeds) == 2
    assert str(heart.ui.seedBox.value) in seeds


def test_a_fixed_seed_stays(heart: panels.Opened) -> None:
    heart.ui.randomSeedBox.checked = False
    heart.ui.seedBox.value = 17
    assert heart.draw().GetAttribute("BMapDiffusion.seed") == "17"
    assert heart.ui.seedBox.value == 17


def test_labels_reach_the_worker_in_the_table_s_order(heart: panels.Opened) -> None:
    import slicer

    heart.ui.randomSeedBox.checked = False
    heart.ui.seedBox.value = 0
    heart.parameters.frame_kind = type(heart.parameters.frame_kind).SLICES
    heart.parameters.volume = _nodes_named("Heart phantom")
    heart.settle()
    values = np.unique(slicer.util.arrayFromVolume(heart.draw()))
    assert values.tolist() == [0, 40, 80, 120]


def test_a_sweep_is_one_volume_with_the_chosen_distance(heart: panels.Opened) -> None:
    import slicer

    heart.parameters.output_kind = type(heart.parameters.output_kind).SWEEP
    heart.parameters.sweep_count, heart.parameters.sweep_step = 3, 2.5
    node = heart.draw()
    assert slicer.util.arrayFromVolume(node).shape == (3, 128, 128)
    assert node.GetSpacing()[2] == pytest.approx(2.5)


def test_variants_are_a_sequence_with_a_seed_each(heart: panels.Opened, scene: Any) -> None:
    heart.parameters.output_kind = type(heart.parameters.output_kind).VARIANTS
    heart.parameters.variants = 3
    heart.draw()
    (sequence,) = _nodes(scene, "vtkMRMLSequenceNode")
    seeds = [sequence.GetNthDataNode(n).GetAttribute("BMapDiffusion.seed") for n in range(3)]
    assert len(set(seeds)) == 3


def test_progress_and_preview_are_shown_while_it_draws(heart: panels.Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_WORKER_PAUSE", "0.5")
    heart.ui.generateButton.click()
    assert heart.shown("progressBox")
    assert heart.ui.generateButton.text == "Generate another"
    heart.until(lambda: "step 1 of 2" in heart.status)
    assert heart.shown("previewLabel")
    assert heart.ui.progressBar.value == 500
    heart.until(lambda: not heart.panel.logic.busy)
    assert not heart.shown("progressBox")
    assert not heart.shown("previewLabel")
    assert heart.ui.generateButton.text == "Generate"


def test_a_second_job_waits_for_the_first(heart: panels.Opened, monkeypatch: pytest.MonkeyPatch, scene: Any) -> None:
    monkeypatch.setenv("FAKE_WORKER_PAUSE", "0.2")
    heart.ui.generateButton.click()
    heart.ui.generateButton.click()
    assert heart.panel.logic.busy == 2
    heart.until(lambda: "(1 more waiting)" in heart.status)
    heart.until(lambda: not heart.panel.logic.busy)
    assert len([n for n in _nodes(scene, "vtkMRMLScalarVolumeNode") if n.GetAttribute("BMapDiffusion.synthetic")]) == 2


def test_cancel_stops_at_once_and_leaves_the_scene_as_it_was(
    heart: panels.Opened, monkeypatch: pytest.MonkeyPatch, scene: Any
) -> None:
    monkeypatch.setenv("FAKE_WORKER_FAULT", "hang")
    before = _ids(scene)
    heart.ui.generateButton.click()
    process = heart.panel.logic.queue.running
    folder = Path(heart.panel.logic._drawings[0].job.folder)
    heart.until(lambda: "Loading" in heart.status)
    heart.ui.cancelButton.click()
    assert process.state == "cancelled"
    assert heart.status == "Stopped; the scene is as it was."
    assert _ids(scene) == before
    assert not folder.exists()
    assert heart.ui.generateButton.enabled


def test_closing_the_scene_stops_the_drawing(heart: panels.Opened, monkeypatch: pytest.MonkeyPatch, scene: Any) -> None:
    monkeypatch.setenv("FAKE_WORKER_FAULT", "hang")
    heart.ui.generateButton.click()
    process = heart.panel.logic.queue.running
    scene.Clear(0)
    heart.settle()
    assert process.state == "cancelled"
    assert heart.parameters.segmentation is None
    assert not heart.ui.generateButton.enabled
    assert not _nodes(scene, "vtkMRMLScalarVolumeNode")


def test_deleting_the_segmentation_stops_the_drawing_and_says_why(
    heart: panels.Opened, monkeypatch: pytest.MonkeyPatch, scene: Any
) -> None:
    monkeypatch.setenv("FAKE_WORKER_FAULT", "hang")
    heart.ui.generateButton.click()
    scene.RemoveNode(heart.parameters.segmentation)
    heart.until(lambda: not heart.panel.logic.busy)
    assert heart.status == "Heart anatomy was deleted while its image was drawn, so that drawing stopped."


def test_a_failure_says_what_to_do_and_shows_the_last_lines(
    heart: panels.Opened, monkeypatch: pytest.MonkeyPatch, scene: Any
) -> None:
    monkeypatch.setenv("FAKE_WORKER_FAULT", "memory")
    before = _ids(scene)
    heart.ui.generateButton.click()
    heart.until(lambda: not heart.panel.logic.busy)
    assert "choose the device CPU" in heart.status
    assert "CUDA out of memory" in heart.ui.logText.plainText
    assert heart.shown("logText")
    assert _ids(scene) == before
    monkeypatch.delenv("FAKE_WORKER_FAULT")
    assert heart.draw() is not None
    assert not heart.shown("logText")


def test_a_segmentation_beside_the_plane_is_told_and_nothing_starts(heart: panels.Opened) -> None:
    heart.parameters.view.JumpSlice(0, 0, 500)
    heart.settle()
    heart.ui.generateButton.click()
    assert not heart.panel.logic.busy
    assert heart.status
    assert heart.ui.statusLabel.styleSheet


def test_closing_slicer_leaves_nothing_running(heart: panels.Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_WORKER_FAULT", "hang")
    heart.ui.generateButton.click()
    process = heart.panel.logic.queue.running
    heart.widget.cleanup()
    assert process.state == "cancelled"


# --- Results ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["SINGLE", "SWEEP", "VARIANTS"])
def test_a_result_is_made_again_with_the_same_pixels(heart: panels.Opened, kind: str) -> None:
    import slicer

    heart.parameters.output_kind = type(heart.parameters.output_kind)[kind]
    first = heart.draw()
    pixels = slicer.util.arrayFromVolume(first).copy()
    heart.parameters.steps, heart.parameters.attenuation_db = 3, 10.0
    heart.ui.rerunButton.click()
    heart.until(lambda: not heart.panel.logic.busy)
    second = heart.ui.resultSelector.currentNode()
    assert second is not first
    assert np.array_equal(slicer.util.arrayFromVolume(second), pixels)
    assert second.GetAttribute("BMapDiffusion.seed") == first.GetAttribute("BMapDiffusion.seed")


def test_making_again_after_the_anatomy_changed_says_so(heart: panels.Opened) -> None:
    heart.draw()
    table = json.loads(heart.parameters.class_table)
    segment = heart.parameters.segmentation.GetSegmentation().GetSegment(table["rows"][0][0])
    segment.GetRepresentation("Binary labelmap").GetPointData().GetScalars().Fill(0)
    heart.ui.rerunButton.click()
    assert "has changed since" in heart.status or "segment" in heart.status.lower()


def test_a_result_whose_segmentation_is_gone_says_so(heart: panels.Opened, scene: Any) -> None:
    heart.draw()
    scene.RemoveNode(heart.parameters.segmentation)
    heart.settle()
    heart.ui.rerunButton.click()
    assert heart.status == "The segmentation that this image was made from is no longer in the scene."


def test_the_settings_of_a_result_come_back(heart: panels.Opened) -> None:
    heart.parameters.steps, heart.parameters.attenuation_db = 9, 31.0
    heart.ui.guidanceBox.checked = True
    seed = heart.draw().GetAttribute("BMapDiffusion.seed")
    heart.parameters.steps, heart.parameters.attenuation_db, heart.parameters.use_guidance = 3, 10.0, False
    heart.ui.restoreButton.click()
    assert (heart.ui.stepsBox.value, heart.ui.attenuationSlider.value) == (9, 31.0)
    assert heart.ui.guidanceBox.checked
    assert str(heart.ui.seedBox.value) == seed
    assert not heart.ui.randomSeedBox.checked


def test_without_a_result_there_is_nothing_to_make_again(heart: panels.Opened) -> None:
    assert not heart.ui.rerunButton.enabled
    assert not heart.ui.restoreButton.enabled
    heart.draw()
    assert heart.ui.rerunButton.enabled
    assert "Cardiac B-map semantic diffusion; seed" in heart.ui.resultLabel.text


def test_a_patients_image_is_not_offered_as_a_result(heart: panels.Opened) -> None:
    assert heart.ui.resultSelector.count == 1
    heart.draw()
    heart.settle()
    assert heart.ui.resultSelector.count == 2


def test_the_command_makes_the_image_of_the_last_seed(heart: panels.Opened) -> None:
    heart.draw()
    heart.ui.copyCommandButton.click()
    line = heart.app.clipboard().text()
    settings = Path(re.search(r"(/\S+/settings\.json)", line).group(1))
    try:
        assert "-m monai.bundle run" in line
        assert json.loads(settings.read_text())["seeds"] == [heart.parameters.seed]
    finally:
        shutil.rmtree(settings.parent)


# --- Packages ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def own_python(heart: panels.Opened, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The panel as if it ran Slicer's own Python; what was asked and what is missing."""
    from SlicerBMapDiffusionLib import install

    state: dict[str, Any] = {"missing": ["PyTorch>=2.4 (large: some GB)", "monai>=1.5"], "asked": [], "answer": True}
    worker, heart.panel.logic._python = heart.panel.logic._python, None
    monkeypatch.setattr(install, "python_executable", lambda: worker)
    monkeypatch.setattr(install, "missing", lambda: state["missing"])

    def ensure(ask: Any) -> None:
        if state["missing"] and not ask("\n".join(state["missing"])):
            raise install.InstallDeclined(
                "The Python packages were not installed: without them no image can be generated."
            )
        if state.get("error"):
            raise install.InstallError(state["error"])
        state["missing"] = []

    monkeypatch.setattr(install, "ensure", ensure)
    import slicer

    def confirm(text: str, **_: Any) -> bool:
        state["asked"].append(text)
        return bool(state["answer"])

    monkeypatch.setattr(slicer.util, "confirmOkCancelDisplay", confirm)
    return state


def test_missing_packages_are_told_before_anything_is_pressed(heart: panels.Opened, own_python: dict[str, Any]) -> None:
    heart.settle()
    assert heart.shown("installLabel")
    assert "monai" in heart.ui.installLabel.toolTip
    assert not own_python["asked"]


def test_packages_are_installed_after_a_yes_and_the_image_is_drawn(
    heart: panels.Opened, own_python: dict[str, Any]
) -> None:
    assert heart.draw() is not None
    assert "monai>=1.5" in own_python["asked"][0]
    assert not heart.shown("installLabel")


def test_a_no_installs_nothing_and_draws_nothing(heart: panels.Opened, own_python: dict[str, Any]) -> None:
    own_python["answer"] = False
    heart.ui.generateButton.click()
    assert not heart.panel.logic.busy
    assert "were not installed" in heart.status


def test_a_failed_installation_is_told(heart: panels.Opened, own_python: dict[str, Any]) -> None:
    own_python["error"] = "pip could not reach the network. Check the proxy"
    heart.ui.generateButton.click()
    assert heart.status == "Pip could not reach the network. Check the proxy."
    assert not heart.panel.logic.busy


# --- The scene --------------------------------------------------------------------------------------------------------


def test_a_closed_scene_gives_a_new_parameter_node_with_defaults(heart: panels.Opened, scene: Any) -> None:
    heart.parameters.steps = 3
    scene.Clear(0)
    heart.settle()
    assert heart.parameters.steps == heart.panel.logic.models["cardiac_bmap_sdm"].steps
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


def _nodes(scene: Any, kind: str) -> list[Any]:
    return [scene.GetNthNodeByClass(index, kind) for index in range(scene.GetNumberOfNodesByClass(kind))]


def _outline(scene: Any) -> Any:
    return next(
        (node for node in _nodes(scene, "vtkMRMLModelNode") if node.GetAttribute("BMapDiffusion.outline")), None
    )


def _nodes_named(name: str) -> Any:
    import slicer

    return slicer.mrmlScene.GetFirstNodeByName(name)


def _ids(scene: Any) -> set[str]:
    return {scene.GetNthNode(index).GetID() for index in range(scene.GetNumberOfNodes())}
