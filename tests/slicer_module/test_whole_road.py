"""The whole way, with the shipped models and the real child process: scene, job, process, result in the scene."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("PySide6", reason="PySide6 is not installed here; `make test-slicer` runs these")

from slicer_module import panels

WORKER = os.environ.get("BMAP_WORKER_PYTHON")
pytestmark = pytest.mark.skipif(not WORKER, reason="BMAP_WORKER_PYTHON names no Python with monai_bmaps")

_PATIENCE_S = 300.0


@pytest.fixture
def opened(application: Any, scene: Any) -> Iterator[panels.Opened]:
    module = panels.Opened(application, str(WORKER))
    yield module
    module.close()


def test_the_self_test_of_the_application_passes_here(opened: panels.Opened, scene: Any) -> None:
    opened.widget.exit()
    opened.module.SlicerBMapDiffusionTest().runTest()


def test_a_thyroid_is_drawn_from_the_loaded_phantom_with_two_clicks_and_again_with_the_same_pixels(
    opened: panels.Opened,
) -> None:
    import slicer

    opened.load("thyroid")
    opened.parameters.steps = 3
    opened.ui.generateButton.click()
    opened.until(lambda: not opened.panel.logic.busy, _PATIENCE_S)
    first = opened.ui.resultSelector.currentNode()
    assert first is not None, opened.status
    pixels = slicer.util.arrayFromVolume(first).copy()
    assert pixels.shape == (1, 128, 128)
    assert pixels.std() > 5
    opened.ui.rerunButton.click()
    opened.until(lambda: not opened.panel.logic.busy, _PATIENCE_S)
    second = opened.ui.resultSelector.currentNode()
    assert second is not first
    assert np.array_equal(slicer.util.arrayFromVolume(second), pixels)


def test_cancelling_while_it_denoises_takes_less_than_two_seconds(opened: panels.Opened, scene: Any) -> None:
    opened.load("heart")
    opened.parameters.steps = 200
    before = scene.GetNumberOfNodes()
    opened.ui.generateButton.click()
    process = opened.panel.logic.queue.running
    opened.until(lambda: ", step " in opened.status, _PATIENCE_S)
    begun = time.monotonic()
    opened.ui.cancelButton.click()
    assert time.monotonic() - begun < 2.0
    assert process.state == "cancelled"
    assert not Path(f"/proc/{process.pid}").exists()
    assert scene.GetNumberOfNodes() == before


def test_the_beam_of_the_phantom_s_image_is_found(opened: panels.Opened) -> None:
    volume, _segmentation = opened.load("heart")
    opened.parameters.volume = volume
    opened.parameters.frame_kind = type(opened.parameters.frame_kind).SLICES
    opened.parameters.beam_source = type(opened.parameters.beam_source).IMAGE
    opened.settle()
    opened.ui.beamButton.click()
    opened.until(lambda: not opened.panel.logic.busy, _PATIENCE_S)
    assert "The beam was found" in opened.status
    assert opened.parameters.beam_half_angle == pytest.approx(37.3, abs=1.5)
    assert opened.parameters.beam_depth == pytest.approx(1.41 * 104.3, abs=4)
    assert opened.ui.generateButton.enabled


def test_the_worker_s_packages_pass_the_check_that_follows_an_installation(opened: panels.Opened) -> None:
    opened.load("heart")
    opened.panel.logic.errands.check_packages()
    opened.until(lambda: not opened.panel.logic.busy, _PATIENCE_S)
    assert opened.status == "The packages are installed and work."


def test_without_packages_the_self_test_ends_before_the_drawing(
    opened: panels.Opened, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from SlicerBMapDiffusionLib.setup import packages

    opened.widget.exit()
    monkeypatch.delenv("BMAP_WORKER_PYTHON")
    monkeypatch.setattr(packages, "missing", lambda: ["torch"])
    opened.module.SlicerBMapDiffusionTest().runTest()
    assert "Python packages are missing" in capsys.readouterr().out
