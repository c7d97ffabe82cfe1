"""How B-maps grow over the chain (Dominguez et al. 2024, fig. 1, https://arxiv.org/abs/2407.05428)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from monai_bmaps.bmaps import DECIBELS_PER_NAT, BMap
from monai_bmaps.figures.grid import image_grid, plotting, save
from monai_bmaps.pictures import Pixels
from monai_bmaps.schedulers import BMapDDPMScheduler
from monai_bmaps.types import Depth

SHARES = (0.1, 0.3, 0.5, 0.7, 1.0)
"""Where in the chain figures look: 0 is the clean image, 1 the end."""
DARKEST_DB = 60.0
"""What a map takes beyond this leaves nothing to see."""


@dataclass(frozen=True)
class Process:
    """A noise process to show.

    Args:
        b_map: the B-map.
        num_train_timesteps: T.
    """

    b_map: BMap
    num_train_timesteps: int = 1000

    def timestep(self, share: float) -> int:
        """The step at a share of the chain."""
        return max(0, round(share * self.num_train_timesteps) - 1)

    def scheduler(self) -> BMapDDPMScheduler:
        """With cosine alphas."""
        return BMapDDPMScheduler(self.num_train_timesteps, "cosine", self.b_map)

    def title(self, name: str) -> str:
        """The name with what the map takes in all."""
        return f"{name}\n{self.b_map.total_attenuation_db(self.num_train_timesteps):.0f} dB"


PRESETS: Mapping[str, Process] = {
    "no B-map": Process(BMap(minimum=1.0)),
    "authors' code": Process(BMap.preset("authors_code")),
    "physical": Process(BMap.preset("physical")),
    "paper": Process(BMap.preset("paper"), 2000),
}
"""What the study compares, by name."""


def draw_b_maps(
    path: str | Path,
    depth: Depth,
    inside: torch.Tensor,
    processes: Mapping[str, Process] = PRESETS,
    shares: Sequence[float] = SHARES,
) -> None:
    """Draw the attenuation that has gathered by a share of the chain, in dB; a row for each process that has any.

    Args:
        path: the picture.
        depth: ``(H, W)`` in [0, 1].
        inside: ``(H, W)``, true inside the beam.
        processes: by name.
        shares: of the chain, in (0, 1].

    Raises:
        ValueError: no process with a B-map.
    """
    shown = {name: process for name, process in processes.items() if not process.b_map.is_identity}
    if not shown:
        raise ValueError("none of these processes has a B-map to draw")
    plotting()
    from matplotlib.colors import Normalize

    rows = [[_gathered(process, depth, inside, share) for share in shares] for process in shown.values()]
    figure = image_grid(
        rows,
        [process.title(name) for name, process in shown.items()],
        [f"t = {share:g} T" for share in shares],
        colours=Normalize(0.0, DARKEST_DB, clip=True),
        colour_title=f"attenuation of signal power, dB (darkest: {DARKEST_DB:g} and more)",
    )
    save(figure, path)


def _gathered(process: Process, depth: Depth, inside: torch.Tensor, share: float) -> Pixels:
    table = process.b_map.tabulate(process.num_train_timesteps)
    nats = table.log_cumulative(depth[None], torch.tensor([process.timestep(share)]))[0]
    return torch.where(inside.bool(), -DECIBELS_PER_NAT * nats, torch.nan).numpy()
