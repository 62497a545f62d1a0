"""`critical_init_`: put a user's module on the critical line."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import nn

from theodolite.core.errors import ArgumentError, NumericalError, TheodoliteError, TheodoliteWarning, UnsupportedError
from theodolite.lens.frozen import frozen
from theodolite.lens.graph import Graph, trace
from theodolite.maths.activation import Activation, identify
from theodolite.theory.meanfield.construct.held import AFFINE, held_weights
from theodolite.theory.meanfield.construct.orthogonal import delta_orthogonal_, orthogonal_
from theodolite.theory.meanfield.construct.roles import NORMS, Plan, plan_by_trace
from theodolite.theory.meanfield.predict import CriticalPoint, critical_line, critical_point, half_stable_point

__all__ = ["InitReport", "InitRow", "critical_init_"]

Weights = Literal["gaussian", "orthogonal"]


@dataclass(frozen=True)
class InitRow:
    """One module that was set.

    Attributes:
        module: qualified name.
        role: ``first``, ``hidden``, ``branch end``, ``readout`` or ``norm``.
        activation: name of the activation that the layer reads (empty for the first).
        sigma_w2: variance of the weights times fan-in that was set.
        sigma_b2: variance of the biases that was set.
        weights: ``gaussian``, ``orthogonal`` or ``delta-orthogonal``; ``constant`` for norms.
    """

    module: str
    role: str
    activation: str
    sigma_w2: float
    sigma_b2: float
    weights: str


@dataclass(frozen=True)
class InitReport:
    """What `critical_init_` did.

    Attributes:
        set: the modules that it set.
        left: (name, reason) of modules with parameters that it left alone.
        points: activation name -> the critical point used.
        residual_branches: number of residual branches found; their ends are scaled by its inverse square root or less.
        notes: what else a reader should know.
    """

    set: tuple[InitRow, ...]
    left: tuple[tuple[str, str], ...]
    points: dict[str, CriticalPoint]
    residual_branches: int = 0
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        lines = [
            f"{r.module:<24} {r.role:<11} {r.weights:<16} σ_w² = {r.sigma_w2:<9.5g} σ_b² = {r.sigma_b2:<9.4g} {r.activation}"
            for r in self.set
        ]
        lines += [f"{name:<24} left alone: {reason}" for name, reason in self.left]
        return "\n".join([*lines, *self.notes])


def critical_init_(
    model: nn.Module,
    *,
    sigma_b2: float | None = None,
    weights: Weights = "orthogonal",
    activation: Any = "auto",
    x: torch.Tensor | None = None,
    generator: torch.Generator | None = None,
) -> InitReport:
    """Initialise every Linear and Conv module of ``model`` on the critical line χ₁ = 1 of the activation that it reads; in place.

    Hidden layers get σ_w² = 1/E φ′² at the fixed variance q*; the first layer gets what turns its inputs (unit second moment unless
    ``x`` is given) into pre-activations of variance q*, so that there is no transient. The last affine layer of each of R residual
    branches, or the norm layer behind it, which would undo that, is scaled by 1/√(R g), so that squared gradients grow by about e at
    most, whatever the depth: g ≥ 1 is how much the layers of the branch that read no activation amplify. Other norm layers are reset
    to weight 1, bias 0.
    Embeddings, attention, recurrent and transposed layers, and weights that are tied to them or computed by a parametrization, are left
    alone and named. A weight that several layers share is set for the first of them.

    Args:
        model: any module. It is traced (see ``x``) to find which activation each layer reads, and where residual branches end.
        sigma_b2: variance of the biases. By default q* = 1/depth, which with orthogonal weights keeps the Jacobian's spectrum bounded
            as depth grows; 0 for ReLU and its relatives; the half-stable point where such a small q* is unstable (GELU, SiLU, Mish).
        weights: ``"orthogonal"``: Haar matrices, delta-orthogonal kernels; or ``"gaussian"``, of the same variances. Both are critical,
            but the squared singular values of a Gaussian Jacobian spread like the depth: 100 layers of tanh train with orthogonal
            weights and hardly, or not at all, with Gaussian ones (`meanfield.critical_init`). Keep learning rates low at such depths.
        activation: the activation of all layers, instead of what the trace finds.
        x: inputs to trace with and to measure the scale of; without it the module is traced on zeros shaped after its first layer.
            Tokens need it; a layer that reads embeddings is set to their scale.
        generator: source of randomness; torch's default one otherwise.

    Returns:
        An `InitReport`: what was set, what was left alone and why. Print it.

    Raises:
        ArgumentError: ``weights`` is neither; ``x`` is empty or not finite; a lazy module that has not run; or the activations could
            not be found: pass ``activation`` or ``x``.
        NumericalError: the activation has no critical point with this ``sigma_b2`` (ReLU with a bias).
        UnsupportedError: no affine layer, or not one activation has a finite slope; where only some jump, their readers are left.

    Warns:
        TheodoliteWarning: the critical point asked for is unstable (Q′ > 1), so that signals leave it with depth.

    Cost: one forward pass and one draw per weight.

    Reference: schoenholz2017; pennington2017; xiao2018; yang2017.

    Example:
        >>> net = nn.Sequential(nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 2))
        >>> report = critical_init_(net, sigma_b2=0.05, generator=torch.Generator().manual_seed(0))
        >>> [row.role for row in report.set], round(report.points["tanh"].sigma_w2, 6)
        (['first', 'hidden', 'readout'], 1.760955)
    """
    if weights not in ("gaussian", "orthogonal"):
        raise ArgumentError(f"weights must be 'gaussian' or 'orthogonal', got {weights!r}")
    if not isinstance(model, nn.Module):
        raise ArgumentError(f"model must be an nn.Module, got {type(model).__name__}")
    if not any(isinstance(m, AFFINE) for m in model.modules()):
        raise UnsupportedError(f"{type(model).__name__} has no nn.Linear or nn.Conv layer to initialise")
    power = 1.0 if x is None else _power(x)
    held = held_weights(model)
    plan = _plan(model, activation, x)
    points, refused = _points(plan, sigma_b2)
    rows, left = [], []
    for name, module in model.named_modules():
        if isinstance(module, AFFINE):
            role, phi = plan.roles.get(name, ("", None))
            if not role or name in held or phi in refused:
                left.append((name, held.get(name) or (str(refused[phi]) if phi in refused else "the trace did not reach it")))
                continue
            rows.append(_fill(name, module, plan, points, weights, power, generator))
        elif isinstance(module, NORMS) and any(True for _ in module.parameters(recurse=False)):
            rows.append(_reset(name, module, plan, _branch_scale2(name, plan, points, power)))
        elif any(True for _ in module.parameters(recurse=False)):
            left.append((name or type(model).__name__, f"{type(module).__name__} has no critical initialisation here"))
    if len(points) > 1:
        names = ", ".join(phi.name for phi in points)
        plan.notes.append(f"each layer has the critical point of what it reads; those of {names} have different fixed variances")
    return InitReport(tuple(rows), tuple(left), {phi.name: p for phi, p in points.items()}, plan.branches, tuple(plan.notes))


def _reset(name: str, norm: nn.Module, plan: Plan, scale2: float) -> InitRow:
    """Set a norm layer to a constant weight, 1 or the scale of the branch that it ends, and no bias."""
    with torch.no_grad():
        norm.weight.fill_(math.sqrt(scale2))  # type: ignore[operator]
        bias = getattr(norm, "bias", None)
        if bias is not None:
            bias.zero_()
    return InitRow(name, "branch end" if name in plan.ends else "norm", "", scale2, 0.0, "constant")


def _power(x: Any) -> float:
    """Second moment of the inputs; 1 for tokens, whose embeddings are measured instead."""
    if not isinstance(x, torch.Tensor) or not x.numel() or not bool(torch.isfinite(x).all()):
        raise ArgumentError("x must be a tensor of finite inputs, at least one")
    return float((x.detach().double() ** 2).mean()) if x.is_floating_point() else 1.0


def _points(plan: Plan, sigma_b2: float | None) -> tuple[dict[Activation, CriticalPoint], dict[Activation, UnsupportedError]]:
    """(activation -> critical point, activation -> why it has none); raises where not one has any."""
    depth = max(1, sum(role != "readout" for role, _ in plan.roles.values()))
    points: dict[Activation, CriticalPoint] = {}
    refused: dict[Activation, UnsupportedError] = {}
    for phi in dict.fromkeys(phi for _, phi in plan.roles.values() if phi is not None):
        try:
            points[phi] = _point(phi, sigma_b2, depth)
        except UnsupportedError as error:
            refused[phi] = error
    if refused and not points:
        raise next(iter(refused.values()))
    return points, refused


def _point(phi: Activation, sigma_b2: float | None, depth: int) -> CriticalPoint:
    import warnings

    if sigma_b2 is not None:
        point = critical_line(phi, sigma_b2)
        if not point.stable:
            warnings.warn(
                f"the critical point of {phi.name} at sigma_b2 = {sigma_b2:g} is unstable (Q′ > 1): the variance leaves it with "
                f"depth; the stable part of its line begins at {half_stable_point(phi)}",
                TheodoliteWarning,
                stacklevel=5,
            )
        # In the limit q* → 0 the variance falls like 1/depth from any start: start it there.
        return point if point.q_star > 0 else replace(point, q_star=1.0 / depth)
    try:
        point = critical_point(phi, 1.0 / depth)
        if point.sigma_b2 == 0.0 and critical_point(phi, 1.0).sigma_b2 == 0.0:
            return critical_point(phi, 1.0)  # homogeneous: every q is fixed, so keep the scale of the inputs
        if point.stable:
            return point
        return half_stable_point(phi)
    except NumericalError:
        return critical_line(phi, 0.0)


def _variances(name: str, plan: Plan, points: Mapping[Activation, CriticalPoint], power: float) -> tuple[float, float]:
    """(σ_w², σ_b²) of a layer, its branch's scale aside."""
    role, phi = plan.roles[name]
    point = points[phi] if phi is not None else CriticalPoint(1.0, 0.0, 1.0, True)
    w2, b2 = point.sigma_w2, point.sigma_b2
    if role in ("first", "after norm"):
        # Pre-activations of variance q* from inputs of second moment ``power`` (1 behind a norm).
        moment = plan.powers.get(name, power) if role == "first" else 1.0
        w2 = (point.q_star - b2) / moment if moment > 0 and point.q_star > b2 else w2
    return w2, 0.0 if role in ("readout", "branch end") else b2


