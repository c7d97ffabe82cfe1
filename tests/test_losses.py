"""Losses against their definitions: torch's own divergences, quadrature, published weights, the authors' numbers."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.distributions import Normal, kl_divergence

from monai_bmaps import BMap, BMapDDIMScheduler, BMapDDPMScheduler, diffusion
from monai_bmaps.losses import BMapDiffusionLoss, min_snr_weights, variational_bound
from monai_bmaps.training import DenoisingTask

SHAPE = (6, 5)
DEPTH = torch.linspace(0, 1, SHAPE[0], dtype=torch.float64).reshape(1, 1, -1, 1).expand(1, 1, *SHAPE)
MAP = BMap.from_attenuation(db=44.0)
ORACLE = Path(__file__).parents[2] / "shared" / "oracle" / "authors_public.npz"


def task(
    steps: list[int], b_map: BMap | None = MAP, prediction_type: str = "epsilon", **options: object
) -> DenoisingTask:
    scheduler = BMapDDPMScheduler(
        100, b_map=b_map, variance_type="learned_range", prediction_type=prediction_type, **options
    ).bind(DEPTH)
    generator = torch.Generator().manual_seed(0)
    clean = torch.rand(len(steps), 2, *SHAPE, generator=generator, dtype=torch.float64) * 1.8 - 0.9
    noise = torch.randn(clean.shape, generator=generator, dtype=torch.float64)
    return DenoisingTask(scheduler, clean, noise, torch.tensor(steps))


def guess(the: DenoisingTask, seed: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    """A network's output: a wrong mean part and values across the range."""
    generator = torch.Generator().manual_seed(seed)
    error = torch.randn(the.clean.shape, generator=generator, dtype=torch.float64)
    return the.target + 0.3 * error, torch.rand(the.clean.shape, generator=generator, dtype=torch.float64) * 2 - 1


@pytest.mark.parametrize("prediction_type", ["epsilon", "sample", "v_prediction"])
def test_without_weights_the_loss_is_the_mean_squared_error(prediction_type: str) -> None:
    scheduler = BMapDDIMScheduler(100, b_map=MAP, prediction_type=prediction_type).bind(DEPTH)
    given = task([3, 60], prediction_type=prediction_type)
    plain = DenoisingTask(scheduler, given.clean, given.noise, given.timesteps)
    output, _ = guess(plain)
    expected = torch.nn.functional.mse_loss(output, plain.target)
    torch.testing.assert_close(BMapDiffusionLoss()(output, plain), expected)


def test_the_bound_is_torchs_own_divergence_in_bits() -> None:
    the = task([1, 7, 40, 99], clip_sample=False)
    output, values = guess(the)
    scheduler, t = the.scheduler, the.timesteps
    noisy = scheduler.add_noise(the.clean, the.noise, t)
    true_mean, true_variance = scheduler.posterior(the.clean, noisy, t)
    clean = diffusion.predict_clean(noisy, output, scheduler.levels_of(noisy, t), "epsilon")
    mean, _ = scheduler.posterior(clean, noisy, t)
    upper = torch.log(1 - torch.exp(scheduler.log_retained(t) - scheduler.log_retained(t - 1)))
    share = (values + 1) / 2
    log_variance = share * upper + (1 - share) * torch.log(true_variance)
    expected = kl_divergence(Normal(true_mean, true_variance.sqrt()), Normal(mean, torch.exp(log_variance / 2)))
    torch.testing.assert_close(variational_bound(output, values, the), expected / math.log(2), rtol=1e-9, atol=1e-12)


def test_a_perfect_network_has_no_divergence() -> None:
    the = task([1, 30, 99], clip_sample=False)
    bound = variational_bound(the.target, torch.full_like(the.clean, -1.0), the)
    assert float(bound.abs().max()) < 1e-8


