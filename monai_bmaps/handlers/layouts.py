"""Where a generation's files go: pictures with volumes beside them, or a data set to train on."""

from __future__ import annotations

import json
import logging
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from monai.data import MetaTensor
from PIL import Image as PillowImage

from monai_bmaps.files import replacing
from monai_bmaps.handlers.listing import DatasetList
from monai_bmaps.pictures import Pixels
from monai_bmaps.provenance import Record, decisive, pixels_digest, read_pixels, read_record, sealed, write_png
from monai_bmaps.provenance.formats import Affine, check_volumes, write_volume
from monai_bmaps.transforms.beam import BeamDepthd
from monai_bmaps.transforms.frame import frame_affine


class Screen(Protocol):
    """What may keep an image out of a data set."""

    name: str

    def __call__(self, pixels: Pixels, inside: Pixels) -> str | None:
        """Why an image ``(H, W)`` uint8 is kept out, in words; ``None`` if it is not.

        Args:
            pixels: grey levels 0 to 255.
            inside: positive inside the beam, ``(H, W)``.
        """


class Layout(ABC):
    """Files of a generation: one PNG per image, written last, so that where it is, all is."""

    @abstractmethod
    def picture(self, name: str) -> Path:
        """The PNG of an image: where it is, or where it would go."""

    @abstractmethod
    def write(self, name: str, pixels: Pixels, seg: torch.Tensor, record: Record) -> None:
        """Write an image ``(H, W)`` uint8 drawn for condition channels ``(K + 2, H, W)``."""

    @abstractmethod
    def beside(self, name: str) -> Sequence[Path]:
        """The files that belong to a PNG."""

    def has(self, name: str, record: Record) -> bool:
        """Whether the image is there, whole and drawn as the record says."""
        picture = self.picture(name)
        told = read_record(picture)
        if told is None or decisive(told) != decisive(record) or not all(path.is_file() for path in self.beside(name)):
            return False
        return told.get("Pixels") in (None, pixels_digest(read_pixels(picture)))

    @abstractmethod
    def begin(self, names: Sequence[str]) -> None:
        """See to images that are there already; of these names."""

    @abstractmethod
    def end(self, settings: Mapping[str, str]) -> None:
        """Complete what tells of all images, those of other processes too, drawn with these settings."""


class Pictures(Layout):
    """``NAME.png`` and a volume of the same name beside it.

    Args:
        folder: where they go.
        volumes: ending of the volumes: ``".nii.gz"``, ``".nii"`` or ``".nrrd"``.

    Raises:
        ValueError: another ending.
        ImportError: NRRD without SimpleITK.
    """

    def __init__(self, folder: str | Path, volumes: str = ".nii.gz") -> None:
        check_volumes(volumes)
        self.folder = Path(folder)
        self.volumes = volumes

    def picture(self, name: str) -> Path:
        """``NAME.png``."""
        return self.folder / f"{name}.png"

    def beside(self, name: str) -> Sequence[Path]:
        """The volume."""
        return [self.folder / f"{name}{self.volumes}"]

    def write(self, name: str, pixels: Pixels, seg: torch.Tensor, record: Record) -> None:
        """Write volume and PNG; the volume lies where the label map does."""
        record = sealed(record, pixels, self.folder)
        write_volume(self.beside(name)[0], pixels, record, _affine(seg))
        write_png(self.picture(name), pixels, record)

    def begin(self, names: Sequence[str]) -> None:
        """Nothing to see to."""

    def end(self, settings: Mapping[str, str]) -> None:
        """Each tells of itself."""


