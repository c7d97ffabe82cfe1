"""What a source hands over: frames with rows in depth, and what it left out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from monai_bmaps.data.split import Split
from monai_bmaps.geometry import BeamKind

Grey: TypeAlias = NDArray[np.uint8]


@dataclass(frozen=True)
class Frame:
    """One frame as its source holds it.

    Args:
        name: file name, without ending, of what is written.
        image: (height, width), uint8, row 0 nearest the probe.
        label: (height, width), uint8, or ``None`` where there is none.
        spacing: (row, column) in millimetres, or ``None`` where the source states none.
        inside: (height, width), bool, the field of view where the source knows it.
        attributes: what else is said of the frame: view, phase, ...
        text: where text that identifies a patient may stand: ``"outside"`` the beam, which is then blackened, or
            ``"anywhere"`` in a frame that could not be cropped, which then needs a beam that leaves some of it out.
            Such frames are never written without a beam.
        remark: what is worth a line of the report; the same words for all frames of a kind.
    """

    name: str
    image: Grey
    label: Grey | None = None
    spacing: tuple[float, float] | None = None
    inside: NDArray[np.bool_] | None = None
    attributes: Mapping[str, Any] = field(default_factory=dict)
    text: Literal["none", "outside", "anywhere"] = "none"
    remark: str = ""


@dataclass(frozen=True)
class LeftOut:
    """A frame that is not prepared, and why: no failure."""

    name: str
    reason: str


@dataclass(frozen=True)
class Item:
    """Something to open once: a file, or an image and its label.

    Args:
        name: of the item, and the beginning of the names of its frames.
        group: patient, sweep or exam, which no split divides.
        files: everything that is read; a change of one does the item again.
        split: the data set's own split, or ``None`` for the project's.
        found: what the reader said about it.
    """

    name: str
    group: str
    files: tuple[Path, ...]
    split: Split | None = None
    found: Mapping[str, Any] = field(default_factory=dict)


class Source(Protocol):
    """A data set as it was downloaded."""

    @property
    def name(self) -> str:
        """Data set name, part of the split's hash."""

    @property
    def root(self) -> Path:
        """Where it lies; never written to."""

    @property
    def beam(self) -> BeamKind:
        """Which beam its frames show."""

    @property
    def classes(self) -> Mapping[int, str]:
        """What its label values mean; empty if the source does not say."""

    @property
    def terms(self) -> str:
        """Licence and citation, one sentence or two."""

    @property
    def private(self) -> bool:
        """Whether file names may identify a patient, and so must not be repeated in what is written."""

    def items(self) -> list[Item]:
        """What there is to prepare; opens no pixels.

        Raises:
            FileNotFoundError: a folder is missing or empty.
            ValueError: names or lists that contradict each other.
        """

    def frames(self, item: Item, scratch: Path) -> Iterator[Frame | LeftOut]:
        """The frames of an item, one at a time.

        Args:
            item: one of :meth:`items`.
            scratch: folder for temporary files, removed afterwards.

        Raises:
            ValueError: a file cannot be used; the message names it and the remedy.
            OSError: a file cannot be read.
        """
