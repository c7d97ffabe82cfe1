"""Train MONAI's UNet on frames of hearts, some of them synthesised from their own labels.

--data: CAMUS apical frames (images/, labels/, sectors/), else phantoms; --prob, --steps: of synthetic frames.
"""

import argparse
from pathlib import Path

import monai
import torch

from monai_bmaps.data import list_items
from monai_bmaps.data.phantoms import heart_beam, heart_labels
from monai_bmaps.data.speckle import speckle_image
from monai_bmaps.transforms import BeamDepthd, LoadFramed, RandBMapSynthesisd

KEYS, SIZE, BUNDLES = ["image", "label", "sector"], (128, 128), Path(__file__).parents[1] / "bundles"


def phantom(seed: int) -> dict[str, torch.Tensor]:
    draw, beam = torch.Generator().manual_seed(seed), heart_beam(SIZE)
    labels = heart_labels(SIZE, beam=beam, generator=draw)
    image, sector = 255 * speckle_image(labels, beam, generator=draw), beam.mask(SIZE)
    return {"image": image[None], "label": labels[None].float(), "sector": sector[None].float()}


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, value in {"data": "", "iterations": 200, "prob": 0.3, "steps": 8, "workers": 0, "seed": 0}.items():
        parser.add_argument(f"--{name}", default=value, type=type(value))
    chosen = parser.parse_args(arguments)
    monai.utils.set_determinism(chosen.seed)
    splits = [[phantom(seed) for seed in seeds] for seeds in (range(16), range(16, 24))]
    if chosen.data:
        layout = {"source": "camus", "group_pattern": r"patient\d+", "sectors": "sectors"}
        splits = [list_items(chosen.data, split, **layout) for split in ("training", "validation")]
    prepare = [LoadFramed(KEYS)] if chosen.data else []
    prepare += [monai.transforms.Resized(KEYS, SIZE, mode=["area", "nearest", "nearest"]), BeamDepthd(kind="sector")]
    prepare += [monai.transforms.ScaleIntensityRanged("image", 0, 255, 0, 1, clip=True)]
    synthesis = RandBMapSynthesisd.from_bundle(BUNDLES / "cardiac_bmap_sdm", prob=chosen.prob, steps=chosen.steps)
    augment = [monai.transforms.RandFlipd([*KEYS, "depth"], prob=0.5, spatial_axis=1), synthesis]
    data = monai.data.CacheDataset(splits[0], [*prepare, *augment], progress=False)
    sampler = torch.utils.data.RandomSampler(data, replacement=True, num_samples=8 * chosen.iterations)
    network = monai.networks.nets.UNet(2, 1, 4, channels=(16, 32, 64, 128), strides=(2, 2, 2), num_res_units=1)
    loss, optimizer = monai.losses.DiceCELoss(to_onehot_y=True, softmax=True), torch.optim.AdamW(network.parameters())
    for batch in monai.data.DataLoader(data, batch_size=8, sampler=sampler, num_workers=chosen.workers):
        optimizer.zero_grad()
        value = loss(network(batch["image"]), batch["label"])
        value.backward()
        optimizer.step()
        print(f"loss {value:.3f}, synthetic {batch['image'].meta['synthesis']['synthetic'].tolist()}")
    dice = monai.metrics.DiceMetric(include_background=False, num_classes=4)
    for batch in monai.data.DataLoader(monai.data.Dataset(splits[1], prepare), batch_size=8):
        dice(network.eval()(batch["image"]).argmax(1, keepdim=True), batch["label"])
    print(f"Dice of {len(splits[1])} held-out frames: {float(dice.aggregate()):.3f}")


if __name__ == "__main__":
    main()
