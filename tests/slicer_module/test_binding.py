"""Widgets that are tied to a parameter node, and let go again."""

from __future__ import annotations

from typing import Annotated, Any

import pytest

pytest.importorskip("PySide6", reason="PySide6 is not installed here; `make test-slicer` runs these")
pytest.importorskip("slicer_core", reason="slicer-core is not installed here; `make test-slicer` runs these")

from slicer_module.pythonqt import ctk
from slicer_module.slicer_stand_ins import WithinRange, parameterNodeWrapper
from SlicerBMapDiffusionLib.panel.binding import Binding


@parameterNodeWrapper
class Example:
    share: Annotated[float, WithinRange(0, 1)] = 0.5


@pytest.fixture
def example(scene: Any) -> Any:
    return Example(scene.AddNewNodeByClass("vtkMRMLScriptedModuleNode"))


@pytest.fixture
def ui() -> Any:
    widgets = type("Ui", (), {})()
    widgets.slider, widgets.unbound = ctk.ctkSliderWidget(), ctk.ctkSliderWidget()
    widgets.slider.setProperty("SlicerParameterName", "share")
    return widgets


def test_widget_and_parameter_follow_each_other(example: Any, ui: Any) -> None:
    Binding(example, ui)
    assert ui.slider.value == 0.5
    ui.slider.value = 0.25
    assert example.share == 0.25
    example.share = 0.75
    assert ui.slider.value == 0.75


def test_a_widget_that_was_let_go_changes_nothing(example: Any, ui: Any) -> None:
    Binding(example, ui).let_go()
    ui.slider.value = 0.25
    assert example.share == 0.5


def test_nothing_observes_the_node_any_more(example: Any, ui: Any) -> None:
    heard: list[bool] = []
    example._to_gui = lambda: heard.append(True)
    binding = Binding(example, ui)
    example.parameterNode.Modified()
    assert len(heard) == 1
    binding.let_go()
    example.parameterNode.Modified()
    assert len(heard) == 1


def test_later_observers_are_the_callers_own(example: Any, ui: Any) -> None:
    binding, heard = Binding(example, ui), []
    example.AddObserver("ModifiedEvent", lambda *_: heard.append(True))
    binding.let_go()
    example.parameterNode.Modified()
    assert heard
