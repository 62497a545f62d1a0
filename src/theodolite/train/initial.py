"""Initialisations, drawn member by member in float64 so that they are the same whatever the dtype, device or ensemble size."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from theodolite.core.errors import ArgumentError, UnsupportedError, unknown
from theodolite.nets.init import as_domain, deterministic_weights, uniform_density_weights

if TYPE_CHECKING:
    from theodolite.train.spec import MLPSpec

__all__ = [
    "INITS",
    "NTK",
    "UDI",
    "Antisymmetric",
    "Custom",
    "Deterministic",
    "Gaussian",
    "He",
    "Init",
    "LeCun",
    "MeanField",
    "PhaseDiagram",
    "TorchDefault",
    "Xavier",
    "find_init",
]

Layers = list[tuple[Tensor, Tensor | None]]


class Init(ABC):
    """How one member's weights and biases are drawn."""

    @abstractmethod
    def draw(self, spec: MLPSpec, generator: torch.Generator) -> Layers:
        """One (weight, bias or None) per layer, float64 on the CPU."""

    def factors(self, spec: MLPSpec) -> list[tuple[float, float]]:
        """Forward factors (c_l, c'_l) of weight and bias that belong to this initialisation; ones unless said otherwise."""
        return [(1.0, 1.0)] * spec.depth

    @property
    def settings(self) -> dict[str, Any]:
        """Name and settings, for hashes and records."""
        return {"init": type(self).__name__, **asdict(self)}  # type: ignore[call-overload]


def _normal(shape: Sequence[int], std: float, generator: torch.Generator) -> Tensor:
    return torch.randn(*shape, generator=generator, dtype=torch.float64) * std


def _uniform(shape: Sequence[int], bound: float, generator: torch.Generator) -> Tensor:
    return (torch.rand(*shape, generator=generator, dtype=torch.float64) * 2 - 1) * bound


class _Normal(Init):
    """Base of the initialisations that draw every layer from centred normal laws of given standard deviations."""

    @abstractmethod
    def stds(self, spec: MLPSpec) -> list[tuple[float, float]]:
        """Standard deviations of weight and bias, per layer."""

    def draw(self, spec: MLPSpec, generator: torch.Generator) -> Layers:
        """One (weight, bias or None) per layer, float64 on the CPU."""
        drawn: Layers = []
        for k, (weight, bias) in enumerate(self.stds(spec)):
            n_in, n_out = spec.widths[k], spec.widths[k + 1]
            w = _normal((n_out, n_in), weight, generator)
            drawn.append((w, _normal((n_out,), bias, generator) if spec.biases[k] else None))
        return drawn


@dataclass(frozen=True)
class Gaussian(_Normal):
    """Every weight and bias ~ N(0, std²).

    Attributes:
        std: standard deviation of the weights; one number, or one per layer.
        bias_std: that of the biases; None: as the weights of the same layer.
        t: if given, std = n_1^(−t) with n_1 the first hidden width, for all layers.
        convention: with ``t``: ``"std"`` (std = n_1^−t) or ``"variance"`` (variance = n_1^−t).

    Example:
        >>> from theodolite.train.spec import MLPSpec
        >>> Gaussian(t=2.0).stds(MLPSpec((1, 100, 1)))
        [(0.0001, 0.0001), (0.0001, 0.0001)]
    """

    std: float | tuple[float, ...] = 1.0
    bias_std: float | None = None
    t: float | None = None
    convention: str = "std"

    def __post_init__(self) -> None:
        if self.convention not in ("std", "variance"):
            raise ArgumentError(f"convention must be 'std' or 'variance', got {self.convention!r}")

    def stds(self, spec: MLPSpec) -> list[tuple[float, float]]:
        """Standard deviations of weight and bias, per layer."""
        if self.t is not None:
            exponent = self.t if self.convention == "std" else self.t / 2
            stds: Sequence[float] = [float(spec.widths[1]) ** -exponent] * spec.depth
        elif isinstance(self.std, (tuple, list)):
            if len(self.std) != spec.depth:
                raise ArgumentError(f"std must be a number or one per layer ({spec.depth}), got {len(self.std)}")
            stds = self.std
        else:
            stds = [float(self.std)] * spec.depth
        return [(s, s if self.bias_std is None else self.bias_std) for s in stds]


@dataclass(frozen=True)
class NTK(_Normal):
    """NTK parametrisation: weights and biases ~ N(0, 1), layers read z = σ_w/√fan_in · W h + σ_b · b.

    Attributes:
        sigma_w: σ_w.
        sigma_b: σ_b (0 makes biases inactive and untrained).
    """

    sigma_w: float = 1.0
    sigma_b: float = 1.0

    def stds(self, spec: MLPSpec) -> list[tuple[float, float]]:
        """Standard deviations of weight and bias, per layer."""
        return [(1.0, 1.0)] * spec.depth

    def factors(self, spec: MLPSpec) -> list[tuple[float, float]]:
        """Forward factors (c_l, c'_l) of weight and bias."""
        return [(self.sigma_w / math.sqrt(n), self.sigma_b) for n in spec.widths[:-1]]


