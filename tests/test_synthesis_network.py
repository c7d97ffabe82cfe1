"""Condition in, image out: whose weights it has, which depth it takes, and what a trace of it draws."""

from __future__ import annotations

import copy
import io
from collections.abc import Callable

import pytest
import torch
from conftest import traced_on_purpose
from monai.inferers import SimpleInferer
from monai.networks.utils import copy_model_state
from torch import Tensor, nn
from torch.nn import functional

from monai_bmaps import (
    BMap,
    BMapDiffusionInferer,
    BMapDPMSolverScheduler,
    BMapSynthesisInferer,
    SectorBeam,
    SynthesisNetwork,
)
from monai_bmaps.networks import PatchUNet

Maker = Callable[..., nn.Module]
SHAPE = (8, 12)
REFERENCE = SectorBeam(apex=(-1, 5.5), radii=(0, 18), half_angle_deg=90).depth_map(SHAPE)
ATTENTION = {"attention_levels": (False, True), "num_head_channels": 8, "use_flash_attention": True}


def condition(batch: int, shape: tuple[int, int] = SHAPE, classes: int = 3, seed: int = 0) -> Tensor:
    labels = torch.randint(classes, (batch, *shape), generator=torch.Generator().manual_seed(seed))
    return functional.one_hot(labels, classes).movedim(-1, 1).float()


def ramp(batch: int, shape: tuple[int, int] = SHAPE) -> Tensor:
    rows = torch.linspace(0.0, 1.0, shape[0]).reshape(1, 1, -1, 1).expand(batch, 1, *shape)
    return rows * torch.linspace(0.4, 1.0, batch).reshape(-1, 1, 1, 1)


def sampler(amp_dtype: object = None, **arguments: object) -> BMapSynthesisInferer:
    scheduler = BMapDPMSolverScheduler(num_train_timesteps=100, b_map=BMap.from_attenuation(db=44.0))
    inferer = BMapDiffusionInferer(scheduler, noise_level_channel=True, amp_dtype=amp_dtype)
    return BMapSynthesisInferer(inferer, num_inference_steps=3, verbose=False, **arguments)


def network(make: Maker, classes: int = 3, depth: Tensor = REFERENCE, **arguments: object) -> SynthesisNetwork:
    denoiser = PatchUNet(make(4 * (1 + classes + 1), 4, **ATTENTION))
    return SynthesisNetwork(denoiser, sampler(**arguments), depth).eval()


# what it draws


def test_it_draws_what_the_sampler_draws_from_the_same_seeds(tiny_unet: Maker) -> None:
    drawing, seg, depth = network(tiny_unet), condition(2), ramp(2)
    expected = sampler()(seg, drawing.denoiser, depth=depth, seeds=[3, 9])
    assert torch.equal(drawing(seg, depth, seeds=[3, 9]), expected)


def test_it_is_called_as_monais_inferers_call_networks(tiny_unet: Maker) -> None:
    drawing, seg = network(tiny_unet), condition(2)
    drawn = SimpleInferer()(seg, drawing, depth=ramp(2), seeds=[3, 9])
    assert torch.equal(drawn, drawing(seg, ramp(2), seeds=[3, 9]))


def test_a_given_image_is_kept_where_it_is_to_be_kept(tiny_unet: Maker) -> None:
    seg, image, keep = condition(1), torch.full((1, 1, *SHAPE), 0.25), torch.zeros(1, 1, *SHAPE, dtype=torch.bool)
    keep[..., 6:] = True
    drawn = network(tiny_unet)(seg, ramp(1), [1], image, keep)
    assert bool((drawn[keep] == 0.25).all())
    assert float((drawn - image)[~keep].abs().mean()) > 0.05


def test_without_seeds_the_global_state_decides(tiny_unet: Maker) -> None:
    drawing, seg, drawn = network(tiny_unet), condition(2), []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        drawn.append(drawing(seg))
    assert torch.equal(drawn[0], drawn[1])
    assert float((drawn[0] - drawn[2]).abs().mean()) > 0.05


def test_two_channels_inside_and_outside_draw_without_labels(tiny_unet: Maker) -> None:
    seg = condition(2, classes=2)
    drawn = network(tiny_unet, classes=2)(seg, seeds=[1, 2])
    assert bool((drawn[seg[:, :1] == 1] == -1).all())
    assert float(drawn[seg[:, :1] == 0].std()) > 0.1


# the depth it takes


def test_without_depth_the_reference_is_taken_and_is_zero_outside_the_beam(tiny_unet: Maker) -> None:
    drawing, seg = network(tiny_unet), condition(2)
    given = torch.where(seg[:, :1] == 1, 0.0, REFERENCE)
    assert torch.equal(drawing(seg, seeds=[3, 9]), drawing(seg, given, seeds=[3, 9]))


def test_the_reference_is_resized_without_inventing_depths(tiny_unet: Maker) -> None:
    depth = network(tiny_unet).depth_for(torch.zeros(1, 3, 16, 36))
    assert depth.shape == (1, 1, 16, 36)
    assert torch.equal(depth[0, 0, ::2, 1::3], REFERENCE)
    assert set(depth.flatten().tolist()) <= set(REFERENCE.flatten().tolist())