def test_the_first_step_is_the_probability_of_the_grey_level() -> None:
    """Checked by quadrature of the density over the level's bin."""
    the = task([0])
    output, values = guess(the)
    scheduler = the.scheduler
    noisy = scheduler.add_noise(the.clean, the.noise, the.timesteps)
    mean = diffusion.predict_clean(noisy, output, scheduler.log_retained(0), "epsilon").clamp(-1, 1)
    lower = diffusion.posterior_log_variance(scheduler.log_retained(1), scheduler.log_retained(0))
    upper = diffusion.log_noise_power(scheduler.log_retained(0))
    deviation = torch.exp(diffusion.learned_range_log_variance(values, upper, lower) / 2)
    offsets = (torch.arange(2000, dtype=torch.float64) + 0.5) / 2000 * 2 - 1
    points = the.clean[..., None] + offsets / 255
    density = torch.exp(Normal(mean[..., None], deviation[..., None]).log_prob(points))
    expected = -torch.log2((density.mean(-1) * 2 / 255).clamp(min=1e-12))
    torch.testing.assert_close(variational_bound(output, values, the), expected, rtol=1e-4, atol=1e-4)


def test_the_grey_levels_at_a_pixel_have_probability_one_together() -> None:
    the = task([0])
    output, values = guess(the)
    noisy_like = the.clean
    total = torch.zeros_like(the.clean)
    for level in torch.linspace(-1, 1, 256, dtype=torch.float64):
        # the noise that keeps the noisy image, and with it the prediction, as the level changes
        scales = the.scheduler.log_retained(0)
        a, s = diffusion.signal_scale(scales), diffusion.noise_scale(scales)
        clean = torch.full_like(noisy_like, float(level))
        noise = (a * (the.clean - clean) + s * the.noise) / s
        total += torch.exp2(
            -variational_bound(output, values, DenoisingTask(the.scheduler, clean, noise, the.timesteps))
        )
    torch.testing.assert_close(total, torch.ones_like(total), rtol=1e-8, atol=1e-8)  # clamped levels add 256e-12


@pytest.mark.parametrize("db", [0.0, 44.0, 200.0])
def test_the_bound_and_its_gradient_are_finite_at_every_step_in_single_precision(db: float) -> None:
    the = task([0, 1, 50, 99], b_map=BMap.from_attenuation(db=db))
    single = DenoisingTask(the.scheduler, the.clean.float(), the.noise.float(), the.timesteps)
    output = torch.cat(guess(single), dim=1).float().requires_grad_()
    loss = BMapDiffusionLoss()(output, single)
    loss.backward()
    assert output.grad is not None
    assert bool(torch.isfinite(loss))
    assert bool(torch.isfinite(output.grad).all())


def test_the_bound_trains_the_variance_and_leaves_the_mean_to_the_squared_error() -> None:
    the = task([5, 70])
    mean, values = guess(the)
    output = torch.cat([mean, values], dim=1).requires_grad_()
    BMapDiffusionLoss()(output, the).backward()
    alone = mean.clone().requires_grad_()
    torch.nn.functional.mse_loss(alone, the.target).backward()
    assert output.grad is not None
    torch.testing.assert_close(output.grad[:, :2], alone.grad)
    assert float(output.grad[:, 2:].abs().min()) > 0


def test_the_bound_summed_over_the_chain_counts_as_its_weight_says() -> None:
    the = task([5, 70])
    output = torch.cat(guess(the), dim=1)
    light, heavy = (BMapDiffusionLoss(variance_weight=weight)(output, the) for weight in (0.001, 0.003))
    bound = variational_bound(*output.chunk(2, dim=1), the).mean()
    torch.testing.assert_close(heavy - light, 0.002 * 100 * bound)


def published_weights(snr: torch.Tensor, prediction_type: str) -> torch.Tensor:
    best = torch.minimum(snr, torch.tensor(5.0, dtype=torch.float64))
    return {"sample": best, "epsilon": best / snr, "v_prediction": best / (snr + 1)}[prediction_type]


@pytest.mark.parametrize("prediction_type", ["epsilon", "sample", "v_prediction"])
def test_min_snr_weights_are_the_published_ones(prediction_type: str) -> None:
    log_retained = torch.tensor([-1e-4, -0.1, -1.0, -7.0, -40.0], dtype=torch.float64)
    snr = torch.exp(log_retained) / -torch.expm1(log_retained)
    torch.testing.assert_close(min_snr_weights(log_retained, prediction_type), published_weights(snr, prediction_type))


