"""The B-map schedule as the paper states it: a map for every step, six float32 tables of T x H x W."""

from __future__ import annotations

import torch


def dense_tables(total: int, minimum: float, depth: torch.Tensor) -> dict[str, torch.Tensor]:
    """``B_t = 1 - b_t (1 - minimum) d`` with ``b_t = sqrt(t / (T - 1))``, its running products and their square roots.

    Dominguez et al. 2024, section 2.1. What the authors' code keeps: the maps, their products up to this step, the one
    before and the one after, and the two square roots that noising and its inverse use.

    Args:
        total: T.
        minimum: gamma, B at full depth and the last step.
        depth: ``(H, W)`` float32 in [0, 1].
    """
    ramp = torch.sqrt(torch.arange(total) / (total - 1)).reshape(-1, 1, 1)
    maps = 1.0 - ramp * (1.0 - minimum) * depth
    product = torch.cumprod(maps, dim=0)
    return {
        "maps": maps,
        "product": product,
        "product_before": torch.cat([torch.ones_like(product[:1]), product[:-1]]),
        "product_after": torch.cat([product[1:], torch.zeros_like(product[:1])]),
        "root": torch.sqrt(product),
        "inverse_root": torch.rsqrt(product),
    }
