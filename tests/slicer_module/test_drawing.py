"""Pressing Generate: results, seeds, progress, cancelling, failures, results made again, packages."""

from __future__ import annotations

import json
import re
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("PySide6", reason="PySide6 is not installed here; `make test-slicer` runs these")

from slicer_module import panels, workers

# --- Drawing ----------------------------------------------------------------------------------------------------------


def test_generate_puts_a_marked_image_over_the_segmentation(heart: panels.Opened) -> None:
    node = heart.draw()
    assert node.GetName() == "Heart anatomy synthetic"
    assert node.GetAttribute("BMapDiffusion.synthetic") == "true"
    assert node.GetAttribute("BMapDiffusion.attenuation_db") == "44.0"
    assert json.loads(node.GetAttribute("BMapDiffusion.label_mapping"))["left atrium"] == ["Left atrium"]
    assert heart.view.GetSliceCompositeNode().GetBackgroundVolumeID() == node.GetID()
    assert f"seed {heart.parameters.seed}" in heart.status


def test_an_image_arrives_even_if_its_model_was_removed_meanwhile(heart: panels.Opened) -> None:
    weights = heart.panel.logic.shelf.models["cardiac_bmap_sdm"].weights_sha256
    heart.ui.generateButton.click()
    del heart.panel.logic.shelf.models["cardiac_bmap_sdm"]
    heart.until(lambda: not heart.panel.logic.busy)
    assert heart.ui.resultSelector.currentNode().GetAttribute("BMapDiffusion.weights_sha256") == weights


def test_a_random_seed_is_new_each_time_and_written_down(heart: panels.Opened) -> None:
    seeds = {heart.draw().GetAttribute("BMapDiffusion.seed") for _ in range(2)}
    assert len(seeds) == 2
    assert str(heart.ui.seedBox.value) in seeds


def test_a_fixed_seed_stays(heart: panels.Opened) -> None:
    heart.ui.randomSeedBox.checked = False
    heart.ui.seedBox.value = 17
    assert heart.draw().GetAttribute("BMapDiffusion.seed") == "17"
    assert heart.ui.seedBox.value == 17


def test_labels_reach_the_worker_in_the_table_s_order(heart: panels.Opened, scene: Any) -> None:
    import slicer

    heart.ui.randomSeedBox.checked = False
    heart.ui.seedBox.value = 0
    heart.parameters.frame_kind = type(heart.parameters.frame_kind).SLICES
    heart.parameters.volume = scene.GetFirstNodeByName("Heart phantom")
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
    heart.parameters.frame_kind = type(heart.parameters.frame_kind).VIEW
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


CHANGES = {
    "numbers": lambda p: [setattr(p, *each) for each in (("steps", 9), ("attenuation_db", 31.0), ("guidance", 2.5))],
    "ticks": lambda p: [setattr(p, *each) for each in (("use_guidance", True), ("preview", False))],
    "own size": lambda p: [setattr(p, *each) for each in (("own_size", True), ("rows", 96), ("columns", 64))],
    "a sweep": lambda p: [setattr(p, *each) for each in (("output_kind", kind_of(p, "SWEEP")), ("sweep_count", 3))],
    "variants": lambda p: [setattr(p, *each) for each in (("output_kind", kind_of(p, "VARIANTS")), ("variants", 3))],
    "an image to start from": lambda p: [setattr(p, *each) for each in (("from_image", True), ("strength", 0.25))],
    "a beam": lambda p: [
        setattr(p, *each) for each in (("beam_source", type(p.beam_source).MANUAL), ("beam_half_angle", 20.0))
    ],
    "a view": lambda p: setattr(p, "frame_kind", type(p.frame_kind).VIEW),
    "a processor": lambda p: setattr(p, "device", type(p.device).CPU),
}


def kind_of(parameters: Any, name: str) -> Any:
    return type(parameters.output_kind)[name]


def texts(opened: panels.Opened) -> dict[str, str]:
    node = opened.parameters.parameterNode
    return {name: node.GetParameter(name) for name in node.GetParameterNames()}


@pytest.mark.parametrize("change", CHANGES)
def test_the_panel_goes_back_to_what_made_a_result(heart: panels.Opened, change: str) -> None:
    before = texts(heart)
    CHANGES[change](heart.parameters)
    heart.settle()
    made_with = texts(heart)
    result = heart.draw()
    for name, text in before.items():
        heart.parameters.parameterNode.SetParameter(name, text)
    heart.settle()
    assert texts(heart) != made_with
    heart.ui.restoreButton.click()
    heart.settle()
    seed = {"seed": result.GetAttribute("BMapDiffusion.seed"), "random_seed": "False"}
    assert texts(heart) == made_with | seed
    assert heart.status == ""


