"""B-maps: the running product against its definition, decibels, T-invariance, presets, errors."""

from __future__ import annotations

import doctest
import itertools
import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import log_maps_by_definition

import monai_bmaps.bmaps as bmaps
from monai_bmaps.bmaps import BMap

RAMPS = ("linear", "sqrt", "cosine", "normal_cosine")
ROWS = 23  # odd: with 24, normal_cosine puts 24 (1 - b_t) on whole rows, where rounding decides the floor
ZONES: dict[str, dict[str, Any]] = {
    "whole": {"preserve_length": False, "rows": None},
    "exact zone": {"preserve_length": True, "rows": None},
    "row zone": {"preserve_length": True, "rows": ROWS},
}
ROW_GRID = torch.arange(ROWS, dtype=torch.float64) / (ROWS - 1)
law = settings(max_examples=40, deadline=None, derandomize=True, database=None)


def table_error(steps: int, **setting: Any) -> float:
    """Largest difference of the table from the running sum of the defined logarithms, in nats."""
    defined = log_maps_by_definition(ROW_GRID, steps, **setting).cumsum(0)
    chosen = torch.unique(torch.tensor([0, 1, steps // 20, steps // 3, steps // 2, steps - 1]).clamp(max=steps - 1))
    tabulated = BMap(**setting).tabulate(steps).log_cumulative(ROW_GRID[None], chosen)
    return float((tabulated - defined[chosen]).abs().max())


@pytest.mark.parametrize("steps", [1, 2, 37, 4000])
@pytest.mark.parametrize("zone", ZONES.values(), ids=list(ZONES))
@pytest.mark.parametrize(
    ("ramp", "convention", "buffer"), list(itertools.product(RAMPS, ("paper", "code"), (False, True)))
)
def test_the_table_is_the_float64_product_of_the_maps(
    ramp: str, convention: str, buffer: bool, zone: dict[str, Any], steps: int
) -> None:
    # 0.9 is the hardest of the supported range; the sum of 4000 float64 logarithms itself is good to about 1e-11
    assert table_error(steps, minimum=0.9, ramp=ramp, convention=convention, buffer=buffer, **zone) < 1e-9


@pytest.mark.parametrize("zone", ZONES.values(), ids=list(ZONES))
def test_a_harsh_minimum_makes_the_table_longer_and_no_less_exact(zone: dict[str, Any]) -> None:
    setting = {"minimum": 0.3, "ramp": "sqrt", "convention": "paper", "buffer": False, **zone}
    assert table_error(50, **setting) < 1e-9


@law
@given(
    minimum=st.floats(0.9, 1.0),
    ramp=st.sampled_from(RAMPS),
    zone=st.sampled_from(list(ZONES.values())),
    buffer=st.booleans(),
    steps=st.integers(1, 300),
)
def test_the_table_is_the_product_for_any_minimum_from_0_9(
    minimum: float, ramp: str, zone: dict[str, Any], buffer: bool, steps: int
) -> None:
    assert table_error(steps, minimum=minimum, ramp=ramp, convention="paper", buffer=buffer, **zone) < 1e-9


@pytest.mark.parametrize("zone", ZONES.values(), ids=list(ZONES))
@pytest.mark.parametrize("ramp", RAMPS)
def test_each_step_s_map_follows_its_definition(ramp: Any, zone: dict[str, Any]) -> None:
    setting = {"minimum": 0.9, "ramp": ramp, "convention": "code", "buffer": True, **zone}
    # 1e-12: ramps are equal to rounding, and B differs from 1 by at most 0.1
    torch.testing.assert_close(
        BMap(**setting).step_log_maps(ROW_GRID, 60), log_maps_by_definition(ROW_GRID, 60, **setting), rtol=0, atol=1e-12
    )


@pytest.mark.parametrize("zone", ["exact zone", "row zone"])
def test_the_table_holds_where_a_pixel_lies_exactly_at_the_onset_of_a_step(zone: str) -> None:
    b_map = BMap(0.9, "linear", **ZONES[zone])
    _, start = b_map._slope_and_start(50)
    depth = torch.unique(torch.cat([start, torch.nextafter(start, torch.ones(()).double()).clamp(max=1.0)]))
    steps = torch.tensor([0, 24, 49])
    fast = b_map.tabulate(50).log_cumulative(depth[None], steps)
    torch.testing.assert_close(fast, b_map.log_cumulative(depth[None], steps, 50), rtol=0, atol=1e-9)


def test_the_slow_reference_sums_each_batch_entry_up_to_its_own_step() -> None:
    b_map, depth = BMap(0.9, "linear"), torch.rand(2, 1, 5, 7, generator=torch.Generator().manual_seed(0)).double()
    slow = b_map.log_cumulative(depth, torch.tensor([3, 11]), 12)
    fast = b_map.tabulate(12).log_cumulative(depth, torch.tensor([3, 11]))
    torch.testing.assert_close(slow, fast, rtol=0, atol=1e-12)


def test_the_table_of_two_thousand_steps_takes_a_quarter_megabyte_at_most() -> None:
    table = BMap(0.97, "sqrt").tabulate(2000)
    assert table.coefficients.nbytes <= 250_000


@law
@given(
    minimum=st.floats(0.01, 1.0),
    ramp=st.sampled_from(RAMPS),
    preserve_length=st.booleans(),
    steps=st.integers(1, 60),
)
def test_a_map_keeps_all_at_the_face_and_ever_less_with_depth(
    minimum: float, ramp: Any, preserve_length: bool, steps: int
) -> None:
    log_map = BMap(minimum, ramp, preserve_length=preserve_length).step_log_maps(ROW_GRID, steps)
    assert bool((log_map[:, 0] == 0).all())
    assert bool((log_map.diff(dim=1) <= 1e-15).all())
    assert bool((log_map <= 0).all())


@pytest.mark.parametrize("ramp", RAMPS)
def test_the_square_root_of_the_authors_halves_the_attenuation(ramp: Any) -> None:
    paper, code = BMap(0.9, ramp, "paper"), BMap(0.9, ramp, "code")
    assert code.total_attenuation_db(70) == pytest.approx(paper.total_attenuation_db(70) / 2, rel=1e-12)


@pytest.mark.parametrize(
    ("minimum", "ramp", "convention", "steps", "decibels"),
    [
        (0.97, "sqrt", "paper", 2000, 176),
        (0.96, "sqrt", "paper", 2000, 235),
        (0.97, "sqrt", "code", 2000, 88),
        (0.96, "sqrt", "code", 2000, 118),
        (0.97, "sqrt", "paper", 1000, 88),
        (0.97, "sqrt", "code", 1000, 44),
        (0.96, "sqrt", "code", 1000, 59),
        (0.97, "cosine", "code", 1000, 14),
        (0.97, "cosine", "code", 2000, 29),
    ],
)
def test_published_settings_take_the_decibels_known_for_them(
    minimum: float, ramp: Any, convention: Any, steps: int, decibels: int
) -> None:
    # published as whole decibels, from nats of three digits
    assert BMap(minimum, ramp, convention).total_attenuation_db(steps) == pytest.approx(decibels, abs=0.6)


def test_the_paper_s_map_takes_20_nats_at_half_depth() -> None:
    half = BMap(0.97, "sqrt").tabulate(2000).log_cumulative(torch.tensor([[0.5]]), torch.tensor([1999]))
    assert float(half) == pytest.approx(-20.1, abs=0.05)


@pytest.mark.parametrize(("name", "steps", "decibels"), [("paper", 2000, 176), ("authors_code", 1000, 14)])
def test_a_preset_takes_its_decibels_at_the_steps_it_presumes(name: Any, steps: int, decibels: int) -> None:
    b_map = BMap.preset(name)
    assert b_map.presumed_timesteps == steps
    assert b_map.total_attenuation_db(steps) == pytest.approx(decibels, abs=0.6)


def test_the_physical_preset_takes_44_decibels_and_presumes_no_steps() -> None:
    b_map = BMap.preset("physical")
    assert b_map.presumed_timesteps is None
    assert b_map.total_attenuation_db(321) == pytest.approx(44.0, rel=1e-12)


@pytest.mark.parametrize("steps", [1, 50, 1000, 4000])
def test_a_map_of_given_attenuation_depends_on_elapsed_time_alone(steps: int) -> None:
    depth, t = torch.tensor([[0.0, 0.3, 1.0]], dtype=torch.float64), torch.tensor([0, steps // 2, steps - 1])
    logs = BMap.from_attenuation(nats=10.0).tabulate(steps).log_cumulative(depth, t)
    elapsed = (t + 1).double()[:, None] / steps
    # one product of float64 numbers up to 10
    torch.testing.assert_close(logs, -10.0 * depth * elapsed**1.5, rtol=0, atol=1e-13)


def test_the_steps_of_a_given_attenuation_multiply_to_its_table() -> None:
    b_map, depth = BMap.from_attenuation(db=44.0), torch.tensor([[0.2, 0.9]], dtype=torch.float64)
    t = torch.tensor([0, 30, 76])
    product = b_map.step_log_maps(depth[0], 77).cumsum(0)[t]
    torch.testing.assert_close(b_map.tabulate(77).log_cumulative(depth, t), product, rtol=0, atol=1e-12)


def test_the_paper_s_map_is_beer_lambert_within_1_2_percent_of_its_total() -> None:
    paper, t = BMap(0.97, "sqrt"), torch.arange(2000)
    total = paper.total_attenuation_db(2000)
    depth = torch.ones(1, 1, dtype=torch.float64)
    logs = [b.tabulate(2000).log_cumulative(depth, t) for b in (paper, BMap.from_attenuation(db=total))]
    gap = float((logs[0] - logs[1]).abs().max()) * bmaps.DECIBELS_PER_NAT
    assert 0.001 * total < gap < 0.012 * total


def test_decibels_and_nats_name_the_same_attenuation() -> None:
    # 10 log10(e) decibels of power to the nat
    by_db = BMap.from_attenuation(db=10 / math.log(10)).attenuation
    assert by_db == pytest.approx(BMap.from_attenuation(nats=1.0).attenuation, rel=1e-15)


@pytest.mark.parametrize("b_map", [BMap(minimum=1.0), BMap.from_attenuation(db=0.0)])
def test_an_identity_map_keeps_everything_at_every_depth(b_map: BMap) -> None:
    assert b_map.is_identity
    assert bool((b_map.tabulate(9).log_cumulative(ROW_GRID[None], torch.tensor([0, 8])) == 0).all())


@pytest.mark.parametrize("b_map", [BMap(minimum=0.999999), BMap.from_attenuation(nats=1e-9)])
def test_a_weak_map_is_not_taken_for_none(b_map: BMap) -> None:
    assert not b_map.is_identity


def test_a_buffer_keeps_the_first_twentieth_of_the_steps_nearly_free() -> None:
    waiting = BMap(0.9, "linear", buffer=True).step_log_maps(torch.ones(1).double(), 60)[:3]
    # the authors put 1e-8 in place of 0, times 1 - minimum
    torch.testing.assert_close(waiting, torch.full_like(waiting, -1e-9), rtol=1e-6, atol=0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"minimum": 0.0}, "minimum must lie in"),
        ({"minimum": -0.1}, "minimum must lie in"),
        ({"minimum": 1.01}, "minimum must lie in"),
        ({"minimum": math.nan}, "minimum must lie in"),
        ({"ramp": "square"}, "ramp must be one of linear, sqrt, cosine, normal_cosine, got 'square'"),
        ({"convention": "ours"}, "convention must be one of paper, code, got 'ours'"),
        ({"rows": 8}, "needs preserve_length=True"),
        ({"rows": 1, "preserve_length": True}, "rows must be at least 2"),
        ({"attenuation": -1.0}, "attenuation must be a finite number of nats >= 0"),
        ({"attenuation": math.inf}, "attenuation must be a finite number of nats >= 0"),
        ({"attenuation": 1.0, "minimum": 0.9}, "leave those out or leave attenuation out"),
        ({"attenuation": 1.0, "buffer": True}, "leave those out or leave attenuation out"),
    ],
)
def test_an_impossible_map_is_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        BMap(**arguments)


@pytest.mark.parametrize("arguments", [{}, {"db": 44.0, "nats": 10.0}])
def test_an_attenuation_needs_exactly_one_unit(arguments: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="either in db or in nats"):
        BMap.from_attenuation(**arguments)


@pytest.mark.parametrize("arguments", [{"db": -3.0}, {"nats": -3.0}, {"db": math.nan}])
def test_an_impossible_attenuation_is_refused_in_the_unit_it_was_given_in(arguments: dict[str, float]) -> None:
    ((unit, value),) = arguments.items()
    with pytest.raises(ValueError, match=f"{unit} must be a finite number >= 0, got {value}"):
        BMap.from_attenuation(**arguments)


def test_an_unknown_preset_is_refused_by_naming_the_known_ones() -> None:
    with pytest.raises(ValueError, match="preset must be one of paper, authors_code, physical, got 'liver'"):
        BMap.preset("liver")  # type: ignore[arg-type]


@pytest.mark.parametrize("ask", ["tabulate", "ramp_values", "total_attenuation_db"])
def test_a_chain_without_steps_is_refused(ask: str) -> None:
    with pytest.raises(ValueError, match="num_train_timesteps must be at least 1, got 0"):
        getattr(BMap(), ask)(0)


def test_the_examples_in_the_docstrings_run() -> None:
    outcome = doctest.testmod(bmaps)
    assert outcome.attempted > 0
    assert outcome.failed == 0


def test_the_t_invariant_form_shows_its_decibels_and_nothing_it_does_not_use() -> None:
    assert repr(BMap.from_attenuation(db=44.0)) == "BMap.from_attenuation(db=44)"
    with pytest.raises(ValueError, match="has no ramp"):
        BMap.from_attenuation(db=44.0).ramp_values(10)
