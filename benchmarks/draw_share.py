"""One rank of the scaling benchmark: ``torchrun --nproc-per-node 2 benchmarks/draw_share.py FILE``.

Two ranks draw half of the seeds each with one thread, then rank 0 draws all with two threads, in turns. Rank 0 writes
the seconds of both and how far the images differ to FILE.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import torch
import torch.distributed as dist

from benchmarks.cardiac import load_cardiac
from monai_bmaps.acceleration import fast_dtype

SEEDS, BATCH, ROUNDS = 8, 4, 3


def main(path: Path) -> None:
    """Measure on every rank; only rank 0 writes."""
    dist.init_process_group("gloo")
    rank, ranks = dist.get_rank(), dist.get_world_size()
    cardiac = load_cardiac()
    network, sampler = cardiac.fast_network(), cardiac.sampler(fast_dtype(torch.device("cpu")))
    seg, depth = cardiac.batch(SEEDS)

    def drawn(seeds: Sequence[int]) -> torch.Tensor:
        parts = (slice(first, first + BATCH) for first in range(seeds[0], seeds[-1] + 1, BATCH))
        return torch.cat([sampler(seg[p], network, depth=depth[p], seeds=range(SEEDS)[p]) for p in parts])

    share = range(SEEDS)[rank * SEEDS // ranks : (rank + 1) * SEEDS // ranks]
    alone, together = [], []
    for _ in range(ROUNDS + 1):
        torch.set_num_threads(1)
        dist.barrier()
        start = time.perf_counter()
        mine = drawn(share)
        dist.barrier()
        together.append(time.perf_counter() - start)
        torch.set_num_threads(ranks)
        start = time.perf_counter()
        whole = drawn(range(SEEDS)) if rank == 0 else mine
        alone.append(time.perf_counter() - start)
    gathered = [torch.empty_like(mine) for _ in range(ranks)] if rank == 0 else None
    dist.gather(mine, gathered)
    if gathered is not None:
        ratios = [a / b for a, b in zip(alone[1:], together[1:], strict=True)]
        found = {
            "together": statistics.median(together[1:]),
            "alone": statistics.median(alone[1:]),
            "ratio": statistics.median(ratios),
            "difference": float((torch.cat(gathered) - whole).abs().max()),
        }
        path.write_text(json.dumps(found))
    dist.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
