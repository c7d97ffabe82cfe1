"""Measure this package beside monai-generative, in an environment that has it; started by test_conversion.py.

Prints one JSON object: for each network how far the converted one's output is from the old one's, and for each of our
schedulers how far the old inferer's results are from ours.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from types import ModuleType
from typing import Any

import monai.config
import monai.networks.nets
import torch
from conftest import awake
from monai.utils import IgniteInfo
from torch import nn
from torch.nn import functional

from monai_bmaps import BMap, BMapDDIMScheduler, BMapDDPMScheduler, BMapDiffusionInferer, BMapDPMSolverScheduler
from monai_bmaps.conversion import convert_generative_weights
from monai_bmaps.networks import SPADEDiffusionModelUNet
from monai_bmaps.schedulers.base import BMapScheduler

SHAPE = (16, 24)
BATCH = 2
LABELS = 3
CONTEXT = 5
STEPS = 6
PLAIN, SPADE, OURS = "DiffusionModelUNet", "SPADEDiffusionModelUNet", "our SPADEDiffusionModelUNet"
CROSS = {"with_conditioning": True, "cross_attention_dim": CONTEXT, "transformer_num_layers": 2}
CASES: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    # name: (class, settings of both networks, settings that only MONAI's knows)
    "unconditional": (PLAIN, {}, {}),
    "unconditional, without projections": (PLAIN, {}, {"include_fc": False}),
    "unconditional, combined linear layers": (PLAIN, {}, {"use_combined_linear": True}),
    "residual resampling": (PLAIN, {"resblock_updown": True}, {}),
    "volumes": (PLAIN, {"spatial_dims": 3}, {}),
    "cross-attention": (PLAIN, CROSS, {}),
    "cross-attention, combined linear layers": (PLAIN, CROSS, {"use_combined_linear": True}),
    "class embedding": (PLAIN, {"num_class_embeds": 4}, {}),
    "spade": (SPADE, {}, {}),
    "spade, without projections": (SPADE, {}, {"include_fc": False}),
    "spade, residual resampling": (SPADE, {"resblock_updown": True}, {}),
    "spade, cross-attention": (SPADE, CROSS, {}),
    "spade, class embedding": (SPADE, {"num_class_embeds": 4}, {}),
    "our spade": (OURS, {}, {"spade_norm": "monai"}),
}
SCHEDULERS = (BMapDDPMScheduler, BMapDDIMScheduler, BMapDPMSolverScheduler)


def generative() -> ModuleType:
    """The old package; imported when called, so that this file's names can be had without it."""
    # moved in MONAI 1.4, after the old package's last release: https://github.com/Project-MONAI/MONAI/issues/8120
    monai.config.IgniteInfo = IgniteInfo
    import generative.inferers
    import generative.networks.nets
    import generative.networks.schedulers

    return generative


def pair(case: str) -> tuple[nn.Module, nn.Module]:
    """The old network, and MONAI's filled with its weights."""
    kind, settings, only_new = CASES[case]
    common = {"spatial_dims": 2, "in_channels": 1, "out_channels": 1, "num_res_blocks": 1, "norm_num_groups": 4}
    common |= {"attention_levels": (False, True), "num_head_channels": 4, **settings}
    if kind != PLAIN:
        common |= {"label_nc": LABELS, "spade_intermediate_channels": 8}
    old_class = getattr(generative().networks.nets, SPADE if kind == OURS else kind)
    new_class = SPADEDiffusionModelUNet if kind == OURS else getattr(monai.networks.nets, kind)
    old, new = awake(old_class(num_channels=(8, 16), **common)), new_class(channels=(8, 16), **common, **only_new)
    awake(new, seed=1).load_state_dict(convert_generative_weights(old.state_dict(), new))
    return old, new


def randn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def segmentation() -> torch.Tensor:
    """Another class in each corner of the image, and another place for each image."""
    labels = torch.zeros(BATCH, *SHAPE, dtype=torch.long)
    labels[0, :7, :9], labels[1, 5:, 13:] = 1, 2
    return functional.one_hot(labels, LABELS).movedim(-1, 1).float()


def called(network: nn.Module, case: str) -> torch.Tensor:
    """The output for fixed inputs of all the kinds that the network takes."""
    kind, settings, _ = CASES[case]
    given: dict[str, torch.Tensor] = {} if kind == PLAIN else {"seg": segmentation()}
    if "cross_attention_dim" in settings:
        given["context"] = randn(BATCH, 3, CONTEXT, seed=1)
    if "num_class_embeds" in settings:
        given["class_labels"] = torch.tensor([1, 3])
    x = randn(BATCH, 1, 4, 8, 12) if settings.get("spatial_dims") == 3 else randn(BATCH, 1, *SHAPE)
    with torch.no_grad():
        return network(x, timesteps=torch.tensor([3, 700]), **given)


