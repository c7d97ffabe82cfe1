"""Weights read from files, and files that hold none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from monai_bmaps.files import read_tensors


def test_both_kinds_of_file_give_the_same_tensors(tmp_path: Path) -> None:
    tensors = {"a.weight": torch.arange(6.0).reshape(2, 3), "b": torch.tensor([1], dtype=torch.int64)}
    torch.save(tensors, tmp_path / "a.pt")
    np.savez(tmp_path / "a.npz", **{name: tensor.numpy() for name, tensor in tensors.items()})
    for name in ("a.pt", "a.npz"):
        found = read_tensors(tmp_path / name)
        assert list(found) == list(tensors)
        assert all(torch.equal(found[key], tensors[key]) and found[key].dtype == tensors[key].dtype for key in found)


@pytest.mark.parametrize("name", ["a.pt", "a.pth", "a.npz"])
@pytest.mark.parametrize("content", [b"", b"# A page\n", b"PK\x03\x04 half an archive"])
def test_a_file_without_weights_is_refused_with_its_name_and_size(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=rf"{name} \({len(content)} bytes\) is damaged or no file of weights"):
        read_tensors(tmp_path / name)


def test_a_file_of_one_tensor_is_no_file_of_weights(tmp_path: Path) -> None:
    torch.save(torch.zeros(2), tmp_path / "a.pt")
    with pytest.raises(ValueError, match="no file of weights"):
        read_tensors(tmp_path / "a.pt")


def test_code_in_a_file_does_not_run(tmp_path: Path) -> None:
    torch.save({"a": print}, tmp_path / "a.pt")
    with pytest.raises(ValueError, match="no file of weights"):
        read_tensors(tmp_path / "a.pt")
