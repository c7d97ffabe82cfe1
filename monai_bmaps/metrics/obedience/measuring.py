"""Do synthetic images show what their label maps ask for? A segmenter trained on real images alone is asked.

Its Dice against the label map that an image was drawn for says how well the structures are where they should be, as
far as the segmenter can tell: on real images that it never saw it must first be good itself. Measured so by
SPADE (Park et al. 2019, https://arxiv.org/abs/1903.07291) and SDM (Wang et al. 2022, https://arxiv.org/abs/2207.00050).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from monai_bmaps.metrics.findings import Findings, Measured, key_of, mean_by_group
from monai_bmaps.metrics.images import ImageSet, preconditions
from monai_bmaps.metrics.obedience.figures import figures
from monai_bmaps.metrics.obedience.judging import Judged
from monai_bmaps.metrics.segmentation import SegmenterSettings, train_segmenter

SUFFICIENT = 0.80
"""Mean Dice on held-out real images below which a segmenter is no judge."""
_TITLE = "Obedience to the label maps"
_HEADS = {
    "dice_real": "segmenter's Dice on held-out real images, mean",
    "dice_synthetic": "segmenter's Dice on synthetic images against their label maps, mean",
    "dice_chance": "the same against other patients' label maps (chance level)",
}
_NOTES = [
    "A segmenter was trained on real training images alone. Its Dice on held-out real images is the most that "
    "synthetic images can be expected to reach; the chance level is what anatomy of the same kind reaches that is "
    "somebody else's.",
    "Above the real images' Dice is no merit: images that are plainer than real ones are easier to segment.",
]


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
    if reason := preconditions.unfit_for_segmenter(real, synthetic, training) or settings.misfit(training.size):
        return Findings(_TITLE, [_left_out(key, name, reason, counts) for key, name in _HEADS.items()], {}, [])
    num_labels = len(training.classes)
    segmenter = train_segmenter(
        training.images, training.known_labels, num_labels, settings, cache=cache, description=description
    )
    judged = {images.name: Judged.of(images, segmenter.predict(images.images)) for images in (real, synthetic)}
    rows = _rows("real", judged[real.name], counts)
    if (reached := rows[0].value or 0.0) < sufficient:
        reason = (
            f"the segmenter reaches a mean Dice of {reached:.3f} on held-out real images, below {sufficient:.2f}: it "
            "cannot judge others; train it longer or on more images"
        )
        rows += [_left_out(key, name, reason, counts) for key, name in list(_HEADS.items())[1:]]
        return Findings(_TITLE, rows, {}, _NOTES[:1])
    rows += [*_rows("synthetic", judged[synthetic.name], counts), _chance(judged[synthetic.name], counts)]
    return Findings(_TITLE, rows, figures(judged[real.name], judged[synthetic.name]), _NOTES)


def _left_out(key: str, name: str, reason: str, counts: Mapping[str, int]) -> Measured:
    return Measured(key, name, counts=counts, left_out=reason)


def _rows(kind: str, judged: Judged, counts: Mapping[str, int]) -> list[Measured]:
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


def _chance(judged: Judged, counts: Mapping[str, int]) -> Measured:
    values = judged.chance()
    if bool(values.isnan().all()):
        reason = "all synthetic images are of one patient or sweep; draw for several"
        return _left_out("dice_chance", _HEADS["dice_chance"], reason, counts)
    return _mean("dice_chance", _HEADS["dice_chance"], values, judged.images.groups, counts)