@dataclass(frozen=True)
class Xavier(_Normal):
    """Weights ~ N(0, 2/(fan_in + fan_out)), biases ~ N(0, bias_std²)."""

    bias_std: float = 0.0

    def stds(self, spec: MLPSpec) -> list[tuple[float, float]]:
        """Standard deviations of weight and bias, per layer."""
        pairs = zip(spec.widths, spec.widths[1:], strict=False)
        return [(math.sqrt(2 / (n_in + n_out)), self.bias_std) for n_in, n_out in pairs]


@dataclass(frozen=True)
class He(_Normal):
    """Weights ~ N(0, 2/fan_in), biases ~ N(0, bias_std²)."""

    bias_std: float = 0.0

    def stds(self, spec: MLPSpec) -> list[tuple[float, float]]:
        """Standard deviations of weight and bias, per layer."""
        return [(math.sqrt(2 / n), self.bias_std) for n in spec.widths[:-1]]


@dataclass(frozen=True)
class LeCun(_Normal):
    """Weights ~ N(0, 1/fan_in), biases ~ N(0, bias_std²)."""

    bias_std: float = 0.0

    def stds(self, spec: MLPSpec) -> list[tuple[float, float]]:
        """Standard deviations of weight and bias, per layer."""
        return [(math.sqrt(1 / n), self.bias_std) for n in spec.widths[:-1]]


@dataclass(frozen=True)
class MeanField(_Normal):
    """Mean-field scaling of a two-layer net: all parameters ~ N(0, 1) and the output is divided by the width."""

    def stds(self, spec: MLPSpec) -> list[tuple[float, float]]:
        """Standard deviations of weight and bias, per layer."""
        if spec.depth != 2:
            raise UnsupportedError(f"the mean-field initialisation is defined for two-layer nets, got {spec.depth} layers")
        return [(1.0, 1.0)] * 2

    def factors(self, spec: MLPSpec) -> list[tuple[float, float]]:
        """Forward factors (c_l, c'_l) of weight and bias."""
        return [(1.0, 1.0), (1.0 / spec.widths[1], 1.0)]


@dataclass(frozen=True)
class PhaseDiagram(_Normal):
    """A point (γ, γ′) of the two-layer phase diagram: a ~ N(0, β_1²), (w, b) ~ N(0, β_2²).

    β_1 β_2/α = m^(−γ) and β_1/β_2 = m^(−γ′), so β_1 = √α m^(−(γ+γ′)/2) and β_2 = √α m^(−(γ−γ′)/2), with α the specification's
    output divisor.

    Attributes:
        gamma: γ.
        gamma_prime: γ′.

    Example:
        >>> from theodolite.train.spec import MLPSpec
        >>> PhaseDiagram(gamma=2.0, gamma_prime=1.0).stds(MLPSpec((1, 100, 1)))
        [(0.1, 0.1), (0.001, 0.001)]
    """

    gamma: float
    gamma_prime: float

    def stds(self, spec: MLPSpec) -> list[tuple[float, float]]:
        """Standard deviations of weight and bias, per layer."""
        if spec.depth != 2:
            raise UnsupportedError(f"(γ, γ′) are coordinates of two-layer nets, got {spec.depth} layers")
        m, root = float(spec.widths[1]), math.sqrt(spec.alpha)
        beta_1 = root * m ** (-(self.gamma + self.gamma_prime) / 2)
        beta_2 = root * m ** (-(self.gamma - self.gamma_prime) / 2)
        return [(beta_2, beta_2), (beta_1, beta_1)]


@dataclass(frozen=True)
class TorchDefault(Init):
    """``nn.Linear``'s own: weights and biases uniform on ±1/√fan_in."""

    def draw(self, spec: MLPSpec, generator: torch.Generator) -> Layers:
        """One (weight, bias or None) per layer, float64 on the CPU."""
        drawn: Layers = []
        for k in range(spec.depth):
            n_in, n_out = spec.widths[k], spec.widths[k + 1]
            bound = 1 / math.sqrt(n_in)
            w = _uniform((n_out, n_in), bound, generator)
            drawn.append((w, _uniform((n_out,), bound, generator) if spec.biases[k] else None))
        return drawn


def _first_layer(spec: MLPSpec, weight: Tensor, bias: Tensor, generator: torch.Generator) -> Layers:
    """The given first layer, with torch's default for the rest."""
    if spec.depth < 2 or not spec.biases[0]:
        raise ArgumentError("this initialisation places the first hidden layer's hyperplanes: it needs a hidden layer with bias")
    return [(weight, bias), *TorchDefault().draw(spec, generator)[1:]]


