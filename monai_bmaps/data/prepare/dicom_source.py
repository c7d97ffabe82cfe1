"""Ultrasound DICOM files, frame by frame, under pseudonyms."""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from monai_bmaps.data.dicom import list_dicoms, patient_of, read_frames
from monai_bmaps.data.prepare.frames import Frame, Item, LeftOut
from monai_bmaps.geometry import BeamKind


@dataclass(frozen=True)
class DicomSource:
    """DICOM files in a folder and below; no identifier, file name or key is written.

    Args:
        root: the folder, or a file.
        key: secret on which pseudonyms and the split depend, see :func:`read_or_make_key`.
        every: keep every n-th frame of a file.
        most_colour: share of coloured pixels above which a frame is left out; 1 keeps Doppler, as grey.
        beam: which beam to fit.
        name: data set name; part of the split's hash.
        terms: licence and citation, for the report.

    Raises:
        ValueError: ``every`` below 1.
    """

    root: Path
    key: bytes = field(repr=False)
    every: int = 1
    most_colour: float = 1.0
    beam: BeamKind = "auto"
    name: str = "dicom"
    terms: str = "not stated; see where the data came from"
    private: bool = field(default=True, init=False)

    def __post_init__(self) -> None:
        if self.every < 1:
            raise ValueError(f"every must be at least 1, got {self.every}; 1 keeps every frame")

    @property
    def classes(self) -> Mapping[int, str]:
        """None: these frames have no labels."""
        return {}

    def items(self) -> list[Item]:
        """Every file; one whose patient cannot be read fails later, when it is opened."""
        base = self.root if self.root.is_dir() else self.root.parent
        items = []
        for path in list_dicoms(self.root):
            place = os.path.relpath(path, base).encode()
            name = hashlib.blake2b(place, key=self.key, digest_size=6).hexdigest()
            try:
                group = patient_of(path, key=self.key)
            except (ValueError, OSError):
                group = f"unreadable_{name}"
            items.append(Item(f"{group[:8]}_{name}", group, (path,)))
        return items

    def frames(self, item: Item, scratch: Path) -> Iterator[Frame | LeftOut]:
        """The frames, blackened outside the beam: text may be burned in there."""
        for each in read_frames(item.files[0], key=self.key):
            name = item.name if each.count == 1 else f"{item.name}_{each.index:04d}"
            if each.index % self.every:
                yield LeftOut(name, f"not every {self.every}th frame")
            elif each.colour_share > self.most_colour:
                yield LeftOut(name, f"more than {self.most_colour:.0%} in colour")
            else:
                yield Frame(
                    name=name,
                    image=each.image,
                    spacing=each.spacing,
                    attributes={"frame": each.index},
                    text="anywhere" if each.region is None else "outside",
                    remark=each.remark,
                )


def read_or_make_key(path: str | Path) -> bytes:
    """The key in a file, or a new one, which only the owner of the file may read.

    With the key and a patient's identifier anybody can find that patient's pseudonym: keep it away from the data.

    Raises:
        ValueError: the file holds no key.
        OSError: it cannot be read or made.
    """
    path = Path(path)
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as stream:
            stream.write(secrets.token_hex(32))
    try:
        key = bytes.fromhex(path.read_text().strip())
    except ValueError:
        key = b""
    if not 16 <= len(key) <= 64:
        raise ValueError(
            f"{path} holds no key (32 to 128 hexadecimal digits); give another file, or one yet to be made"
        )
    return key
