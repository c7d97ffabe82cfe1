"""What a job's ``settings.json`` says in plain values, as the configuration wants it."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from monai_bmaps import ranks
from monai_bmaps.jobs.lines import announce
from monai_bmaps.jobs.watching import end_with_parent


def begin() -> None:
    """Watch the parent, and say that the libraries are there and the model is being loaded."""
    end_with_parent()
    announce("state", state="loading")


def leave() -> None:
    """End the process here and now, with success: taking PyTorch down in good order takes seconds that a user waits."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def chosen_device(name: str) -> torch.device:
    """The device of a name; ``"auto"`` is a GPU where there is one.

    Raises:
        ValueError: no such device on this machine.
    """
    if name == "auto":
        return ranks.device()
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise ValueError(
            f"the device {name} was asked for, but this PyTorch ({torch.__version__}) sees no graphics card; choose "
            "cpu or auto, or install a PyTorch built for CUDA and the driver"
        )
    try:
        return torch.device(name)
    except RuntimeError as error:
        raise ValueError(f"there is no device {name!r}; choose auto, cpu or cuda") from error


def with_seeds(items: Sequence[Mapping[str, Any]], seeds: Sequence[int] | None) -> list[dict[str, Any]]:
    """Items with seeds of the job's choice, for example one for all of a sweep, which then shares its noise.

    Args:
        items: with seeds of their own.
        seeds: one per item; ``None`` leaves theirs.

    Raises:
        ValueError: another number of seeds than of items.
    """
    if seeds is None:
        return [dict(item) for item in items]
    if len(seeds) != len(items):
        raise ValueError(f"{len(items)} images need as many seeds, got {len(seeds)}; write the job again")
    return [{**item, "seed": int(seed)} for item, seed in zip(items, seeds, strict=True)]
