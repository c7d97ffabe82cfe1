"""What the Slicer application adds to slicer-core, as far as the module uses it: small, own stand-ins.

``install()`` puts ``qt``, ``ctk``, ``slicer.app``, ``slicer.i18n``, ``slicer.ScriptedLoadableModule``,
``slicer.parameterNodeWrapper`` and ``SampleData`` in place, with the signatures that Slicer documents. The parameter
node refuses every type and every pair of type and widget that Slicer's own does not know, so that what runs here runs
there.
"""

from __future__ import annotations

import enum
import os
import sys
import tempfile
import types
import typing
import unittest
import weakref
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import slicer
import vtk
from PySide6 import QtCore, QtWidgets

from slicer_module import pythonqt
from slicer_module.pythonqt import ctk, qt

# --- Validators, as in slicer.parameterNodeWrapper --------------------------------------------------------------------


@dataclass(frozen=True)
class WithinRange:
    minimum: float
    maximum: float

    def validate(self, value: Any) -> None:
        if not self.minimum <= value <= self.maximum:
            raise ValueError(f"Expected {value} to be within [{self.minimum}, {self.maximum}]")


@dataclass(frozen=True)
class Minimum:
    minimum: float

    def validate(self, value: Any) -> None:
        if value < self.minimum:
            raise ValueError(f"Expected {value} to be at least {self.minimum}")


# --- The parameter node -----------------------------------------------------------------------------------------------


class Parameter:
    """One typed attribute, kept as text or as a node reference in a vtkMRMLScriptedModuleNode."""

    def __init__(self, owner: type, name: str, annotated: Any) -> None:
        self.name = name
        self.kind, *self.validators = typing.get_args(annotated) if hasattr(annotated, "__metadata__") else [annotated]
        known = self.kind in (bool, int, float, str) or issubclass(self.kind, (enum.Enum, slicer.vtkMRMLNode))
        if not known:
            raise TypeError(f"parameter {name}: Slicer has no serializer for {self.kind}")
        self.is_node = issubclass(self.kind, slicer.vtkMRMLNode)
        self.default = getattr(owner, name, self._plain_default())

    def _plain_default(self) -> Any:
        if self.is_node:
            return None
        return next(iter(self.kind)) if issubclass(self.kind, enum.Enum) else self.kind()

    def write(self, node: Any, value: Any) -> None:
        wanted = (int, float) if self.kind is float else self.kind
        if not isinstance(value, wanted) and not (self.is_node and value is None):
            raise TypeError(f"Expected {self.name} to be of type {self.kind}, got {value!r}")
        for validator in self.validators:
            validator.validate(value)
        if self.is_node:
            node.SetParameter(self.name, "")
            node.SetNodeReferenceID(self.name, value.GetID() if value is not None else None)
        else:
            node.SetParameter(self.name, value.name if isinstance(value, enum.Enum) else str(value))

    def read(self, node: Any) -> Any:
        if not node.HasParameter(self.name):
            self.write(node, self.default)
        if self.is_node:
            return node.GetNodeReference(self.name)
        text = node.GetParameter(self.name)
        if self.kind is bool:
            return text == "True"
        return self.kind[text] if issubclass(self.kind, enum.Enum) else self.kind(text)


