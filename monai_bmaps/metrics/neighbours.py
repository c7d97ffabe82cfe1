"""How far images lie from each other, and which is nearest: in pixels after a blur, and in a network's features."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch.nn import functional

from monai_bmaps.metrics.image_set import ImageSet

_SIDE = 32


@dataclass(frozen=True, eq=False)
class Blurred:
    """Images as area means of a coarse grid, inside their beams.

    Args:
        means: ``(N, cells)`` float64: mean intensity of what of a cell lies inside the beam, 0 of cells outside.
        shares: ``(N, cells)`` float64: how much of a cell lies inside the beam.
    """

    means: torch.Tensor
    shares: torch.Tensor

    @classmethod
    def of(cls, images: ImageSet, *, side: int = _SIDE, mirrored: bool = False) -> Blurred:
        """Blur a set to ``side`` times ``side`` cells; images without a mask of their beam count whole.

        Args:
            images: of any size.
            side: cells along either axis.
            mirrored: whether to exchange left and right first.
        """
        pixels = images.images.double()
        inside = torch.ones_like(pixels) if images.inside is None else images.inside[:, None].double()
        if mirrored:
            pixels, inside = pixels.flip(-1), inside.flip(-1)
        shares = functional.adaptive_avg_pool2d(inside, side).flatten(1)
        sums = functional.adaptive_avg_pool2d(pixels * inside, side).flatten(1)
        return cls(torch.where(shares > 0, sums / shares.clamp_min(1e-12), 0.0), shares)


def pixel_distances(first: Blurred, second: Blurred) -> torch.Tensor:
    """Return the root-mean-square difference of intensities of every pair, where both beams are: ``(N, M)`` in [0, 1].

    Cells weigh as much as of both lies inside; of beams that do not meet the distance is infinite.
    """
    weights = first.shares @ second.shares.T
    squares = (
        (first.shares * first.means**2) @ second.shares.T
        - 2 * (first.shares * first.means) @ (second.shares * second.means).T
        + first.shares @ (second.shares * second.means**2).T
    )
    # equal images end within round-off of 0, on either side
    return torch.where(weights > 0, (squares.clamp_min(0) / weights.clamp_min(1e-12)).sqrt(), torch.inf)


@dataclass(frozen=True, eq=False)
class Copies:
    """What an image may be a copy of: blurred images and, where these count too, their mirror images."""

    plain: Blurred
    mirrored: Blurred | None

    @classmethod
    def of(cls, images: ImageSet, *, mirrored: bool = True) -> Copies:
        """Blur a set, and its mirror images if ``mirrored``."""
        return cls(Blurred.of(images), Blurred.of(images, mirrored=True) if mirrored else None)

    def distances(self, images: Blurred) -> torch.Tensor:
        """Distance of every image to every one here or its mirror image, whichever is nearer: ``(N, M)``."""
        direct = pixel_distances(images, self.plain)
        return direct if self.mirrored is None else direct.minimum(pixel_distances(images, self.mirrored))


@dataclass(frozen=True, eq=False)
class Distances:
    """Distances between synthetic, training and held-out images in one space.

    Args:
        space: its name in keys: ``"pixel"``.
        synthetic_training: ``(S, M)``, to a training image or its mirror image, whichever is nearer.
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
    """Return distances after a blur to 32 x 32 cells.

    Args:
        synthetic: images to judge.
        held_out: real images that no model was trained on.
        training: real images that it was trained on.
        mirrored: whether mirror images count too, as where training flips images.
    """
    drawn, held = Blurred.of(synthetic), Copies.of(held_out, mirrored=mirrored)
    known = Copies.of(training, mirrored=mirrored)
    return Distances(
        "pixel",
        known.distances(drawn),
        held.distances(drawn),
        known.distances(held.plain),
        held.distances(held.plain),
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
