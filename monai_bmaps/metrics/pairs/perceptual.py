"""LPIPS, SSIM and PSNR of corresponding images: a synthetic one beside the real one of the same label map.

They are here because papers report them. A generator that draws another patient's speckle behind the same outlines is
right and far from the real frame; one that blurs is near. Compare with what two real patients are apart.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

import torch
from torch import nn

from monai_bmaps.files import read_tensors

Net: TypeAlias = Literal["alex", "squeeze", "vgg"]
"""Trunk of LPIPS."""

LPIPS_VERSION = "0.1"
SMALLEST_SIDE = 32
"""Of images for LPIPS, in pixels: AlexNet's pooling leaves nothing of smaller ones."""
SSIM_WINDOW = 11
"""Side of SSIM's Gaussian window in pixels; its standard deviation is 1.5 pixels."""
VARIANTS = {
    "ssim": f"torchmetrics, Gaussian window {SSIM_WINDOW} x {SSIM_WINDOW}, sigma 1.5, data range 1",
    "psnr": "torchmetrics, data range 1",
}
"""What exactly SSIM and PSNR are here."""

_INSTALL = 'pip install "monai-bmaps[metrics]"'
_MARKS: dict[Net, str] = {"squeeze": "features.12.squeeze.weight", "vgg": "features.28.weight"}


