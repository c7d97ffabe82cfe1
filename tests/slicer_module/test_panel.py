"""The panel on PythonQt's manners and real MRML: every state, both ways between widgets, parameters and node."""

from __future__ import annotations

import hashlib
import json
import operator
import re
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("PySide6", reason="PySide6 is not installed here; `make test-slicer` runs these")

from slicer_module import panels
from slicer_module.file_server import Server
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


def in_view(opened: panels.Opened) -> None:
    """Let the plane be that of the slice view, no image chosen."""
    opened.parameters.frame_kind = type(opened.parameters.frame_kind).VIEW
    opened.parameters.volume = None
    opened.settle()


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


# --- Models -----------------------------------------------------------------------------------------------------------


def test_another_model_brings_its_own_defaults(opened: panels.Opened) -> None:
    opened.parameters.steps = 3
    opened.ui.modelSelector.currentIndex = 1
    model = opened.panel.logic.shelf.models["thyroid_bmap_sdm"]
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
    """A bundle with small weights, which its card describes."""
    source = opened.panel.logic.shelf.models["thyroid_bmap_sdm"].folder
    shutil.copytree(source, folder, ignore=shutil.ignore_patterns("*.pt"))
    weights, card = folder / "models" / "model.pt", folder / "models" / "model.json"
    weights.write_bytes(b"weights")
    described = json.loads(card.read_text(encoding="utf-8"))
    card.write_text(json.dumps(described | {"weights_sha256": hashlib.sha256(b"weights").hexdigest()}), "utf-8")
    return folder


def zipped(opened: panels.Opened, tmp_path: Path, name: str) -> Path:
    copied_bundle(opened, tmp_path / "zipped" / name)
    return Path(shutil.make_archive(str(tmp_path / "model"), "zip", tmp_path / "zipped"))


def answer(text: str) -> None:
    from slicer_module import pythonqt

    pythonqt.QFileDialog.answers = [text]


def address(text: str) -> None:
    from slicer_module import pythonqt

    pythonqt.QInputDialog.answers = [text]


def test_a_bundle_is_added_by_its_folder_and_remembered(
    opened: panels.Opened, tmp_path: Path, trust: list[str]
) -> None:
    answer(str(copied_bundle(opened, tmp_path / "my thyroid")))
    opened.panel.models.add()
    opened.settle()
    assert opened.parameters.model == "my thyroid"
    assert "trust" in trust[0]
    opened.panel.logic.shelf.find()
    assert "my thyroid" in opened.panel.logic.shelf.models


def test_an_added_model_is_forgotten_and_its_folder_stays(
    opened: panels.Opened, tmp_path: Path, trust: list[str]
) -> None:
    answer(str(copied_bundle(opened, tmp_path / "my thyroid")))
    opened.panel.models.add()
    opened.settle()
    assert opened.panel.models.remove_action.enabled
    opened.panel.models.remove()
    opened.settle()
    assert opened.parameters.model == "cardiac_bmap_sdm"
    assert "my thyroid" not in opened.panel.logic.shelf.models
    assert (tmp_path / "my thyroid" / "configs").is_dir()
    assert not opened.panel.models.remove_action.enabled


def test_a_model_is_installed_from_a_file_and_deleted(
    opened: panels.Opened, tmp_path: Path, trust: list[str], own_models: Path
) -> None:
    answer(str(zipped(opened, tmp_path, "thyroid_new")))
    opened.panel.models.install()
    opened.until(lambda: not opened.panel.logic.busy)
    assert opened.parameters.model == "thyroid_new"
    folder = opened.panel.logic.shelf.models["thyroid_new"].folder
    assert folder.is_relative_to(own_models)
    opened.panel.models.remove()
    assert not folder.exists()
    assert list((own_models / "SlicerBMapDiffusion" / "Models").iterdir()) == []


