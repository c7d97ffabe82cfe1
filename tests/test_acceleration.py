"""Faster evaluations that compute the same; batches that fit; a compiler that may fail."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import monai.networks.nets
import pytest
import torch
from conftest import LABELS
from monai.networks.blocks.crossattention import CrossAttentionBlock
from monai.networks.blocks.selfattention import SABlock
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

from monai_bmaps import acceleration
from monai_bmaps.acceleration import CompiledNetwork, accelerate, fast_dtype, fitting_batch_size
from monai_bmaps.networks import PatchUNet, SPADEDiffusionModelUNet

Maker = Callable[..., nn.Module]
SHAPE = (16, 24)
ATTENTION = {"attention_levels": (False, True), "num_head_channels": 8}


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def networks(tiny_unet: Maker, tiny_spade: Maker) -> dict[str, tuple[nn.Module, dict[str, Tensor]]]:
    """Networks with attention, and what they take beside the image."""
    seg = torch.zeros(2, LABELS, *SHAPE)
    seg[:, 0, :9], seg[:, 1, 9:] = 1.0, 1.0
    crossed = {"with_conditioning": True, "cross_attention_dim": 5}
    return {
        "plain": (tiny_unet(**ATTENTION), {}),
        "cross-attention": (tiny_unet(**ATTENTION, **crossed), {"context": randn(2, 3, 5, seed=2)}),
        "spade": (tiny_spade(**ATTENTION), {"seg": seg}),
        "monai's spade": (tiny_spade(monai.networks.nets.SPADEDiffusionModelUNet, **ATTENTION), {"seg": seg}),
        "patches": (PatchUNet(tiny_unet(4, 4, **ATTENTION)), {}),
    }


each_network = pytest.mark.parametrize("name", ["plain", "cross-attention", "spade", "monai's spade", "patches"])


def evaluated(network: nn.Module, keywords: dict[str, Tensor]) -> Tensor:
    with torch.inference_mode():
        return network(randn(2, 1, *SHAPE), timesteps=torch.tensor([3, 700]), **keywords)


def attention(network: nn.Module) -> list[nn.Module]:
    return [block for block in network.modules() if isinstance(block, (SABlock, CrossAttentionBlock))]


# accelerate


@each_network
def test_an_accelerated_network_computes_the_same(tiny_unet: Maker, tiny_spade: Maker, name: str) -> None:
    network, keywords = networks(tiny_unet, tiny_spade)[name]
    expected = evaluated(network, keywords)
    assert float(expected.std()) > 0.1
    assert len(attention(network)) >= 2
    result = evaluated(accelerate(network), keywords)
    assert all(block.use_flash_attention for block in attention(network))
    torch.testing.assert_close(result, expected, rtol=1e-5, atol=1e-5)


@each_network
def test_an_accelerated_network_has_the_same_weights_under_the_same_names(
    tiny_unet: Maker, tiny_spade: Maker, name: str
) -> None:
    network, _ = networks(tiny_unet, tiny_spade)[name]
    before = {key: value.clone() for key, value in network.state_dict().items()}
    after = accelerate(network).state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[key], value) for key, value in before.items())


def test_an_accelerated_network_is_the_same_object_in_evaluation_mode_with_channels_last(tiny_unet: Maker) -> None:
    network = tiny_unet(**ATTENTION).train()
    assert accelerate(network) is network
    assert not any(module.training for module in network.modules())
    kernels = [p for p in network.parameters() if p.ndim == 4 and p.shape[1] > 1 and p.shape[2] > 1]
    assert kernels
    assert all(p.is_contiguous(memory_format=torch.channels_last) for p in kernels)


def test_a_network_without_attention_is_accelerated_too() -> None:
    network = nn.Sequential(nn.Conv2d(2, 3, 3), nn.SiLU())
    image = randn(1, 2, 5, 7)
    expected = network(image)
    torch.testing.assert_close(accelerate(network)(image), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("settings", "fused"),
    [
        ({}, True),
        ({"dropout_rate": 0.1}, False),
        ({"save_attn": True}, False),
        ({"rel_pos_embedding": "decomposed", "input_size": (4, 6)}, False),
        ({"causal": True, "sequence_length": 24}, False),
    ],
    ids=["plain", "dropout", "kept weights", "relative positions", "causal"],
)
@pytest.mark.parametrize("kind", [SABlock, CrossAttentionBlock])
def test_attention_is_fused_only_where_that_computes_the_same(
    kind: type[nn.Module], settings: dict[str, Any], fused: bool
) -> None:
    torch.manual_seed(0)
    block = kind(hidden_size=8, num_heads=2, **settings).eval()
    tokens = randn(2, 24, 8)
    expected = block(tokens)
    accelerate(nn.Sequential(block))
    assert block.use_flash_attention is fused
    for _ in range(2):  # dropout would make them differ
        torch.testing.assert_close(block(tokens), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("mode", ["fastest", "", "max-autotune-no-cudagraphs"])
def test_an_unknown_compile_mode_is_refused(mode: Any) -> None:
    network = nn.Conv2d(1, 1, 3).train()
    with pytest.raises(ValueError, match="compile_mode must be one of default, reduce-overhead, max-autotune, got"):
        accelerate(network, mode)
    assert network.training  # and the network is left as it was


# compilation


class Compiler:
    """Stands for ``torch.compile``, which takes long: what it makes doubles the network's output, or fails."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error, self.calls = error, 0
        self.modes: list[str] = []

    def __call__(self, network: nn.Module, mode: str) -> nn.Module:
        self.modes.append(mode)
        return Compiled(self, network)


