"""Names for the shapes that recur in every signature.

All of them are float tensors. ``H`` is depth-wards (row 0 at the top of the image), ``W`` lateral.
"""

from __future__ import annotations

from typing import TypeAlias

import torch

Image: TypeAlias = torch.Tensor
"""``(N, C, H, W)``: images, noise, predictions; intensities in [-1, 1]."""

Depth: TypeAlias = torch.Tensor
"""``(H, W)`` or ``(N or 1, 1, H, W)``: depth along the beam in [0, 1]; 0 at the face and outside the beam."""

Retained: TypeAlias = torch.Tensor
"""``(N, 1, H, W)`` or broadcastable: natural logarithm of the retained signal power, ``log(abar_t Bbar_t) <= 0``."""

Timesteps: TypeAlias = torch.Tensor
"""``(N,)`` int64: training steps, 0 (almost clean) to ``num_train_timesteps - 1`` (almost noise)."""