class Connector:
    """Ties one widget to one parameter; only the pairs of Slicer's own connectors."""

    def __init__(self, widget: Any, parameter: Parameter) -> None:
        self.widget, kind = widget, parameter.kind
        pair = (type(widget), enum.Enum if issubclass(kind, enum.Enum) else None if parameter.is_node else kind)
        if pair not in self._signals():
            raise RuntimeError(f"Unable to create GUI connector from {kind} to {type(widget)}")
        self.signal = self._signals()[pair]
        limits = next((v for v in parameter.validators if isinstance(v, WithinRange)), None)
        lowest = next((v for v in parameter.validators if isinstance(v, Minimum)), None)
        if type(widget) is ctk.ctkSliderWidget and limits is None:
            raise RuntimeError("Cannot have a connection to ctkSliderWidget where the float types is unbounded.")
        if kind in (int, float):
            unbounded = (-(2**31), 2**31 - 1) if kind is int else (-1.7e308, 1.7e308)
            widget.minimum = limits.minimum if limits else lowest.minimum if lowest else unbounded[0]
            widget.maximum = limits.maximum if limits else unbounded[1]
        self.choices: list[Any] = list(kind) if issubclass(kind, enum.Enum) else []
        if self.choices:
            widget.clear()
            for choice in self.choices:
                widget.addItem(choice.label() if hasattr(choice, "label") else choice.name)
        if parameter.is_node:
            widget.nodeTypes = [kind.__name__]

    @staticmethod
    def _signals() -> dict[tuple[type, Any], str]:
        return {
            (qt.QCheckBox, bool): "stateChanged",
            (qt.QSpinBox, int): "valueChanged",
            (qt.QDoubleSpinBox, float): "valueChanged",
            (ctk.ctkSliderWidget, float): "valueChanged",
            (qt.QLineEdit, str): "textChanged",
            (qt.QComboBox, enum.Enum): "currentIndexChanged",
            (pythonqt.qMRMLNodeComboBox, None): "currentNodeChanged",
        }

    def read(self) -> Any:
        widget = self.widget
        if self.choices:
            return self.choices[widget.currentIndex]
        if hasattr(widget, "currentNode"):
            return widget.currentNode()
        return getattr(widget, {"stateChanged": "checked", "textChanged": "text"}.get(self.signal, "value"))

    def write(self, value: Any) -> None:
        widget = self.widget
        if self.choices:
            widget.currentIndex = self.choices.index(value)
        elif hasattr(widget, "setCurrentNode"):
            widget.setCurrentNode(value)
        else:
            setattr(widget, {"stateChanged": "checked", "textChanged": "text"}.get(self.signal, "value"), value)

    def on_change(self, callback: Any) -> None:
        self.callback = lambda *_: callback(self.read())
        getattr(self.widget, self.signal).connect(self.callback)

    def forget(self) -> None:
        getattr(self.widget, self.signal).disconnect(self.callback)


def _property(name: str) -> property:
    return property(lambda self: self._values[name], lambda self, value: self._write(name, value))


class _Wrapped:
    """What the decorator adds to a class of typed attributes.

    As in Slicer (Base/Python/slicer/parameterNodeWrapper/wrapper.py), values are read from the node when it says that
    it was modified, and ``disconnectGui`` leaves its observer on the node (in 5.10: before
    https://github.com/Slicer/Slicer/pull/9063).
    """

    allParameters: dict[str, Parameter]  # noqa: N815

    def __init__(self, node: Any) -> None:
        self.parameterNode = node
        self._connectors: dict[int, dict[str, Connector]] = {}
        self._updating = False
        self._writing: set[str] = set()
        for parameter in self.allParameters.values():
            if not node.HasParameter(parameter.name):
                parameter.write(node, parameter.default)
        self._values = {name: parameter.read(node) for name, parameter in self.allParameters.items()}
        # As in Slicer, one for each parameter, which holds this wrapper weakly and goes with it.
        held = weakref.ref(self)
        self._readers = [
            self.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda *_, name=name: held()._read_again(name))
            for name in self.allParameters
        ]

    def __del__(self) -> None:
        for observer in self._readers:
            self.parameterNode.RemoveObserver(observer)

    def _read_again(self, name: str) -> None:
        if name not in self._writing:
            self._values[name] = self.allParameters[name].read(self.parameterNode)

    def _write(self, name: str, value: Any) -> None:
        self._writing.add(name)
        before = self.StartModify()
        try:
            self.allParameters[name].write(self.parameterNode, value)
            self._values[name] = self.allParameters[name].read(self.parameterNode)
        finally:
            self.EndModify(before)
            self._writing.discard(name)

    def connectGui(self, gui: Any) -> None:  # noqa: N802
        """Like Slicer's, it keeps the tag: https://github.com/Slicer/Slicer/issues/7547."""
        widgets = {w.property("SlicerParameterName"): w for w in vars(gui).values()}
        self.connectParametersToGui({name: widget for name, widget in widgets.items() if name})

    def connectParametersToGui(self, widgets: dict[str, Any]) -> int:  # noqa: N802
        unknown = set(widgets) - set(self.allParameters)
        if unknown:
            raise ValueError(f"Cannot find a param with the given name: {unknown}")
        connectors = {name: Connector(widget, self.allParameters[name]) for name, widget in widgets.items()}
        tag = len(self._connectors)
        self._connectors[tag] = connectors
        for name, connector in connectors.items():
            connector.write(getattr(self, name))
            connector.on_change(lambda value, name=name: self._from_gui(name, value))
        self.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda *_: self._to_gui())
        return tag

    def disconnectGui(self, tag: int | None) -> None:  # noqa: N802
        if tag not in self._connectors:
            return
        for connector in self._connectors.pop(tag).values():
            connector.forget()

    def _from_gui(self, name: str, value: Any) -> None:
        if not self._updating:
            setattr(self, name, value)

    def _to_gui(self) -> None:
        if self._updating:
            return
        self._updating = True
        try:
            for connectors in list(self._connectors.values()):
                for name, connector in connectors.items():
                    connector.write(getattr(self, name))
        finally:
            self._updating = False

    def AddObserver(self, event: Any, callback: Any, priority: float = 0.0) -> int:  # noqa: N802
        return self.parameterNode.AddObserver(event, callback, priority)

    def RemoveObserver(self, tag: int) -> None:  # noqa: N802
        self.parameterNode.RemoveObserver(tag)

    def StartModify(self) -> int:  # noqa: N802
        return self.parameterNode.StartModify()

    def EndModify(self, before: int) -> None:  # noqa: N802
        self.parameterNode.EndModify(before)