@pytest.mark.parametrize("prediction_type", ["epsilon", "sample", "v_prediction"])
def test_without_a_b_map_the_weighted_loss_is_the_published_one(prediction_type: str) -> None:
    given = task([3, 60])
    scheduler = BMapDDIMScheduler(100, prediction_type=prediction_type)
    the = DenoisingTask(scheduler, given.clean, given.noise, given.timesteps)
    output, _ = guess(the)
    abar = scheduler.log_alphas_cumprod.exp()[the.timesteps].reshape(-1, 1, 1, 1)
    expected = (published_weights(abar / (1 - abar), prediction_type) * (output - the.target).square()).mean()
    torch.testing.assert_close(BMapDiffusionLoss("min_snr")(output, the), expected)


def test_a_b_map_moves_weight_between_pixels_but_not_between_images() -> None:
    given = task([3, 60])
    losses = []
    for b_map in (BMap(minimum=1.0), MAP):
        scheduler = BMapDDIMScheduler(100, b_map=b_map, prediction_type="v_prediction").bind(DEPTH)
        the = DenoisingTask(scheduler, given.clean, given.noise, given.timesteps)
        losses.append(BMapDiffusionLoss("min_snr")(the.target + 1.0, the))  # an error of 1 in every pixel
    torch.testing.assert_close(losses[0], losses[1])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"weighting": "snr"}, "weighting must be one of uniform, min_snr, got 'snr'"),
        ({"gamma": 0.0}, "must be positive"),
        ({"variance_weight": -1.0}, "must be positive"),
    ],
)
def test_settings_without_meaning_are_refused(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        BMapDiffusionLoss(**arguments)


def test_a_network_without_variance_channels_is_refused() -> None:
    the = task([5])
    with pytest.raises(ValueError, match="must output 4 channels"):
        BMapDiffusionLoss()(the.target, the)


def test_a_variance_that_is_learned_outright_is_refused() -> None:
    scheduler = BMapDDPMScheduler(100, variance_type="learned")
    given = task([5])
    with pytest.raises(ValueError, match="use 'learned_range'"):
        BMapDiffusionLoss()(given.clean, DenoisingTask(scheduler, given.clean, given.noise, given.timesteps))


@pytest.mark.skipif(not ORACLE.is_file(), reason="the authors' numbers (../shared/oracle) are not here")
@pytest.mark.parametrize("name", ["linear_sqrt", "linear_linear", "baseline_no_bmaps"])
def test_the_authors_losses_are_met_as_closely_as_their_two_unstored_channels_allow(name: str) -> None:
    """Theirs are means over three channels of equal statistics, of which one is stored."""
    with np.load(ORACLE) as archive:
        numbers = {key.split("/")[1]: archive[key] for key in archive.files if key.startswith(f"{name}/")}
    config = json.loads(str(numbers["config"]))
    rows = config["image_size"]
    schedule = {"schedule": "cosine"}
    steps = config["num_timesteps"]
    if config["alpha_schedule"] == "linear":
        schedule = {"schedule": "linear_beta", "beta_start": 0.1 / steps, "beta_end": 20 / steps}
    b_map = BMap(config["bmap_min"], config["bmap_schedule"], convention="code", buffer=config["add_buffer"])
    depth = torch.linspace(0, 1, rows, dtype=torch.float64).reshape(1, 1, -1, 1).expand(1, 1, rows, rows)
    scheduler = BMapDDPMScheduler(
        steps, b_map=b_map, variance_type="learned_range", prediction_type="epsilon", clip_sample=False, **schedule
    ).bind(depth)
    later = [k for k, t in enumerate(numbers["timesteps"]) if t >= 2]
    arrays = {
        key: torch.from_numpy(numbers[key][later]).double()[:, None] for key in ("x0", "noise", "eps_hat", "var_values")
    }
    the = DenoisingTask(scheduler, arrays["x0"], arrays["noise"], torch.from_numpy(numbers["timesteps"][later]).long())
    squared = (arrays["eps_hat"] - arrays["noise"]).square().flatten(1)
    bound = variational_bound(arrays["eps_hat"], arrays["var_values"], the).flatten(1)
    for ours, theirs in ((squared, numbers["loss_mse_3ch"]), (bound, numbers["loss_vb_3ch"])):
        spread = ours.std(1) / ours.shape[1] ** 0.5
        assert bool(((ours.mean(1) - torch.from_numpy(theirs[later])).abs() < 5 * spread).all())
