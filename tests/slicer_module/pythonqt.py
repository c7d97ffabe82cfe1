"""PythonQt's manners on PySide6, so that the module's widget runs without the Slicer application.

In PythonQt a Qt property is an attribute (``label.text = "x"``), never a method, a signal is connected by
``button.connect("clicked()", slot)`` or ``button.clicked.connect(slot)``, and file dialogs return a plain string. This
module offers ``qt`` and ``ctk`` with these manners, and the ``qMRML`` widgets bound to a real MRML scene. It only holds
what the module uses; what it lacks fails loudly.
"""

from __future__ import annotations

import inspect
import os
import types
from typing import Any

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

from PySide6 import QtCore, QtGui, QtUiTools, QtWidgets
from PySide6.QtCore import Property, QObject, Signal

# Methods that are both static and not (QFile.exists) crash PySide when they are looked up as below.
_UNTOUCHED = {"QObject", "QApplication", "QCoreApplication", "QGuiApplication", "QFile", "QSettings"}
# Qt asks for the hints through Python, which would ask Qt.
_NOT_PROPERTIES = {"metaObject", "property", "setProperty", "sizeHint", "minimumSizeHint"}

application = QtWidgets.QApplication.instance() or QtWidgets.QApplication(["slicer-stand-in"])


class Manners:
    """Makes Qt properties attributes and connects signals by name; comes first among a class's bases."""

    def __getattribute__(self, name: str) -> Any:
        if _is_property(self, name):
            return QObject.property(self, "objectName" if name == "name" else name)
        return object.__getattribute__(self, name)

    def __setattr__(self, name: str, value: Any) -> None:
        if not _is_property(self, name):
            super().__setattr__(name, value)
            return
        name = "objectName" if name == "name" else name
        if isinstance(value, tuple):
            value = list(value)
        if not QObject.setProperty(self, name, value):
            raise ValueError(f"{type(self).__name__}.{name} cannot be {value!r}")

    def connect(self, signal: str, slot: Any) -> bool:
        _signal(self, signal).connect(slot)
        return True

    def disconnect(self, signal: str, slot: Any = None) -> bool:
        _signal(self, signal).disconnect(slot)
        return True

    def className(self) -> str:  # noqa: N802
        return type(self).__name__


def _is_property(thing: QObject, name: str) -> bool:
    if name == "name":
        return True
    if name.startswith("_") or name in _NOT_PROPERTIES:
        return False
    return QObject.metaObject(thing).indexOfProperty(name) >= 0


def _signal(thing: QObject, signature: str) -> Any:
    described = thing.metaObject()
    known = {bytes(described.method(i).methodSignature()).decode() for i in range(described.methodCount())}
    if "vtk" not in signature and signature not in known:
        raise AttributeError(f"{type(thing).__name__} has no signal {signature}")
    return object.__getattribute__(thing, signature.split("(")[0])


def _polite(cls: type) -> type:
    return type(cls.__name__, (Manners, cls), {"__module__": "qt"})


qt: Any = types.ModuleType("qt")
for _module in (QtCore, QtGui, QtWidgets):
    for _name in dir(_module):
        _thing = getattr(_module, _name, None)
        if _name.startswith("_"):
            continue
        if inspect.isclass(_thing) and issubclass(_thing, QObject) and _name not in _UNTOUCHED:
            _thing = _polite(_thing)
        setattr(qt, _name, _thing)


class QFileDialog(qt.QFileDialog):
    """Answers with ``answers``, one after the other, as PythonQt does: a string, empty when the user cancels."""

    answers: list[str] = []  # noqa: RUF012

    @classmethod
    def getOpenFileName(cls, *_: Any) -> str:  # noqa: N802
        return cls.answers.pop(0)

    @classmethod
    def getExistingDirectory(cls, *_: Any) -> str:  # noqa: N802
        return cls.answers.pop(0)


qt.QFileDialog = QFileDialog


class QInputDialog:
    """Answers with ``answers``, as PythonQt does: a string, empty when the user cancels."""

    answers: list[str] = []  # noqa: RUF012

    def getText(self, *_: Any) -> str:  # noqa: N802
        return self.answers.pop(0)


qt.QInputDialog = QInputDialog


