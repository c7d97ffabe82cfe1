"""The stand-ins refuse what Slicer's own refuse, so that a panel that runs here runs there."""

from __future__ import annotations

from enum import Enum
from typing import Annotated, Any

import pytest

pytest.importorskip("PySide6", reason="PySide6 is not installed here; `make test-slicer` runs these")
pytest.importorskip("slicer_core", reason="slicer-core is not installed here; `make test-slicer` runs these")

from slicer_module import pythonqt, slicer_stand_ins
from slicer_module.pythonqt import ctk, qt
from slicer_module.slicer_stand_ins import WithinRange, parameterNodeWrapper


class Colour(Enum):
    RED = 1
    BLUE = 2

    def label(self) -> str:
        return self.name.capitalize()


@parameterNodeWrapper
class Example:
    count: Annotated[int, WithinRange(1, 9)] = 3
    share: Annotated[float, WithinRange(0, 1)] = 0.5
    text: str
    flag: bool = True
    colour: Colour = Colour.BLUE


@pytest.fixture
def example(scene: Any) -> Any:
    return Example(scene.AddNewNodeByClass("vtkMRMLScriptedModuleNode"))


def test_defaults_are_written_into_the_node(example: Any) -> None:
    names = ("count", "share", "text", "flag", "colour")
    assert [example.parameterNode.GetParameter(name) for name in names] == ["3", "0.5", "", "True", "BLUE"]


@pytest.mark.parametrize(("name", "value"), [("count", 10), ("share", -0.1)])
def test_a_value_out_of_range_is_refused(example: Any, name: str, value: Any) -> None:
    with pytest.raises(ValueError, match="within"):
        setattr(example, name, value)


@pytest.mark.parametrize(
    ("name", "value"), [("count", 2.0), ("count", None), ("text", 3), ("flag", 1), ("colour", "RED")]
)
def test_a_value_of_another_type_is_refused(example: Any, name: str, value: Any) -> None:
    with pytest.raises(TypeError, match="type"):
        setattr(example, name, value)


def test_a_type_without_a_serializer_is_refused() -> None:
    with pytest.raises(TypeError, match="serializer"):
        parameterNodeWrapper(type("Bad", (), {"__annotations__": {"x": set}}))


def named(widget: Any, parameter: str) -> Any:
    widget.setProperty("SlicerParameterName", parameter)
    return type("Ui", (), {})(), widget


@pytest.mark.parametrize(
    ("cls", "parameter"),
    [("QSpinBox", "share"), ("QDoubleSpinBox", "count"), ("QCheckBox", "text"), ("QComboBox", "text")],
)
def test_a_widget_that_does_not_fit_the_parameter_is_refused(example: Any, cls: str, parameter: str) -> None:
    ui, ui.widget = named(getattr(qt, cls)(), parameter)
    with pytest.raises(RuntimeError, match="Unable to create GUI connector"):
        example.connectGui(ui)


def test_a_widget_of_an_unknown_parameter_is_refused(example: Any) -> None:
    ui, ui.widget = named(qt.QSpinBox(), "cuont")
    with pytest.raises(ValueError, match="cuont"):
        example.connectGui(ui)


def test_a_disconnected_widget_changes_nothing(example: Any) -> None:
    ui, ui.widget = named(ctk.ctkSliderWidget(), "share")
    tag = example.connectParametersToGui({"share": ui.widget})
    ui.widget.value = 0.25
    example.disconnectGui(tag)
    ui.widget.value = 0.75
    assert example.share == 0.25


def test_widgets_that_were_connected_by_their_names_stay_connected_as_in_slicer(example: Any) -> None:
    ui, ui.widget = named(ctk.ctkSliderWidget(), "share")
    example.disconnectGui(example.connectGui(ui))
    ui.widget.value = 0.75
    assert example.share == 0.75


def test_a_disconnected_wrapper_still_observes_its_node_as_in_slicer_5_10(example: Any) -> None:
    example.disconnectGui(example.connectParametersToGui({"share": ctk.ctkSliderWidget()}))
    heard: list[bool] = []
    example._to_gui = lambda: heard.append(True)
    example.parameterNode.Modified()
    assert heard


def test_what_is_written_into_the_node_is_read_when_the_node_says_so_as_in_slicer(example: Any) -> None:
    before = example.StartModify()
    example.parameterNode.SetParameter("count", "7")
    assert example.count == 3
    example.EndModify(before)
    assert example.count == 7


def test_properties_are_attributes_and_not_methods() -> None:
    label = qt.QLabel("a")
    label.text = "b"
    assert label.text == "b"
    with pytest.raises(TypeError):
        label.text()


def test_a_signal_that_does_not_exist_cannot_be_connected() -> None:
    with pytest.raises(AttributeError, match="no signal pressedd"):
        qt.QPushButton().connect("pressedd()", print)


def test_a_ui_file_with_an_unknown_widget_is_refused() -> None:
    with pytest.raises(ValueError, match="qMRMLMagicWidget"):
        pythonqt.QUiLoader().createWidget("qMRMLMagicWidget")


def test_the_registration_of_sample_data_knows_its_keywords() -> None:
    with pytest.raises(TypeError, match="thumbnail"):
        slicer_stand_ins.SampleDataLogic.registerCustomSampleDataSource(thumbnail="a")