def parameterNodeWrapper(cls: type) -> type:  # noqa: N802
    """Turn a class of annotated attributes into a typed view of a vtkMRMLScriptedModuleNode."""
    hints = typing.get_type_hints(cls, include_extras=True)
    parameters = {name: Parameter(cls, name, kind) for name, kind in hints.items()}
    body = {name: _property(name) for name in parameters}
    return type(cls.__name__, (_Wrapped, cls), {**body, "allParameters": parameters, "__doc__": cls.__doc__})


# --- Scripted modules -------------------------------------------------------------------------------------------------


class ScriptedLoadableModule:
    def __init__(self, parent: Any) -> None:
        self.parent = parent
        self.moduleName = type(self).__name__


class ScriptedLoadableModuleWidget:
    def __init__(self, parent: Any = None) -> None:
        self.moduleName = type(self).__name__.removesuffix("Widget")
        self.developerMode = False
        self.parent = parent or slicer.qMRMLWidget()
        if not parent:
            self.parent.setLayout(qt.QVBoxLayout())
            self.parent.setMRMLScene(slicer.mrmlScene)
        self.layout = self.parent.layout()
        if not parent:
            self.setup()

    def setup(self) -> None:
        """Slicer adds its developer section here."""

    def cleanup(self) -> None:
        """Called before the module is unloaded."""

    def resourcePath(self, name: str) -> str:  # noqa: N802
        return str(Path(sys.modules[type(self).__module__].__file__ or "").parent / "Resources" / name)


class ScriptedLoadableModuleLogic:
    def __init__(self, parent: Any = None) -> None:
        self.moduleName = type(self).__name__.removesuffix("Logic")
        self.isSingletonParameterNode = True

    def getParameterNode(self) -> Any:  # noqa: N802
        node = slicer.mrmlScene.GetSingletonNode(self.moduleName, "vtkMRMLScriptedModuleNode")
        if node is None:
            node = slicer.mrmlScene.CreateNodeByClass("vtkMRMLScriptedModuleNode")
            node.UnRegister(None)
            node.SetSingletonTag(self.moduleName)
            node.SetName(slicer.mrmlScene.GenerateUniqueName(self.moduleName))
            slicer.mrmlScene.AddNode(node)
        node.SetAttribute("ModuleName", self.moduleName)
        return node


