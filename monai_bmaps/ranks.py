"""This process among those that ``torchrun`` started: its share of a list, its device, its group.

``torchrun`` tells each process its number in ``RANK``, how many there are in ``WORLD_SIZE``, and its number on this
machine in ``LOCAL_RANK``. A process that nobody told is number 0 of 1.
Drawing needs no group of processes; training does.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TypeVar

import torch

Item = TypeVar("Item")


def rank_and_size() -> tuple[int, int]:
    """Number of this process and how many there are.

    Raises:
        ValueError: ``RANK`` and ``WORLD_SIZE`` are no whole numbers, do not fit, or only one of them is set.
    """
    given = {name: os.environ.get(name) for name in ("RANK", "WORLD_SIZE")}
    if set(given.values()) == {None}:
        return 0, 1
    rank, size = (int(value) if value and value.isdecimal() else -1 for value in given.values())
    if not 0 <= rank < size:
        told = ", ".join(f"{name}={value}" for name, value in given.items())
        raise ValueError(
            f"RANK must be a number from 0 to WORLD_SIZE - 1, got {told}; start with torchrun, or unset both"
        )
    return rank, size


def is_first() -> bool:
    """Whether this process is number 0, which does what only one should do."""
    return rank_and_size()[0] == 0


def shard(items: Sequence[Item]) -> list[Item]:
    """The items of this process: every ``WORLD_SIZE``-th from ``RANK`` on. Together the processes have each once.

    Example:
        >>> shard(["a", "b", "c"])  # a process that torchrun did not start
        ['a', 'b', 'c']
    """
    rank, size = rank_and_size()
    return list(items[rank::size])


def device() -> torch.device:
    """This process's own GPU, where there are GPUs; else the CPU.

    Raises:
        ValueError: more processes on this machine than GPUs.
    """
    if not torch.cuda.is_available():
        return torch.device("cpu")
    local, count = int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count()
    if local >= count:
        raise ValueError(
            f"LOCAL_RANK is {local}, but this machine shows {count} GPUs; start torchrun with --nproc_per_node={count}"
        )
    return torch.device("cuda", local)


def join(device: torch.device) -> None:
    """Form one group of all processes, as distributed training needs: NCCL between GPUs, gloo between CPUs.

    Raises:
        RuntimeError: not started by ``torchrun``.
    """
    if "RANK" not in os.environ:
        raise RuntimeError("start the processes with torchrun: torchrun --nproc_per_node=2 -m monai.bundle run ...")
    if device.type == "cuda":
        torch.cuda.set_device(device)
    torch.distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
