"""Old weights draw what they drew; our schedulers work in the old inferer.

The half that runs monai-generative does so in a process of its own, since this package never imports it.
"""

from __future__ import annotations

import doctest
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import monai.networks.nets
import pytest
import torch
from conftest import awake
from generative_round_trip import CASES, PLAIN, SCHEDULERS
from torch import nn

from monai_bmaps import conversion
from monai_bmaps.conversion import convert_generative_weights
from monai_bmaps.networks import PatchUNet

Maker = Callable[..., nn.Module]
Weights = dict[str, torch.Tensor]
ROOT = Path(__file__).parents[1]
RELEASE = "monai-generative==0.2.3"
ATTENTION = {"attention_levels": (False, True), "num_head_channels": 4}
CROSS = {**ATTENTION, "with_conditioning": True, "cross_attention_dim": 5}
FLOAT32 = {"atol": 1e-5, "rtol": 0}  # outputs of order one; attention sums in another order, 2e-6 measured


def as_old(state: Weights) -> Weights:
    """MONAI's weights under the names that the old package gave them, with projections that it never applies."""
    old: Weights = {}
    for name, value in state.items():
        if ".attn.out_proj." in name:
            name, value = name.replace("attn.out_proj", "proj_attn"), torch.full_like(value, 7.0)
        name = name.replace(".attn.", ".").replace("postconv", "conv").replace("out_proj", "to_out.0")
        old[name.replace("param_free_norm.", "param_free_norm.N.")] = value.clone()
    return old