class Compiled(nn.Module):
    """As torch's: a module around the network, whose results lie in one buffer as with CUDA graphs."""

    def __init__(self, compiler: Compiler, network: nn.Module) -> None:
        super().__init__()
        self.compiler, self._orig_mod = compiler, network
        self.buffer: Tensor | None = None

    def forward(self, *args: Any, **keywords: Any) -> Tensor:
        self.compiler.calls += 1
        if self.compiler.error is not None:
            raise self.compiler.error
        result = 2 * self._orig_mod(*args, **keywords)
        self.buffer = torch.empty_like(result) if self.buffer is None else self.buffer
        return self.buffer.copy_(result)


@pytest.fixture
def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Conv2d(1, 1, 3, padding=1).requires_grad_(False)


def test_a_compiled_network_runs_as_compiled_in_the_mode_asked_for(
    monkeypatch: pytest.MonkeyPatch, network: nn.Module
) -> None:
    monkeypatch.setattr(torch, "compile", compiler := Compiler())
    result = accelerate(network, "reduce-overhead")(randn(1, 1, 5, 7))
    assert compiler.modes == ["reduce-overhead"]
    assert torch.equal(result, 2 * network(randn(1, 1, 5, 7)))


def test_the_next_evaluation_leaves_the_result_of_the_one_before(
    monkeypatch: pytest.MonkeyPatch, network: nn.Module
) -> None:
    monkeypatch.setattr(torch, "compile", Compiler())
    compiled = accelerate(network, "default")
    first = compiled(randn(1, 1, 5, 7))
    compiled(randn(1, 1, 5, 7, seed=1))
    assert torch.equal(first, 2 * network(randn(1, 1, 5, 7)))


def test_a_compiler_that_fails_warns_once_and_the_network_runs_as_it_is(
    monkeypatch: pytest.MonkeyPatch, network: nn.Module
) -> None:
    monkeypatch.setattr(torch, "compile", compiler := Compiler(RuntimeError("no compiler in sight")))
    compiled, image = accelerate(network, "default"), randn(1, 1, 5, 7)
    with pytest.warns(UserWarning, match="torch.compile failed, going on without it: no compiler in sight"):
        result = compiled(image)
    assert torch.equal(result, network(image))
    assert torch.equal(compiled(image), result)  # and warnings are errors here
    assert compiler.calls == 1


