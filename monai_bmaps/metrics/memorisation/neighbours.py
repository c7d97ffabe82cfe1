"""How far images lie from each other, and which is nearest: in pixels after a blur, and in a network's features."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch.nn import functional

from monai_bmaps.metrics.images import ImageSet

_SIDE = 32
_SHIFTS = (-1, 0, 1)  # cells


@dataclass(frozen=True)
class Pose:
    """How a copy may lie: mirrored left to right, moved down and to the right by pixels."""

    mirrored: bool = False
    down: int = 0
    right: int = 0

    def __call__(self, maps: torch.Tensor) -> torch.Tensor:
        """Return ``(..., H, W)`` in this pose; 0 where nothing was."""
        turned = maps.flip(-1) if self.mirrored else maps
        moved = turned.roll((self.down, self.right), (-2, -1))
        height, width = maps.shape[-2:]
        rows, columns = torch.arange(height)[:, None] - self.down, torch.arange(width) - self.right
        there = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
        return moved * there


@dataclass(frozen=True, eq=False)
class Blurred:
    """Images as area means of a coarse grid inside their beams, brightness and contrast aside.

    Args:
        means: ``(N, cells)`` float64: mean intensity of what of a cell lies inside the beam, brought to mean 0 and
            standard deviation 1 over the beam; 0 of cells outside.
        shares: ``(N, cells)`` float64: how much of a cell lies inside the beam.
    """

    means: torch.Tensor
    shares: torch.Tensor

    @classmethod
    def of(cls, images: ImageSet, pose: Pose = Pose(), *, side: int = _SIDE) -> Blurred:
        """Blur a set in a pose to ``side`` times ``side`` cells; images without a mask of their beam count whole."""
        inside = pose(images.field_of_view).double()
        shares = functional.adaptive_avg_pool2d(inside, side).flatten(1)
        sums = functional.adaptive_avg_pool2d(pose(images.images).double() * inside, side).flatten(1)
        means = torch.where(shares > 0, sums / shares.clamp_min(1e-12), 0.0)
        weights = shares / shares.sum(1, keepdim=True).clamp_min(1e-12)
        centred = torch.where(shares > 0, means - (weights * means).sum(1, keepdim=True), 0.0)
        spread = (weights * centred**2).sum(1, keepdim=True).sqrt()
        # a constant image stays at 0
        return cls(centred / spread.clamp_min(1e-6), shares)


def pixel_distances(first: Blurred, second: Blurred) -> torch.Tensor:
    """Return the root-mean-square difference of every pair, where both beams are: ``(N, M)``.

    In standard deviations of an image: 1.41 of images that have nothing in common. Cells weigh as much as of both lies
    inside; of beams that do not meet the distance is infinite.
    """
    weights = first.shares @ second.shares.T
    squares = (
        (first.shares * first.means**2) @ second.shares.T
        - 2 * (first.shares * first.means) @ (second.shares * second.means).T
        + first.shares @ (second.shares * second.means**2).T
    )
    # equal images end within round-off of 0, on either side
    return torch.where(weights > 0, (squares.clamp_min(0) / weights.clamp_min(1e-12)).sqrt(), torch.inf)


class Copies:
    """What an image may be a copy of: images in all poses, moved by up to one cell (4 of 128 pixels) either way.

    Training moves, turns and mirrors images; a model that remembers one gives it back in any of these poses. Of the
    heart's training frames, moved by 4 pixels, turned by 4 degrees and scaled by 6 % at random, 95 % are found so, and
    42 % as they lie.

    Args:
        images: real images.
        mirrored: whether mirror images count too.
    """

    def __init__(self, images: ImageSet, *, mirrored: bool = True) -> None:
        height, width = (side / _SIDE for side in images.size)
        self._poses = [
            Pose(turned, round(down * height), round(right * width))
            for turned in ((False, True) if mirrored else (False,))
            for down in _SHIFTS
            for right in _SHIFTS
        ]
        self._blurred = [Blurred.of(images, pose) for pose in self._poses]

    def distances(self, images: Blurred) -> torch.Tensor:
        """Distance of every image to every one here in its nearest pose: ``(N, M)``."""
        nearest = pixel_distances(images, self._blurred[0])
        for blurred in self._blurred[1:]:
            nearest = nearest.minimum(pixel_distances(images, blurred))
        return nearest

    def pose(self, image: Blurred, index: int) -> Pose:
        """The pose in which the ``index``-th image here is nearest to a single image."""
        found = [float(pixel_distances(image, blurred)[0, index]) for blurred in self._blurred]
        return self._poses[found.index(min(found))]


@dataclass(frozen=True, eq=False)
class Distances:
    """Distances between synthetic, training and held-out images in one space.

    Args:
        space: its name in keys: ``"pixel"``.
        synthetic_training: ``(S, M)``, to a training image in its nearest pose.
        synthetic_held_out: ``(S, H)``, as above.
        held_out_training: ``(H, M)``, as above.
        held_out_held_out: ``(H, H)``, as above.
    """

    space: str
    synthetic_training: torch.Tensor
    synthetic_held_out: torch.Tensor
    held_out_training: torch.Tensor
    held_out_held_out: torch.Tensor


def in_pixels(synthetic: ImageSet, held_out: ImageSet, training: ImageSet, *, mirrored: bool = True) -> Distances:
    """Return distances after a blur to 32 x 32 cells, of images in their nearest poses.

    Args:
        synthetic: images to judge.
        held_out: real images that no model was trained on.
        training: real images that it was trained on.
        mirrored: whether mirror images count too, as where training flips images.
    """
    known, held = Copies(training, mirrored=mirrored), Copies(held_out, mirrored=mirrored)
    drawn, others = Blurred.of(synthetic), Blurred.of(held_out)
    return Distances(
        "pixel", known.distances(drawn), held.distances(drawn), known.distances(others), held.distances(others)
    )


def in_features(features: Mapping[str, torch.Tensor], space: str = "feature") -> Distances:
    """Return Euclidean distances of features, each divided by its standard deviation over the training images.

    Args:
        features: ``(N, F)`` each: of ``"synthetic"``, ``"real"`` (held out) and ``"training"`` images; where mirror
            images count too, also of ``"real mirrored"`` and ``"training mirrored"`` ones.
        space: name of the distances.

    Raises:
        ValueError: a set is missing, numbers of features differ, or are not finite.
    """
    if missing := {"synthetic", "real", "training"} - set(features):
        raise ValueError(f"features must hold synthetic, real and training, {', '.join(sorted(missing))} is missing")
    if len({values.shape[1] for values in features.values()}) > 1:
        raise ValueError("features of all sets must be equally many; take them from the same layer")
    if not all(bool(values.isfinite().all()) for values in features.values()):
        raise ValueError("features must be finite; check the images")
    # a feature that never changes tells nothing, and must not divide by 0
    spread = features["training"].double().std(0)
    scaled = {name: values.double()[:, spread > 0] / spread[spread > 0] for name, values in features.items()}

    def between(first: str, second: str) -> torch.Tensor:
        direct = torch.cdist(scaled[first], scaled[second], compute_mode="donot_use_mm_for_euclid_dist")
        turned = scaled.get(f"{second} mirrored")
        if turned is None:
            return direct
        return direct.minimum(torch.cdist(scaled[first], turned, compute_mode="donot_use_mm_for_euclid_dist"))

    return Distances(
        space,
        between("synthetic", "training"),
        between("synthetic", "real"),
        between("real", "training"),
        between("real", "real"),
    )
