"""Does a model draw new images, or give back the ones it was trained on?

Copies are looked for as by Dar et al. 2024 (https://arxiv.org/abs/2402.01054): a synthetic image is flagged if it lies
nearer to a training image, moved and mirrored as training does, than all but 1 % of held-out real images. How many
new images would be flagged is known exactly, whatever the distance: the null of every figure here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from monai_bmaps.metrics.findings import BLUE, ORANGE, Findings, Measured, mean_by_group, new_figure
from monai_bmaps.metrics.images import ImageSet, preconditions
from monai_bmaps.metrics.neighbours import Blurred, Copies, Distances, in_features, in_pixels

SHARE = 0.01
"""Share of new images that are flagged, where enough are held out to say so."""
FEWEST = 20
"""Held-out images below which the threshold means too little."""
_TITLE = "Memorisation of training images"
_DRAWS = 100
_GALLERY = 6
_SPACES = {"pixel": "32 x 32 blurred pixels", "feature": "Inception features"}
_ROWS = {
    "flagged": "flagged share: nearer to a training image than 99 % of new real images are",
    "flagged_expected": "flagged share of as many new real images: average, and the range of 95 % of outcomes",
    "flagged_ratio": "share whose ratio is lower than that of 99 % of new real images",
    "ratio": "ratio of the distances to the nearest training and held-out image, geometric mean, synthetic",
    "ratio_real": "the same ratio of held-out real images",
}
_RATIOS = ("flagged_ratio", "ratio", "ratio_real")
_NOTES = [
    "A flagged image lies nearer to a training image (moved and mirrored as training does) than new real images do: "
    "worth a look in the gallery, not a proof of copying. Smooth or average images lie near everything, held-out "
    "images included; of those the ratio stays near that of real images, where that of a copy falls far below.",
    "Ratios leave out held-out frames of an image's own patient (of a synthetic image: the patient of its label map). "
    "Draw for label maps of held-out patients: those of training patients bring training anatomy with them.",
    "The range of outcomes takes frames as independent; several frames of one patient widen it.",
]


@dataclass(frozen=True)
class Threshold:
    """The distance to training below which an image is flagged, and how many new images are.

    Args:
        distance: of the space it is for.
        expected: share of new images that lie below it, on average over held-out sets.
        rank: how many of the held-out images lie below it, about.
        held_out: how many these are.
    """

    distance: float
    expected: float
    rank: float
    held_out: int

    @classmethod
    def of(cls, nearest: torch.Tensor, share: float = SHARE) -> Threshold:
        """The quantile of held-out images' distances ``(H,)`` below which new images fall with probability ``share``.

        The k-th smallest of n has an average of k / (n + 1) below it. Where even the smallest has more than ``share``,
        it is taken, and ``expected`` says what follows.
        """
        values, count = np.sort(nearest.double().numpy()), len(nearest)
        rank = max(1.0, share * (count + 1))
        low = math.floor(rank)
        rest = rank - low
        distance = values[low - 1] + (rest * (values[low] - values[low - 1]) if rest > 0 else 0.0)
        return cls(float(distance), rank / (count + 1), rank, count)

    def flags(self, nearest: torch.Tensor) -> torch.Tensor:
        """Which images of these distances to training are flagged, bool."""
        return nearest < self.distance

    def null_range(self, count: int) -> tuple[float, float]:
        """Shares of ``count`` new images between which 95 % of outcomes lie: beta-binomial, frames independent."""
        a, b = self.rank, self.held_out + 1 - self.rank
        flagged = np.arange(count + 1)
        logs = [
            math.lgamma(count + 1) - math.lgamma(k + 1) - math.lgamma(count - k + 1) + _log_beta(k + a, count - k + b)
            for k in flagged.tolist()
        ]
        below = np.cumsum(np.exp(np.array(logs) - _log_beta(a, b)))
        low, high = (min(int(np.searchsorted(below, quantile)), count) for quantile in (0.025, 0.975))
        return low / count, high / count


class CopyDetector:
    """Flags near copies of training images, for a generator that must not give any away.

    Args:
        training: the real images the model was trained on.
        held_out: real images of other patients, at least 20; they set the threshold.
        mirrored: whether mirror images count as copies, as where training flips images.
        share: share of new images that are to be flagged.

    Raises:
        ValueError: too few held-out images, or held-out patients among the training's.
    """

    def __init__(self, training: ImageSet, held_out: ImageSet, *, mirrored: bool = True, share: float = SHARE) -> None:
        if reason := _unfit(held_out, training):
            raise ValueError(reason)
        self._training = Copies(training, mirrored=mirrored)
        self.threshold = Threshold.of(self.nearest(held_out)[0], share)

    def nearest(self, images: ImageSet) -> tuple[torch.Tensor, torch.Tensor]:
        """Return each image's distance to the nearest training image and which that is, both ``(N,)``."""
        nearest = self._training.distances(Blurred.of(images)).min(1)
        return nearest.values, nearest.indices

    def flags(self, images: ImageSet) -> torch.Tensor:
        """Return which images are flagged, ``(N,)`` bool."""
        return self.threshold.flags(self.nearest(images)[0])