def test_memory_that_ran_out_is_not_taken_for_a_failed_compilation(
    monkeypatch: pytest.MonkeyPatch, network: nn.Module
) -> None:
    monkeypatch.setattr(torch, "compile", Compiler(torch.cuda.OutOfMemoryError("out of memory")))
    with pytest.raises(torch.cuda.OutOfMemoryError):
        accelerate(network, "default")(randn(1, 1, 5, 7))


def test_a_mistake_of_the_caller_is_still_an_error(monkeypatch: pytest.MonkeyPatch, network: nn.Module) -> None:
    monkeypatch.setattr(torch, "compile", Compiler())
    with pytest.warns(UserWarning, match="torch.compile failed"), pytest.raises(RuntimeError, match="channels"):
        accelerate(network, "default")(randn(1, 2, 5, 7))


class Drawing(nn.Module):
    """A network that evaluates its denoiser again and again."""

    def __init__(self, denoiser: nn.Module) -> None:
        super().__init__()
        self.denoiser = denoiser

    def forward(self, image: Tensor) -> Tensor:
        return self.denoiser(image) + 1.0


def test_of_a_network_that_draws_the_denoiser_is_compiled(monkeypatch: pytest.MonkeyPatch, network: nn.Module) -> None:
    monkeypatch.setattr(torch, "compile", compiler := Compiler())
    image = randn(1, 1, 5, 7)
    expected = 2.0 * network(image) + 1.0
    drawing = accelerate(Drawing(network), "default")
    assert isinstance(drawing, Drawing)
    torch.testing.assert_close(drawing(image), expected)
    assert compiler.calls == 1


def test_a_compiled_network_holds_every_weight_once(monkeypatch: pytest.MonkeyPatch, network: nn.Module) -> None:
    monkeypatch.setattr(torch, "compile", Compiler())
    compiled = accelerate(network, "default")
    assert isinstance(compiled, CompiledNetwork)
    assert list(compiled.state_dict()) == [f"network.{key}" for key in network.state_dict()]
    assert [id(p) for p in compiled.parameters()] == [id(p) for p in network.parameters()]


# fast_dtype


@pytest.fixture
def fresh_dtype() -> Iterator[None]:
    fast_dtype.cache_clear()
    yield
    fast_dtype.cache_clear()


@pytest.mark.parametrize(
    ("capability", "expected"),
    [((9, 0), torch.bfloat16), ((8, 0), torch.bfloat16), ((7, 5), torch.float16), ((6, 1), torch.float16)],
)
def test_nvidia_gpus_take_bfloat16_from_ampere_on(
    monkeypatch: pytest.MonkeyPatch, fresh_dtype: None, capability: tuple[int, int], expected: torch.dtype
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    assert fast_dtype(torch.device("cuda", 0)) == expected


@pytest.mark.parametrize(
    ("capabilities", "expected"),
    [
        ({"avx512_bf16": True, "amx_bf16": False}, torch.bfloat16),
        ({"avx512_bf16": False, "amx_bf16": True}, torch.bfloat16),
        ({"avx512_bf16": False, "amx_bf16": False, "avx2": True}, None),
        ({"avx2": True}, None),
    ],
)
def test_processors_take_bfloat16_where_they_compute_in_it(
    monkeypatch: pytest.MonkeyPatch, fresh_dtype: None, capabilities: dict[str, bool], expected: torch.dtype | None
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)
    assert fast_dtype(torch.device("cpu")) == expected


@pytest.mark.parametrize(("supported", "expected"), [(True, torch.bfloat16), (False, None)])
def test_older_versions_of_torch_are_asked_their_way(
    monkeypatch: pytest.MonkeyPatch, fresh_dtype: None, supported: bool, expected: torch.dtype | None
) -> None:
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: supported, raising=False)
    assert fast_dtype(torch.device("cpu")) == expected


def test_a_version_of_torch_that_cannot_tell_is_not_trusted(monkeypatch: pytest.MonkeyPatch, fresh_dtype: None) -> None:
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    monkeypatch.delattr(torch.cpu, "_is_avx512_bf16_supported", raising=False)
    assert fast_dtype(torch.device("cpu")) is None


