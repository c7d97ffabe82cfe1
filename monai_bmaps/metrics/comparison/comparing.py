"""Compares synthetic images with real ones by every family of measures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from tqdm import tqdm

from monai_bmaps.metrics.comparison.families import FAMILIES, Family
from monai_bmaps.metrics.comparison.inputs import Inputs
from monai_bmaps.metrics.comparison.report import Report
from monai_bmaps.metrics.comparison.settings import Settings
from monai_bmaps.metrics.comparison.store import Store, digest_of
from monai_bmaps.metrics.findings import Findings, Measured
from monai_bmaps.metrics.images import ImageSet

_CACHE = "cache"
_VERSION = 1  # of what is measured: one more makes kept findings be measured anew


def compare(
    real: ImageSet,
    synthetic: ImageSet,
    training: ImageSet | None = None,
    *,
    settings: Settings | None = None,
    output: str | Path | None = None,
    skip: Sequence[str] = (),
    provenance: Mapping[str, object] | None = None,
    verbose: bool = False,
) -> Report:
    """Compare and, with ``output``, write the report; a stopped comparison with the same output goes on.

    What cannot be measured (no labels, too few images, no weights) becomes a row that says why.

    Args:
        real: real images.
        synthetic: synthetic images of the same size.
        training: real images that the model was trained on: for the floors.
        settings: weights and bootstrap.
        output: folder for ``report.md``, ``report.json``, figures and the results kept for going on.
        skip: families to leave out.
        provenance: further lines for the report's head.
        verbose: show progress bars.

    Raises:
        ValueError: sets of different sizes, or a family that does not exist.
    """
    settings = settings or Settings()
    _check(real, synthetic, training, skip)
    store = None if output is None else Store(Path(output) / _CACHE)
    inputs = Inputs(real, synthetic, training, settings, store, verbose)
    chosen = {name: family for name, family in FAMILIES.items() if name not in skip}
    sets = digest_of(real, synthetic, training, settings, settings.stem, settings.lpips, _VERSION)
    findings = {}
    bar = tqdm(chosen.items(), disable=not verbose)
    for name, family in bar:
        bar.set_description(f"comparing: {name}")
        findings[name] = _found(name, family, inputs, f"{name}-{sets}")
    report = Report(findings, {**_described(inputs), **(provenance or {})})
    if output is not None:
        report.write(output)
    return report


def _found(name: str, family: Family, inputs: Inputs, key: str) -> Findings:
    """The family's findings, or one row that says why there are none; that is not kept."""
    try:
        return family(inputs) if inputs.store is None else inputs.store.findings(key, lambda: family(inputs))
    except (ImportError, OSError, ValueError) as error:
        return Findings(name.capitalize(), [Measured(name, name.capitalize(), left_out=str(error))])


def _check(real: ImageSet, synthetic: ImageSet, training: ImageSet | None, skip: Sequence[str]) -> None:
    for images in (synthetic, training):
        if images is not None and images.size != real.size:
            raise ValueError(
                f"sets must have one size, got {real.size[0]} x {real.size[1]} ({real.name}) and {images.size[0]} x "
                f"{images.size[1]} ({images.name}); fit them into one with --size HEIGHT WIDTH"
            )
    unknown = sorted(set(skip) - set(FAMILIES))
    if unknown:
        raise ValueError(f"there is no family {', '.join(unknown)} to skip; there are {', '.join(FAMILIES)}")


def _described(inputs: Inputs) -> dict[str, object]:
    sets = [images for images in (inputs.synthetic, inputs.real, inputs.training) if images is not None]
    settings = inputs.settings
    return {
        "Images": ", ".join(f"{len(images)} {images.name} ({len(set(images.groups))} groups)" for images in sets),
        "Size": f"{inputs.real.size[0]} x {inputs.real.size[1]}",
        "Inception": "pytorch-fid's published file" if settings.stem is None else settings.stem.name,
        "LPIPS trunk": "torchvision's published file" if settings.lpips is None else settings.lpips.name,
        "Bootstrap samples": settings.resamplings,
    }
