"""Processes that torchrun numbered share a list without a rest, and each has its own device."""

from __future__ import annotations

import pytest
import torch

from monai_bmaps.ranks import device, rank_and_size, shard


def number(monkeypatch: pytest.MonkeyPatch, **environment: str | None) -> None:
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        if value is not None:
            monkeypatch.setenv(name, value)


def test_a_process_by_itself_has_all_items(monkeypatch: pytest.MonkeyPatch) -> None:
    number(monkeypatch)
    assert (rank_and_size(), shard("abcde")) == ((0, 1), [*"abcde"])


@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_together_the_processes_have_every_item_once(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    shards = []
    for rank in range(size):
        number(monkeypatch, RANK=str(rank), WORLD_SIZE=str(size))
        shards.append(shard(range(5)))
    assert sorted(item for part in shards for item in part) == [0, 1, 2, 3, 4]
    assert max(map(len, shards)) - min(map(len, shards)) <= 1


@pytest.mark.parametrize(
    ("rank", "size"), [("2", "2"), ("-1", "2"), ("0", "0"), ("one", "2"), ("0", "two"), ("0", None), (None, "2")]
)
def test_numbers_that_do_not_fit_are_refused(monkeypatch: pytest.MonkeyPatch, rank: str | None, size: str) -> None:
    number(monkeypatch, RANK=rank, WORLD_SIZE=size)
    with pytest.raises(ValueError, match=f"RANK={rank}, WORLD_SIZE={size}; start with torchrun, or unset both"):
        rank_and_size()


def test_without_gpus_every_process_computes_on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    number(monkeypatch, RANK="1", WORLD_SIZE="2", LOCAL_RANK="1")
    assert device() == torch.device("cpu")


@pytest.mark.parametrize(("local", "expected"), [(None, "cuda:0"), ("0", "cuda:0"), ("1", "cuda:1")])
def test_each_process_has_its_own_gpu(monkeypatch: pytest.MonkeyPatch, local: str | None, expected: str) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    number(monkeypatch, LOCAL_RANK=local)
    assert device() == torch.device(expected)


def test_more_processes_than_gpus_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    number(monkeypatch, LOCAL_RANK="2")
    with pytest.raises(ValueError, match=r"LOCAL_RANK is 2, but this machine shows 2 GPUs; .* --nproc_per_node=2"):
        device()
