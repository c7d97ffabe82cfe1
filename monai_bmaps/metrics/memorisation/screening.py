"""Keeps near copies of training images out of a synthetic data set, image by image, as they are drawn."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import torch

from monai_bmaps.data.split import Split
from monai_bmaps.geometry import BeamKind
from monai_bmaps.metrics.images import ImageSet, ReadingOptions, read_images
from monai_bmaps.metrics.memorisation.detection import SHARE, CopyDetector
from monai_bmaps.pictures import Pixels

_HELD_OUT: tuple[Split, ...] = ("validation", "test")


class CopyScreen:
    """Judges images by :class:`~monai_bmaps.metrics.memorisation.CopyDetector`.

    Training images are the ``training`` split of a prepared data set, held-out ones, which set the threshold, its
    ``validation`` and ``test`` splits. It is read when the first image is judged.

    Args:
        root: the data set that the model was trained on.
        image_size: height and width of the images to judge.
        kind: beam to fit to the training frames.
        crop_to_beam: whether the model's frames are cut to the field of view.
        share: of new images that are to be flagged by chance.

    Raises:
        FileNotFoundError: no data set there.
    """

    def __init__(
        self,
        root: str | Path,
        image_size: Sequence[int],
        kind: BeamKind = "auto",
        crop_to_beam: bool = False,
        share: float = SHARE,
    ) -> None:
        self.root = Path(root)
        if not (self.root / "dataset.json").is_file():
            raise FileNotFoundError(
                f"{self.root / 'dataset.json'} does not exist; give the prepared data set that the model was trained "
                "on (python -m monai_bmaps.data prepare)"
            )
        self.options = ReadingOptions(size=(image_size[0], image_size[1]), kind=kind, crop_to_beam=crop_to_beam)
        self.share = share

    @property
    def name(self) -> str:
        """What images are compared with, in words."""
        held_out = self.detector.threshold.held_out
        return (
            f"the {len(self.training)} training frames of {self.root.name}: flagged is what lies nearer to one of them "
            f"(blurred, moved and mirrored as training does) than all but {self.detector.threshold.expected:.1%} of "
            f"new real frames do, of which there are {held_out}"
        )

    def __call__(self, pixels: Pixels, inside: Pixels) -> str | None:
        """Why an image is flagged, in words; ``None`` if it is not.

        Args:
            pixels: grey levels 0 to 255, ``(H, W)``.
            inside: positive inside the beam, ``(H, W)``.
        """
        image = torch.from_numpy(pixels.copy()).float()[None, None] / 255
        mask = torch.from_numpy(inside.copy())[None] > 0
        distances, indices = self.detector.nearest(ImageSet("synthetic", ("image",), image, inside=mask))
        if not bool(self.detector.threshold.flags(distances)):
            return None
        return (
            f"distance {float(distances):.4f} to training frame {self.training.names[int(indices)]}, below "
            f"{self.detector.threshold.distance:.4f}"
        )

    @cached_property
    def training(self) -> ImageSet:
        """The training frames."""
        return read_images(self.root, "training", split="training", options=self.options)

    @cached_property
    def detector(self) -> CopyDetector:
        """What judges."""
        parts = [read_images(self.root, "held-out", split=split, options=self.options) for split in _HELD_OUT]
        return CopyDetector(self.training, _joined(parts), share=self.share)


def _joined(parts: Sequence[ImageSet]) -> ImageSet:
    """Images, fields of view and groups of several sets."""
    masks = [part.inside for part in parts if part.inside is not None]
    return ImageSet(
        parts[0].name,
        tuple(name for part in parts for name in part.names),
        torch.cat([part.images for part in parts]),
        inside=torch.cat(masks) if len(masks) == len(parts) else None,
        groups=tuple(group for part in parts for group in part.groups),
    )
