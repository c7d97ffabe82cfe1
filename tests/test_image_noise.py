"""Noise that is planted, filtered and measured: each against what it must be of white noise."""

from __future__ import annotations

import pytest
import torch

from benchmarks.image_noise import FAULTS, FILTERS, deep_noise, finest_band, mean_level, spread, white_noise

SHAPE = (3, 1, 96, 120)
INSIDE = torch.zeros(3, 96, 120, dtype=torch.bool)
INSIDE[:, 8:, 10:100] = True
DEPTH = torch.where(INSIDE, torch.linspace(0, 1, 96)[:, None], 0.0)
GREY = torch.where(INSIDE[:, None], 128 / 255, torch.zeros(SHAPE))


@pytest.mark.parametrize("dose", [2.0, 7.0])
def test_the_finest_band_gives_the_strength_of_planted_white_noise(dose: float) -> None:
    found = finest_band(white_noise(GREY, INSIDE, DEPTH, dose), INSIDE)
    torch.testing.assert_close(found, torch.full((3,), dose), rtol=0.06, atol=0.0)  # 7700 coefficients, 8 bits


def test_the_finest_band_of_a_ramp_is_nothing_and_of_no_beam_is_unknown() -> None:
    ramp = torch.linspace(0, 1, 120).expand(SHAPE)
    assert float(finest_band(ramp, INSIDE).max()) < 0.5
    assert bool(finest_band(ramp, torch.zeros_like(INSIDE)).isnan().all())


def test_noise_that_grows_with_depth_has_its_dose_over_the_beam_and_is_linear_in_depth() -> None:
    added = (deep_noise(GREY, INSIDE, DEPTH, 9.0) - GREY)[:, 0] * 255
    assert float(added[INSIDE].square().mean().sqrt()) == pytest.approx(9.0, rel=0.03)
    upper, lower = (added[INSIDE & near].std() for near in ((DEPTH - 0.3).abs() < 0.1, (DEPTH - 0.9).abs() < 0.1))
    assert float(lower / upper) == pytest.approx(3.0, rel=0.1)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_of_no_dose_changes_nothing_and_only_noise_everywhere_leaves_the_beam(fault: str) -> None:
    torch.testing.assert_close(FAULTS[fault](GREY, INSIDE, DEPTH, 0.0), GREY)
    changed = FAULTS[fault](GREY, INSIDE, DEPTH, 5.0)
    assert bool((changed[~INSIDE[:, None]] == 0).all()) == (fault != "everywhere")
    assert not torch.equal(changed, GREY)
    assert torch.equal((changed * 255).round() / 255, changed)


@pytest.mark.parametrize(("name", "left"), [("Gaussian 0.5", 0.64), ("median 3 x 3", 0.41)])
def test_filters_leave_the_share_of_white_noise_that_they_say(name: str, left: float) -> None:
    filtered = FILTERS[name](white_noise(GREY, INSIDE, DEPTH, 10.0), INSIDE)
    assert float(filtered[:, 0, 12:-4, 14:96].std() * 255) == pytest.approx(10 * left, rel=0.04)


def test_the_spread_of_a_region_leaves_out_its_edge_and_small_regions() -> None:
    region = torch.zeros_like(INSIDE)
    region[0, 20:40, 30:60] = True
    region[1, 20:25, 30:35] = True
    image = torch.where(region[:, None], GREY, 1.0)
    image[0, 0, 21:30, 31:59] = 0.0
    found = spread(image, region)
    half = torch.tensor([0.0, 128.0]).repeat_interleave(9 * 28).std()
    assert float(found[0]) == pytest.approx(float(half), rel=1e-4)
    assert bool(found[1:].isnan().all())


def test_the_mean_level_of_what_lies_outside_sees_only_that() -> None:
    image = torch.where(INSIDE[:, None], 1.0, 3 / 255)
    torch.testing.assert_close(mean_level(image, ~INSIDE), torch.full((3,), 3.0))
