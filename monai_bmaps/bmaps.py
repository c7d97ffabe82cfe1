"""How much signal one diffusion step keeps at a depth: B-maps.

A B-map multiplies the per-step signal power ``alpha_t`` by ``B_t(d)`` in (0, 1], 1 at the transducer face and
smallest at full depth (Dominguez et al. 2024, https://arxiv.org/abs/2407.05428). Depth ``d`` is in [0, 1], ``T`` is
the number of training steps and ``t`` runs from 0 to T - 1. Everything cumulative is kept as a natural logarithm of
power; 1 nat is 4.343 dB.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields, replace
from typing import Literal, get_args

import torch

from monai_bmaps.types import Depth, Timesteps

Ramp = Literal["linear", "sqrt", "cosine", "normal_cosine"]
Convention = Literal["paper", "code"]
Preset = Literal["paper", "authors_code", "physical"]

DECIBELS_PER_NAT = 10.0 / math.log(10.0)
_RAMP_OFFSET = 1e-8
_BUFFER_FRACTION = 0.05
_COEFFICIENT_TOLERANCE = 1e-13
_MAX_COEFFICIENTS = 768


@dataclass(frozen=True, repr=False)
class BMap:
    r"""Share of signal power that step ``t`` keeps at depth ``d``.

    Two forms:

    * the paper's, ``B_t(d) = 1 - b_t (1 - minimum) d`` with a ramp ``b_t`` from 0 to 1. What ``minimum`` does depends
      on T: the same 0.97 takes 88 dB from the deepest pixel over 1000 steps and 176 dB over 2000.
    * the T-invariant one, :meth:`from_attenuation`: ``log Bbar_t(d) = -attenuation d u^1.5`` with ``u = (t + 1) / T``
      (Beer-Lambert; the paper's form with the square-root ramp tends to it as ``minimum`` tends to 1).

    Args:
        minimum: B at full depth and the last step, in (0, 1]; 1 is diffusion without B-maps.
        ramp: growth of ``b_t`` over the steps.
        convention: ``"paper"`` multiplies the maps as printed; ``"code"`` takes their square root first, as the
            authors' public code does, which halves the attenuation.
        preserve_length: let the attenuated zone grow up from the deep end: shallower than ``1 - b_t`` B is 1, from
            there it falls linearly to its value at full depth.
        buffer: keep B at 1 for the first 5 % of the steps and run the ramp over the rest.
        rows: only with ``preserve_length``. The authors' linear probe starts the zone at a whole pixel row of an
            image of this many rows; ``None`` starts it at the exact depth, as their sector does.
        attenuation: total attenuation in nats at full depth, >= 0; selects the T-invariant form and excludes all
            other arguments. Prefer :meth:`from_attenuation`.
        presumed_timesteps: the T for which a preset was stated; schedulers warn when theirs differs.

    Raises:
        ValueError: an argument outside its range, or arguments of both forms.

    Example:
        >>> round(BMap(minimum=0.97, ramp="sqrt").total_attenuation_db(2000))
        176
        >>> round(BMap.from_attenuation(db=44.0).total_attenuation_db(2000))
        44
    """

    minimum: float = 0.97
    ramp: Ramp = "sqrt"
    convention: Convention = "paper"
    preserve_length: bool = False
    buffer: bool = False
    rows: int | None = None
    attenuation: float | None = None
    presumed_timesteps: int | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        if not (math.isfinite(self.minimum) and 0.0 < self.minimum <= 1.0):
            raise ValueError(f"minimum must lie in (0, 1], got {self.minimum}; 1 means no B-map")
        for name, value, allowed in (
            ("ramp", self.ramp, get_args(Ramp)),
            ("convention", self.convention, get_args(Convention)),
        ):
            if value not in allowed:
                raise ValueError(f"{name} must be one of {', '.join(allowed)}, got {value!r}")
        if self.rows is not None and (self.rows < 2 or not self.preserve_length):
            raise ValueError(f"rows must be at least 2 and needs preserve_length=True, got rows={self.rows}")
        if self.attenuation is None:
            return
        if not (math.isfinite(self.attenuation) and self.attenuation >= 0.0):
            raise ValueError(f"attenuation must be a finite number of nats >= 0, got {self.attenuation}")
        if replace(self, attenuation=None) != BMap():
            raise ValueError(
                "attenuation selects the T-invariant form, which has no minimum, ramp, convention, preserve_length, "
                "buffer or rows; leave those out or leave attenuation out"
            )

    def __repr__(self) -> str:
        if self.attenuation is not None:
            return f"BMap.from_attenuation(db={DECIBELS_PER_NAT * self.attenuation:.6g})"
        given = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in ("attenuation",)}
        return f"BMap({', '.join(f'{name}={value!r}' for name, value in given.items())})"

    @classmethod
    def from_attenuation(cls, *, db: float | None = None, nats: float | None = None) -> BMap:
        """T-invariant map with a given total attenuation at full depth; give either ``db`` or ``nats``."""
        if (db is None) == (nats is None):
            raise ValueError(f"give the attenuation either in db or in nats, got db={db} and nats={nats}")
        given, unit = (nats, "nats") if db is None else (db, "db")
        if given is None or not (math.isfinite(given) and given >= 0.0):
            raise ValueError(f"{unit} must be a finite number >= 0, got {given}; 0 means no B-map")
        return cls(attenuation=given if db is None else given / DECIBELS_PER_NAT)

    @classmethod
    def preset(cls, name: Preset) -> BMap:
        """A published or calibrated setting by name.

        ``"paper"``: minimum 0.97, square-root ramp, presumes T = 2000 (176 dB). ``"authors_code"``: the defaults of
        the authors' public code, presumes T = 1000 (14 dB). ``"physical"``: 44 dB for any T, about the round-trip
        loss over the imaged depth of cardiac, liver and thyroid scans.
        """
        if name == "paper":
            return cls(minimum=0.97, ramp="sqrt", convention="paper", presumed_timesteps=2000)
        if name == "authors_code":
            return cls(minimum=0.97, ramp="cosine", convention="code", presumed_timesteps=1000)
        if name == "physical":
            return cls.from_attenuation(db=44.0)
        raise ValueError(f"preset must be one of {', '.join(get_args(Preset))}, got {name!r}")

    @property
    def is_identity(self) -> bool:
        """Whether B is 1 everywhere, so that no depth is needed."""
        return self.attenuation == 0.0 if self.attenuation is not None else self.minimum == 1.0

    def total_attenuation_db(self, num_train_timesteps: int) -> float:
        """Power lost at full depth over all steps, ``-10 log10 Bbar_{T-1}(1)``, in dB."""
        deepest = torch.ones((), dtype=torch.float64)
        total = self.step_log_maps(deepest, num_train_timesteps).sum()
        return DECIBELS_PER_NAT * abs(float(total))

    def ramp_values(self, num_train_timesteps: int) -> torch.Tensor:
        """The ramp ``b_t`` of the paper's form, ``(T,)`` float64 in [0, 1]."""
        if self.attenuation is not None:
            raise ValueError("the T-invariant form has no ramp; see step_log_maps for what each step takes")
        steps = _checked_steps(num_train_timesteps)
        waiting = int(_BUFFER_FRACTION * steps) if self.buffer else 0
        ramp = _ramp(self.ramp, steps - waiting)
        return torch.cat([torch.full((waiting,), _RAMP_OFFSET, dtype=torch.float64), ramp])

    def step_log_maps(self, depth: Depth, num_train_timesteps: int) -> torch.Tensor:
        """``log B_t(d)`` of every step, straight from the definition: ``(T, *depth.shape)`` float64.

        For pictures, tests and a few depths; samplers use :meth:`tabulate`, which needs no ``T x H x W``.
        """
        steps = _checked_steps(num_train_timesteps)
        depth = depth.to(torch.float64)
        if self.attenuation is not None:
            u = torch.arange(steps + 1, dtype=torch.float64) / steps
            share = (u[1:] ** 1.5 - u[:-1] ** 1.5).reshape(-1, *[1] * depth.ndim)
            return -self.attenuation * share * depth
        slope, start = (x.reshape(-1, *[1] * depth.ndim) for x in self._slope_and_start(steps))
        return self._convention_factor * torch.log1p(-slope * (depth - start).clamp(min=0.0))

    def log_cumulative(self, depth: Depth, timesteps: Timesteps, num_train_timesteps: int) -> torch.Tensor:
        """``log Bbar_t(d)`` summed step by step, ``(N, ...)`` float64: slow and plain, the reference for the table."""
        shape = (len(timesteps), *depth.shape[1:])
        total = torch.empty(shape, dtype=torch.float64)
        for index, (one_depth, t) in enumerate(zip(depth.expand(shape), timesteps.tolist(), strict=True)):
            total[index] = self.step_log_maps(one_depth, num_train_timesteps)[: t + 1].sum(0)
        return total

    def tabulate(self, num_train_timesteps: int) -> CumulativeTable:
        """The exact small form of ``log Bbar_t(d)``: see :class:`CumulativeTable`."""
        steps = _checked_steps(num_train_timesteps)
        if self.attenuation is not None:
            u = torch.arange(1, steps + 1, dtype=torch.float64) / steps
            half = -0.5 * self.attenuation * u**1.5
            return CumulativeTable(torch.stack([half, half], dim=1), None)
        if self.is_identity:
            return CumulativeTable(torch.zeros(steps, 1, dtype=torch.float64), None)
        slope, start = self._slope_and_start(steps)
        count = 8
        while count <= _MAX_COEFFICIENTS:
            coefficients = self._chebyshev(slope, start, count)
            if coefficients[:, -2:].abs().max() <= _COEFFICIENT_TOLERANCE * coefficients.abs().max():
                return CumulativeTable(coefficients, start.flip(0) if self.preserve_length else None)
            count = count + 4 if count < 24 else 2 * count
        raise ValueError(
            f"minimum={self.minimum} takes almost all signal in one step, which no short table holds; use at least "
            "1e-4, or BMap.from_attenuation for a strong map"
        )

    @property
    def _convention_factor(self) -> float:
        return 0.5 if self.convention == "code" else 1.0

    def _slope_and_start(self, steps: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Each step's map as ``1 - slope (d - start)+``: two ``(T,)`` tensors."""
        ramp = self.ramp_values(steps)
        strength = (1.0 - self.minimum) * ramp
        if not self.preserve_length:
            return strength, torch.zeros_like(strength)
        if self.rows is None:
            start = (1.0 - ramp).clamp(min=0.0)
            return strength / (1.0 - start + 1e-6), start
        start = (self.rows * (1.0 - ramp)).floor() / (self.rows - 1)
        never = start >= 1.0
        slope = torch.where(never, 0.0, strength / torch.where(never, 1.0, 1.0 - start))
        return slope, start.clamp(max=1.0)

    def _chebyshev(self, slope: torch.Tensor, start: torch.Tensor, count: int) -> torch.Tensor:
        """Chebyshev coefficients on [0, 1] of the running sum of ``log(1 - slope (d - start))``, ``(T, count)``."""
        angle = torch.pi * (torch.arange(count, dtype=torch.float64) + 0.5) / count
        nodes = 0.5 * (1.0 + torch.cos(angle))
        logs = torch.log1p(-slope[:, None] * (nodes - start[:, None]))
        transform = torch.cos(angle[:, None] * torch.arange(count, dtype=torch.float64)) * (2.0 / count)
        transform[:, 0] *= 0.5
        return self._convention_factor * (logs @ transform).cumsum(0)


@dataclass(frozen=True)
class CumulativeTable:
    """``log Bbar_t(d)`` for every step and any depth, in a few float64 numbers per step.

    The running sum over steps of ``log(1 - slope (d - start))`` is analytic in depth, so a short Chebyshev series
    holds it to rounding error. With ``preserve_length`` a pixel joins the sum only at its onset step, hence
    ``log Bbar_t(d) = P_t(d) - P_{onset(d) - 1}(d)``. For T = 2000 and ``minimum >= 0.9`` this is
    some 200 KB, whatever the image size.

    Args:
        coefficients: ``(T, K)`` float64.
        start: ``(T,)`` float64, the last step first and so ascending (to 1e-8): depth where each step's map leaves 1;
            ``None`` if always 0.
    """

    coefficients: torch.Tensor
    start: torch.Tensor | None

    def log_cumulative(self, depth: Depth, timesteps: Timesteps) -> torch.Tensor:
        """``log Bbar_t(d)``, float64 on the table's device.

        Args:
            depth: ``(N or 1, ...)``, in [0, 1].
            timesteps: ``(N,)`` int64 on the table's device, 0 to T - 1.
        """
        depth = depth.to(self.coefficients)
        rows = self.coefficients[timesteps]
        total = _clenshaw(rows.T.reshape(-1, timesteps.shape[0], *[1] * (depth.ndim - 1)), depth)
        if self.start is None:
            return total.clamp(max=0.0)
        # a step acts on the depths strictly beyond its start
        onset = len(self.start) - torch.searchsorted(self.start, depth.contiguous(), side="left")
        before = (onset - 1).clamp(min=0)
        skipped = _clenshaw(self.coefficients[before].movedim(-1, 0), depth)
        skipped = torch.where(onset > 0, skipped, 0.0)
        active = timesteps.reshape(-1, *[1] * (depth.ndim - 1)) >= onset
        return torch.where(active, total - skipped, 0.0).clamp(max=0.0)


def _clenshaw(coefficients: torch.Tensor, depth: torch.Tensor) -> torch.Tensor:
    """Sum of ``coefficients[k] T_k(2 d - 1)``."""
    x = 2.0 * depth - 1.0
    if coefficients.shape[0] == 1:
        return coefficients[0] + torch.zeros_like(depth)
    later, latest = torch.zeros_like(x), coefficients[-1]
    for coefficient in coefficients[1:-1].flip(0).unbind():
        later, latest = latest, coefficient + 2.0 * x * latest - later
    return coefficients[0] + x * latest - later


def _ramp(name: Ramp, steps: int) -> torch.Tensor:
    t = torch.arange(steps, dtype=torch.float64)
    u = ((t + _RAMP_OFFSET) / max(steps - 1, 1)).clamp(max=1.0)
    if name == "linear":
        return u
    if name == "sqrt":
        return u.sqrt()
    if name == "cosine":
        return (1.0 - torch.cos((t + 0.008) / (1.008 * steps) * (torch.pi / 2))) ** 2
    return 0.5 * (1.0 - torch.cos(torch.pi * t / max(steps - 1, 1)))


def _checked_steps(num_train_timesteps: int) -> int:
    if num_train_timesteps < 1:
        raise ValueError(f"num_train_timesteps must be at least 1, got {num_train_timesteps}")
    return num_train_timesteps
