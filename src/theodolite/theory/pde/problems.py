"""Ready problems with known solutions, and the functions that the fits of the literature use."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeAlias

import torch

from theodolite.core.errors import unknown
from theodolite.theory.pde.chain import Chain
from theodolite.theory.pde.operators import Function
from theodolite.theory.pde.problem import Problem

__all__ = [
    "FUNCTIONS",
    "PROBLEMS",
    "allen_cahn",
    "burgers",
    "function_named",
    "heat",
    "helmholtz_1d",
    "helmholtz_2d",
    "laplacian",
    "poisson_1d",
    "poisson_2d",
]

Interval: TypeAlias = tuple[float, float]


def laplacian(u: Function, x: torch.Tensor) -> torch.Tensor:
    """Δu at one point: the trace of the Hessian, or what u says itself if it is a network that knows (`Chain`).

    Example:
        >>> laplacian(lambda x: (x**2).sum(), torch.zeros(3)).item()
        6.0
    """
    return u.laplacian(x) if isinstance(u, Chain) else torch.func.hessian(u)(x).trace()


def _helmholtz_function(x: torch.Tensor) -> torch.Tensor:
    t = math.pi * x[:, 0]
    return torch.sin(3 * t + 3 * math.pi / 20) * torch.cos(2 * t + math.pi / 10) + 2


def _smooth_function(x: torch.Tensor) -> torch.Tensor:
    t = math.pi * x[:, 0]
    return torch.sin(t) + torch.sin(4 * t) / 2 + torch.sin(8 * t) / 4


def _oscillating_function(x: torch.Tensor) -> torch.Tensor:
    return torch.sin(20 * math.pi * x[:, 0]) * torch.exp(-(x[:, 0] ** 2))


#: Name -> (function (N, 1) -> (N,), domain): ``helmholtz`` is the solution of the Helmholtz example of the local extreme learning
#: machine and random feature papers, sin(3πx + 3π/20) cos(2πx + π/10) + 2 on [0, 8]; ``smooth`` is
#: sin πx + ½ sin 4πx + ¼ sin 8πx and ``oscillating`` is sin(20πx) exp(−x²), both on [−1, 1].
FUNCTIONS: dict[str, tuple[Callable[[torch.Tensor], torch.Tensor], tuple[Interval, ...]]] = {
    "helmholtz": (_helmholtz_function, ((0.0, 8.0),)),
    "smooth": (_smooth_function, ((-1.0, 1.0),)),
    "oscillating": (_oscillating_function, ((-1.0, 1.0),)),
}


def function_named(name: str) -> tuple[Callable[[torch.Tensor], torch.Tensor], tuple[Interval, ...]]:
    """The entry of `FUNCTIONS`, with a named error for a misspelling.

    Example:
        >>> function_named("smooth")[1]
        ((-1.0, 1.0),)
    """
    if name not in FUNCTIONS:
        raise unknown("function", name, FUNCTIONS)
    return FUNCTIONS[name]


def poisson_1d(frequency: float = 1.0) -> Problem:
    """−u″ = f on [−1, 1] with the solution u = sin(ω π x), ω the ``frequency``."""
    k = frequency * math.pi

    def exact(x: torch.Tensor) -> torch.Tensor:
        return torch.sin(k * x[:, 0])

    return Problem([(-1.0, 1.0)], lambda u, x: -laplacian(u, x), lambda x: k**2 * exact(x), exact, exact, name="poisson 1-d")


def poisson_2d(frequency: float = 1.0) -> Problem:
    """−Δu = f on [−1, 1]² with the solution u = sin(ω π x) sin(ω π y), ω the ``frequency``."""
    k = frequency * math.pi

    def exact(x: torch.Tensor) -> torch.Tensor:
        return torch.sin(k * x).prod(1)

    return Problem(
        [(-1.0, 1.0)] * 2, lambda u, x: -laplacian(u, x), lambda x: 2 * k**2 * exact(x), exact, exact, name="poisson 2-d"
    )


def helmholtz_1d(mass: float = 10.0) -> Problem:
    """u″ − λu = f on [0, 8], λ the ``mass``, with the solution sin(3πx + 3π/20) cos(2πx + π/10) + 2.

    Reference: dong2021locelm §3.1
    """
    exact, domain = FUNCTIONS["helmholtz"]

    def rhs(x: torch.Tensor) -> torch.Tensor:
        # 2 sin a cos b = sin(a + b) + sin(a − b): frequencies 5π and π
        t = math.pi * x[:, 0]
        curved = -25 * torch.sin(5 * t + math.pi / 4) - torch.sin(t + math.pi / 20)
        return math.pi**2 / 2 * curved - mass * exact(x)

    return Problem(domain, lambda u, x: laplacian(u, x) - mass * u(x), rhs, exact, exact, name="helmholtz 1-d")


def helmholtz_2d(wavenumber: float = 5.0) -> Problem:
    """Δu + k²u = f on [0, 1]², k the ``wavenumber``, with the solution u = sin(2πx) cos(3πy)."""
    a, b = 2 * math.pi, 3 * math.pi

    def exact(x: torch.Tensor) -> torch.Tensor:
        return torch.sin(a * x[:, 0]) * torch.cos(b * x[:, 1])

    def rhs(x: torch.Tensor) -> torch.Tensor:
        return (wavenumber**2 - a**2 - b**2) * exact(x)

    return Problem([(0.0, 1.0)] * 2, lambda u, x: laplacian(u, x) + wavenumber**2 * u(x), rhs, exact, exact, name="helmholtz 2-d")


def heat(diffusivity: float = 0.1) -> Problem:
    """u_t = κ u_xx for (x, t) in [0, 1]², u = sin(πx) at t = 0, zero at both ends: u = exp(−π²κt) sin(πx)."""

    def exact(x: torch.Tensor) -> torch.Tensor:
        return torch.exp(-(math.pi**2) * diffusivity * x[:, 1]) * torch.sin(math.pi * x[:, 0])

    def operator(u: Function, x: torch.Tensor) -> torch.Tensor:
        return torch.func.grad(u)(x)[1] - diffusivity * torch.func.hessian(u)(x)[0, 0]

    return Problem([(0.0, 1.0)] * 2, operator, _zero, exact, exact, faces=_PARABOLIC, order=(2, 1), name="heat")


def burgers(viscosity: float = 0.1, speed: float = 0.5, jump: float = 0.5) -> Problem:
    """u_t + u u_x = ν u_xx for (x, t) in [−1, 1] × [0, 1]: the travelling shock u = c − a tanh(a (x − c t) / (2ν)).

    Args:
        viscosity: ν; the shock is about 4ν/a wide.
        speed: c.
        jump: a, half the height of the shock.
    """

    def exact(x: torch.Tensor) -> torch.Tensor:
        return speed - jump * torch.tanh(jump * (x[:, 0] - speed * x[:, 1]) / (2 * viscosity))

    def operator(u: Function, x: torch.Tensor) -> torch.Tensor:
        slope = torch.func.grad(u)(x)
        return slope[1] + u(x) * slope[0] - viscosity * torch.func.hessian(u)(x)[0, 0]

    return Problem([(-1.0, 1.0), (0.0, 1.0)], operator, _zero, exact, exact, faces=_PARABOLIC, order=(2, 1), name="burgers")


def allen_cahn(interface: float = 0.3) -> Problem:
    """u_t = ε² u_xx + u − u³ for (x, t) in [−1, 1] × [0, 1]: the front u = ½ (1 − tanh((x − s t) / (2√2 ε))), s = 3ε/√2.

    The front, of width ε (the ``interface``), invades the unstable state 0 with the stable state 1.
    """
    width, speed = 2 * math.sqrt(2) * interface, 3 * interface / math.sqrt(2)

    def exact(x: torch.Tensor) -> torch.Tensor:
        return 0.5 * (1 - torch.tanh((x[:, 0] - speed * x[:, 1]) / width))

    def operator(u: Function, x: torch.Tensor) -> torch.Tensor:
        value = u(x)
        return torch.func.grad(u)(x)[1] - interface**2 * torch.func.hessian(u)(x)[0, 0] - value + value**3

    return Problem([(-1.0, 1.0), (0.0, 1.0)], operator, _zero, exact, exact, faces=_PARABOLIC, order=(2, 1), name="allen-cahn")


#: Faces of (x, t) with data: both ends of x, and t = 0.
_PARABOLIC = ((0, 0), (0, 1), (1, 0))


def _zero(x: torch.Tensor) -> torch.Tensor:
    return torch.zeros(len(x), dtype=x.dtype)


#: Name -> function that makes the problem with its default parameters.
PROBLEMS: dict[str, Callable[[], Problem]] = {
    "poisson_1d": poisson_1d,
    "poisson_2d": poisson_2d,
    "helmholtz_1d": helmholtz_1d,
    "helmholtz_2d": helmholtz_2d,
    "heat": heat,
    "burgers": burgers,
    "allen_cahn": allen_cahn,
}
