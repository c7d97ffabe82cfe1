"""Do synthetic images help? The same segmenter learns from real, synthetic and both kinds of images.

After Echo from Noise (Stojanovski et al. 2023, https://arxiv.org/abs/2305.05424): same network, same number of steps,
several seeds, judged on real images of held-out patients. What the cells say together: means, their spread over seeds,
paired differences.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch

from monai_bmaps.metrics.downstream.figures import draw_cells
from monai_bmaps.metrics.downstream.plan import Plan
from monai_bmaps.metrics.downstream.results import MEAN, CellResult, Setting, gain_key, of_structure, values_of
from monai_bmaps.metrics.downstream.running import run_cells
from monai_bmaps.metrics.findings import Findings, Measured, mean_by_group
from monai_bmaps.metrics.images import ImageSet, preconditions

_NOTES = [
    "Intervals are bootstrap intervals over held-out patients of the mean over seeds; the spread over seeds is the "
    "standard deviation of the seeds' means. A gain counts where its interval leaves out 0 and its spread over seeds "
    "is small beside it.",
    "At a share below 1 the segmenter has less real data; the model that drew the synthetic images had what it was "
    "trained on. Where that is all of the real data, the synthetic images bring what the share holds back: for a "
    "claim about scarce data train the model on the same share.",
]


def measure_downstream(
    real: ImageSet,
    synthetic: ImageSet,
    training: ImageSet,
    folder: str | Path,
    *,
    plan: Plan | None = None,
    verbose: bool = False,
) -> Findings:
    """Train every cell that ``folder`` lacks, and return Dice, Hausdorff-95 and what synthetic images add.

    Args:
        real: held-out real images with label maps, of no patient of ``training``.
        synthetic: images with the label maps they were drawn for, none of a patient of ``real``.
        training: real images with label maps.
        folder: where ``cells/`` and the segmenters (``segmenters/``) are kept.
        plan: shares, seeds, arms and segmenter.
        verbose: show progress bars.

    Raises:
        ValueError: the folder holds a cell of other data or settings.
    """
    plan = plan or Plan()
    if reason := unfit(real, synthetic, training, plan):
        row = Measured("dice_real", "Dice on held-out real images", left_out=reason)
        return Findings("Downstream segmentation", [row])
    return findings_of(run_cells(real, synthetic, training, folder, plan=plan, verbose=verbose), real)


def unfit(real: ImageSet, synthetic: ImageSet, training: ImageSet, plan: Plan) -> str | None:
    """Why these sets cannot answer; ``None`` if they can."""
    if drawn_for_held_out := preconditions.shared_groups(real, synthetic):
        return f"{drawn_for_held_out}: images drawn for label maps of held-out patients give the answers away"
    return preconditions.unfit_for_segmenter(real, synthetic, training) or plan.settings.misfit(training.size)


def findings_of(results: Sequence[CellResult], real: ImageSet) -> Findings:
    """Return the numbers of finished cells.

    Args:
        results: of whole seeds or not; differences take the seeds that both arms have.
        real: the held-out images.
    """
    settings = list(dict.fromkeys(result.setting for result in results))
    rows = [row for setting in settings for row in _setting_rows(setting, results, real)]
    for share in sorted({share for arm, share in settings if arm == "both"}):
        rows += _gain_rows(share, results, real)
    figures: dict[str, Callable[[Path], None]] = {"downstream.png": partial(draw_cells, results)}
    return Findings("Downstream segmentation", rows, figures, _NOTES)


def _of_structures(values: torch.Tensor, real: ImageSet) -> dict[str, torch.Tensor]:
    """The mean over structures first, then each structure: ``(seeds, N)`` each."""
    return {MEAN: values.nanmean(2)} | dict(zip(real.classes, values.unbind(2), strict=True))


def _measured(key: str, name: str, values: torch.Tensor, real: ImageSet, counts: Mapping[str, int]) -> list[Measured]:
    """The mean over seeds and images, and its spread over seeds."""
    mean, interval = mean_by_group(values.nanmean(0), real.groups)
    if np.isnan(mean):
        return [Measured(key, name, counts=counts, left_out="no held-out label map holds it; leave the class out")]
    rows = [Measured(key, name, mean, interval, counts)]
    if len(values) > 1:
        spread = float(values.nanmean(1).std())
        rows.append(Measured(f"{key}_seeds", f"{name}: standard deviation over seeds", spread, None, counts))
    return rows


def _setting_rows(setting: Setting, results: Sequence[CellResult], real: ImageSet) -> list[Measured]:
    mine = [result for result in results if result.setting == setting]
    counts = {**mine[0].counts, "real": len(real), "seeds": len(mine)}
    rows = []
    for measure, title in (("dice", "Dice"), ("hausdorff", f"Hausdorff-95 in {mine[0].unit}")):
        for structure, values in _of_structures(values_of(results, setting, measure), real).items():
            key = of_structure(f"{measure}_{setting.key}", structure)
            rows += _measured(key, f"{title}, {structure}, {setting.name}", values, real, counts)
    return rows


def _gain_rows(share: float, results: Sequence[CellResult], real: ImageSet) -> list[Measured]:
    """What adding synthetic images changes, image by image and seed by seed."""
    by_seed = {(result.arm, result.seed): result for result in results if result.share == share}
    seeds = [seed for arm, seed in by_seed if arm == "both" and ("real", seed) in by_seed]
    if not seeds:
        return []
    counts = {"real": len(real), "seeds": len(seeds)}
    rows = []
    for measure, title in (("dice", "Dice"), ("hausdorff", "Hausdorff-95")):
        both, alone = (
            torch.stack([getattr(by_seed[arm, seed], measure) for seed in seeds]) for arm in ("both", "real")
        )
        gains = both - alone
        for structure, values in _of_structures(gains, real).items():
            key = of_structure(gain_key(measure, share), structure)
            name = f"{title} that synthetic images add, {structure}, {share:.0%} of the real patients"
            rows += _measured(key, name, values, real, counts)
    return rows
