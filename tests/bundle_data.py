"""Small training sets of phantoms for every bundle, and how its commands are run on them."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image

from monai_bmaps.data.phantoms import convex_beam, heart_beam, heart_labels, thyroid_beam, thyroid_labels
from monai_bmaps.data.speckle import speckle_image
from monai_bmaps.data.split import Split, split_of

ROOT = Path(__file__).parents[1]
SIZE = (32, 48)


@dataclass(frozen=True)
class Bundle:
    """A bundle's folder, and what its data sets look like."""

    name: str
    source: str
    pattern: str

    @property
    def folder(self) -> Path:
        return ROOT / "bundles" / self.name

    @property
    def labelled(self) -> bool:
        return self.name != "liver_bmap_gd"


BUNDLES = (
    Bundle("cardiac_bmap_sdm", "camus", "patient{:04d}"),
    Bundle("thyroid_bmap_sdm", "tg3k", "{:d}"),
    Bundle("liver_bmap_gd", "hc18", "{:03d}"),
)
COUNTS: dict[Split, int] = {"training": 5, "validation": 2, "test": 3}

TINY = [
    *("--image_size", "[16,32]"),
    *("--batch_size", "4"),
    *("--denoiser_def::network::channels", "[8,8,16]"),
    *("--epoch_length", "5"),
    *("--checkpoint_interval", "2"),
    *("--sample_steps", "2"),
    *("--val_passes", "2"),
]


def groups_of(bundle: Bundle) -> list[str]:
    """Names of groups, enough of them in every split."""
    found: dict[str, list[str]] = {split: [] for split in COUNTS}
    for number in range(1, 400):
        group = bundle.pattern.format(number)
        found[split_of(bundle.source, group)].append(group)
    return [group for split, count in COUNTS.items() for group in found[split][:count]]


def write_phantoms(bundle: Bundle, root: Path) -> Path:
    """Ten frames of as many groups, in the layout of the bundle's training config."""
    rows = ["name,segment"]
    for index, group in enumerate(groups_of(bundle)):
        generator = torch.Generator().manual_seed(index)
        if bundle.source == "tg3k":
            beam, labels, kind = thyroid_beam(SIZE), thyroid_labels(SIZE, generator=generator), "thyroid"
        elif bundle.source == "hc18":
            beam = convex_beam(SIZE, generator=generator)
            labels, kind = heart_labels(SIZE, generator=generator), "heart"
        else:
            beam = heart_beam(SIZE)
            labels, kind = heart_labels(SIZE, beam=beam, generator=generator), "heart"
        frame = speckle_image(labels, beam, kind=kind, generator=generator)
        name = {"camus": f"{group}_4CH_ED", "tg3k": f"{index:04d}", "hc18": f"{group}_HC"}[bundle.source]
        rows.append(f"{name},{group}")
        kept = (labels == 1).long() if bundle.source == "tg3k" else labels
        maps = {"images": frame * 255, "labels": kept, "sectors": beam.mask(SIZE)}
        for folder, values in maps.items():
            if folder == "labels" and not bundle.labelled:
                continue
            (root / folder).mkdir(parents=True, exist_ok=True)
            Image.fromarray(values.float().round().to(torch.uint8).numpy()).save(root / folder / f"{name}.png")
    (root / "index.csv").write_text("\n".join(rows) + "\n")
    return root


def command(*arguments: str, processes: int | None = None) -> list[str]:
    """``python -m monai.bundle run``, under ``torchrun`` if there are to be several processes."""
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"] if processes else []
    return [sys.executable, "-W", "ignore", *launcher, "-m", "monai.bundle", "run", *arguments]


def environment() -> dict[str, str]:
    """One thread per process, so that sums are taken in one order everywhere."""
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
