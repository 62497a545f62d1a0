"""The Polyak–Łojasiewicz condition and uniform conditioning, measured along a path and turned into a certificate.

Convention of the whole topic: L = ½‖F(w) − y‖², summed; then ½‖∇L‖² = ½ rᵀ K r with r = F − y, so that ½‖∇L‖²/L lies between
λ_min(K) and λ_max(K), and μ-uniform conditioning (λ_min(K) ≥ μ) gives the μ-PL condition ½‖∇L‖² ≥ μ L.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from theodolite.core.errors import ArgumentError, NumericalError
from theodolite.core.quantity import quantity
from theodolite.core.schedule import log_spaced
from theodolite.lens.curvature import LossHessian
from theodolite.lens.evaluation import evaluation
from theodolite.theory.tangent.measure.conditioning import extremal_eigenvalues
from theodolite.theory.tangent.measure.hessian import hessian_norm

__all__ = ["Hypothesis", "PLCertificate", "UniformConditioning", "pl_certificate", "pl_ratio", "uniform_conditioning"]


@quantity(symbol="½‖∇L‖²/L", reference="liu2022 Def. 1", fill={"x": "inputs", "y": "targets"})
@evaluation()
def pl_ratio(model: nn.Module, x: Any, y: Any) -> float:
    """PL ratio ½‖∇L‖² / L for L = ½‖f − y‖², summed over samples and outputs.

    It lies in [λ_min(K), λ_max(K)] of the tangent kernel; the loss is μ-PL on a set where it is at least μ.

    Args:
        model: evaluated in the mode in which it stands; left as found.
        x: inputs ``(N, ...)``.
        y: targets, one entry per output; a report passes class labels as one-hot rows.

    Returns:
        The ratio; NaN where L = 0, as 0/0 is no number.

    Raises:
        ArgumentError: targets that do not fit the outputs.

    Cost: one forward and one backward pass.

    Reference: liu2022 Def. 1; polyak1963.

    Example:
        >>> pl_ratio(nn.Linear(1, 1, bias=False), torch.tensor([[3.0]]), torch.tensor([[1.0]]))  # K = x²
        9.0
    """
    at = LossHessian(model, x, y)
    return float(0.5 * at.gradient.square().sum()) / at.value if at.value > 0 else float("nan")


@dataclass(frozen=True)
class UniformConditioning:
    """Spread of the tangent kernel's spectrum over a set of parameters.

    Attributes:
        mu: smallest λ_min(K) met: the set is at best μ-uniformly conditioned with this μ.
        lambda_max: largest λ_max(K) met.
        kappa: their ratio sup λ_max / inf λ_min, the condition number κ_F of the set (at least this).
        points: number of parameter vectors looked at.
        radius: of the ball that was sampled.
        bound: λ_min(K(θ₀)) − 2 L √(NK) ‖H‖ R with the estimated L and ‖H‖: the μ that a small Hessian guarantees.
    """

    mu: float
    lambda_max: float
    kappa: float
    points: int
    radius: float
    bound: float


@evaluation()
def uniform_conditioning(model: nn.Module, x: Any, *, radius: float, samples: int = 8, seed: int = 0) -> UniformConditioning:
    """Conditioning of the tangent kernel over the ball B(θ₀, R): estimated from random points of its sphere.

    μ-uniform conditioning on S means λ_min(K(w)) ≥ μ for all w in S. Random points can only refute it; the Hessian bound
    λ_min(K(w)) ≥ λ_min(K(θ₀)) − 2 L √(NK) sup‖H‖ R shows it, with L and sup‖H‖ estimated at the same points.

    Args:
        model: evaluated in the mode in which it stands; left as found.
        x: inputs ``(N, ...)``.
        radius: R.
        samples: random points at distance R.
        seed: of the random points.

    Returns:
        `UniformConditioning`.

    Raises:
        ArgumentError: a radius or a number of samples that is not positive.

    Cost: samples + 1 tangent kernels, eigen-solves and Hessian norms.

    Reference: liu2022 Def. 2, Thm 6.

    Example:
        >>> found = uniform_conditioning(nn.Linear(2, 1, bias=False), torch.eye(2), radius=1.0, samples=2)
        >>> found.mu, found.kappa
        (1.0, 1.0)
    """
    if not radius > 0 or samples < 1:
        raise ArgumentError(f"radius must be positive and samples at least 1, got {radius} and {samples}")
    moved = _Copy(model)
    start = moved.vector()
    generator = torch.Generator().manual_seed(seed)
    looks = []
    for index in range(samples + 1):
        if index:
            direction = torch.randn(len(start), dtype=start.dtype, generator=generator).to(start.device)
            moved.set(start + radius * direction / direction.norm())
        looks.append(moved.look(x))
    low, high, bend = (torch.tensor(column) for column in zip(*[(e.lambda_min, e.lambda_max, h) for e, h in looks], strict=True))
    size = looks[0][0].size
    bound = float(low[0]) - 2 * float(high.max()) ** 0.5 * size**0.5 * float(bend.max()) * radius
    mu, top = float(low.min()), float(high.max())
    return UniformConditioning(mu, top, top / mu if mu > 0 else float("inf"), len(looks), float(radius), bound)


class _Copy:
    """A float64 copy of a model whose trainable parameters are set from vectors."""

    def __init__(self, model: nn.Module) -> None:
        import copy

        self.model = copy.deepcopy(model).double()
        self.parameters = [p for p in self.model.parameters() if p.requires_grad]
        if not self.parameters:
            raise ArgumentError("model has no trainable parameter")

    def vector(self) -> torch.Tensor:
        return torch.cat([p.detach().reshape(-1) for p in self.parameters])

    def set(self, vector: torch.Tensor) -> None:
        with torch.no_grad():
            for p, part in zip(self.parameters, vector.split([p.numel() for p in self.parameters]), strict=True):
                p.copy_(part.view_as(p))

    def look(self, x: Any) -> tuple[Any, float]:
        """(extreme eigenvalues of the kernel, Hessian norm of the output)."""
        return extremal_eigenvalues(self.model, x), hessian_norm(self.model, x, tol=1e-3)


@dataclass(frozen=True)
class Hypothesis:
    """One hypothesis of a certificate: its state (``verified on the path``, ``estimated``, ``assumed``, ``violated``) and why."""

    state: str
    evidence: str

    def __str__(self) -> str:
        return f"{self.state}: {self.evidence}"


@dataclass(frozen=True)
class PLCertificate:
    """Existence of a solution near θ₀ and linear convergence of gradient descent to it, as far as it could be checked.

    Attributes:
        mu: PL constant: the smallest λ_min(K) met on the path.
        kappa: 1/(η μ), which governs the rate.
        lipschitz: L_F, the largest ‖DF‖ met.
        smoothness: β_F, the estimated Lipschitz constant of DF: √(NK) times the largest Hessian norm of an output met.
        radius: R = 2 L_F ‖F(θ₀) − y‖/μ, of the ball that holds a solution.
        step: η = 1/(L_F² + β_F ‖F(θ₀) − y‖).
        rate: 1 − η μ, the factor per step by which the loss falls at least.
        hypotheses: each hypothesis of the theorem and how it stands.
        losses: loss along the path, for the record.
        distance: ‖θ_T − θ₀‖ at the end of the path.
    """

    mu: float
    kappa: float
    lipschitz: float
    smoothness: float
    radius: float
    step: float
    rate: float
    hypotheses: Mapping[str, Hypothesis]
    losses: list[float] = field(repr=False, default_factory=list)
    distance: float = 0.0

    def __repr__(self) -> str:
        lines = [
            f"PLCertificate(mu={self.mu:.4g}, kappa={self.kappa:.4g}, lipschitz={self.lipschitz:.4g}, "
            f"smoothness={self.smoothness:.4g}, radius={self.radius:.4g}, step={self.step:.4g}, rate={self.rate:.6g})"
        ]
        return "\n".join(lines + [f"  {name}: {hypothesis}" for name, hypothesis in self.hypotheses.items()])


@evaluation()
def pl_certificate(model: nn.Module, x: Any, y: Any, *, steps: int = 100, looks: int = 4) -> PLCertificate:
    """Certificate of convergence after Liu, Zhu & Belkin, with every hypothesis marked by how well it is known.

    If F is L_F-Lipschitz and β_F-smooth and ½‖∇L‖² ≥ μ L on B(θ₀, R), R = 2 L_F ‖F(θ₀) − y‖/μ, then the ball holds a solution and
    gradient descent with η ≤ 1/(L_F² + β_F ‖F(θ₀) − y‖) stays in it and has L_t ≤ (1 − η μ)^t L_0.

    The constants are the extremes met along a path of gradient descent from θ₀; a copy of the model is trained.

    Args:
        model: evaluated in the mode in which it stands; left as found.
        x: inputs ``(N, ...)``.
        y: targets.
        steps: length of the path.
        looks: points per decade of steps at which spectrum and Hessian are computed.

    Returns:
        `PLCertificate`.

    Raises:
        NumericalError: λ_min(K(θ₀)) is not above the resolution: there is no PL constant to certify.
        ArgumentError: targets that do not fit.

    Cost: ``steps`` forward and backward passes; a tangent kernel and N·K Hessian norms per look.

    Reference: liu2022 Thm 6.

    Example:
        >>> certificate = pl_certificate(nn.Linear(2, 1, bias=False), torch.eye(2), torch.ones(2, 1), steps=5)
        >>> certificate.mu, certificate.lipschitz, certificate.smoothness, certificate.rate
        (1.0, 1.0, 0.0, 0.0)
    """
    if steps < 1:
        raise ArgumentError(f"steps must be at least 1, got {steps}")
    moved = _Copy(model)
    start = moved.vector()
    first, bend = moved.look(x)
    size, beginning = first.size, LossHessian(moved.model, x, y).value
    floor = 8 * torch.finfo(torch.float64).eps * size * first.lambda_max
    if first.lambda_min <= floor:
        raise NumericalError(
            f"λ_min(K) = {first.lambda_min:.3g} at the start is not above the resolution {floor:.3g}: no PL constant can be certified; "
            "use a wider network, distinct inputs, or fewer samples"
        )
    error = (2 * beginning) ** 0.5
    spectra, bends = [first], [bend]
    step = 1.0 / (first.lambda_max + size**0.5 * bend * error)
    schedule, losses = log_spaced(looks), [beginning]
    at = LossHessian(moved.model, x, y)
    farthest = 0.0
    for t in range(1, steps + 1):
        moved.set(moved.vector() - step * at.gradient)
        at = LossHessian(moved.model, x, y)
        losses.append(at.value)
        farthest = max(farthest, float((moved.vector() - start).norm()))
        if schedule(t) or t == steps:
            spectrum, bend = moved.look(x)
            spectra.append(spectrum)
            bends.append(bend)
    mu = min(s.lambda_min for s in spectra)
    lipschitz = max(s.lambda_max for s in spectra) ** 0.5
    smoothness = size**0.5 * max(bends)
    used = step
    step = 1.0 / (lipschitz**2 + smoothness * error)
    radius = 2 * lipschitz * error / mu if mu > 0 else float("inf")
    rate = 1.0 - step * mu
    hypotheses = _hypotheses(mu, radius, used, losses, farthest, len(spectra))
    distance = float((moved.vector() - start).norm())
    return PLCertificate(mu, 1.0 / (step * mu), lipschitz, smoothness, radius, step, rate, hypotheses, losses, distance)


def _hypotheses(mu: float, radius: float, step: float, losses: list[float], farthest: float, count: int) -> dict[str, Hypothesis]:
    """How each hypothesis and consequence of the theorem stands on the path taken with ``step``."""
    bound = 1.0 - step * mu
    # Below about 1e-24 of the start a loss is rounding noise of its residuals.
    noise = 1e-24 * losses[0]
    worst = max((b / a for a, b in itertools.pairwise(losses) if a > noise), default=0.0)
    faster = worst <= bound + 1e-9
    inside = farthest <= radius
    return {
        "uniform conditioning": Hypothesis("verified on the path", f"λ_min(K) ≥ {mu:.4g} at {count} points of the path"),
        "loss decreases by the rate": Hypothesis(
            "verified on the path" if faster else "violated", f"largest ratio of successive losses {worst:.6g}, bound {bound:.6g}"
        ),
        "iterates stay in the ball": Hypothesis(
            "verified on the path" if inside else "violated", f"largest distance {farthest:.4g} of R = {radius:.4g}"
        ),
        "Lipschitz constant": Hypothesis("estimated", f"largest ‖DF‖ at {count} points of the path, not over the ball"),
        "smoothness constant": Hypothesis("estimated", f"√(NK) · largest ‖∇²f‖ at {count} points of the path, not over the ball"),
        "conditioning off the path": Hypothesis("assumed", f"λ_min(K) ≥ {mu:.4g} on the whole ball of radius {radius:.4g}"),
        "twice differentiable": Hypothesis("assumed", "the activations are taken to be smooth; at kinks the Hessian misses them"),
    }