class ctkCollapsibleButton(Manners, QtWidgets.QWidget):  # noqa: N801
    """A header that shows and hides what lies below it."""

    contentsCollapsed = Signal(bool)  # noqa: N815

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._collapsed = False
        self._text = ""
        QtWidgets.QWidget.setContentsMargins(self, 0, 24, 0, 0)

    def paintEvent(self, event: Any) -> None:  # noqa: N802
        painter, palette = QtGui.QPainter(self), QtWidgets.QWidget.palette(self)
        header = QtCore.QRect(0, 0, QtWidgets.QWidget.width(self), 22)
        painter.setPen(QtCore.Qt.NoPen)
        painter.setBrush(palette.button().color().darker(106))
        painter.setRenderHint(QtGui.QPainter.Antialiasing)
        painter.drawRoundedRect(header, 3, 3)
        painter.setPen(palette.windowText().color())
        x, y = 10, 11
        right = [(x - 3, y - 4), (x - 3, y + 4), (x + 3, y)]
        down = [(x - 4, y - 3), (x + 4, y - 3), (x, y + 3)]
        painter.setBrush(palette.windowText().color())
        painter.drawPolygon([QtCore.QPoint(*point) for point in (right if self._collapsed else down)])
        painter.drawText(header.adjusted(22, 0, 0, 0), QtCore.Qt.AlignVCenter, self._text)

    def _collapse(self, collapsed: bool) -> None:
        changed, self._collapsed = collapsed != self._collapsed, collapsed
        for child in QObject.children(self):
            if isinstance(child, QtWidgets.QWidget):
                child.setVisible(not collapsed)
        QtWidgets.QWidget.setMaximumHeight(self, 24 if collapsed else 16777215)
        QtWidgets.QWidget.setContentsMargins(self, 0, 24, 0, 0)
        QtWidgets.QWidget.update(self)
        if changed:
            self.contentsCollapsed.emit(collapsed)

    text = Property(str, lambda self: self._text, lambda self, text: setattr(self, "_text", text))
    collapsed = Property(bool, lambda self: self._collapsed, _collapse)


class ctkSliderWidget(Manners, QtWidgets.QWidget):  # noqa: N801
    """A slider and a spin box that show one number."""

    valueChanged = Signal(float)  # noqa: N815

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._box, self._slider = QtWidgets.QDoubleSpinBox(), QtWidgets.QSlider(QtCore.Qt.Horizontal)
        self._slider.setRange(0, 1000)
        self._slider.setMinimumWidth(60)
        self._box.setMinimumWidth(92)
        layout = QtWidgets.QHBoxLayout()
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._slider, 1)
        layout.addWidget(self._box)
        QtWidgets.QWidget.setLayout(self, layout)
        self._box.valueChanged.connect(self._changed)
        self._slider.sliderMoved.connect(lambda at: self._box.setValue(self._low() + at / 1000 * self._span()))

    def _low(self) -> float:
        return self._box.minimum()

    def _span(self) -> float:
        return self._box.maximum() - self._box.minimum() or 1.0

    def _changed(self, value: float) -> None:
        self._place()
        self.valueChanged.emit(value)

    def _place(self) -> None:
        self._slider.setValue(round(1000 * (self._box.value() - self._low()) / self._span()))

    def _limit(self, setter: Any, value: float) -> None:
        setter(value)
        self._place()

    value = Property(float, lambda self: self._box.value(), lambda self, value: self._box.setValue(value))
    minimum = Property(float, lambda self: self._box.minimum(), lambda self, v: self._limit(self._box.setMinimum, v))
    maximum = Property(float, lambda self: self._box.maximum(), lambda self, v: self._limit(self._box.setMaximum, v))
    singleStep = Property(float, lambda self: self._box.singleStep(), lambda self, v: self._box.setSingleStep(v))  # noqa: N815
    decimals = Property(int, lambda self: self._box.decimals(), lambda self, value: self._box.setDecimals(value))
    suffix = Property(str, lambda self: self._box.suffix(), lambda self, value: self._box.setSuffix(value))


ctk: Any = types.ModuleType("ctk")
ctk.ctkCollapsibleButton, ctk.ctkSliderWidget = ctkCollapsibleButton, ctkSliderWidget
ctk.ctkMessageBox = qt.QMessageBox


class qMRMLWidget(Manners, QtWidgets.QWidget):  # noqa: N801
    """A widget with a scene, which it hands to nobody: in Slicer, too, connections in the .ui file or calls do that."""

    mrmlSceneChanged = Signal(object)  # noqa: N815

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._scene: Any = None

    def setMRMLScene(self, scene: Any) -> None:  # noqa: N802
        self._scene = scene
        self.mrmlSceneChanged.emit(scene)


