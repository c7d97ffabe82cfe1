"""Faster network evaluations, chosen by what the device can do; the schedule is never touched."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from monai.networks.blocks.crossattention import CrossAttentionBlock
from monai.networks.blocks.selfattention import SABlock
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

CompileMode = Literal["default", "reduce-overhead", "max-autotune"]

_CPU_BATCH, _GPU_BATCH = 8, 64
_SHARE_OF_FREE = 0.6


@functools.lru_cache(maxsize=16)
def fast_dtype(device: torch.device) -> torch.dtype | None:
    """Half-precision type in which a device computes natively; ``None`` where single precision is the fastest.

    bfloat16 on processors with AVX512-BF16 or AMX and on NVIDIA GPUs from Ampere on, float16 on older ones.
    """
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.get_device_capability(device) >= (8, 0) else torch.float16
    return torch.bfloat16 if device.type == "cpu" and _processor_has_bfloat16() else None


def accelerate(network: nn.Module, compile_mode: CompileMode | None = None) -> nn.Module:
    """Prepare a trained network for sampling, in place: fused attention, channels-last weights, optionally compiled.

    What the network computes stays the same to rounding. Precision is not its concern: see the inferer's
    ``amp_dtype``.

    Args:
        network: MONAI's diffusion networks, or any other; attention is exchanged in MONAI's blocks only.
        compile_mode: mode of ``torch.compile``; ``"reduce-overhead"`` uses CUDA graphs on GPUs. Compiling takes up to
            minutes. If it fails, a warning says why and the network runs as it is.

    Returns:
        The network in evaluation mode, wrapped if it is to be compiled. Of a network that draws with a ``denoiser``
        that one is compiled, in its place.

    Raises:
        ValueError: an unknown mode.
    """
    if compile_mode is not None and compile_mode not in get_args(CompileMode):
        raise ValueError(f"compile_mode must be one of {', '.join(get_args(CompileMode))}, got {compile_mode!r}")
    for block in network.modules():
        if isinstance(block, (SABlock, CrossAttentionBlock)) and _may_be_fused(block):
            block.use_flash_attention = True
    network = network.eval().to(memory_format=torch.channels_last)
    if compile_mode is None:
        return network
    if isinstance(denoiser := getattr(network, "denoiser", None), nn.Module):
        network.denoiser = CompiledNetwork(denoiser, compile_mode)  # around it is a sampling loop
        return network
    return CompiledNetwork(network, compile_mode)


class CompiledNetwork(nn.Module):
    """A network under ``torch.compile`` that falls back to running as it is, with a warning, if that fails."""

    def __init__(self, network: nn.Module, mode: CompileMode) -> None:
        super().__init__()
        self.network = network
        compiled: Any = torch.compile(network, mode=mode)
        # the method alone: the compiled module would enter every weight a second time
        self._compiled: Callable[..., torch.Tensor] | None = compiled.__call__

    def forward(self, *args: Any, **keywords: Any) -> torch.Tensor:
        """As the network."""
        if self._compiled is not None:
            try:
                return self._compiled(*args, **keywords).clone()  # CUDA graphs write the next result over this one
            except torch.cuda.OutOfMemoryError:
                raise
            except Exception as error:
                warnings.warn(f"torch.compile failed, going on without it: {error}", stacklevel=2)
                self._compiled = None
        return torch.as_tensor(self.network(*args, **keywords))


def fitting_batch_size(network: nn.Module, image: torch.Tensor, **keywords: torch.Tensor) -> int:
    """How many images to draw at once: what fits into free memory, but no more than speeds sampling up.

    One evaluation on a single image is measured: on a GPU its peak, elsewhere the sum of what all its operations
    return, of which never everything lives at once. At most 8 on a CPU and 64 on a GPU, where throughput has levelled
    off.

    Args:
        network: on its device; a compiled one is measured as it was before, one that draws by its denoiser.
        image: network input of one image ``(1, C, H, W)``.
        keywords: further arguments of the network, for one image.

    Returns:
        At least 1.
    """
    network = getattr(network, "denoiser", network)
    network = network.network if isinstance(network, CompiledNetwork) else network
    device = next(network.parameters()).device
    image, keywords = image.to(device), {name: value.to(device) for name, value in keywords.items()}
    if device.type == "cuda":
        needed, free, limit = _peak(network, image, keywords, device), torch.cuda.mem_get_info(device)[0], _GPU_BATCH
    else:
        needed, free, limit = _sum_of_outputs(network, image, keywords), _free_memory(), _CPU_BATCH
    return max(1, min(limit, int(_SHARE_OF_FREE * free / max(needed, 1))))


def _may_be_fused(block: nn.Module) -> bool:
    """MONAI's fused path knows no relative positions and keeps no weights, and drops out in evaluation mode too."""
    return (
        not getattr(block, "dropout_rate", 0.0)
        and getattr(block, "rel_positional_embedding", None) is None
        and not getattr(block, "save_attn", False)
        and not getattr(block, "causal", False)
    )


def _processor_has_bfloat16() -> bool:
    if hasattr(torch.cpu, "get_capabilities"):
        known = torch.cpu.get_capabilities()
        return bool(known.get("avx512_bf16") or known.get("amx_bf16"))
    probe = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    return bool(probe and probe())


@torch.inference_mode()
def _peak(network: nn.Module, image: torch.Tensor, keywords: dict[str, torch.Tensor], device: torch.device) -> int:
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    network(image, **keywords)
    return torch.cuda.max_memory_allocated(device) - before


@torch.no_grad()
def _sum_of_outputs(network: nn.Module, image: torch.Tensor, keywords: dict[str, torch.Tensor]) -> int:
    returned = _Returned()
    with returned:
        network(image, **keywords)
    return returned.size


class _Returned(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Adds up the bytes of all new tensors: attention makes its largest ones between layers, not in them."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.size: int = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        given = {x.untyped_storage()._cdata for x in args if isinstance(x, torch.Tensor)}
        for x in result if isinstance(result, (tuple, list)) else (result,):
            if isinstance(x, torch.Tensor) and x.untyped_storage()._cdata not in given:
                self.size += x.numel() * x.element_size()
        return result


def _free_memory() -> int:
    """Memory that a process may still take: the kernel's estimate or a container's limit; 2 GiB where neither is."""
    free = []
    with suppress(OSError, KeyError, ValueError):
        lines = (line.partition(":") for line in Path("/proc/meminfo").read_text().splitlines())
        free.append(int({name: value for name, _, value in lines}["MemAvailable"].split()[0]) * 1024)
    with suppress(OSError, ValueError):  # ValueError: the limit is "max"
        limit, used = (int(Path("/sys/fs/cgroup", name).read_text()) for name in ("memory.max", "memory.current"))
        free.append(max(0, limit - used))
    return min(free, default=2 * 2**30)