def _branch_scale2(name: str, plan: Plan, points: Mapping[Activation, CriticalPoint], power: float) -> float:
    """1/(R g) for what scales a branch; 1 for any other module."""
    if name not in plan.ends:
        return 1.0
    known = [n for n in plan.ends[name] if plan.roles[n][1] is None or plan.roles[n][1] in points]
    gain2 = math.prod(_variances(n, plan, points, power)[0] for n in known)
    return 1.0 / (max(1, plan.branches) * max(1.0, gain2))


def _fill(
    name: str, module: Any, plan: Plan, points: Mapping[Activation, CriticalPoint], weights: str, power: float,
    generator: torch.Generator | None,
) -> InitRow:  # fmt: skip
    role, phi = plan.roles[name]
    w2, b2 = _variances(name, plan, points, power)
    w2 *= _branch_scale2(name, plan, points, power)
    kind = _draw_(name, module, math.sqrt(w2), weights, generator)
    if module.bias is not None:
        with torch.no_grad():
            module.bias.copy_(torch.randn(module.bias.shape, generator=generator, dtype=torch.float64) * math.sqrt(b2))
    elif b2 > 0:
        b2 = 0.0
    return InitRow(name, role, "" if phi is None else phi.name, w2, b2, kind)


def _draw_(name: str, module: Any, gain: float, weights: str, generator: torch.Generator | None) -> str:
    weight = module.weight
    if isinstance(module, nn.Linear):
        if weights == "orthogonal":
            orthogonal_(weight, gain, generator)
            return "orthogonal"
    elif weights == "orthogonal" and _takes_delta(module):
        # Per fan-in of the one tap that is not zero: c_in columns in c_out rows.
        delta_orthogonal_(weight, gain * math.sqrt(weight.shape[0] / weight.shape[1]), generator)
        return "delta-orthogonal"
    fan_in = weight[0].numel()
    with torch.no_grad():
        weight.copy_(torch.randn(weight.shape, generator=generator, dtype=torch.float64) * (gain / math.sqrt(fan_in)))
    return "gaussian"


