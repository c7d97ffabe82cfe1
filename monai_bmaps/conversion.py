"""Weights of monai-generative 0.2 for MONAI's diffusion networks of the same name, with the same outputs.

Layers were renamed, and one computation changed: the old self-attention holds a projection, ``proj_attn``, that it
never applies (https://github.com/Project-MONAI/MONAI/issues/7991), where MONAI's applies ``out_proj``. So a converted
``out_proj`` is the identity, and the old projection, which training never touched, is dropped.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import monai.networks.nets
import torch
from monai.networks.blocks.spade_norm import SPADE
from torch import nn

from monai_bmaps.networks import has_plain_modulation

Weights = dict[str, torch.Tensor]

_RENAMED = (
    (re.compile(r"\.(attention|attentions\.\d+)\.(to_[qkv])\."), r".\1.attn.\2."),
    (re.compile(r"\.to_out\.0\."), ".out_proj."),
    (re.compile(r"\.upsampler\.conv\."), ".upsampler.postconv."),
    (re.compile(r"\.param_free_norm\.N\."), ".param_free_norm."),
)
_NEVER_APPLIED = ".proj_attn."
_APPLIED = ".attn.out_proj."
_COMBINED = re.compile(r"\.qkv\.(weight|bias)$")
_WRAPPERS = ("module.", "_orig_mod.")
_NAMES_SHOWN = 3


def convert_generative_weights(state: Mapping[str, Any], network: nn.Module) -> Weights:
    """A state dict for ``network.load_state_dict`` that makes it compute what the old network computed.

    Settings that leave no trace in the weights must be those of the old network, since nothing here can tell:
    ``num_head_channels``, ``norm_num_groups`` and ``norm_eps``. ``num_channels`` is now called ``channels``;
    ``include_fc`` (``True`` with cross-attention) and ``use_combined_linear`` are free.

    Args:
        state: state dict of a ``DiffusionModelUNet`` or ``SPADEDiffusionModelUNet`` of monai-generative 0.2.1 to 0.2.3,
            alone or as the only state dict in a checkpoint; prefixes of ``DistributedDataParallel`` and
            ``torch.compile`` are removed. It is left as it is.
        network: the network to fill, MONAI's or :class:`monai_bmaps.networks.SPADEDiffusionModelUNet` with
            ``spade_norm="monai"``; it is read, not changed.

    Returns:
        One tensor for each of the network's, in its order. Tensors are those of ``state`` wherever they need no change.

    Raises:
        TypeError: ``state`` is no mapping, or the network another one.
        ValueError: no state dict or several, weights that have MONAI's names already, a network of another shape, or
            one with SPADE's plain modulation.

    Example:
        >>> from monai.networks.nets import DiffusionModelUNet
        >>> network = DiffusionModelUNet(2, 1, 1, channels=(32, 64), attention_levels=(False, True), num_res_blocks=1)
        >>> checkpoint = torch.load("old.pt", map_location="cpu", weights_only=True)  # doctest: +SKIP
        >>> network.load_state_dict(convert_generative_weights(checkpoint, network))  # doctest: +SKIP
    """
    _check_network(network)
    old, wanted = _without_wrappers(_weights_in(state)), network.state_dict()
    if old.keys() == wanted.keys() or any(_APPLIED in name for name in old):
        raise ValueError("these weights have MONAI's names already; load them with network.load_state_dict")
    converted = {_new_name(name): value for name, value in old.items() if _NEVER_APPLIED not in name}
    converted |= {name: _identity(value) for name, value in wanted.items() if _APPLIED in name}
    converted = _combined(converted, wanted)
    _check_fit(converted, wanted)
    return {name: converted[name] for name in wanted}


def _check_network(network: nn.Module) -> None:
    kinds = (monai.networks.nets.DiffusionModelUNet, monai.networks.nets.SPADEDiffusionModelUNet)
    if not isinstance(network, kinds):
        raise TypeError(
            f"network must be a {' or '.join(kind.__name__ for kind in kinds)} without a wrapper, got "
            f"{type(network).__name__}"
        )
    if any(isinstance(block, SPADE) and has_plain_modulation(block) for block in network.modules()):
        raise ValueError(
            "monai-generative trained with SPADE blocks that normalise gamma and beta, and spade_norm='plain' leaves "
            "that out: the same weights would draw other images; build the network with spade_norm='monai'"
        )


def _weights_in(state: Mapping[str, Any]) -> Weights:
    if not isinstance(state, Mapping):
        raise TypeError(
            f"state must be a state dict or a checkpoint that holds one, got {type(state).__name__}; read a file with "
            "torch.load(path, weights_only=True)"
        )
    if _are_weights(state):
        return dict(state)
    found = [name for name, value in state.items() if _are_weights(value)]
    if len(found) != 1:
        raise ValueError(
            f"the checkpoint must hold one state dict, got {found or 'none'} among {_some(map(str, state))}; hand over "
            "the network's own, checkpoint[name]"
        )
    return dict(state[found[0]])


def _are_weights(value: object) -> bool:
    return isinstance(value, Mapping) and bool(value) and all(isinstance(x, torch.Tensor) for x in value.values())


def _without_wrappers(weights: Weights) -> Weights:
    for prefix in _WRAPPERS * 2:  # in either order
        if all(name.startswith(prefix) for name in weights):
            weights = {name.removeprefix(prefix): value for name, value in weights.items()}
    return weights


def _new_name(name: str) -> str:
    for old, new in _RENAMED:
        name = old.sub(new, name)
    return name


def _identity(value: torch.Tensor) -> torch.Tensor:
    """What makes a linear layer hand its input on: of its weight, and of its bias."""
    if value.ndim == 1:
        return torch.zeros_like(value)
    return torch.eye(*value.shape, dtype=value.dtype, device=value.device)


def _combined(weights: Weights, wanted: Weights) -> Weights:
    """Query, key and value in one layer wherever the network has them so."""
    weights = dict(weights)
    for name in filter(_COMBINED.search, wanted):
        parts = [_COMBINED.sub(rf".to_{part}.\1", name) for part in "qkv"]
        if all(part in weights for part in parts):
            weights[name] = torch.cat([weights.pop(part) for part in parts])
    return weights


def _check_fit(weights: Weights, wanted: Weights) -> None:
    missing = [name for name in wanted if name not in weights]
    surplus = [name for name in weights if name not in wanted]
    if missing or surplus:
        without_fc = any(name.endswith(".attn1.out_proj.weight") for name in surplus)
        advice = "include_fc=True" if without_fc and not missing else "the settings of the old one"
        raise ValueError(
            f"the weights are another network's: it lacks {_some(surplus)}, they lack {_some(missing)}; build the "
            f"network with {advice}"
        )
    other = [name for name in wanted if weights[name].shape != wanted[name].shape]
    if other:
        sizes = (f"{name} is {tuple(weights[name].shape)}, not {tuple(wanted[name].shape)}" for name in other)
        raise ValueError(
            f"the weights are another network's: {_some(sizes)}; build the network with the settings of the old one "
            "(its num_channels is now channels)"
        )


def _some(items: Iterable[str]) -> str:
    """The first few, and how many more there are."""
    every = [*items]
    more = f" and {len(every) - _NAMES_SHOWN} more" if len(every) > _NAMES_SHOWN else ""
    return ", ".join(every[:_NAMES_SHOWN]) + more if every else "nothing"