@pytest.mark.parametrize(
    ("depth", "message"), [(torch.full(SHAPE, 2.0), r"must lie in \[0, 1\]"), (ramp(2), "one map")]
)
def test_a_reference_that_is_no_depth_map_is_refused(tiny_unet: Maker, depth: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        network(tiny_unet, depth=depth)


# its weights are the denoiser's


def test_its_state_is_the_denoisers_name_for_name(tiny_unet: Maker) -> None:
    drawing = network(tiny_unet)
    own, expected = drawing.state_dict(), drawing.denoiser.state_dict()
    assert list(own) == list(expected)
    assert all(own[name].data_ptr() == expected[name].data_ptr() for name in own)


@pytest.mark.parametrize("way", ["strict", "assigned", "monai", "inside another module"])
def test_weights_of_a_denoiser_load_into_it(tiny_unet: Maker, way: str) -> None:
    drawing = network(tiny_unet)
    weights = {name: torch.full_like(value, 0.125) for name, value in drawing.denoiser.state_dict().items()}
    if way == "monai":
        copy_model_state(dst=drawing, src=weights)
    elif way == "inside another module":
        outer = nn.ModuleDict({"one": drawing})
        outer.load_state_dict({f"one.{name}": value for name, value in weights.items()})
        assert list(outer.state_dict()) == [f"one.{name}" for name in weights]
    else:
        drawing.load_state_dict(weights, assign=way == "assigned")
    assert all(bool((parameter == 0.125).all()) for parameter in drawing.parameters())


def test_weights_of_another_network_are_refused_by_their_own_names(tiny_unet: Maker) -> None:
    drawing = network(tiny_unet)
    weights = dict(drawing.state_dict())
    first = next(iter(weights))
    weights["more"] = weights.pop(first)
    with pytest.raises(RuntimeError, match=rf'Missing key\(s\) in state_dict: "{first}"(.|\n)*Unexpected.*"more"'):
        drawing.load_state_dict(weights)


def test_a_copy_draws_the_same_and_shares_no_weights(tiny_unet: Maker) -> None:
    drawing, seg = network(tiny_unet), condition(1)
    copied = copy.deepcopy(drawing)
    expected = drawing(seg, seeds=[1])
    for parameter in drawing.parameters():
        parameter.data.zero_()
    assert torch.equal(copied(seg, seeds=[1]), expected)


# traces


def through_a_file(trace: torch.jit.ScriptModule) -> torch.jit.ScriptModule:
    buffer = io.BytesIO()
    torch.jit.save(trace, buffer)
    buffer.seek(0)
    return torch.jit.load(buffer)


def seeded(drawing: Callable[..., Tensor], *given: Tensor) -> Tensor:
    torch.manual_seed(5)
    with torch.no_grad():
        return drawing(*given)


@traced_on_purpose
@pytest.mark.parametrize("arguments", [{}, {"cfg": 1.5, "cfg_interval": (0.3, 0.9)}], ids=["plain", "guided"])
def test_a_trace_draws_the_same_at_other_numbers_and_sizes(tiny_unet: Maker, arguments: dict[str, object]) -> None:
    drawing = network(tiny_unet, **arguments)
    seeded(drawing, condition(1, seed=7))  # what an earlier call has computed must not become a constant
    trace = through_a_file(torch.jit.trace(drawing, (condition(1, seed=7),), check_trace=False))
    for seg in (condition(1), condition(3, (16, 20), seed=2)):
        expected = seeded(drawing, seg)
        assert float(expected.std()) > 0.1
        assert torch.allclose(seeded(trace, seg), expected, atol=2e-5)


@traced_on_purpose
def test_a_trace_with_depth_takes_other_depths(tiny_unet: Maker) -> None:
    drawing = network(tiny_unet)
    equal = ramp(1).expand(2, 1, *SHAPE)  # equal maps share coefficients, but not in a trace
    trace = torch.jit.trace(drawing, (condition(2), equal), check_trace=False)
    seg, depth = condition(3, (16, 20), seed=2), ramp(3, (16, 20))
    expected = seeded(drawing, seg, depth)
    assert torch.allclose(seeded(trace, seg, depth), expected, atol=2e-5)
    assert not torch.allclose(seeded(drawing, seg, depth.flip(0)), expected, atol=1e-2)


@traced_on_purpose
def test_a_trace_is_in_single_precision_where_the_precision_is_the_devices(
    tiny_unet: Maker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("monai_bmaps.inferers.network_call.fast_dtype", lambda device: torch.bfloat16)
    drawing, seg = network(tiny_unet, amp_dtype="auto"), condition(2)
    trace = torch.jit.trace(drawing, (condition(1),), check_trace=False)
    single = seeded(network(tiny_unet), seg)
    assert torch.allclose(seeded(trace, seg), single, atol=2e-5)
    assert not torch.allclose(seeded(drawing, seg), single, atol=1e-3)


@traced_on_purpose
def test_scripting_is_refused_and_tracing_named(tiny_unet: Maker) -> None:
    with pytest.raises(TypeError, match="cannot be scripted, its sampling loop is Python: trace it"):
        torch.jit.script(network(tiny_unet))


@traced_on_purpose
def test_tracing_leaves_the_network_as_it_was(tiny_unet: Maker) -> None:
    drawing, seg = network(tiny_unet), condition(2)
    expected = drawing(seg, ramp(2), seeds=[1, 2])
    torch.jit.trace(drawing, (condition(1),), check_trace=False)
    assert torch.equal(drawing(seg, ramp(2), seeds=[1, 2]), expected)