def test_nodes_and_table_of_a_result_come_back(heart: panels.Opened) -> None:
    heart.ui.classTable.cellWidget(0, 1).setCurrentIndex(0)
    table, segmentation, volume = (
        getattr(heart.parameters, name) for name in ("class_table", "segmentation", "volume")
    )
    heart.draw()
    heart.parameters.segmentation = heart.parameters.volume = None
    heart.settle()
    heart.ui.restoreButton.click()
    heart.settle()
    assert (heart.parameters.segmentation, heart.parameters.volume) == (segmentation, volume)
    assert heart.parameters.class_table == table


def test_the_slice_view_turns_back_to_the_plane_of_a_result(heart: panels.Opened) -> None:
    from SlicerBMapDiffusionLib.geometry.frames import Frame

    heart.parameters.frame_kind = type(heart.parameters.frame_kind).VIEW
    heart.settle()
    heart.ui.anatomyButton.click()
    frame = Frame.from_dict(json.loads(heart.draw().GetAttribute("BMapDiffusion.request"))["frame"])
    heart.parameters.view.SetOrientationToSagittal()
    heart.parameters.view.SetFieldOfView(20, 30, 1)
    heart.settle()
    heart.ui.restoreButton.click()
    assert _planned(heart).coincides(frame)
    assert heart.status == ""


def test_a_probe_that_has_moved_since_is_told(heart: panels.Opened, scene: Any) -> None:
    probe = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "ProbeToWorld")
    segmentation = heart.parameters.segmentation
    bounds = np.zeros(6)
    segmentation.GetRASBounds(bounds)
    matrix = np.eye(4)
    matrix[:3, 3] = bounds.reshape(3, 2).mean(axis=1) - (0, 60, 0)
    import slicer

    probe.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(matrix))
    heart.parameters.frame_kind, heart.parameters.probe = type(heart.parameters.frame_kind).PROBE, probe
    heart.settle()
    assert heart.draw() is not None, heart.status
    heart.parameters.probe = None
    heart.ui.restoreButton.click()
    assert (heart.parameters.probe, heart.status) == (probe, "")
    matrix[0, 3] += 1
    probe.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(matrix))
    heart.ui.restoreButton.click()
    assert heart.status.startswith("The plane has moved since")
    scene.RemoveNode(probe)
    heart.ui.restoreButton.click()
    assert heart.status == "Choose the transform of the probe."


def test_a_result_in_a_scene_that_was_loaded_into_another_one_knows_its_own_anatomy(
    heart: panels.Opened, scene: Any, tmp_path: Path, complaints: list[str]
) -> None:
    heart.parameters.steps = 9
    heart.ui.classTable.cellWidget(0, 1).setCurrentIndex(0)
    heart.draw()
    path = str(tmp_path / "scene.mrb")
    assert scene.WriteToMRB(path)
    scene.Clear(0)
    heart.load("heart")
    assert scene.ReadFromMRB(path, False)  # into what is there: ids are changed where they are taken
    heart.settle()
    complaints.clear()
    results = [node for node in _volumes(scene) if node.GetAttribute("BMapDiffusion.request")]
    heart.ui.resultSelector.setCurrentNode(results[-1])
    heart.parameters.steps = 3
    heart.settle()
    heart.ui.restoreButton.click()
    heart.settle()
    assert heart.ui.stepsBox.value == 9
    segmentation = heart.parameters.segmentation
    assert segmentation is results[-1].GetNodeReference("BMapDiffusion.segmentation")
    table = json.loads(heart.parameters.class_table)
    assert table["segmentation"] == segmentation.GetID()

    assert table["rows"][0][1] == ""


def test_settings_of_a_model_that_is_gone_are_not_taken(heart: panels.Opened) -> None:
    result = heart.draw()
    request = json.loads(result.GetAttribute("BMapDiffusion.request")) | {"model": "lost"}
    result.SetAttribute("BMapDiffusion.request", json.dumps(request))
    before = texts(heart)
    heart.ui.restoreButton.click()
    assert heart.status == "The model lost is not on this computer."
    assert texts(heart) == before


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
    from SlicerBMapDiffusionLib.setup import install, packages

    state: dict[str, Any] = {"missing": ["PyTorch>=2.4 (large: some GB)", "monai>=1.5"], "asked": [], "answer": True}
    worker, heart.panel.logic._python = heart.panel.logic._python, None
    monkeypatch.setattr(install, "python_executable", lambda: worker)
    monkeypatch.setattr(packages, "missing", lambda: state["missing"])

    def ensure(ask: Any) -> bool:
        if not state["missing"]:
            return False
        if not ask("\n".join(state["missing"])):
            raise install.InstallDeclined(
                "The Python packages were not installed: without them no image can be generated."
            )
        if state.get("error"):
            raise install.InstallError(state["error"])
        state["missing"] = []
        return True

    monkeypatch.setattr(install, "ensure", ensure)
    import slicer

    def confirm(text: str, **_: Any) -> bool:
        state["asked"].append(text)
        return bool(state["answer"])

    monkeypatch.setattr(slicer.util, "confirmOkCancelDisplay", confirm)
    return state


def test_missing_packages_are_told_before_anything_is_pressed(heart: panels.Opened, own_python: dict[str, Any]) -> None:
    heart.widget.enter()
    assert heart.shown("installLabel")
    assert "monai" in heart.ui.installLabel.toolTip
    assert not own_python["asked"]