def test_a_model_is_downloaded_and_chosen(
    opened: panels.Opened, tmp_path: Path, trust: list[str], own_models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    content = zipped(opened, tmp_path, "thyroid_new").read_bytes()
    server = Server(content)
    try:
        address(f"{server.url}#sha256={hashlib.sha256(content).hexdigest()}")
        opened.panel.models.download()
        assert opened.panel.logic.busy
        opened.until(lambda: not opened.panel.logic.busy)
    finally:
        server.stop()
    assert opened.parameters.model == "thyroid_new"
    assert "trust" in trust[0]
    assert sorted(path.name for path in (own_models / "SlicerBMapDiffusion").rglob("*.zip*")) == []


def test_a_download_is_cancelled_and_its_part_stays_to_go_on_from(
    opened: panels.Opened, trust: list[str], own_models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    content = bytes(3_000_000)
    server = Server(content)
    server.stops_after = server.silent_after = 2_000_000
    try:
        address(f"{server.url}#sha256={hashlib.sha256(content).hexdigest()}")
        opened.panel.models.download()
        opened.until(lambda: "2 of 3 MB" in opened.status)
        opened.ui.cancelButton.click()
    finally:
        server.stop()
    assert opened.status == "Stopped; the scene is as it was."
    assert [path.suffix for path in (own_models / "SlicerBMapDiffusion").rglob("*") if path.is_file()] == [".part"]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("https://models.example/heart.zip", "must end in #sha256="),
        ("https://models.example/heart.zip#sha256=123", "64 hexadecimal digits"),
        ("ftp://models.example/heart.zip#sha256=" + 64 * "0", "must start with https://"),
    ],
)
def test_an_address_that_cannot_be_checked_is_refused(
    opened: panels.Opened, trust: list[str], given: str, words: str
) -> None:
    address(given)
    opened.panel.models.download()
    assert words in opened.status
    assert not opened.panel.logic.busy


def test_a_model_that_cannot_be_used_is_told_with_the_reason(opened: panels.Opened, own_models: Path) -> None:
    (own_models / "SlicerBMapDiffusion" / "Models" / "old" / "configs").mkdir(parents=True)
    opened.panel.logic.shelf.find()
    opened.settle()
    assert "&#9888; A model cannot be used" in opened.ui.modelLabel.text
    assert "old is no bundle: it has no configs/inference.json" in opened.ui.modelLabel.toolTip


def test_a_shipped_model_cannot_be_removed(opened: panels.Opened, trust: list[str]) -> None:
    opened.panel.models.remove()
    assert trust == []
    assert len(opened.panel.logic.shelf.models) == 3


def test_who_does_not_trust_a_model_gets_none(opened: panels.Opened, tmp_path: Path, monkeypatch: Any) -> None:
    import slicer

    monkeypatch.setattr(slicer.util, "confirmOkCancelDisplay", lambda text, **_: False)
    answer(str(copied_bundle(opened, tmp_path / "my thyroid")))
    opened.panel.models.add()
    assert "my thyroid" not in opened.panel.logic.shelf.models


def test_a_second_model_of_the_same_name_is_refused(opened: panels.Opened, tmp_path: Path, trust: list[str]) -> None:
    answer(str(copied_bundle(opened, tmp_path / "thyroid_bmap_sdm")))
    opened.panel.models.add()
    assert opened.status == "There is a model named thyroid_bmap_sdm already; rename the folder."


def test_a_folder_that_is_no_bundle_is_refused_with_a_remedy(
    opened: panels.Opened, tmp_path: Path, trust: list[str]
) -> None:
    answer(str(tmp_path))
    opened.panel.models.add()
    assert "is no bundle" in opened.status
    assert "Choose the folder" in opened.status


@pytest.mark.parametrize("action", ["models.add", "models.install", "models.download", "find_beam"])
def test_cancelling_a_file_dialog_changes_nothing(opened: panels.Opened, action: str, trust: list[str]) -> None:
    opened.parameters.beam_source = type(opened.parameters.beam_source).FILE
    answer("")
    address("")
    before = opened.parameters.parameterNode.GetParameterNamesAsCommaSeparatedList(), opened.parameters.model
    operator.attrgetter(action)(opened.panel)()
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
    in_view(heart)
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
    in_view(heart)
    before = np.array(_outline(scene).GetPolyData().GetBounds())
    heart.parameters.view.JumpSlice(0, 0, 12)
    heart.until(lambda: not np.allclose(before, _outline(scene).GetPolyData().GetBounds()))
    heart.ui.outlineBox.checked = False
    heart.settle()
    assert _outline(scene) is None