class Lpips:
    """LPIPS v0.1 as the ``lpips`` package computes it, with the linear weights it brings.

    Args:
        weights: the trunk: torchvision's file of AlexNet, SqueezeNet 1.1 or VGG16, or a ``.npz`` of its ``features.*``
            (with ``lin<i>`` vectors, these count instead of the package's). ``None`` lets torchvision download it on
            first use, into torch hub's cache.
        net: the trunk's kind; ``None``: what the file is, AlexNet without a file.

    Raises:
        ImportError: ``lpips`` is not installed.
        OSError: no file, or the download failed.
        ValueError: a file that lacks a tensor, or holds another network than ``net``.

    Source: Zhang et al. 2018, https://arxiv.org/abs/1801.03924.
    """

    def __init__(self, weights: str | Path | None = None, net: Net | None = None) -> None:
        if net is not None and net not in get_args(Net):
            raise ValueError(f"net must be one of {', '.join(get_args(Net))}, got {net!r}")
        tensors = None if weights is None else _tensors(Path(weights))
        kind: Net = _kind_of(tensors) if tensors is not None else net or "alex"
        if net not in (None, kind):
            raise ValueError(f"{weights} holds a trunk of {kind}, not of {net}; leave net out or give the other file")
        self.net = kind
        self._model = _published(kind) if tensors is None else _filled(kind, tensors, Path(str(weights)))

    @property
    def variant(self) -> str:
        """What exactly is computed: ``LPIPS v0.1, alex``."""
        return f"LPIPS v{LPIPS_VERSION}, {self.net}"

    @torch.inference_mode()
    def __call__(self, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        """Distances ``(N,)`` of corresponding images ``(N, 1 or 3, H, W)`` in [0, 1].

        Raises:
            ValueError: shapes that differ, images smaller than 32 pixels, or values out of range.
        """
        _check_pairs(first, second, SMALLEST_SIDE)
        pairs = zip(torch.split(first, 16), torch.split(second, 16), strict=True)
        found = [self._model(*(2 * x.float().expand(-1, 3, -1, -1) - 1 for x in pair)).flatten() for pair in pairs]
        return torch.cat(found)


def structural_similarity(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """SSIM ``(N,)`` of corresponding images ``(N, 1 or 3, H, W)`` in [0, 1], as torchmetrics computes it.

    Gaussian window of 11 x 11 pixels with sigma 1.5, K1 = .01, K2 = .03, data range 1; the mean over all pixels, with
    images mirrored at their border (scikit-image leaves the border out).

    Raises:
        ImportError: ``torchmetrics`` is not installed.
        ValueError: shapes that differ, images smaller than the window, or values out of range.
    """
    _check_pairs(first, second, SSIM_WINDOW)
    measure = _torchmetrics().structural_similarity_index_measure
    found: torch.Tensor = measure(first, second, data_range=1.0, kernel_size=SSIM_WINDOW, sigma=1.5, reduction="none")
    return found.reshape(len(first))


def peak_signal_to_noise(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """PSNR in dB ``(N,)`` of corresponding images ``(N, 1 or 3, H, W)`` in [0, 1] with data range 1, by torchmetrics.

    Infinite of equal images.

    Raises:
        ImportError: ``torchmetrics`` is not installed.
        ValueError: shapes that differ, or values out of range.
    """
    _check_pairs(first, second, 1)
    measure = _torchmetrics().peak_signal_noise_ratio
    found: torch.Tensor = measure(first, second, data_range=1.0, reduction="none", dim=(1, 2, 3))
    return found.reshape(len(first))


def _check_pairs(first: torch.Tensor, second: torch.Tensor, smallest: int) -> None:
    if first.shape != second.shape or first.ndim != 4 or first.shape[1] not in (1, 3) or 0 in first.shape:
        raise ValueError(
            f"corresponding images must both be (N, 1 or 3, H, W), got {tuple(first.shape)} and {tuple(second.shape)}"
        )
    if min(first.shape[2:]) < smallest:
        raise ValueError(f"images must have at least {smallest} pixels a side, got {tuple(first.shape[2:])}")
    for images in (first, second):
        low, high = (float(bound) for bound in images.aminmax())
        if not (low >= 0 and high <= 1):
            raise ValueError(f"images must lie in [0, 1], got [{low:.4g}, {high:.4g}]")


def _torchmetrics() -> Any:
    try:
        from torchmetrics.functional import image
    except ImportError as error:
        raise ImportError(f"SSIM and PSNR need torchmetrics: {_INSTALL}") from error
    return image


@contextlib.contextmanager
def _lpips() -> Iterator[Any]:
    """The package, whose way to ask torchvision for a network is deprecated, and whose random start is not ours."""
    try:
        import lpips
    except ImportError as error:
        raise ImportError(f"LPIPS needs lpips: {_INSTALL}") from error
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=UserWarning, module="torchvision")
        yield lpips


def _published(net: Net) -> nn.Module:
    try:
        with _lpips() as lpips:
            model: nn.Module = lpips.LPIPS(net=net, version=LPIPS_VERSION, verbose=False)
    except OSError as error:
        raise OSError(
            f"cannot download torchvision's {net} for LPIPS ({error}); offline, give the file: --lpips FILE, or "
            "Lpips('path/to/file')"
        ) from error
    return model.eval().requires_grad_(False)


def _tensors(path: Path) -> Mapping[str, torch.Tensor]:
    if not path.is_file():
        raise FileNotFoundError(
            f"no weights of LPIPS at {path}; give torchvision's file of the trunk, a .npz of its features, or none to "
            "download"
        )
    return read_tensors(path)


def _kind_of(tensors: Mapping[str, torch.Tensor]) -> Net:
    return next((net for net, mark in _MARKS.items() if mark in tensors), "alex")


def _filled(net: Net, tensors: Mapping[str, torch.Tensor], path: Path) -> nn.Module:
    """The network with a trunk from a file; its parameters keep the trunk's numbers behind the names of slices."""
    with _lpips() as lpips:
        model: nn.Module = lpips.LPIPS(net=net, version=LPIPS_VERSION, pnet_rand=True, verbose=False)
    state = {}
    for name, known in model.state_dict().items():
        source = _source_of(name)
        if source in tensors:
            state[name] = tensors[source].reshape(known.shape)
        elif name.startswith("net."):
            raise ValueError(f"{path} lacks {source} of a trunk of {net}; give torchvision's file or a .npz of it")
    model.load_state_dict(state, strict=False)
    return model.eval().requires_grad_(False)


def _source_of(name: str) -> str:
    """Key in the file of a parameter: ``net.slice2.3.weight`` is ``features.3.weight``."""
    parts = name.split(".")
    if parts[0] == "net":
        return ".".join(["features", *parts[2:]])
    return parts[0] if parts[0] != "lins" else f"lin{parts[1]}"