def flag_memorised(
    synthetic: ImageSet, real: ImageSet, training: ImageSet, *, mirrored: bool = True, share: float = SHARE
) -> torch.Tensor:
    """Return which synthetic images lie suspiciously near to a training image, ``(N,)`` bool.

    Args:
        synthetic: images to judge.
        real: held-out real images of other patients than ``training``, at least 20.
        training: the real images the model was trained on.
        mirrored: whether mirror images count as copies.
        share: share of new images that are to be flagged.

    Raises:
        ValueError: as :class:`CopyDetector`.
    """
    return CopyDetector(training, real, mirrored=mirrored, share=share).flags(synthetic)


def measure_memorisation(
    real: ImageSet,
    synthetic: ImageSet,
    training: ImageSet,
    *,
    features: Mapping[str, torch.Tensor] | None = None,
    mirrored: bool = True,
) -> Findings:
    """Return the flagged share, and how much nearer training images lie than held-out ones, with their nulls.

    Args:
        real: held-out real images, of no patient of ``training``.
        synthetic: images to judge.
        training: the real images the model was trained on.
        features: of the images in the order of the sets, as :func:`monai_bmaps.metrics.neighbours.in_features` takes
            them; ``None`` leaves that space out.
        mirrored: whether mirror images count as copies, as where training flips images.
    """
    counts = {"synthetic": len(synthetic), "real": len(real), "training": len(training)}
    if reason := _unfit(real, training):
        return Findings(
            _TITLE, [Measured(f"{key}_pixel", name, counts=counts, left_out=reason) for key, name in _ROWS.items()]
        )
    spaces = [in_pixels(synthetic, real, training, mirrored=mirrored)]
    spaces += [in_features(features)] if features is not None else []
    rows: list[Measured] = []
    figures: dict[str, Callable[[Path], None]] = {}
    for space in spaces:
        judged = _Judged.of(space, synthetic.groups, real.groups)
        rows += _rows(judged, space.space, synthetic.groups, real.groups, counts)
        figures[f"memorisation_{space.space}.png"] = partial(_draw_distances, judged, space.space)
    figures["memorisation_closest.png"] = partial(_draw_closest, synthetic, training, spaces[0], mirrored)
    return Findings(_TITLE, rows, figures, [*_NOTES, *_conditioning(synthetic, training)])


def _unfit(held_out: ImageSet, training: ImageSet) -> str | None:
    return preconditions.too_few(FEWEST, held_out, training) or preconditions.shared_groups(held_out, training)


def _conditioning(synthetic: ImageSet, training: ImageSet) -> list[str]:
    """A warning where images were drawn for training label maps."""
    own = sum(group in set(training.groups) for group in synthetic.groups)
    if not own:
        return []
    return [
        f"{own} of {len(synthetic)} synthetic images were drawn for label maps of training patients: part of their "
        "nearness to training is anatomy that was asked for."
    ]


@dataclass(frozen=True, eq=False)
class _Judged:
    """Nearest distances to training and their ratios to nearest held-out ones: synthetic ``(S,)`` and real ``(H,)``."""

    synthetic: torch.Tensor
    real: torch.Tensor
    ratio: torch.Tensor
    ratio_real: torch.Tensor

    @classmethod
    def of(cls, space: Distances, groups: Sequence[str], held_out: Sequence[str]) -> _Judged:
        synthetic, real = (d.amin(1) for d in (space.synthetic_training, space.held_out_training))
        # far below any distance of two images, so that a copy's ratio has a logarithm
        least = 1e-3 * float(real.median())
        others = [
            d.masked_fill(torch.as_tensor(np.array(own)[:, None] == np.array(held_out)), torch.inf).amin(1)
            for d, own in ((space.synthetic_held_out, groups), (space.held_out_held_out, held_out))
        ]
        ratios = [
            torch.where(other.isfinite(), nearest.clamp_min(least) / other.clamp_min(least), torch.nan)
            for nearest, other in zip((synthetic, real), others, strict=True)
        ]
        return cls(synthetic, real, *ratios)


