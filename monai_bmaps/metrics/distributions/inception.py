"""Features of the FID Inception's first and second max-pool (64 and 192), in which distributions are compared.

The variant is pytorch-fid's with ``dims`` 64 or 192: half-pixel bilinear resize to 299 without antialiasing,
BatchNorm eps 1e-3, spatial mean. torch-fidelity and torchmetrics resize otherwise and give other numbers.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional

from monai_bmaps.files import read_tensors

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


def _checkpoint(path: str | Path | None) -> Mapping[str, torch.Tensor]:
    """Return the tensors of a local file, or of pytorch-fid's public one."""
    if path is None:
        return _published_checkpoint()
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no weights at {path}; give {_WEIGHTS_FILE} or a folded .npz, or None to download")
    return read_tensors(path)


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
