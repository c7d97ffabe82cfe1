"""What the panel said when an image was asked for: written on the result, so that the panel can be set back to it.

The choices are kept as the parameter node's own texts and nodes, whatever these are: a new parameter is kept, too.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import slicer

from SlicerBMapDiffusionLib.models.class_table import ClassTable

_ATTRIBUTE, _ROLE = "BMapDiffusion.choices", "BMapDiffusion."
_NODES = ("segmentation", "volume", "view", "probe", "markup")


@dataclass(frozen=True)
class Choices:
    """The parameters of the panel at one moment.

    Args:
        texts: parameter to its text in the parameter node.
        nodes: parameter to its node; those that were not chosen, or are gone, are absent.
    """

    texts: Mapping[str, str] = field(default_factory=dict)
    nodes: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, parameters: Any) -> Choices:
        """Those of the panel now."""
        node = parameters.parameterNode
        texts = {name: node.GetParameter(name) for name in node.GetParameterNames()}
        nodes = {name: getattr(parameters, name) for name in _NODES}
        return cls(texts, {name: chosen for name, chosen in nodes.items() if chosen is not None})

    @classmethod
    def read(cls, result: Any) -> Choices:
        """Those that a result was made with; of a variant, its browser knows the nodes.

        The class table belongs to the segmentation as it is named now: a scene that is loaded into another one may
        give it another id.
        """
        try:
            texts = dict(json.loads(result.GetAttribute(_ATTRIBUTE) or "{}"))
        except (ValueError, TypeError):
            texts = {}
        holders = [holder for holder in (result, _browser_of(result)) if holder is not None]
        found = {name: [holder.GetNodeReference(_ROLE + name) for holder in holders] for name in _NODES}
        nodes = {name: next(filter(None, each)) for name, each in found.items() if any(each)}
        if "segmentation" in nodes:
            table = ClassTable.from_text(texts.get("class_table", ""))
            texts["class_table"] = replace(table, segmentation=nodes["segmentation"].GetID()).to_text()
        return cls(texts, nodes)

    @property
    def table(self) -> ClassTable:
        """Which segment is which class."""
        return ClassTable.from_text(self.texts.get("class_table", ""))

    def attributes(self) -> dict[str, str]:
        """What goes on a result besides the references of :meth:`refer`."""
        return {_ATTRIBUTE.removeprefix(_ROLE): json.dumps(dict(self.texts), sort_keys=True)}

    def refer(self, result: Any) -> None:
        """Let a result, and the browser of a variant, which loses references, know the nodes."""
        for holder in (result, _browser_of(result)):
            for name, node in self.nodes.items() if holder is not None else ():
                holder.SetNodeReferenceID(_ROLE + name, node.GetID())

    def restore(self, parameters: Any) -> None:
        """Set the panel to them. What this version of the module does not know is passed over."""
        node = parameters.parameterNode
        before = node.StartModify()
        try:
            for name in _NODES:
                setattr(parameters, name, self.nodes.get(name))
            for name in set(self.texts) & set(node.GetParameterNames()):
                node.SetParameter(name, self.texts[name])
        finally:
            node.EndModify(before)


def _browser_of(result: Any) -> Any:
    return slicer.modules.sequences.logic().GetFirstBrowserNodeForProxyNode(result)
