"""What the child process says on its standard output: messages in lines of JSON, and all else, which is its log."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

PREFIX = "BMAP "
STATES = ("starting", "loading", "drawing", "writing")


def _count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _name(value: object) -> bool:
    return isinstance(value, str) and bool(value) and not {"/", "\\", "\0"} & set(value)


_FIELDS: Mapping[str, Mapping[str, Callable[[object], bool]]] = {
    "state": {"state": lambda value: value in STATES},
    "progress": dict.fromkeys(("image", "images", "step", "steps"), _count),
    "preview": {"file": _name, "image": _count},
    "done": {"images": _count},
}


@dataclass(frozen=True)
class Message:
    """One message.

    Args:
        event: ``"state"``, ``"progress"``, ``"preview"`` or ``"done"``.
        fields: what else it says. ``state``: ``state``, one of :data:`STATES`. ``progress``: ``image`` images of
            ``images`` are done, and of the next ``batch`` at once ``step`` steps of ``steps``. ``preview``: ``file`` in
            the job's output folder shows the running estimate of image number ``image``.
    """

    event: str
    fields: Mapping[str, Any] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Any:
        return self.fields[name]

    @property
    def fraction(self) -> float | None:
        """Share of the denoising that is done, in [0, 1]; ``None`` for messages that do not tell."""
        if self.event == "done":
            return 1.0
        if self.event != "progress":
            return None
        batch = self.fields.get("batch", 1)
        batch = batch if _count(batch) else 1
        share = (self["image"] + batch * self["step"] / max(1, self["steps"])) / max(1, self["images"])
        return float(min(1.0, share))


def parse_line(line: str) -> Message | None:
    """The message in a line of output; ``None`` for all other text, whatever it is."""
    if not line.startswith(PREFIX):
        return None
    try:
        fields = json.loads(line[len(PREFIX) :])
        event = fields.pop("event")
        if all(is_valid(fields[name]) for name, is_valid in _FIELDS[event].items()):
            return Message(event, fields)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        pass
    return None