@pytest.mark.parametrize("device", ["mps", "meta"])
def test_other_devices_stay_in_single_precision(fresh_dtype: None, device: str) -> None:
    assert fast_dtype(torch.device(device)) is None


# fitting_batch_size


def stack(width: int = 32) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(16, width, 3, padding=1), nn.SiLU(), nn.Conv2d(width, width, 3, padding=1), nn.SiLU()
    ).eval()


def batch_size(monkeypatch: pytest.MonkeyPatch, network: nn.Module, free: float, image: Tensor) -> int:
    monkeypatch.setattr(acceleration, "_free_memory", lambda: int(free))
    return fitting_batch_size(network, image)


def test_more_free_memory_never_means_smaller_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    image, network = torch.zeros(1, 16, 16, 24), stack()
    sizes = [batch_size(monkeypatch, network, 2**k, image) for k in range(10, 32)]
    assert sizes == sorted(sizes)
    assert len(set(sizes)) > 3
    assert (sizes[0], sizes[-1]) == (1, 8)


def test_no_free_memory_still_means_one_image(monkeypatch: pytest.MonkeyPatch) -> None:
    assert batch_size(monkeypatch, stack(), 0, torch.zeros(1, 16, 8, 12)) == 1


def test_larger_images_mean_smaller_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = [batch_size(monkeypatch, stack(), 12e6, torch.zeros(1, 16, 24 * k, 36 * k)) for k in (1, 2, 3)]
    assert sizes[0] > sizes[1] > sizes[2]


def peak(network: nn.Module, image: Tensor) -> int:
    """Most bytes that the allocator had handed out at once during an evaluation."""
    with torch.inference_mode():
        network(image)
        with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as record:
            network(image)
    changes = [event for event in record.profiler.kineto_results.events() if event.name() == "[memory]"]
    live = highest = 0
    for change in sorted(changes, key=lambda event: event.start_ns()):
        live += change.nbytes()
        highest = max(highest, live)
    return highest


@pytest.mark.parametrize(
    ("network", "shape"),
    [(stack(), (1, 16, 64, 96)), (SABlock(16, 2).eval(), (1, 512, 16))],
    ids=["layers", "attention"],
)
def test_what_fits_is_not_more_than_the_peak_allows(
    monkeypatch: pytest.MonkeyPatch, network: nn.Module, shape: tuple[int, ...]
) -> None:
    """Attention's largest matrices lie between layers."""
    image = torch.zeros(shape)
    needed = peak(network, image)
    assert needed > image.nbytes
    for images in (2, 4):
        share_of_free = images * needed / 0.6
        assert batch_size(monkeypatch, network, share_of_free, image) <= images
    assert batch_size(monkeypatch, network, 20 * needed, image) > 2  # and not out of all proportion


def test_a_compiled_network_is_measured_without_compiling_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "compile", compiler := Compiler())
    image = torch.zeros(1, 16, 16, 24)
    plain, compiled = stack(), accelerate(stack(), "default")
    assert batch_size(monkeypatch, compiled, 1e6, image) == batch_size(monkeypatch, plain, 1e6, image)
    assert compiler.calls == 0


def test_a_network_that_draws_is_measured_by_its_denoiser(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "compile", Compiler())
    image, plain = torch.zeros(1, 16, 16, 24), stack()
    drawing = accelerate(Drawing(stack()), "default")
    assert batch_size(monkeypatch, drawing, 1e6, image) == batch_size(monkeypatch, plain, 1e6, image)


def test_arguments_of_the_network_are_handed_on(tiny_spade: Maker) -> None:
    network: SPADEDiffusionModelUNet = tiny_spade()
    keywords = {"timesteps": torch.tensor([3]), "seg": torch.zeros(1, LABELS, *SHAPE)}
    assert fitting_batch_size(network, torch.zeros(1, 1, *SHAPE), **keywords) >= 1


def test_free_memory_is_some_number_of_bytes() -> None:
    assert acceleration._free_memory() > 2**20