@dataclass(frozen=True)
class Deterministic(Init):
    """First layer σ(γ (x − x_j)), transition planes evenly spread (`theodolite.nets.init.deterministic_weights`); rest torch's.

    Attributes:
        domain: box of the inputs, pairs (low, high); one pair serves every axis.
        gamma: slope γ; None: width/length in one dimension, so that neighbouring transitions just touch.
    """

    domain: tuple[Any, ...] = (-1.0, 1.0)
    gamma: float | None = None

    def draw(self, spec: MLPSpec, generator: torch.Generator) -> Layers:
        """One (weight, bias or None) per layer, float64 on the CPU."""
        box = as_domain(self.domain, spec.widths[0]).tolist()
        return _first_layer(spec, *deterministic_weights(spec.widths[1], box, self.gamma), generator)


@dataclass(frozen=True)
class UDI(Init):
    """Uniform density: first layer σ(γ (a·(x − c) + r)), a uniform on the sphere, r uniform on [0, R]; rest torch's.

    Attributes:
        domain: box of the inputs, pairs (low, high); one pair serves every axis.
        gamma: slope γ.
    """

    domain: tuple[Any, ...] = (-1.0, 1.0)
    gamma: float = 1.0

    def draw(self, spec: MLPSpec, generator: torch.Generator) -> Layers:
        """One (weight, bias or None) per layer, float64 on the CPU."""
        box = as_domain(self.domain, spec.widths[0]).tolist()
        return _first_layer(spec, *uniform_density_weights(spec.widths[1], box, self.gamma, generator), generator)


@dataclass(frozen=True)
class Antisymmetric(Init):
    """The last hidden layer's second half repeats the first with outgoing weights negated: f = 0 at the start (two-layer nets).

    Attributes:
        base: the initialisation that is made antisymmetric.
    """

    base: str | Init = "gaussian"

    def draw(self, spec: MLPSpec, generator: torch.Generator) -> Layers:
        """One (weight, bias or None) per layer, float64 on the CPU."""
        if spec.depth != 2 or spec.widths[1] % 2:
            raise UnsupportedError(f"antisymmetric initialisation needs two layers and an even width, got widths {spec.widths}")
        (w, b), (a, c) = find_init(self.base).draw(spec, generator)
        half = spec.widths[1] // 2
        w[half:], a[:, half:] = w[:half], -a[:, :half]
        if b is not None:
            b[half:] = b[:half]
        return [(w, b), (a, None if c is None else torch.zeros_like(c))]

    def factors(self, spec: MLPSpec) -> list[tuple[float, float]]:
        """Forward factors (c_l, c'_l) of weight and bias."""
        return find_init(self.base).factors(spec)


@dataclass(frozen=True)
class Custom(Init):
    """A user's function ``(spec, generator) -> [(weight, bias or None), …]``."""

    function: Callable[..., Any]

    def draw(self, spec: MLPSpec, generator: torch.Generator) -> Layers:
        """One (weight, bias or None) per layer, float64 on the CPU."""
        drawn = [(w.double(), None if b is None else b.double()) for w, b in self.function(spec, generator)]
        got = {f"{n}.weight": tuple(w.shape) for n, (w, _) in zip(spec.layers, drawn, strict=False)}
        got |= {f"{n}.bias": tuple(b.shape) for n, (_, b) in zip(spec.layers, drawn, strict=False) if b is not None}
        if got != spec.parameter_shapes:
            raise ArgumentError(f"init must return the shapes {spec.parameter_shapes}, got {got}")
        return drawn


#: Named initialisations.
INITS: dict[str, Callable[[], Init]] = {
    "gaussian": Gaussian,
    "ntk": NTK,
    "xavier": Xavier,
    "he": He,
    "lecun": LeCun,
    "mean_field": MeanField,
    "torch": TorchDefault,
    "pytorch": TorchDefault,
    "default": TorchDefault,
    "deterministic": Deterministic,
    "udi": UDI,
    "antisymmetric": Antisymmetric,
}


def find_init(init: str | Init | Callable[..., Any]) -> Init:
    """The named initialisation, an `Init` as it is, or a user's function as one.

    Raises:
        UnknownNameError: no such name; the nearest ones are listed.
        ArgumentError: neither a name, an initialisation nor a function.
    """
    if isinstance(init, Init):
        return init
    if isinstance(init, str):
        if init.lower() not in INITS:
            raise unknown("initialisation", init, INITS)
        return INITS[init.lower()]()
    if callable(init):
        return Custom(init)
    raise ArgumentError(f"init must be a name, an initialisation or a function, got {init!r}")
