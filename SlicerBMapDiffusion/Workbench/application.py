"""trame-slicer's scene, with what the module's library asks of the Slicer application besides: few, plain stand-ins."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import slicer
from trame_slicer.core import SlicerApp


def start() -> SlicerApp:
    """Start once in a process, before anything of SlicerBMapDiffusionLib is imported."""
    application = SlicerApp()
    logics = {
        "segmentations": application.segmentations_logic,
        "volumes": application.volumes_logic,
        "sequences": application.register_module_logic(slicer.vtkSlicerSequencesLogic()),
    }
    slicer.mrmlScene = application.scene
    slicer.app = SimpleNamespace(layoutManager=lambda: None)
    slicer.modules = SimpleNamespace(
        **{name: SimpleNamespace(logic=lambda logic=logic: logic) for name, logic in logics.items()}
    )
    _add_module("i18n", tr=lambda text: text)
    # The page has limits of its own, and a request checks its numbers.
    unchecked = {"Minimum": lambda *limits: limits, "WithinRange": lambda *limits: limits}
    _add_module("parameterNodeWrapper", parameterNodeWrapper=_plain, **unchecked)
    return application


def _plain(parameters: type) -> type:
    """Parameters that are not saved with a scene: plain attributes with their defaults, None without."""
    for name in parameters.__annotations__:
        if not hasattr(parameters, name):
            setattr(parameters, name, None)
    parameters.StartModify = lambda _self: 0
    parameters.EndModify = lambda _self, _before: None
    return parameters


def _add_module(name: str, **contents: Any) -> None:
    module = ModuleType(f"slicer.{name}")
    vars(module).update(contents)
    sys.modules[module.__name__] = module
    setattr(slicer, name, module)