def let_pass(seconds: float) -> None:
    """Let timers end, and nobody else ask the panel to look."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        process_events()


def test_the_panel_follows_changes_that_never_pause(heart: panels.Opened, scene: Any) -> None:
    in_view(heart)
    before = np.array(_outline(scene).GetPolyData().GetBounds())
    view = heart.view.GetSliceNode()
    for step in range(20):  # every 10 ms, as a tracked probe or a mouse that drags
        view.SetSliceOffset(float(step))
        let_pass(0.01)
    assert not np.allclose(before, _outline(scene).GetPolyData().GetBounds())


def test_a_volume_that_is_moved_moves_the_outline(heart: panels.Opened, scene: Any) -> None:
    import vtk

    transform = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    heart.parameters.volume.SetAndObserveTransformNodeID(transform.GetID())
    let_pass(0.1)
    before = np.array(_outline(scene).GetPolyData().GetBounds())
    matrix = vtk.vtkMatrix4x4()
    matrix.SetElement(0, 3, 50.0)
    transform.SetMatrixTransformToParent(matrix)
    let_pass(0.1)
    assert not np.allclose(before, _outline(scene).GetPolyData().GetBounds())


def test_a_plane_markup_that_only_changes_its_size_moves_the_outline(heart: panels.Opened, scene: Any) -> None:
    plane = scene.AddNewNodeByClass("vtkMRMLMarkupsPlaneNode")
    plane.SetOrigin(0, 0, 0)
    plane.SetNormal(0, 0, 1)
    plane.SetSize(60, 60)
    heart.parameters.markup = plane
    heart.parameters.frame_kind = type(heart.parameters.frame_kind).MARKUP
    let_pass(0.1)
    before = np.array(_outline(scene).GetPolyData().GetBounds())
    plane.SetSize(120, 120)
    let_pass(0.1)
    assert not np.allclose(before, _outline(scene).GetPolyData().GetBounds())


def test_a_click_turns_the_view_to_where_the_anatomy_hangs_in_the_beam(heart: panels.Opened) -> None:
    in_view(heart)
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
    assert _outline(scene) is None
    heart.widget.enter()
    assert _outline(scene) is not None


def test_unloading_the_module_takes_the_outline_away(heart: panels.Opened, scene: Any) -> None:
    assert _outline(scene) is not None
    heart.widget.cleanup()
    assert _outline(scene) is None


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


def manual(opened: panels.Opened) -> Any:
    """Set the beam by hand; the node that holds its handles."""
    opened.parameters.beam_source = type(opened.parameters.beam_source).MANUAL
    opened.settle()
    return _handles(opened.application.scene)


def test_a_beam_that_is_set_by_hand_has_handles_in_its_plane(heart: panels.Opened, scene: Any) -> None:
    assert _handles(scene) is None
    node = manual(heart)
    assert node.GetNumberOfControlPoints() == 3
    bounds = np.array(_outline(scene).GetPolyData().GetBounds()).reshape(3, 2)
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
    before = np.array(_outline(scene).GetPolyData().GetBounds())
    face, end = (np.array(node.GetNthControlPointPositionWorld(index)) for index in (0, 1))
    node.SetNthControlPointPositionWorld(1, *(face + 0.5 * (end - face)))
    heart.settle()
    assert heart.ui.beamDepthSlider.value == pytest.approx(depth / 2, abs=0.01)
    assert heart.ui.beamSteeringSlider.value == pytest.approx(0, abs=1e-6)
    assert not np.allclose(before, _outline(scene).GetPolyData().GetBounds())


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
    in_view(heart)
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
    in_view(heart)
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


def _nodes(scene: Any, kind: str) -> list[Any]:
    return [scene.GetNthNodeByClass(index, kind) for index in range(scene.GetNumberOfNodesByClass(kind))]


def _outline(scene: Any) -> Any:
    return next(
        (node for node in _nodes(scene, "vtkMRMLModelNode") if node.GetAttribute("BMapDiffusion.outline")), None
    )


def _handles(scene: Any) -> Any:
    nodes = _nodes(scene, "vtkMRMLMarkupsFiducialNode")
    return next((node for node in nodes if node.GetAttribute("BMapDiffusion.handles")), None)


def _nodes_named(name: str) -> Any:
    import slicer

    return slicer.mrmlScene.GetFirstNodeByName(name)
