"""The panel's widgets tied to the parameter node by Slicer's own wrapper, and let go again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class Binding:
    """Ties widgets to parameters as ``connectGui`` does; but that keeps its tag, so that nothing could be let go.

    A widget that stays bound writes into the next scene's choices while they are being shown. See
    https://github.com/Slicer/Slicer/issues/7547. An observer that stays on the node, as it did before
    https://github.com/Slicer/Slicer/pull/9063 (so in 5.10), is worse: once the panel is gone (reload), Python's
    collector, which sees only the Python half of the node, takes both for garbage and empties the observer, and Slicer
    crashes at the node's next change.

    Args:
        parameters: the wrapped parameter node.
        ui: the panel's widgets by name.
    """

    def __init__(self, parameters: Any, ui: Any) -> None:
        self._parameters = parameters
        self._observers: list[int] = []
        parameters.AddObserver = self._observe  # the wrapper tells nobody what it observes
        try:
            self._tag = parameters.connectParametersToGui(_bound_widgets(ui))
        finally:
            del parameters.AddObserver

    def let_go(self) -> None:
        """Leave the widgets as they are, and nothing on the node."""
        self._parameters.disconnectGui(self._tag)
        for observer in self._observers:
            self._parameters.RemoveObserver(observer)

    def _observe(self, event: Any, callback: Callable[..., object], priority: float = 0.0) -> int:
        observer = int(self._parameters.parameterNode.AddObserver(event, callback, priority))
        self._observers.append(observer)
        return observer


def _bound_widgets(ui: Any) -> dict[str, Any]:
    """Parameter to widget, as ``connectGui`` finds them."""
    named = [(widget.property("SlicerParameterName"), widget) for widget in vars(ui).values()]
    return {str(name): widget for name, widget in named if name}