class qMRMLNodeComboBox(Manners, QtWidgets.QComboBox):  # noqa: N801
    """Selects a node of a real MRML scene: the classes ``nodeTypes`` with their subclasses, less the hidden ones."""

    currentNodeChanged = Signal(object)  # noqa: N815

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._scene: Any = None
        self._ids: list[str] = []
        self._options: dict[str, Any] = {"nodeTypes": [], "noneEnabled": False, "noneDisplay": "None"}
        self._attributes: dict[str, str] = {}
        self._observers: list[int] = []
        self._filling = False
        QtWidgets.QComboBox.currentIndexChanged.__get__(self).connect(self._chosen)

    def _option(kind: Any, name: str, default: Any) -> Any:  # noqa: N805
        def write(self: Any, value: Any) -> None:
            self._options[name] = value
            self._fill()

        return Property(kind, lambda self: self._options.get(name, default), write)

    nodeTypes = _option("QStringList", "nodeTypes", [])  # noqa: N815
    hideChildNodeTypes = _option("QStringList", "hideChildNodeTypes", [])  # noqa: N815
    noneEnabled = _option(bool, "noneEnabled", False)  # noqa: N815
    noneDisplay = _option(str, "noneDisplay", "None")  # noqa: N815
    addEnabled = _option(bool, "addEnabled", True)  # noqa: N815
    removeEnabled = _option(bool, "removeEnabled", True)  # noqa: N815
    renameEnabled = _option(bool, "renameEnabled", False)  # noqa: N815
    showChildNodeTypes = _option(bool, "showChildNodeTypes", True)  # noqa: N815

    def setMRMLScene(self, scene: Any) -> None:  # noqa: N802
        for tag in self._observers:
            self._scene.RemoveObserver(tag)
        self._scene = scene
        events = (
            (scene.NodeAddedEvent, scene.NodeRemovedEvent, scene.EndImportEvent, scene.EndCloseEvent) if scene else ()
        )
        self._observers = [scene.AddObserver(event, lambda *_: self._fill()) for event in events]
        self._fill()

    def addAttribute(self, _kind: str, name: str, value: str) -> None:  # noqa: N802
        self._attributes[name] = value

    def currentNode(self) -> Any:  # noqa: N802
        index = QtWidgets.QComboBox.currentIndex(self)
        chosen = self._ids[index] if 0 <= index < len(self._ids) else ""
        return self._scene.GetNodeByID(chosen) if self._scene and chosen else None

    def setCurrentNode(self, node: Any) -> None:  # noqa: N802
        self._fill()
        wanted = node.GetID() if node else ""
        QtWidgets.QComboBox.setCurrentIndex(self, self._ids.index(wanted) if wanted in self._ids else 0)

    def _fill(self) -> None:
        if self._scene is None:
            return
        before = self.currentNode()
        self._filling = True
        QtWidgets.QComboBox.clear(self)
        self._ids = [""]
        QtWidgets.QComboBox.addItem(self, self._options["noneDisplay"])
        for node in self._eligible():
            self._ids.append(node.GetID())
            QtWidgets.QComboBox.addItem(self, node.GetName())
        wanted = before.GetID() if before else ""
        QtWidgets.QComboBox.setCurrentIndex(self, self._ids.index(wanted) if wanted in self._ids else 0)
        self._filling = False
        if wanted not in self._ids:
            self.currentNodeChanged.emit(None)

    def _eligible(self) -> list[Any]:
        hidden = self._options.get("hideChildNodeTypes", [])
        nodes = [self._scene.GetNthNode(index) for index in range(self._scene.GetNumberOfNodes())]
        return [
            node
            for node in nodes
            if not node.GetHideFromEditors()
            and any(node.IsA(kind) for kind in self._options["nodeTypes"])
            and not any(node.IsA(kind) for kind in hidden)
            and all(node.GetAttribute(name) == value for name, value in self._attributes.items())
        ]

    def _chosen(self, _: int) -> None:
        if not self._filling:
            self.currentNodeChanged.emit(self.currentNode())


MRML_WIDGETS = {"qMRMLWidget": qMRMLWidget, "qMRMLNodeComboBox": qMRMLNodeComboBox}
_OWN = {"ctkCollapsibleButton": ctkCollapsibleButton, "ctkSliderWidget": ctkSliderWidget, **MRML_WIDGETS}


class QUiLoader(QtUiTools.QUiLoader):
    """Reads a .ui file with the widgets above; a class that nobody knows is an error, as in Slicer."""

    _kept: list[Any] = []  # noqa: RUF012  # PySide drops the Python half of a widget that nobody holds

    def createWidget(self, name: str, parent: Any = None, object_name: str = "") -> Any:  # noqa: N802
        if name not in _OWN and not hasattr(QtWidgets, name):
            raise ValueError(f"the .ui file asks for {name}, which the stand-in does not have")
        cls = _OWN.get(name) or getattr(qt, name)
        widget = cls(parent) if parent is not None else cls()
        QtWidgets.QWidget.setObjectName(widget, object_name)
        self._kept.append(widget)
        return widget


qt.QUiLoader = QUiLoader


def process_events() -> None:
    """Let timers, repaints and queued signals have their turn."""
    QtCore.QEventLoop().processEvents(QtCore.QEventLoop.AllEvents)


def grab(widget: Any, path: str) -> None:
    """Write a picture of a widget as PNG."""
    process_events()
    QtWidgets.QWidget.grab(widget).save(path)
