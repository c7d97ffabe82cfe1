"""Frechet distance between image sets at the FID Inception's first and second max-pool (64 and 192 features).

The variant is pytorch-fid's with ``dims`` 64 or 192: half-pixel bilinear resize to 299 without antialiasing,
BatchNorm eps 1e-3, spatial mean, covariance over ``N - 1``. torch-fidelity and torchmetrics resize otherwise
and give other numbers. Distances have the unit of squared features: compare them at one layer only.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional

_WEIGHTS_FILE = "pt_inception-2015-12-05-6726825d.pth"
_WEIGHTS_URL = f"https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/{_WEIGHTS_FILE}"
_BATCH_NORM_EPS = 1e-3  # TensorFlow's; PyTorch's default is 1e-5
_INPUT_SIZE = (299, 299)


class InceptionStem(nn.Module):
    """The FID Inception's five convolutions up to its second max-pool, BatchNorm folded into them.

    The constructor leaves the weights random; ``InceptionStem.load`` gives the published network.
    The paper's metric: Dominguez et al. 2024, https://arxiv.org/abs/2407.05428.
    """

    def __init__(self) -> None:
        super().__init__()
        # pytorch-fid's layer names, which are also the keys of the folded .npz
        self.Conv2d_1a_3x3 = nn.Conv2d(3, 32, 3, stride=2)
        self.Conv2d_2a_3x3 = nn.Conv2d(32, 32, 3)
        self.Conv2d_2b_3x3 = nn.Conv2d(32, 64, 3, padding=1)
        self.Conv2d_3b_1x1 = nn.Conv2d(64, 80, 1)
        self.Conv2d_4a_3x3 = nn.Conv2d(80, 192, 3)

    @classmethod
    def load(cls, path: str | Path | None = None) -> InceptionStem:
        """Return the frozen network with the weights of a file, on the CPU, in the file's precision.

        Args:
            path: pytorch-fid's ``pt_inception-2015-12-05-6726825d.pth``, or a ``.npz`` of folded
                ``<layer>.weight`` and ``<layer>.bias``. None downloads pytorch-fid's file (about 90 MB) into
                torch hub's cache on first use.

        Raises:
            FileNotFoundError: ``path`` is no file.
            OSError: the download failed.
            ValueError: the file lacks a tensor of the stem.
        """
        # no random initialisation: loading a metric must not move the global generator
        with torch.device("meta"):
            stem = cls()
        layers = [name for name, _ in stem.named_children()]
        stem.load_state_dict(_folded(_checkpoint(path), layers), assign=True)
        # channels last is 1.5 to 2 times as fast on a CPU
        return stem.to(memory_format=torch.channels_last).eval().requires_grad_(False)

    def forward(self, images: torch.Tensor) -> dict[int, torch.Tensor]:
        """Return the spatial means after the first and the second max-pool.

        Args:
            images: ``(N, 1 or 3, H, W)``, floating point in [0, 1]; one grey channel is repeated to three.

        Returns:
            ``{64: (N, 64), 192: (N, 192)}`` in the precision of the weights.
        """
        _check_images(images)
        # as_subclass sheds MONAI's MetaTensor
        images = images.as_subclass(torch.Tensor).to(self.Conv2d_1a_3x3.weight.dtype)
        with torch.autocast(images.device.type, enabled=False):  # half precision would change the metric
            x = functional.interpolate(images, size=_INPUT_SIZE, mode="bilinear", align_corners=False)
            x = (2 * x - 1).expand(-1, 3, -1, -1)
            x = functional.relu(self.Conv2d_1a_3x3(x))
            x = functional.relu(self.Conv2d_2a_3x3(x))
            x = functional.relu(self.Conv2d_2b_3x3(x))
            first = functional.max_pool2d(x, kernel_size=3, stride=2)
            x = functional.relu(self.Conv2d_3b_1x1(first))
            x = functional.relu(self.Conv2d_4a_3x3(x))
            second = functional.max_pool2d(x, kernel_size=3, stride=2)
            return {64: first.mean((2, 3)), 192: second.mean((2, 3))}


@torch.inference_mode()
def stem_features(
    images: torch.Tensor | Iterable[torch.Tensor], stem: InceptionStem, *, batch_size: int = 8
) -> dict[int, torch.Tensor]:
    """Return the features of many images, in their order, on the CPU.

    pytorch-fid reads 8-bit files: to compare with its numbers, round to ``k / 255`` first.

    Args:
        images: ``(N, 1 or 3, H, W)``, or an iterable of such batches or of single ``(1 or 3, H, W)`` images;
            in [0, 1]. Sizes may differ from item to item.
        stem: the network; its device is where batches are computed.
        batch_size: the most images in one pass; consecutive images of one shape share a pass.

    Returns:
        ``{64: (N, 64), 192: (N, 192)}``.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}")
    device = next(stem.parameters()).device
    passes = [
        {pool: features.cpu() for pool, features in stem(batch.to(device)).items()}
        for batch in _batches(images, batch_size)
    ]
    if not passes:
        raise ValueError("images is empty; give at least one image (statistics need two)")
    return {pool: torch.cat([features[pool] for features in passes]) for pool in passes[0]}