class ScriptedLoadableModuleTest(unittest.TestCase):
    messageDelay = 0  # noqa: N815

    def delayDisplay(self, message: str, *_: Any) -> None:  # noqa: N802
        print(message)

    def runTest(self) -> None:  # noqa: N802
        """Overridden by the module's test."""


# --- The application --------------------------------------------------------------------------------------------------


class App:
    """``slicer.app``: remembers what was connected to its signals; not in testing mode, so that questions are asked."""

    applicationName = "Slicer"  # noqa: N815
    majorVersion, minorVersion = 5, 13  # noqa: N815
    temporaryPath = tempfile.gettempdir()  # noqa: N815
    slicerHome = ""  # noqa: N815

    def __init__(self) -> None:
        self.connected: list[tuple[str, Any]] = []

    def connect(self, signal: str, slot: Any) -> bool:
        self.connected.append((signal, slot))
        return True

    disconnect = connect

    def processEvents(self, *_: Any) -> None:  # noqa: N802
        pythonqt.process_events()

    def testingEnabled(self) -> bool:  # noqa: N802
        return False

    def clipboard(self) -> Any:
        return QtWidgets.QApplication.clipboard()

    def moduleManager(self) -> Any:  # noqa: N802
        return types.SimpleNamespace(connect=lambda *_: True, disconnect=lambda *_: True, module=lambda name: None)

    def layoutManager(self) -> None:  # noqa: N802
        return None

    def startupEnvironment(self) -> Any:  # noqa: N802
        return QtCore.QProcessEnvironment.systemEnvironment()

    def mainWindow(self) -> None:  # noqa: N802
        return None


def _module(name: str, **contents: Any) -> None:
    module = types.ModuleType(name)
    module.__dict__.update(contents)
    sys.modules[name] = module
    parent, _, child = name.rpartition(".")
    if parent:
        setattr(sys.modules[parent], child, module)


def install() -> App:
    """Put the stand-ins where Slicer's own would be; settings go to a new temporary folder."""
    sys.modules["qt"], sys.modules["ctk"] = qt, ctk
    for name, widget in pythonqt.MRML_WIDGETS.items():
        setattr(slicer, name, widget)
    scripted = [
        ScriptedLoadableModule,
        ScriptedLoadableModuleWidget,
        ScriptedLoadableModuleLogic,
        ScriptedLoadableModuleTest,
    ]
    _module("slicer.ScriptedLoadableModule", **{cls.__name__: cls for cls in scripted})
    _module("slicer.i18n", tr=lambda text: text, translate=lambda context, text: text)
    validators = {"WithinRange": WithinRange, "Minimum": Minimum}
    _module("slicer.parameterNodeWrapper", parameterNodeWrapper=parameterNodeWrapper, **validators)
    _module("SampleData", SampleDataLogic=SampleDataLogic)
    SampleDataLogic.sources = []
    QtCore.QSettings.setDefaultFormat(QtCore.QSettings.IniFormat)
    QtCore.QSettings.setPath(QtCore.QSettings.IniFormat, QtCore.QSettings.UserScope, tempfile.mkdtemp())
    QtWidgets.QApplication.setOrganizationName("stand-in")
    slicer.app = App()
    slicer.util.mainWindow = lambda: None
    os.environ.pop("DISPLAY", None)
    return slicer.app


class SampleDataLogic:
    """Collects what is registered, with the keywords that Slicer's registerCustomSampleDataSource takes."""

    sources: list[dict[str, Any]] = []  # noqa: RUF012

    @staticmethod
    def registerCustomSampleDataSource(  # noqa: N802
        category: str = "Custom",
        sampleName: Any = None,  # noqa: N803
        uris: Any = None,
        fileNames: Any = None,  # noqa: N803
        nodeNames: Any = None,  # noqa: N803
        customDownloader: Any = None,  # noqa: N803
        thumbnailFileName: Any = None,  # noqa: N803
        loadFileType: str = "VolumeFile",  # noqa: N803
        loadFiles: Any = None,  # noqa: N803
        loadFileProperties: Any = None,  # noqa: N803
        checksums: Any = None,
    ) -> None:
        SampleDataLogic.sources.append(dict(locals()))
