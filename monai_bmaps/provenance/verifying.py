"""Whether a synthetic file is what it says: its pixels those that were written, and those that its model draws."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from monai_bmaps.pictures import Pixels
from monai_bmaps.provenance.formats import read_pixels, read_record
from monai_bmaps.provenance.record import Record, decisive, pixels_digest, source_of
from monai_bmaps.provenance.redrawing import redraw, source_item

MEAN_ROUNDING, MOST_ROUNDING = 0.5, 4
"""Grey levels, on average and at most, by which two drawings of one record may differ: half precision rounds otherwise
on another device or in another batch. Measured: 1 at most and 0.06 on average, bfloat16 against single precision."""


@dataclass(frozen=True)
class Redrawing:
    """With what images are drawn again.

    Args:
        bundle: folder of the bundle. Its configuration can run any code: give only bundles that you trust.
        configs: files on top of its ``configs/inference.json``, as the images were drawn with.
        labels: where label maps are now, if not where the images say: a file or a folder.
        output: folder in which the images are kept, each in one of its own.
    """

    bundle: Path
    configs: Sequence[Path] = ()
    labels: Path | None = None
    output: Path | None = None


def verify(path: Path, redrawing: Redrawing | None = None) -> list[str]:
    """What a synthetic file is, in sentences; the last say what was checked.

    Args:
        path: PNG, NIfTI or NRRD.
        redrawing: draw the image again and compare; ``None``: look at the file alone.

    Raises:
        FileNotFoundError: no file, or what it was drawn for is not there.
        ValueError: a file that does not say that it is synthetic, pixels that were changed, or an image that is not
            drawn again.
        RuntimeError: what the bundle refuses.
    """
    record = _told(path)
    pixels = read_pixels(path)
    if "Pixels" not in record:
        raise ValueError("it says that it is synthetic, but not which pixels were written: an older version drew it")
    if record["Pixels"] != pixels_digest(pixels):
        raise ValueError("its pixels are not those that were written: it was changed since")
    said = [*_described(record), "its pixels are those that were written"]
    if redrawing is None:
        return [*said, "not drawn again: give --bundle to see whether its model draws it"]
    return [*said, _drawn_again(path, record, pixels, redrawing)]


def _told(path: Path) -> Record:
    if not path.is_file():
        raise FileNotFoundError("there is no such file")
    record = read_record(path)
    if record is None:
        raise ValueError("it cannot be read as PNG, NIfTI or NRRD")
    if "Overview" in record:
        raise ValueError("it is an overview of synthetic images, not one of them; check their own files")
    if record.get("Synthetic") != "true":
        raise ValueError("it does not say that it is synthetic")
    return record


def _described(record: Record) -> list[str]:
    source = source_of(record)
    file = source.get("label", source.get("sector", {})).get("path", record.get("Label"))
    deformed = f" (new anatomy: {record['Anatomy']})" if "Anatomy" in record else ""
    flagged = [f"kept out of its data set: {record['Flagged']}"] if "Flagged" in record else []
    return [
        f"synthetic, by {record.get('Model', 'a model without a name')}, weights {record.get('Weights', '?')[:12]}",
        f"seed {record.get('Seed')}, {record.get('Steps')} steps, B-map {record.get('Attenuation in dB')} dB, guidance "
        f"{record.get('Guidance')}, strength {record.get('Strength')}, precision {record.get('Precision')}",
        f"drawn for {file}{deformed}",
        *flagged,
    ]


def _drawn_again(path: Path, record: Record, pixels: Pixels, redrawing: Redrawing) -> str:
    if record.get("Seed") == "None":
        raise ValueError("it was drawn without a seed of its own, and cannot be drawn again")
    item = source_item(record, path.parent, redrawing.labels)
    output = None if redrawing.output is None else redrawing.output / path.name
    size = (pixels.shape[0], pixels.shape[1])
    drawn, told = redraw(record, size, item, redrawing.bundle, redrawing.configs, output)
    if differences := _differences(record, told):
        raise ValueError("the bundle does not draw it: " + "; ".join(differences))
    apart = np.abs(drawn.astype(int) - pixels)
    how = f"{apart.max()} grey levels apart at most, {apart.mean():.3f} on average, {(apart == 0).mean():.1%} equal"
    if apart.mean() > MEAN_ROUNDING or apart.max() > MOST_ROUNDING:
        raise ValueError(f"drawn again it is another image: {how}")
    if not apart.any():
        return "drawn again: the same image, every pixel"
    return f"drawn again: the same image to rounding, {how}"


def _differences(record: Record, told: Record) -> list[str]:
    """What the bundle decides otherwise than the file says. The label map's name is told, but decides nothing."""
    ours, theirs = ({k: v for k, v in decisive(each).items() if k != "Label"} for each in (record, told))
    return [
        f"{key} is {ours.get(key, 'missing')} in the file and {theirs.get(key, 'missing')} in the bundle"
        for key in sorted({*ours, *theirs})
        if ours.get(key) != theirs.get(key)
    ]
