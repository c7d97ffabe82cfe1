"""The chain in pictures: noise coming in, and an image coming out (Dominguez et al. 2024, figs. 2 and 3)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from monai_bmaps.figures.b_maps import PRESETS, Process
from monai_bmaps.figures.grid import image_grid, save
from monai_bmaps.inferers import BMapSynthesisInferer
from monai_bmaps.inferers.network_call import Network
from monai_bmaps.pictures import Pixels, to_grey
from monai_bmaps.types import Depth, Image

FORWARD_SHARES = (0.0, 0.05, 0.1, 0.2, 0.35, 0.6)
"""Where to look: most that can be seen of an image is gone by a third of the chain."""


def draw_forward(
    path: str | Path,
    image: Image,
    depth: Depth,
    inside: torch.Tensor,
    processes: Mapping[str, Process] = PRESETS,
    shares: Sequence[float] = FORWARD_SHARES,
    seed: int = 0,
) -> None:
    """Draw an image on its way into noise, a row for each process; all take the same noise.

    Args:
        path: the picture.
        image: ``(H, W)`` in [-1, 1].
        depth: ``(H, W)`` in [0, 1].
        inside: ``(H, W)``, true inside the beam; outside stays black, so that the beam is seen.
        processes: by name.
        shares: of the chain, in [0, 1].
        seed: of the noise.
    """
    noise = torch.randn(1, 1, *image.shape, generator=torch.Generator().manual_seed(seed))
    rows = []
    for process in processes.values():
        scheduler = process.scheduler().bind(depth)
        noisy = [
            image if share == 0 else scheduler.add_noise(image[None, None], noise, _step(process, share))[0, 0]
            for share in shares
        ]
        rows.append([_within(one, inside) for one in noisy])
    titles = [process.title(name) for name, process in processes.items()]
    save(image_grid(rows, titles, [f"t = {share:g} T" for share in shares]), path)


def reverse_row(
    network: Network,
    sampler: BMapSynthesisInferer,
    seg: torch.Tensor,
    depth: Depth,
    steps: Sequence[int],
    seed: int = 0,
) -> list[Pixels]:
    """What the network takes for the clean image after some of the steps of one sampling.

    Args:
        network: the denoising network.
        sampler: draws with it.
        seg: condition channels ``(classes, H, W)``.
        depth: ``(1, H, W)``.
        steps: how many steps are done, from 1 to the sampler's number.
        seed: of the noise.

    Raises:
        ValueError: a step beyond the sampler's.
    """
    seen: dict[int, torch.Tensor] = {}

    def keep(done: int, _: int, clean: Image) -> None:
        seen[done] = clean[0, 0].detach().float().cpu()

    with torch.inference_mode():
        sampler(seg[None], network, depth=depth[None], seeds=[seed], callback=keep)
    if beyond := [step for step in steps if step not in seen]:
        raise ValueError(f"steps must lie from 1 to {max(seen)}, got {beyond}")
    return [_within(seen[step], seg[0] < 0.5) for step in steps]


def draw_reverse(path: str | Path, rows: Mapping[str, Sequence[Pixels]], steps: Sequence[int]) -> None:
    """Draw rows of :func:`reverse_row` below each other, by name."""
    titles = [f"{step} step{'s' if step > 1 else ''}" for step in steps]
    save(image_grid(list(rows.values()), list(rows), titles), path)


def _step(process: Process, share: float) -> torch.Tensor:
    return torch.tensor([process.timestep(share)])


def _within(image: torch.Tensor, inside: torch.Tensor) -> Pixels:
    return to_grey(torch.where(inside.bool().cpu(), image.cpu(), -1.0))