def _takes_delta(module: Any) -> bool:
    outputs, inputs, *sizes = module.weight.shape
    return module.groups == 1 and inputs <= outputs and all(k % 2 for k in sizes)


def _plan(model: nn.Module, activation: Any, x: torch.Tensor | None) -> Plan:
    graph, reason = _traced(model, x)
    if graph is None:
        if activation == "auto":
            raise ArgumentError(
                f"the activations of {type(model).__name__} could not be found, because it could not be run on zeros ({reason}); "
                "pass inputs as x=, or the activation as activation="
            )
        return _plan_by_order(model, activation, reason)
    plan = plan_by_trace(model, graph, None if activation == "auto" else activation)
    return plan


def _traced(model: nn.Module, x: torch.Tensor | None) -> tuple[Graph | None, str]:
    first = next(m for m in model.modules() if isinstance(m, AFFINE))
    reference = first.weight
    if x is None:
        if isinstance(first, nn.Linear):
            candidates = [(2, first.in_features), (2, 3, first.in_features)]
        else:
            dims = first.weight.ndim - 2
            candidates = [(2, first.in_channels, *(size,) * dims) for size in (8, 28, 32, 64, 224)]
        inputs = [torch.zeros(s, dtype=reference.dtype, device=reference.device) for s in candidates]
    else:
        inputs = [x.detach()[:2].to(reference.device, reference.dtype if x.is_floating_point() else None)]
    reason = ""
    for example in inputs:
        try:
            with frozen(model):
                return trace(model, example), ""
        except (TheodoliteError, RuntimeError, ValueError, TypeError, IndexError, AttributeError) as error:
            reason = reason or f"{type(error).__name__}: {str(error)[:120]}"
    return None, reason


def _plan_by_order(model: nn.Module, activation: Any, reason: str) -> Plan:
    """Without a trace: the first affine module in registration order is the first, the last the readout, all others hidden."""
    names = [n for n, m in model.named_modules() if isinstance(m, AFFINE)]
    plan = Plan(notes=[f"not traced ({reason}): roles follow the order of registration, residual branches are not scaled"])
    for i, name in enumerate(names):
        role = "first" if i == 0 else "readout" if i == len(names) - 1 else "hidden"
        plan.roles[name] = role, identify(activation)
    return plan