@dataclass(frozen=True, eq=False, repr=False)
class FeatureStatistics:
    """Mean and covariance of the features of an image set: the Gaussian the Frechet distance compares.

    Args:
        mean: ``(F,)``, float64, on the CPU.
        covariance: ``(F, F)``, float64, symmetric, normalised by ``count - 1`` (``numpy.cov``'s default).
        count: number of images, at least 2. Few images bias the distance upwards, heavily so below a few
            times ``F``: beside a distance report the count and the distance of two real sets of that size.
    """

    mean: torch.Tensor
    covariance: torch.Tensor
    count: int

    def __post_init__(self) -> None:
        if self.count < 2:
            raise ValueError(f"count must be at least 2 images, got {self.count}; one image has no covariance")
        size = self.mean.numel()
        if self.mean.shape != (size,) or self.covariance.shape != (size, size):
            raise ValueError(
                "mean and covariance must have shapes (F,) and (F, F), "
                f"got {tuple(self.mean.shape)} and {tuple(self.covariance.shape)}"
            )
        for name, value in (("mean", self.mean), ("covariance", self.covariance)):
            if value.dtype != torch.float64 or value.device.type != "cpu":
                raise ValueError(f"{name} must be float64 on the CPU, got {value.dtype} on {value.device}")
            if not torch.isfinite(value).all():
                raise ValueError(f"{name} must be finite, got NaN or infinity; check the images")
        if not torch.allclose(self.covariance, self.covariance.T, rtol=1e-9, atol=1e-12):
            raise ValueError("covariance must be symmetric; build it with FeatureStatistics.from_features")

    @classmethod
    def from_features(cls, features: torch.Tensor) -> FeatureStatistics:
        """Return the statistics of ``features``, ``(N, F)`` with N at least 2, finite."""
        if features.ndim != 2:
            raise ValueError(f"features must have shape (N, F), got {tuple(features.shape)}")
        count = features.shape[0]
        if count < 2:
            raise ValueError(f"features must come from at least 2 images, got {count}; one image has no covariance")
        values = features.detach().as_subclass(torch.Tensor).cpu().double()  # cpu first: MPS has no float64
        mean = values.mean(0)
        deviation = values - mean
        return cls(mean=mean, covariance=deviation.T @ deviation / (count - 1), count=count)

    def __repr__(self) -> str:
        """Name what was measured, not 192 x 192 numbers."""
        return f"FeatureStatistics({self.mean.numel()} features of {self.count} images)"


def frechet_distance(a: FeatureStatistics, b: FeatureStatistics) -> float:
    """Return the squared 2-Wasserstein distance of two Gaussians, the quantity FID reports.

    ``|m_a - m_b|^2 + tr A + tr B - 2 tr (A^{1/2} B A^{1/2})^{1/2}``, whose last trace is the nuclear norm of
    ``A^{1/2} B^{1/2}``: real for covariances of any rank, where a root of ``A B`` may turn complex.

    >>> a = FeatureStatistics.from_features(torch.tensor([[0.0], [2.0]]))
    >>> b = FeatureStatistics.from_features(torch.tensor([[1.0], [3.0]]))
    >>> round(frechet_distance(a, b), 6)
    1.0

    Source: Dowson and Landau 1982, https://doi.org/10.1016/0047-259X(82)90077-X.
    """
    if a.mean.shape != b.mean.shape:
        raise ValueError(f"a and b must hold the same features, got {a.mean.numel()} and {b.mean.numel()}")
    offset = a.mean - b.mean
    # Singular values of the product, not roots of the eigenvalues of A^{1/2} B A^{1/2}: with fewer images
    # than features those roots would turn a round-off of 1e-16 into 1e-8.
    overlap = torch.linalg.svdvals(_square_root(a.covariance) @ _square_root(b.covariance)).sum()
    distance = float(offset @ offset + a.covariance.trace() + b.covariance.trace() - 2 * overlap)
    return max(distance, 0.0)  # equal sets end within round-off of 0, on either side


def _square_root(covariance: torch.Tensor) -> torch.Tensor:
    """Return the symmetric root, taking eigenvalues within round-off of 0 as 0."""
    values, vectors = torch.linalg.eigh(covariance)
    round_off = values.abs().max() * values.numel() * torch.finfo(values.dtype).eps
    values = torch.where(values > round_off, values, 0.0)
    root: torch.Tensor = (vectors * values.sqrt()) @ vectors.T
    return root


