"""What the values of label maps mean, compared between a data set and a model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


def check_classes(labels: Any, classes: Sequence[str], path: Path) -> None:
    """Refuse a data set whose labels mean something else to it than to the model.

    A list that names no label but the background, or none at all, is taken as it comes.

    Args:
        labels: ``"labels"`` of a ``dataset.json``, ``{"0": "background", "1": "thyroid", ...}``, or ``None``.
        classes: the model's names of the labels 1, 2, ...
        path: the ``dataset.json``, for the message.

    Raises:
        ValueError: ``labels`` is no such mapping, or names other classes or in another order.
    """
    if labels is None:
        return
    if not isinstance(labels, Mapping) or not all(str(value).isdecimal() for value in labels):
        raise ValueError(f'"labels" in {path} must be like {{"0": "background", "1": "thyroid"}}, got {labels!r}')
    named = {int(value): str(name) for value, name in labels.items() if int(value) > 0}
    expected = dict(enumerate(classes, start=1))
    if named and named != expected:
        raise ValueError(
            f"{path} has the classes {_listed(named)}, the model {_listed(expected)}; map the data set to the model's "
            "classes (python -m monai_bmaps.data prepare --help), rename them there if they mean the same, or train a "
            "model of these classes (--classes)"
        )


def _listed(classes: Mapping[int, str]) -> str:
    return "[" + ", ".join(f"{value} {name}" for value, name in sorted(classes.items())) + "]"
