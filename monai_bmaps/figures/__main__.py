"""``python -m monai_bmaps.figures b-maps | forward | reverse | panels | augmentation --output PICTURE``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import torch
from monai.bundle import ConfigParser
from torch import nn

from monai_bmaps.data.phantoms import convex_beam, heart_beam, heart_labels, thyroid_beam, thyroid_labels
from monai_bmaps.data.speckle import speckle_image
from monai_bmaps.figures import draw_augmentation, draw_b_maps, draw_forward, draw_panels, draw_reverse, reverse_row
from monai_bmaps.figures.panels import common_names
from monai_bmaps.geometry import Beam, SectorBeam
from monai_bmaps.pictures import Pixels
from monai_bmaps.training import load_weights
from monai_bmaps.transforms import TrainingFrames

SIZE = (128, 128)
KINDS = dict.fromkeys(("b-maps", "forward"), ("heart", "thyroid", "convex")) | {"augmentation": ("heart", "thyroid")}
BUNDLE = Path("bundles") / "cardiac_bmap_sdm"


def main(arguments: Sequence[str] | None = None) -> int:
    """Draw what the command line asks for, and say where it is."""
    chosen = _parser().parse_args(arguments)
    try:
        chosen.draw(chosen)
    except (ValueError, OSError, ImportError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"wrote {chosen.output}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m monai_bmaps.figures", description="Draw one figure.")
    commands = parser.add_subparsers(required=True, metavar="FIGURE")
    for name, draw, text in (
        ("b-maps", _b_maps, "how B-maps grow over the chain"),
        ("forward", _forward, "a frame on its way into noise, with and without B-maps"),
        ("reverse", _reverse, "an image on its way out of noise"),
        ("panels", _panels, "images of several folders beside each other"),
        ("augmentation", _augmentation, "a frame and its labels as augmentation changes them"),
    ):
        command = commands.add_parser(name, help=text, description=text)
        command.add_argument("--output", type=Path, required=True, help="the picture (.png, .pdf, .svg)")
        command.set_defaults(draw=draw)
        if name in ("b-maps", "forward", "augmentation"):
            command.add_argument("--kind", choices=KINDS[name], default="heart", help="phantom")
        if name == "forward":
            command.add_argument("--image", type=Path, help="a frame instead of the phantom")
            command.add_argument("--sector", type=Path, help="its field-of-view mask, 1 inside")
            command.add_argument("--beam", choices=("sector", "linear"), default="sector", help="kind to fit to it")
        if name == "reverse":
            _add_reverse(command)
        if name == "panels":
            command.add_argument("--folder", action="append", required=True, metavar="TITLE=FOLDER", help="a row")
            command.add_argument("--name", action="append", help="file name without ending; default: four of them")
    return parser


def _add_reverse(command: argparse.ArgumentParser) -> None:
    command.add_argument("--bundle", type=Path, default=BUNDLE, help="one you trust: configurations can run code")
    command.add_argument(
        "--model",
        action="append",
        metavar="TITLE=WEIGHTS[,OVERRIDE.json...]",
        help="a row: weights, and configurations on top of inference.json; default: the bundle's own",
    )
    command.add_argument("--steps", type=int, nargs="+", default=[1, 4, 8, 12, 16, 20], help="when to look")
    command.add_argument("--item", type=int, default=0, help="which of the bundle's demo items")
    command.add_argument("--seed", type=int, default=0)


def _beam(kind: str) -> Beam:
    if kind == "thyroid":
        return thyroid_beam(SIZE)
    return heart_beam(SIZE) if kind == "heart" else convex_beam(SIZE)


def _b_maps(chosen: argparse.Namespace) -> None:
    beam = _beam(chosen.kind)
    draw_b_maps(chosen.output, beam.depth_map(SIZE), beam.mask(SIZE))


def _forward(chosen: argparse.Namespace) -> None:
    if (chosen.image is None) != (chosen.sector is None):
        raise ValueError("give --image and --sector together: the mask says where the beam is")
    if chosen.image is not None:
        prepare = TrainingFrames(image_size=SIZE, num_labels=0, kind=chosen.beam)
        item = prepare({"image": str(chosen.image), "sector": str(chosen.sector)})
        image, depth, sector = (item[key][0].as_tensor() for key in ("image", "depth", "sector"))
        return draw_forward(chosen.output, image, depth, sector > 0.5)
    beam = _beam(chosen.kind)
    return draw_forward(chosen.output, _phantom(beam)[0], beam.depth_map(SIZE), beam.mask(SIZE))


def _phantom(beam: Beam) -> tuple[torch.Tensor, torch.Tensor]:
    """A frame in [-1, 1] and its labels."""
    kind = "heart" if isinstance(beam, SectorBeam) else "thyroid"
    labels = heart_labels(SIZE, beam=beam) if isinstance(beam, SectorBeam) else thyroid_labels(SIZE)
    frame = speckle_image(labels, beam, kind=kind, generator=torch.Generator().manual_seed(0))
    return frame * 2 - 1, labels


def _augmentation(chosen: argparse.Namespace) -> None:
    beam = _beam(chosen.kind)
    draw_augmentation(chosen.output, *_phantom(beam), beam)


def _reverse(chosen: argparse.Namespace) -> None:
    models = chosen.model or [f"{chosen.bundle.name}="]
    rows = dict(_row(chosen, model) for model in models)
    draw_reverse(chosen.output, rows, chosen.steps)


def _row(chosen: argparse.Namespace, model: str) -> tuple[str, list[Pixels]]:
    title, _, rest = model.partition("=")
    weights, *overrides = rest.split(",")
    parser = ConfigParser()
    configs = chosen.bundle / "configs"
    parser.read_config([str(configs / name) for name in ("inference.json", *overrides)])
    parser["bundle_root"] = str(chosen.bundle)
    parser["num_inference_steps"] = max(chosen.steps)
    if weights:
        parser["weights"] = weights
    network = load_weights(*(parser.get_parsed_content(name) for name in ("network_def", "weights", "card")))
    sampler = parser.get_parsed_content("sampler")
    items = parser.get_parsed_content("items")
    if not 0 <= chosen.item < len(items):
        raise ValueError(f"item must lie from 0 to {len(items) - 1}, got {chosen.item}")
    item = parser.get_parsed_content("preprocessing")(items[chosen.item])
    seg, depth = (item[key].as_tensor() for key in ("seg", "depth"))
    return title, reverse_row(cast("nn.Module", network.denoiser), sampler, seg, depth, chosen.steps, chosen.seed)


def _panels(chosen: argparse.Namespace) -> None:
    folders = dict(pair.split("=", 1) for pair in chosen.folder if "=" in pair)
    if len(folders) != len(chosen.folder):
        raise ValueError(f"every --folder is TITLE=FOLDER with a title of its own, got {', '.join(chosen.folder)}")
    draw_panels(chosen.output, folders, chosen.name or common_names(folders, 4))


if __name__ == "__main__":
    sys.exit(main())