def _rows(
    judged: _Judged, space: str, groups: Sequence[str], held_out: Sequence[str], counts: Mapping[str, int]
) -> list[Measured]:
    def row(key: str, found: tuple[float, tuple[float, float] | None]) -> Measured:
        return Measured(f"{key}_{space}", f"{_ROWS[key]}; {_SPACES.get(space, space)}", *found, counts)

    threshold = Threshold.of(judged.real)
    rows = [
        row("flagged", mean_by_group(threshold.flags(judged.synthetic).double(), groups)),
        row("flagged_expected", (threshold.expected, threshold.null_range(len(groups)))),
    ]
    there = [~ratios.isnan() for ratios in (judged.ratio, judged.ratio_real)]
    if int(there[1].sum()) < FEWEST or not bool(there[0].any()):
        reason = f"needs {FEWEST} held-out images with others of another patient; give frames of more patients"
        names = {key: f"{_ROWS[key]}; {_SPACES.get(space, space)}" for key in _RATIOS}
        return rows + [Measured(f"{key}_{space}", names[key], counts=counts, left_out=reason) for key in _RATIOS]
    lower = Threshold.of(judged.ratio_real[there[1]]).flags(judged.ratio).double()
    return [
        *rows,
        row("flagged_ratio", mean_by_group(torch.where(there[0], lower, torch.nan), groups)),
        row("ratio", _geometric(judged.ratio, groups)),
        row("ratio_real", _geometric(judged.ratio_real, held_out)),
    ]


def _geometric(ratios: torch.Tensor, groups: Sequence[str]) -> tuple[float, tuple[float, float] | None]:
    mean, interval = mean_by_group(ratios.log(), groups)
    return math.exp(mean), None if interval is None else (math.exp(interval[0]), math.exp(interval[1]))


def _draw_distances(judged: _Judged, space: str, path: Path) -> None:
    """Cumulative shares of the distances to training, and of the ratios, of synthetic and of held-out real images."""
    figure = new_figure(8, 3.2)
    left, right = figure.subplots(1, 2)
    pairs = (
        (left, judged.synthetic, judged.real, f"distance to the nearest training image\n({_SPACES.get(space, space)})"),
        (
            right,
            judged.ratio,
            judged.ratio_real,
            "distance to the nearest training image\n/ to the nearest held-out one",
        ),
    )
    for axis, synthetic, real, label in pairs:
        for values, colour, name in ((real, BLUE, "held-out real"), (synthetic, ORANGE, "synthetic")):
            finite = values[values.isfinite()]
            if len(finite):
                axis.ecdf(finite.numpy(), color=colour, label=f"{name} ({len(finite)})")
        if int(real.isfinite().sum()) >= FEWEST:
            axis.axvline(
                Threshold.of(real[real.isfinite()]).distance, color="black", linestyle=":", label="flagged below"
            )
        axis.set(xlabel=label, ylabel="share of images", xlim=(0, None), ylim=(0, 1))
        axis.grid(alpha=0.3)
    figure.legend(*left.get_legend_handles_labels(), loc="outside upper center", ncols=3, frameon=False)
    figure.savefig(path)


def _draw_closest(synthetic: ImageSet, training: ImageSet, space: Distances, mirrored: bool, path: Path) -> None:
    """The synthetic images nearest to training, each above that training image and their difference."""
    nearest = space.synthetic_training.min(1)
    rows = nearest.values.argsort()[:_GALLERY].tolist()
    height, width = synthetic.size
    figure = new_figure(1.7 * len(rows) + 0.6, 5.1 * height / width + 0.9)
    axes = figure.subplots(3, len(rows), squeeze=False)
    for column, row in enumerate(rows):
        index = int(nearest.indices[row])
        drawn = synthetic.images[row, 0]
        known, inside, turned = _as_seen(synthetic, row, training, index, mirrored)
        difference = torch.where(inside, drawn - known, torch.nan)
        for axis, values, colours in zip(axes[:, column], (drawn, known, difference), _COLOURS, strict=True):
            shown = axis.imshow(values.numpy(), **colours)
            axis.set(xticks=[], yticks=[])
        axes[0, column].set_title(f"{synthetic.names[row]}\ndistance {nearest.values[row]:.3f}", fontsize=7)
        axes[1, column].set_title(training.names[index] + (", mirrored" if turned else ""), fontsize=7)
    for axis, name in zip(axes[:, 0], ("synthetic", "nearest training", "difference"), strict=True):
        axis.set_ylabel(name)
    figure.colorbar(shown, ax=axes[2, :].tolist(), label="synthetic - training", shrink=0.9)
    figure.savefig(path)


_COLOURS: tuple[dict[str, Any], ...] = (
    {"cmap": "gray", "vmin": 0, "vmax": 1},
    {"cmap": "gray", "vmin": 0, "vmax": 1},
    {"cmap": "PuOr", "vmin": -0.5, "vmax": 0.5},
)


def _as_seen(
    synthetic: ImageSet, row: int, training: ImageSet, index: int, mirrored: bool
) -> tuple[torch.Tensor, torch.Tensor, bool]:
    """The training image in its nearest pose, where both beams are, and whether it is mirrored."""
    drawn, known = synthetic.chosen([row]), training.chosen([index])
    pose = Copies(known, mirrored=mirrored).pose(Blurred.of(drawn), 0)
    pixels, inside = (
        functional.interpolate(pose(maps), synthetic.size)[0, 0] for maps in (known.images, known.field_of_view)
    )
    return pixels, (inside * drawn.field_of_view[0, 0]) > 0, pose.mirrored


def _log_beta(a: float, b: float) -> float:
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)