def test_a_checkout_without_a_wheel_opens_and_says_what_is_missing(
    heart: panels.Opened, own_python: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from SlicerBMapDiffusionLib.setup import packages

    def missing() -> list[str]:
        raise packages.InstallError("This copy of the extension has no wheel; run 'make wheel' in the checkout.")

    monkeypatch.setattr(packages, "missing", missing)
    heart.widget.enter()
    assert heart.shown("installLabel")
    assert heart.ui.installLabel.text == "This copy of the extension has no wheel; run 'make wheel' in the checkout."


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


def _told(heart: panels.Opened, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Sentences of progress, gathered."""
    told: list[str] = []
    show = heart.panel.on_progress
    monkeypatch.setattr(heart.panel, "on_progress", lambda share, text: (told.append(text), show(share, text)))
    return told


def test_what_was_installed_is_checked_before_the_image_is_drawn(
    heart: panels.Opened, own_python: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    told = _told(heart, monkeypatch)
    assert heart.draw() is not None
    assert told[:3] == ["Checking the packages ...", "The packages are installed and work.", "Starting Python ..."]
    assert "is ready" in heart.status


def test_what_was_there_before_is_not_checked(
    heart: panels.Opened, own_python: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    own_python["missing"] = []
    told = _told(heart, monkeypatch)
    assert heart.draw() is not None
    assert told[0] == "Starting Python ..."


def test_packages_that_do_not_work_stop_what_waits_for_them(
    heart: panels.Opened, own_python: dict[str, Any], monkeypatch: pytest.MonkeyPatch, scene: Any
) -> None:
    monkeypatch.setenv("FAKE_WORKER_FAULT", "import")
    before = _ids(scene)
    heart.ui.generateButton.click()
    heart.ui.generateButton.click()
    waiting = list(heart.panel.logic._drawings)
    heart.until(lambda: not heart.panel.logic.busy)
    assert heart.status.startswith("The packages are installed but do not work: ModuleNotFoundError: No module named")
    assert heart.ui.statusLabel.styleSheet
    assert heart.ui.logText.plainText == "ModuleNotFoundError: No module named 'torch'"
    assert [(drawing.process.state, drawing.process.pid) for drawing in waiting] == [("cancelled", None)] * 2
    assert not any(drawing.job.folder.exists() for drawing in waiting)
    assert not heart.shown("progressBox")
    assert _ids(scene) == before


def test_the_panel_answers_while_packages_are_checked_and_cancel_ends_it(
    heart: panels.Opened, own_python: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_WORKER_FAULT", "slow import")
    monkeypatch.setenv("PYTHONHOME", "/nowhere")
    begun = time.monotonic()
    heart.ui.generateButton.click()
    check = heart.panel.logic.queue.running
    heart.until(lambda: heart.status == "Checking the packages ...")
    for _ in range(5):  # as many polls
        time.sleep(0.1)
        heart.settle()
    heart.ui.cancelButton.click()
    assert time.monotonic() - begun < 2.5
    assert (check.state, heart.panel.logic.busy) == ("cancelled", 0)
    assert "PYTHONHOME" not in check.env
    assert heart.status == "Stopped; the scene is as it was."
    assert not workers.is_alive(check.pid)


def test_a_reason_why_nothing_can_be_drawn_outlives_the_check(heart: panels.Opened, own_python: dict[str, Any]) -> None:
    heart.parameters.frame_kind = type(heart.parameters.frame_kind).VIEW
    heart.parameters.view.JumpSlice(0, 0, 500)
    heart.settle()
    heart.ui.generateButton.click()
    reason = heart.status
    assert heart.panel.logic.busy == 1
    heart.until(lambda: not heart.panel.logic.busy)
    assert heart.status == reason
    assert heart.ui.statusLabel.styleSheet
    assert not heart.shown("progressBox")


def test_a_check_with_nothing_behind_it_ends_in_a_sentence(heart: panels.Opened) -> None:
    heart.panel.logic.errands.check_packages()
    heart.until(lambda: not heart.panel.logic.busy)
    assert heart.status == "The packages are installed and work."
    assert not heart.shown("progressBox")


def _nodes(scene: Any, kind: str) -> list[Any]:
    return [scene.GetNthNodeByClass(index, kind) for index in range(scene.GetNumberOfNodesByClass(kind))]


def _ids(scene: Any) -> set[str]:
    return {scene.GetNthNode(index).GetID() for index in range(scene.GetNumberOfNodes())}


def _planned(opened: panels.Opened) -> Any:
    from SlicerBMapDiffusionLib import planning

    model = opened.panel.logic.shelf.models[opened.parameters.model]
    return planning.frame_of(opened.parameters, model)


def _volumes(scene: Any) -> list[Any]:
    kind = "vtkMRMLScalarVolumeNode"
    return [scene.GetNthNodeByClass(index, kind) for index in range(scene.GetNumberOfNodesByClass(kind))]