class TrainingSet(Layout):
    """``images/``, ``labels/``, ``sectors/`` and ``dataset.json``, as a prepared data set has them.

    Images that a screen keeps out go to ``flagged/``, where the PNG's text says why. Of several processes each lists
    what is there when it ends, so the last one lists all.

    Args:
        folder: of the data set.
        listing: writes ``dataset.json``.
        screen: keeps images out; ``None``: all are listed.
    """

    def __init__(self, folder: str | Path, listing: DatasetList, screen: Screen | None = None) -> None:
        self.folder = Path(folder)
        self.listing = listing
        self.screen = screen

    def picture(self, name: str) -> Path:
        """``images/NAME.png``; ``flagged/NAME.png`` where the screen has put it there."""
        kept, flagged = self._kept(name), self._flagged(name)
        return flagged if self.screen is not None and flagged.is_file() and not kept.is_file() else kept

    def beside(self, name: str) -> Sequence[Path]:
        """Field of view, and label map unless the model has no labels."""
        return [self.folder / f"{kind}s" / f"{name}.png" for kind in self.listing.maps]

    def write(self, name: str, pixels: Pixels, seg: torch.Tensor, record: Record) -> None:
        """Write label map, field of view and image."""
        classes = seg.as_subclass(torch.Tensor).argmax(0).cpu()
        inside = classes > 0
        maps = {"label": torch.where(classes == len(seg) - 1, 0, classes), "sector": inside}
        for path, kind in zip(self.beside(name), self.listing.maps, strict=True):
            with replacing(path) as partial:
                PillowImage.fromarray(maps[kind].to(torch.uint8).numpy()).save(partial)
        frame = json.dumps({"beam": _beam(inside), **_spacing(seg, record)})
        told = sealed({**record, "Frame": frame}, pixels, self._kept(name).parent)
        if not self._kept_out(name, pixels, np.asarray(inside), told):
            write_png(self._kept(name), pixels, told)
            self._flagged(name).unlink(missing_ok=True)

    def begin(self, names: Sequence[str]) -> None:
        """Put images that are there already, and that the screen keeps out, aside."""
        for name in names if self.screen is not None else ():
            path, sector = self._kept(name), self.folder / "sectors" / f"{name}.png"
            if (record := read_record(path)) and sector.is_file():
                self._kept_out(name, read_pixels(path), read_pixels(sector), record)

    def end(self, settings: Mapping[str, str]) -> None:
        """Write ``dataset.json`` and the report."""
        listed, flagged = self.listing.write(self.folder, settings, None if self.screen is None else self.screen.name)
        log = logging.getLogger(__name__)
        log.info(
            f"{self.folder / 'dataset.json'} lists {listed} images; {flagged} are kept out, see {self.listing.report}"
        )

    def _kept_out(self, name: str, pixels: Pixels, inside: Pixels, record: Record) -> bool:
        """Whether the screen keeps an image out; then it is in ``flagged/``."""
        reason = None if self.screen is None else self.screen(pixels, inside)
        if reason is None:
            return False
        logging.getLogger(__name__).warning(f"{name} is kept out: {reason}")
        write_png(self._flagged(name), pixels, {**record, "Flagged": reason})
        self._kept(name).unlink(missing_ok=True)
        return True

    def _kept(self, name: str) -> Path:
        return self.folder / "images" / f"{name}.png"

    def _flagged(self, name: str) -> Path:
        return self.folder / "flagged" / f"{name}.png"


def layout_for(
    folder: str | Path, volumes: str = ".nii.gz", listing: DatasetList | None = None, screen: Screen | None = None
) -> Layout:
    """A data set where there is a listing, else pictures with volumes.

    Raises:
        ValueError: a screen without a listing to keep images out of, or what :class:`Pictures` refuses.
    """
    if listing is not None:
        return TrainingSet(folder, listing, screen)
    if screen is not None:
        raise ValueError("screen_against keeps images out of a data set: say as_dataset True, or leave it out")
    return Pictures(folder, volumes)


def _affine(seg: torch.Tensor) -> Affine:
    """Where (row, column) indices lie."""
    return np.asarray(seg.affine.cpu(), dtype=float) if isinstance(seg, MetaTensor) else frame_affine()


def _beam(inside: torch.Tensor) -> dict[str, Any]:
    """The beam of a field of view, in its pixels."""
    beam = BeamDepthd(reference_key="sector", keep_beam=True)({"sector": inside[None].float()})["beam"]
    fitted: dict[str, Any] = beam.to_dict()
    return fitted


def _spacing(seg: torch.Tensor, record: Record) -> dict[str, Any]:
    """(row, column) in millimetres, where the source tells its own."""
    known = json.loads(record.get("Source", "{}")).get("spacing")
    return {} if known is None else {"spacing": np.linalg.norm(_affine(seg)[:3, :2], axis=0).tolist()}
