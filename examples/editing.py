"""Change a frame instead of drawing one: move the heart from diastole to systole, or draw half of it anew.

    python examples/editing.py [--output editing.png] [--data CAMUS]

Without --data the frame is itself synthetic. With a folder of CAMUS apical frames (images/, labels/, sectors/) it is a
real end-diastolic frame of a held-out patient, changed to that patient's end-systolic labels.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from monai.bundle import ConfigParser

from monai_bmaps import LabelToCondition
from monai_bmaps.data.phantoms import heart_beam, heart_labels
from monai_bmaps.pictures import colour_labels, side_by_side, to_grey

BUNDLE = Path(__file__).parents[1] / "bundles" / "cardiac_bmap_sdm"
STRENGTHS = (0.3, 0.5, 0.7)


def parsed(name: str, **overrides: object) -> ConfigParser:
    parser = ConfigParser()
    parser.read_config(BUNDLE / "configs" / name)
    parser.update({"bundle_root": str(BUNDLE), **overrides})
    return parser


def phantom() -> dict[str, torch.Tensor]:
    """Conditions of one phantom heart in both phases, and its depth map."""
    beam = heart_beam((128, 128), generator=torch.Generator().manual_seed(3))
    to_condition, sector = LabelToCondition(num_labels=3), beam.mask((128, 128))[None]
    phases = {
        phase: heart_labels((128, 128), beam=beam, phase=phase, generator=torch.Generator().manual_seed(3))[None]
        for phase in ("ED", "ES")
    }
    seg = {phase: to_condition(labels, sector)[None] for phase, labels in phases.items()}
    return {**seg, "depth": beam.depth_map((128, 128))[None, None]}


def real(data: str) -> dict[str, torch.Tensor]:
    """The same of a real heart, with its end-diastolic frame."""
    training = parsed("train.json", dataset_dir=data)
    items = {item["name"]: item for item in training.get_parsed_content("items")(split="test")}
    name = next(n for n in items if n.endswith("_ED") and n.replace("_ED", "_ES") in items)
    prepare = training.get_parsed_content("preprocessing")
    frames = {}
    for phase in ("ED", "ES"):
        item = prepare(items[name.replace("_ED", f"_{phase}")])
        frames[phase] = {key: item[key].as_tensor()[None] for key in ("image", "seg", "depth")}
    return {"image": frames["ED"]["image"], "depth": frames["ED"]["depth"], **{p: f["seg"] for p, f in frames.items()}}


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--output", type=Path, default=Path("editing.png"))
    arguments.add_argument("--data")
    chosen = arguments.parse_args()
    bundle = parsed("inference.json")
    network, sampler = bundle.get_parsed_content("network").denoiser, bundle.get_parsed_content("sampler")
    item = real(chosen.data) if chosen.data else phantom()
    depth, diastole, systole = item["depth"], item["ED"], item["ES"]
    given = item["image"] if chosen.data else sampler(diastole, network, depth=depth, seeds=[1])

    panels = {"given": given}
    for sampler.strength in STRENGTHS:  # share of the chain: how far the frame may move
        panels[f"strength {sampler.strength}"] = sampler(systole, network, depth=depth, seeds=[2], image=given)
    sampler.strength = 1.0
    right = (torch.arange(128) >= 64).expand(1, 1, 128, 128)
    for sampler.repeats in (1, 4):
        panels[f"right half kept, x{sampler.repeats}"] = sampler(
            diastole, network, depth=depth, seeds=[3], image=given, keep=right
        )
    seg = [diastole, *[systole] * len(STRENGTHS), diastole, diastole]
    columns = [[colour_labels(s[0]), to_grey(image[0, 0])] for s, image in zip(seg, panels.values(), strict=True)]
    side_by_side(columns).save(chosen.output)
    print(f"{', '.join(panels)}: wrote {chosen.output}")


if __name__ == "__main__":
    main()