def _checkpoint(path: str | Path | None) -> Mapping[str, torch.Tensor]:
    """Return the tensors of a local file, or of pytorch-fid's public one."""
    if path is None:
        return _published_checkpoint()
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no weights at {path}; give {_WEIGHTS_FILE} or a folded .npz, or None to download")
    if path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as arrays:
            return {name: torch.from_numpy(arrays[name]) for name in arrays.files}
    tensors: Mapping[str, torch.Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    return tensors


def _published_checkpoint() -> Mapping[str, torch.Tensor]:
    """Return pytorch-fid's public checkpoint, from torch hub's cache after the first use."""
    try:
        tensors: Mapping[str, torch.Tensor] = torch.hub.load_state_dict_from_url(
            _WEIGHTS_URL, map_location="cpu", check_hash=True, weights_only=True
        )
    except OSError as error:
        raise OSError(
            f"cannot download {_WEIGHTS_FILE} from {_WEIGHTS_URL} ({error}); offline, copy the file here "
            f"and call InceptionStem.load('path/to/{_WEIGHTS_FILE}')"
        ) from error
    return tensors


def _folded(tensors: Mapping[str, torch.Tensor], layers: Iterable[str]) -> dict[str, torch.Tensor]:
    """Return each layer's ``.weight`` and ``.bias`` from a folded file, or fold pytorch-fid's BatchNorm."""
    state: dict[str, torch.Tensor] = {}
    for layer in layers:
        try:
            if f"{layer}.weight" in tensors:
                weight, bias = tensors[f"{layer}.weight"], tensors[f"{layer}.bias"]
            else:
                weight, bias = _fold_batch_norm(tensors, layer)
        except KeyError as error:
            raise ValueError(f"weights lack {error}; give pytorch-fid's {_WEIGHTS_FILE} or a folded .npz") from error
        state[f"{layer}.weight"], state[f"{layer}.bias"] = weight, bias
    return state


def _fold_batch_norm(tensors: Mapping[str, torch.Tensor], layer: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the kernel and bias of one convolution that equals ``bn(conv(x))`` in evaluation mode."""
    kernel = tensors[f"{layer}.conv.weight"]
    gain, shift, mean, variance = (
        tensors[f"{layer}.bn.{name}"].double() for name in ("weight", "bias", "running_mean", "running_var")
    )
    scale = gain / torch.sqrt(variance + _BATCH_NORM_EPS)
    weight = kernel.double() * scale[:, None, None, None]
    return weight.to(kernel.dtype), (shift - mean * scale).to(kernel.dtype)


def _check_images(images: torch.Tensor) -> None:
    """Raise unless ``images`` is ``(N, 1 or 3, H, W)``, not empty, floating point, in [0, 1]."""
    if images.ndim != 4 or images.shape[1] not in (1, 3) or images.numel() == 0:
        raise ValueError(f"images must have shape (N, 1 or 3, H, W) and not be empty, got {tuple(images.shape)}")
    if not images.is_floating_point():
        raise ValueError(f"images must be floating point in [0, 1], got {images.dtype}; divide 8-bit images by 255")
    low, high = (bound.item() for bound in images.aminmax())  # either is NaN if any pixel is
    if not (low >= 0 and high <= 1):
        raise ValueError(
            f"images must lie in [0, 1], got [{low:.4g}, {high:.4g}]; "
            "map a diffusion model's [-1, 1] by (x + 1) / 2 and clamp"
        )


def _batches(images: torch.Tensor | Iterable[torch.Tensor], batch_size: int) -> Iterator[torch.Tensor]:
    """Yield ``(n, C, H, W)`` with n at most ``batch_size``, regrouping consecutive images of one shape."""
    pending: list[torch.Tensor] = []
    for image in _single_images([images] if isinstance(images, torch.Tensor) else images):
        if pending and (len(pending) == batch_size or image.shape != pending[0].shape):
            yield torch.stack(pending)
            pending = []
        pending.append(image)
    if pending:
        yield torch.stack(pending)


def _single_images(items: Iterable[object]) -> Iterator[torch.Tensor]:
    """Yield every ``(C, H, W)`` of single images and batches."""
    for item in items:
        if not isinstance(item, torch.Tensor):
            name = type(item).__name__
            raise TypeError(
                f"images must be tensors, got {name}; of a loader, pass (batch['image'] for batch in loader)"
            )
        if item.ndim not in (3, 4):
            raise ValueError(f"images must have shape (N, C, H, W) or (C, H, W), got {tuple(item.shape)}")
        plain = item.as_subclass(torch.Tensor)
        yield from plain if plain.ndim == 4 else plain[None]