def output(network: nn.Module, **given: torch.Tensor) -> torch.Tensor:
    x = torch.randn(2, 1, 8, 12, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        return network(x, torch.tensor([3, 700]), **given)


def combined(weights: Weights) -> Weights:
    """Query, key and value of the self-attention stacked, as MONAI's combined layer has them."""
    stacked = {}
    for name, value in weights.items():
        block = re.fullmatch(r"(.*\.attn1?\.)to_q\.(weight|bias)", name)
        if block:
            value = torch.cat([weights[f"{block[1]}to_{part}.{block[2]}"] for part in "qkv"])
        if block or not re.search(r"\.attn1?\.to_[kv]\.", name):
            stacked[name.replace("to_q", "qkv") if block else name] = value
    return stacked


# what conversion gives


def test_the_old_projection_is_not_applied(tiny_unet: Maker) -> None:
    unprojected, network = tiny_unet(**ATTENTION, include_fc=False), tiny_unet(**ATTENTION)
    before = output(network)
    old = as_old(network.state_dict())
    unprojected.load_state_dict(convert_generative_weights(old, unprojected))
    network.load_state_dict(convert_generative_weights(old, network))
    torch.testing.assert_close(output(network), output(unprojected), **FLOAT32)
    assert float((output(network) - before).abs().max()) > 0.1  # applied, it would matter


@pytest.mark.parametrize("settings", [CROSS, {**ATTENTION, "resblock_updown": True}, ATTENTION])
def test_every_weight_but_the_projection_arrives_unchanged(tiny_unet: Maker, settings: dict[str, Any]) -> None:
    network = tiny_unet(**settings)
    state = network.state_dict()
    converted = convert_generative_weights(as_old(state), network)
    assert [*converted] == [*state]
    assert [n for n in state if ".attn.out_proj." not in n and not torch.equal(converted[n], state[n])] == []


def test_trained_normalisations_of_spade_arrive(tiny_spade: Maker) -> None:
    network = tiny_spade(spade_norm="monai")
    norms = {name: value for name, value in network.state_dict().items() if "param_free_norm" in name}
    converted = convert_generative_weights(as_old(network.state_dict()), network)
    assert norms
    assert all(torch.equal(converted[name], value) for name, value in norms.items())


@pytest.mark.parametrize("settings", [ATTENTION, CROSS])
def test_a_network_with_combined_linear_layers_takes_them_stacked(tiny_unet: Maker, settings: dict[str, Any]) -> None:
    separate, stacked = tiny_unet(**settings), tiny_unet(**settings, use_combined_linear=True)
    old = as_old(separate.state_dict())
    expected = combined(convert_generative_weights(old, separate))
    converted = convert_generative_weights(old, stacked)
    assert converted.keys() == expected.keys() == stacked.state_dict().keys()
    assert all(torch.equal(converted[name], value) for name, value in expected.items())


def test_conversion_leaves_checkpoint_and_network_as_they_were(tiny_unet: Maker) -> None:
    network, donor = tiny_unet(**ATTENTION), awake(tiny_unet(**ATTENTION), seed=1)
    checkpoint = {"model": as_old(donor.state_dict()), "epoch": 3}
    given = {name: value.clone() for name, value in checkpoint["model"].items()}
    before = {name: value.clone() for name, value in network.state_dict().items()}
    convert_generative_weights(checkpoint, network)
    assert [*checkpoint] == ["model", "epoch"]
    assert [*checkpoint["model"]] == [*given]
    assert all(torch.equal(checkpoint["model"][name], value) for name, value in given.items())
    assert all(torch.equal(network.state_dict()[name], value) for name, value in before.items())


@pytest.mark.parametrize("name", ["state_dict", "model", "diffusion"])
def test_the_only_state_dict_of_a_checkpoint_is_found(tiny_unet: Maker, name: str) -> None:
    network = tiny_unet(**ATTENTION)
    old = as_old(network.state_dict())
    moments = {0: {"exp_avg": torch.zeros(2)}}
    checkpoint = {"epoch": 3, "optimizer": {"state": moments, "param_groups": [{"lr": 1e-4}]}, name: old, "loss": 0.1}
    converted, expected = (convert_generative_weights(given, network) for given in (checkpoint, old))
    assert all(torch.equal(converted[name], value) for name, value in expected.items())


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module."])
def test_names_that_wrappers_gave_are_shortened(tiny_unet: Maker, prefix: str) -> None:
    network = tiny_unet(**ATTENTION)
    wrapped = {prefix + name: value for name, value in as_old(network.state_dict()).items()}
    assert [*convert_generative_weights(wrapped, network)] == [*network.state_dict()]


def test_the_example_runs() -> None:
    outcome = doctest.testmod(conversion)
    assert outcome.attempted > 0
    assert outcome.failed == 0


# what it refuses


def test_plain_modulation_is_refused(tiny_spade: Maker) -> None:
    old = as_old(tiny_spade().state_dict())
    with pytest.raises(ValueError, match="would draw other images; build the network with spade_norm='monai'"):
        convert_generative_weights(old, tiny_spade(spade_norm="plain"))


@pytest.mark.parametrize("settings", [{}, {"use_combined_linear": True}, {"resblock_updown": True}])
def test_weights_that_have_monais_names_are_refused(tiny_unet: Maker, settings: dict[str, Any]) -> None:
    """Their projections were applied; the identity in their place would go unnoticed."""
    state = tiny_unet(**ATTENTION).state_dict()
    with pytest.raises(ValueError, match=r"MONAI's names already; load them with network\.load_state_dict"):
        convert_generative_weights(state, tiny_unet(**ATTENTION, **settings))


def test_transformers_that_have_monais_names_are_refused(tiny_unet: Maker) -> None:
    network = tiny_unet(**CROSS)
    with pytest.raises(ValueError, match="MONAI's names already"):
        convert_generative_weights(network.state_dict(), network)


def test_a_missing_weight_is_named(tiny_unet: Maker) -> None:
    network = tiny_unet(**ATTENTION)
    old = as_old(network.state_dict())
    del old["middle_block.attention.to_k.bias"]
    with pytest.raises(ValueError, match=r"they lack middle_block\.attention\.attn\.to_k\.bias; build the network"):
        convert_generative_weights(old, network)


def test_weights_for_which_the_network_has_no_place_are_named(tiny_unet: Maker) -> None:
    old = as_old(tiny_unet(**ATTENTION, num_class_embeds=4).state_dict())
    with pytest.raises(ValueError, match=r"it lacks class_embedding\.weight, they lack nothing; build the network"):
        convert_generative_weights(old, tiny_unet(**ATTENTION))


def test_of_many_names_three_are_shown_and_the_others_counted(tiny_unet: Maker, tiny_spade: Maker) -> None:
    old = as_old(tiny_spade().state_dict())
    with pytest.raises(ValueError, match=r"it lacks (up_blocks\S+, ){2}up_blocks\S+ and \d+ more, they lack"):
        convert_generative_weights(old, tiny_unet())


def test_a_transformer_without_projection_is_told_to_have_one(tiny_unet: Maker) -> None:
    old = as_old(tiny_unet(**CROSS).state_dict())
    with pytest.raises(ValueError, match="build the network with include_fc=True"):
        convert_generative_weights(old, tiny_unet(**CROSS, include_fc=False))


def test_a_weight_of_another_size_is_shown_with_both_sizes(tiny_unet: Maker) -> None:
    old = as_old(tiny_unet(in_channels=2).state_dict())
    with pytest.raises(ValueError, match=r"conv_in\.conv\.weight is \(8, 2, 3, 3\), not \(8, 1, 3, 3\); build"):
        convert_generative_weights(old, tiny_unet())


def test_two_state_dicts_in_one_checkpoint_are_refused(tiny_unet: Maker) -> None:
    network = tiny_unet()
    old = as_old(network.state_dict())
    with pytest.raises(ValueError, match=r"one state dict, got \['model', 'ema'\] among model, ema; hand over"):
        convert_generative_weights({"model": old, "ema": old}, network)


@pytest.mark.parametrize("checkpoint", [{}, {"epoch": 3}, {"model": {}}])
def test_a_checkpoint_without_weights_is_refused(tiny_unet: Maker, checkpoint: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="one state dict, got none"):
        convert_generative_weights(checkpoint, tiny_unet())


def test_a_path_in_place_of_weights_is_refused(tiny_unet: Maker) -> None:
    with pytest.raises(TypeError, match=r"got str; read a file with torch\.load"):
        convert_generative_weights("old.pt", tiny_unet())  # type: ignore[arg-type]


@pytest.mark.parametrize("wrap", [PatchUNet, nn.Sequential])
def test_a_wrapped_network_is_refused(tiny_unet: Maker, wrap: Callable[[nn.Module], nn.Module]) -> None:
    network = tiny_unet()
    with pytest.raises(TypeError, match=f"without a wrapper, got {wrap.__name__}"):
        convert_generative_weights(as_old(network.state_dict()), wrap(network))


# beside monai-generative


@pytest.fixture(scope="session")
def old_package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds monai-generative and nothing else: ``MONAI_GENERATIVE`` names one, or it is fetched."""
    if given := os.environ.get("MONAI_GENERATIVE"):
        return Path(given).resolve(strict=True)
    folder = tmp_path_factory.mktemp("monai_generative")
    # without --no-deps pip would put a second MONAI and a second PyTorch beside it
    options = ["--quiet", "--disable-pip-version-check", "--retries", "1", "--no-deps", "--target", str(folder)]
    command = [sys.executable, "-m", "pip", "install", *options, RELEASE]
    try:
        run = subprocess.run(command, capture_output=True, text=True, timeout=120)
    except subprocess.TimeoutExpired:
        pytest.skip(f"{RELEASE} was not fetched within two minutes; MONAI_GENERATIVE may name a folder with it")
    if run.returncode != 0:
        reason = (run.stderr.strip().splitlines() or ["pip gave no reason"])[-1]
        pytest.skip(f"{RELEASE} cannot be fetched ({reason}); MONAI_GENERATIVE may name a folder with it")
    return folder


def beside(old_package: Path, arguments: list[str], folder: Path) -> str:
    """What a Python process that has the old package prints."""
    paths = os.pathsep.join(str(path) for path in (old_package, ROOT, ROOT / "tests"))
    command = [sys.executable, "-W", "ignore", *arguments]
    environment = {**os.environ, "PYTHONPATH": paths}
    run = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stderr
    return run.stdout


@pytest.fixture(scope="session")
def measured(old_package: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What generative_round_trip.py measures."""
    script = str(ROOT / "tests" / "generative_round_trip.py")
    return json.loads(beside(old_package, [script], tmp_path_factory.mktemp("round_trip")))  # type: ignore[no-any-return]


@pytest.mark.parametrize("case", CASES)
def test_a_converted_network_computes_what_the_old_one_did(measured: dict[str, Any], case: str) -> None:
    result = measured["forward"][case]
    assert result["difference"] < FLOAT32["atol"] < 1e-3 * result["spread"]


@pytest.mark.parametrize("case", [case for case, (kind, *_) in CASES.items() if kind != PLAIN])
def test_normalisations_of_spade_are_part_of_what_was_trained(measured: dict[str, Any], case: str) -> None:
    assert measured["forward"][case]["SPADE's normalisation untrained"] > 0.1


@pytest.mark.parametrize("case", ["unconditional", "class embedding", "spade", "our spade"])
def test_applying_the_old_projection_would_change_the_output(measured: dict[str, Any], case: str) -> None:
    assert measured["forward"][case]["projection applied"] > 0.1


each_scheduler = pytest.mark.parametrize("scheduler", [kind.__name__ for kind in SCHEDULERS])
each_network = pytest.mark.parametrize("network", ["unconditional", "spade"])


@each_scheduler
@each_network
def test_the_old_inferer_trains_with_our_scheduler_as_ours_does(
    measured: dict[str, Any], network: str, scheduler: str
) -> None:
    result = measured["inferers"][f"{network}, {scheduler}"]
    assert result["training spread"] > 0.1
    assert result["training"] == 0.0  # the same operations on the same tensors


@each_scheduler
@each_network
@pytest.mark.parametrize("what", ["sample", "sample of the converted network"])
def test_the_old_inferer_samples_with_our_scheduler_as_ours_does(
    measured: dict[str, Any], network: str, scheduler: str, what: str
) -> None:
    result = measured["inferers"][f"{network}, {scheduler}"]
    assert result["sample spread"] > 0.1
    # six steps pass on float32 rounding, from the one time embedding that the old inferer gives a whole batch
    assert result[what] < 2e-5


@pytest.mark.parametrize(("kind", "tolerance"), [("DDIM", 5e-5), ("DDPM", 1e-3)])
def test_without_a_b_map_our_scheduler_goes_on_where_the_old_one_was(
    measured: dict[str, Any], kind: str, tolerance: float
) -> None:
    """The old tables are float32: ``1 - abar`` of DDPM's first step, 1.5e-3, is right to 4e-5, and is divided by."""
    result = measured["old chains"][kind]
    assert result["difference"] < tolerance < 0.01 * result["spread"]


def test_the_page_on_the_old_package_runs(old_package: Path, tmp_path: Path) -> None:
    page = (ROOT / "docs" / "generative.md").read_text()
    blocks = re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)
    network = monai.networks.nets.DiffusionModelUNet(
        2, 1, 1, num_res_blocks=1, channels=(32, 64), attention_levels=(False, True), num_head_channels=32
    )
    torch.save(as_old(awake(network).state_dict()), tmp_path / "old.pt")
    difference, shape = beside(old_package, ["-c", "\n".join(blocks)], tmp_path).strip().splitlines()[-2:]
    assert float(difference) < FLOAT32["atol"]
    assert shape == "(2, 1, 48, 64)"
