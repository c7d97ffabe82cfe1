"""Do synthetic images show what their label maps ask for? A segmenter trained on real images alone is asked.

Its Dice against the label map that an image was drawn for says how well the structures are where they should be, as
far as the segmenter can tell: on real images that it never saw it must first be good itself. Measured so by
SPADE (Park et al. 2019, https://arxiv.org/abs/1903.07291) and SDM (Wang et al. 2022, https://arxiv.org/abs/2207.00050).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch

from monai_bmaps.metrics.findings import BLUE, ORANGE, Findings, Measured, key_of, mean_by_group, new_figure
from monai_bmaps.metrics.images import ImageSet, preconditions
from monai_bmaps.metrics.overlap import dice_per_structure
from monai_bmaps.metrics.segmenter import SegmenterSettings, train_segmenter

SUFFICIENT = 0.80
"""Mean Dice on held-out real images below which a segmenter is no judge."""
_TITLE = "Obedience to the label maps"
_COLOURS = ("#E69F00", "#56B4E9", "#009E73", "#F0E442", "#CC79A7")  # Okabe and Ito, bright on grey
_SHIFTS = 8  # other label maps that each image is compared with, for the chance level
_NOTES = [
    "A segmenter was trained on real training images alone. Its Dice on held-out real images is the most that "
    "synthetic images can be expected to reach; the chance level is what anatomy of the same kind reaches that is "
    "somebody else's.",
    "Above the real images' Dice is no merit: images that are plainer than real ones are easier to segment.",
]


@dataclass(frozen=True, eq=False)
class _Judged:
    """A set with what the segmenter saw in it: ``labels (N, H, W)``, ``dice (N, K)``."""

    images: ImageSet
    labels: torch.Tensor
    dice: torch.Tensor


def measure_obedience(
    real: ImageSet,
    synthetic: ImageSet,
    training: ImageSet,
    *,
    settings: SegmenterSettings | None = None,
    cache: str | Path | None = None,
    sufficient: float = SUFFICIENT,
    description: str | None = "obedience: segmenter",
) -> Findings:
    """Return the Dice of a segmenter on held-out real images, and on synthetic ones against their label maps.

    Args:
        real: held-out real images with label maps, of no patient of ``training``.
        synthetic: images with the label maps they were drawn for.
        training: real images with label maps, for the segmenter.
        settings: of the segmenter.
        cache: folder where trained segmenters are kept, by data and settings.
        sufficient: mean Dice on ``real`` below which the figures of ``synthetic`` are left out.
        description: of the progress bar; ``None``: no bar.
    """
    settings = settings or SegmenterSettings()
    counts = {"synthetic": len(synthetic), "real": len(real), "training": len(training)}
    if reason := _unfit(real, synthetic, training, settings):
        return Findings(_TITLE, [_left_out(key, name, reason, counts) for key, name in _HEADS.items()], {}, [])
    num_labels = len(training.classes)
    segmenter = train_segmenter(
        training.images, training.known_labels, num_labels, settings, cache=cache, description=description
    )
    judged = {images.name: _judged(images, segmenter.predict(images.images)) for images in (real, synthetic)}
    rows = _rows("real", judged[real.name], counts)
    if (reached := rows[0].value or 0.0) < sufficient:
        reason = (
            f"the segmenter reaches a mean Dice of {reached:.3f} on held-out real images, below {sufficient:.2f}: it "
            "cannot judge others; train it longer or on more images"
        )
        rows += [_left_out(key, name, reason, counts) for key, name in list(_HEADS.items())[1:]]
        return Findings(_TITLE, rows, {}, _NOTES[:1])
    rows += [*_rows("synthetic", judged[synthetic.name], counts), _chance(judged[synthetic.name], counts)]
    return Findings(_TITLE, rows, _figures(judged[real.name], judged[synthetic.name]), _NOTES)


_HEADS = {
    "dice_real": "segmenter's Dice on held-out real images, mean",
    "dice_synthetic": "segmenter's Dice on synthetic images against their label maps, mean",
    "dice_chance": "the same against other patients' label maps (chance level)",
}


def _unfit(real: ImageSet, synthetic: ImageSet, training: ImageSet, settings: SegmenterSettings) -> str | None:
    return preconditions.unfit_for_segmenter(real, synthetic, training) or settings.misfit(training.size)


def _left_out(key: str, name: str, reason: str, counts: Mapping[str, int]) -> Measured:
    return Measured(key, name, counts=counts, left_out=reason)


def _judged(images: ImageSet, predicted: torch.Tensor) -> _Judged:
    return _Judged(images, predicted, dice_per_structure(predicted, images.known_labels, len(images.classes)))


def _rows(kind: str, judged: _Judged, counts: Mapping[str, int]) -> list[Measured]:
    """The mean over structures first, then each structure."""
    head, groups = f"dice_{kind}", judged.images.groups
    rows = [_mean(head, _HEADS[head], judged.dice.nanmean(1), groups, counts)]
    for index, structure in enumerate(judged.images.classes):
        name = f"{_HEADS[head].removesuffix(', mean')}, {structure}"
        rows.append(_mean(f"{head}_{key_of(structure)}", name, judged.dice[:, index], groups, counts))
    return rows


def _mean(key: str, name: str, values: torch.Tensor, groups: tuple[str, ...], counts: Mapping[str, int]) -> Measured:
    value, interval = mean_by_group(values, groups)
    if np.isnan(value):
        return _left_out(key, name, "no label map holds it; give label maps that do, or leave the class out", counts)
    return Measured(key, name, value, interval, counts)


def _chance(judged: _Judged, counts: Mapping[str, int]) -> Measured:
    """Dice against label maps of other groups: what stereotyped anatomy gives away."""
    labels, count, groups = judged.images.known_labels, len(judged.images), np.array(judged.images.groups)
    found = []
    for shift in np.unique(np.linspace(1, count - 1, min(_SHIFTS, count - 1)).round().astype(int)):
        dice = dice_per_structure(judged.labels, labels.roll(int(shift), 0), len(judged.images.classes)).nanmean(1)
        found.append(torch.where(torch.as_tensor(groups != np.roll(groups, shift)), dice, torch.nan))
    values = torch.stack(found).nanmean(0)
    if bool(values.isnan().all()):
        reason = "all synthetic images are of one patient or sweep; draw for several"
        return _left_out("dice_chance", _HEADS["dice_chance"], reason, counts)
    return _mean("dice_chance", _HEADS["dice_chance"], values, judged.images.groups, counts)


def _figures(real: _Judged, synthetic: _Judged) -> dict[str, Callable[[Path], None]]:
    return {
        "obedience_cases.png": partial(_draw_cases, synthetic),
        "obedience_dice.png": partial(_draw_distributions, real, synthetic),
    }


def _draw_cases(judged: _Judged, path: Path) -> None:
    """Worst, median and best synthetic images, bare and with the given (solid) and the found (dashed) outlines."""
    from matplotlib.lines import Line2D

    dice = judged.dice.nanmean(1)
    order = dice.nan_to_num(2.0).argsort()[: int((~dice.isnan()).sum())].tolist()
    middle = len(order) // 2
    cases = {"worst": order[:2], "median": order[middle : middle + 2], "best": order[-2:]}
    columns = [(name, row) for name, rows in cases.items() for row in rows]
    height, width = judged.images.size
    figure = new_figure(2 * len(columns), 4 * height / width + 0.9)
    axes = figure.subplots(2, len(columns), squeeze=False)
    for column, (name, row) in enumerate(columns):
        for axis in axes[:, column]:
            axis.imshow(judged.images.images[row, 0].numpy(), cmap="gray", vmin=0, vmax=1)
            axis.set_axis_off()
        axes[0, column].set_title(f"{name}: Dice {dice[row]:.2f}\n{judged.images.names[row]}", fontsize=8)
        # the first structure last: outlines that two share are drawn in the inner one's colour
        for structure in range(len(judged.images.classes), 0, -1):
            colour = _COLOURS[(structure - 1) % len(_COLOURS)]
            for maps, style in ((judged.images.known_labels, "solid"), (judged.labels, "dashed")):
                mask = (maps[row] == structure).float().numpy()
                if mask.any():
                    axes[1, column].contour(mask, [0.5], colors=colour, linestyles=style, linewidths=1.2)
    handles = [
        Line2D([], [], color=_COLOURS[k % len(_COLOURS)], label=name) for k, name in enumerate(judged.images.classes)
    ]
    handles += [Line2D([], [], color="black", linestyle=s, label=t) for s, t in (("-", "asked for"), ("--", "found"))]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False, fontsize=9)
    figure.savefig(path)


def _draw_distributions(real: _Judged, synthetic: _Judged, path: Path) -> None:
    """Dice of every structure, real beside synthetic."""
    structures = real.images.classes
    figure = new_figure(2.2 + 1.6 * len(structures), 3.4)
    axis = figure.subplots()
    for offset, judged, colour, name in (
        (-0.18, real, BLUE, "held-out real"),
        (0.18, synthetic, ORANGE, "synthetic"),
    ):
        values = [column[~column.isnan()].numpy() for column in judged.dice.T]
        boxes = axis.boxplot(
            values, positions=np.arange(len(structures)) + offset, widths=0.3, patch_artist=True, flierprops={"ms": 3}
        )
        for box, median in zip(boxes["boxes"], boxes["medians"], strict=True):
            box.set(facecolor=colour, alpha=0.75, label=name if box is boxes["boxes"][0] else None)
            median.set(color="black")
    axis.set_xticks(np.arange(len(structures)), structures)
    axis.set(ylabel="Dice (1 is agreement)", ylim=(min(0.5, axis.get_ylim()[0]), 1.0))
    axis.grid(axis="y", alpha=0.3)
    axis.legend(frameon=False)
    figure.savefig(path)