def difference(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a - b).abs().max())


def forward_round_trip(case: str) -> dict[str, float]:
    """How far the converted network is from the old one, and how far it would be by two plausible mistakes."""
    old, new = pair(case)
    expected, converted = called(old, case), {name: value.clone() for name, value in new.state_dict().items()}
    result = {"spread": float(expected.std()), "difference": difference(called(new, case), expected)}
    applied = {
        name: old.state_dict()[name.replace("attn.out_proj", "proj_attn")]
        for name in converted
        if ".attn.out_proj." in name
    }
    untrained = {
        name: torch.full_like(value, float(name.endswith("weight")))
        for name, value in converted.items()
        if ".param_free_norm." in name
    }
    for mistake, weights in (("projection applied", applied), ("SPADE's normalisation untrained", untrained)):
        if weights:
            new.load_state_dict(converted | weights)
            result[mistake] = difference(called(new, case), expected)
    return result


def bound(kind: Callable[..., BMapScheduler]) -> BMapScheduler:
    """A scheduler with few steps, bound to a depth map for each image."""
    scheduler = kind(num_train_timesteps=1000, b_map=BMap.from_attenuation(db=44.0))
    scheduler.set_timesteps(STEPS)
    ramp = torch.linspace(0.0, 1.0, SHAPE[0]).reshape(1, 1, -1, 1).expand(BATCH, 1, *SHAPE)
    return scheduler.bind(ramp * torch.tensor([0.6, 1.0]).reshape(-1, 1, 1, 1))


def inferer_round_trip(case: str, kind: Callable[..., BMapScheduler]) -> dict[str, float]:
    """Training output and samples of the old inferer with the old network, against ours with either network."""
    old, new = pair(case)
    seg = {"seg": segmentation()} if CASES[case][0] != PLAIN else {}
    scheduler, theirs = bound(kind), generative().inferers.DiffusionInferer
    ours = BMapDiffusionInferer(scheduler, conditioning="spade")
    clean, noise = randn(BATCH, 1, *SHAPE).clamp(-1, 1), randn(BATCH, 1, *SHAPE, seed=1)
    timesteps = torch.tensor([9, 600])
    with torch.no_grad():
        trained = theirs(scheduler)(clean, old, noise, timesteps, **seg)
        result = {"training": difference(trained, ours(clean, old, noise, timesteps, **seg))}
    torch.manual_seed(0)
    sampled = theirs(bound(kind)).sample(noise, old, verbose=False, **seg)
    result |= {"training spread": float(trained.std()), "sample spread": float(sampled.std())}
    for name, network in (("sample", old), ("sample of the converted network", new)):
        torch.manual_seed(0)
        result[name] = difference(sampled, ours.sample(noise, network, verbose=False, **seg))
    return result


def old_chain(kind: str) -> dict[str, float]:
    """Samples of an old scheduler and of ours without a B-map, both in the old inferer with the old network."""
    # the old DDPM scheduler takes steps of length one whatever the number of steps, so it is given a chain of them all
    length = {"DDPM": STEPS, "DDIM": 1000}[kind]
    settings = {"num_train_timesteps": length, "schedule": "scaled_linear_beta", "prediction_type": "epsilon"}
    theirs = getattr(generative().networks.schedulers, f"{kind}Scheduler")(**settings)
    ours = {"DDPM": BMapDDPMScheduler, "DDIM": BMapDDIMScheduler}[kind](**settings, step_grid="leading")
    old, _ = pair("unconditional")
    samples = []
    for scheduler in (theirs, ours):
        scheduler.set_timesteps(STEPS)
        torch.manual_seed(0)
        inferer = generative().inferers.DiffusionInferer(scheduler)
        samples.append(inferer.sample(randn(BATCH, 1, *SHAPE), old, verbose=False))
    return {"spread": float(samples[0].std()), "difference": difference(*samples)}


def measured() -> dict[str, Any]:
    """Everything, by section and case."""
    return {
        "forward": {case: forward_round_trip(case) for case in CASES},
        "inferers": {
            f"{case}, {kind.__name__}": inferer_round_trip(case, kind)
            for case in ("unconditional", "spade")
            for kind in SCHEDULERS
        },
        "old chains": {kind: old_chain(kind) for kind in ("DDPM", "DDIM")},
    }


if __name__ == "__main__":
    torch.set_num_threads(1)
    print(json.dumps(measured(), indent=1))
