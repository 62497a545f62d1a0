"""Pruning by interpolation, the constructive form of Theorem 3.2: redundant neurons are written in terms of the others.

Let Φ be the values by which the next affine layer reads a hidden layer, on the data, and W its weights. Strong rank-revealing QR keeps
columns I of Φ such that Φ_J ≈ Φ_I T + 1cᵀ; the next layer becomes W'_I = W_I + W_J Tᵀ, b' = b + W_J c. Its pre-activations change by
‖R22 W_Jᵀ‖, which is the least-squares optimum for the columns kept, so no separate refit is needed.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import nn

from theodolite.core.errors import ArgumentError, UnsupportedError, unknown
from theodolite.lens import Lens, frozen
from theodolite.lens import inputs as calls
from theodolite.lens.graph import tensors_in
from theodolite.maths.interpolative import interpolate
from theodolite.theory.rank.prunable import Unit, cut, find_units

__all__ = ["PruningCertificate", "prune"]


@dataclass(frozen=True)
class PruningCertificate:
    """What `prune` did, and how far the output moved.

    Attributes:
        kept: layer -> number of neurons kept.
        widths: layer -> number of neurons before.
        indices: layer -> which neurons were kept.
        error: ‖f_small(x) − f(x)‖ / ‖f(x)‖ over all outputs and samples of ``x``, measured (a posteriori).
        bound: a-priori bound on ``error`` from Theorem 3.2, times Lipschitz constants of later layers; ∞ where no useful bound exists.
        left: layer -> why it was not cut.
        parameters: (before, after).
    """

    kept: Mapping[str, int]
    widths: Mapping[str, int]
    indices: Mapping[str, tuple[int, ...]]
    error: float
    bound: float
    left: Mapping[str, str] = field(default_factory=dict)
    parameters: tuple[int, int] = (0, 0)

    def __str__(self) -> str:
        rows = [f"{name}: {self.widths[name]} → {count} neurons" for name, count in self.kept.items()]
        rows += [f"{name}: left alone ({reason})" for name, reason in self.left.items()]
        rows.append(f"parameters {self.parameters[0]:,} → {self.parameters[1]:,}")
        rows.append(f"relative L² change of the output on x: {self.error:.3g} measured, a-priori bound {self.bound:.3g}")
        return "\n".join(rows)


def prune(
    model: nn.Module,
    x: Any,
    *,
    eps: float | None = None,
    width: int | Mapping[str, int] | None = None,
    tolerance: float | None = None,
    layers: str | Sequence[str] | None = None,
) -> tuple[nn.Module, PruningCertificate]:
    """A smaller network with nearly the same outputs on ``x``, with an error certificate; ``model`` is left as it is.

    Layers are cut one after another, each on the features of the network as pruned so far, by strong rank-revealing QR
    (interpolative decomposition); the next layer's weights and bias absorb the dropped neurons. Exactly one criterion is given.

    Args:
        model: a module in which some Linear or Conv layers are followed by an activation (norms, dropout, pooling and flatten may stand
            between) and read by Linear or Conv layers only: chains, inner layers of residual branches, MLP blocks of transformers.
        x: data in any form that `theodolite.Lens` takes; the certificate holds on it.
        eps: keep as many neurons as the ε-rank of the features under the empirical measure.
        width: keep this many neurons, in every layer or by layer name.
        tolerance: keep as few neurons as keep the relative L² change of the output on ``x`` below this, shared among the layers.
        layers: globs of the layers that may be cut, by the name of their activation or of the weights before it; default all.

    Returns:
        (small model, `PruningCertificate`). At full rank the small model is an exact copy.

    Raises:
        ArgumentError: not exactly one criterion, or one out of range.
        UnsupportedError: forward hooks or tied weights, whose meaning would change; or nothing that can be cut.
        UnknownNameError: a layer that does not exist.

    Cost:
        Per layer one pass over the data, O(N n²) for the QR of its features and O(n³) for the selection.

    Reference:
        yang2024 Cor. 3.6, Thm 3.2; gu1996; chee2022 for interpolative pruning.

    Example:
        >>> net = nn.Sequential(nn.Linear(1, 30), nn.Tanh(), nn.Linear(30, 1)).double()
        >>> small, certificate = prune(net, torch.linspace(-1, 1, 200, dtype=torch.float64)[:, None], eps=1e-8)
        >>> small[0].out_features < 30, certificate.error < 1e-3
        (True, True)
    """
    _check_criterion(eps, width, tolerance)
    _refuse_hooks(model)
    small = copy.deepcopy(model)
    lens = Lens(small, x, layers=layers)
    units, left = find_units(small, lens)
    if not units and not left:
        raise UnsupportedError("nothing to prune: the model has no hidden layer")
    if isinstance(width, Mapping):
        for name in width:
            if name not in lens.layers:
                raise unknown("layer", name, lens.layers)
        units = [unit for unit in units if unit.name in width]
    before = _parameters(small)
    reference = _outputs(small, lens)
    scale = float(reference.norm()) or 1.0
    kept, widths, indices, bound = {}, {}, {}, 0.0
    for number, unit in enumerate(units):
        budget = None if tolerance is None else tolerance * (number + 1) / len(units)
        choice = _Choice(small, lens, unit, reference, scale)
        p = choice.size(eps, width[unit.name] if isinstance(width, Mapping) else width, budget)
        widths[unit.name], kept[unit.name] = unit.width, p
        bound += choice.a_priori(p)
        indices[unit.name] = tuple(choice.carry_out(p).tolist())
    error = float((_outputs(small, lens) - reference).norm()) / scale
    return small, PruningCertificate(kept, widths, indices, error, bound, left, (before, _parameters(small)))


def _check_criterion(eps: float | None, width: Any, tolerance: float | None) -> None:
    given = {name: value for name, value in (("eps", eps), ("width", width), ("tolerance", tolerance)) if value is not None}
    if len(given) != 1:
        raise ArgumentError(
            f"give exactly one of eps, width and tolerance, got {given or 'none'}; eps=1e-3 is the paper's choice"
        )
    for name, number in (("eps", eps), ("tolerance", tolerance)):
        if number is not None and not isinstance(number, (int, float, np.number)):
            raise ArgumentError(f"{name} must be a number, got {number!r}")
    if eps is not None and not (eps > 0 and math.isfinite(eps)):
        raise ArgumentError(f"eps must be positive and finite, got {eps}")
    if tolerance is not None and not tolerance >= 0:
        raise ArgumentError(f"tolerance must not be negative, got {tolerance}")
    for value in width.values() if isinstance(width, Mapping) else [width]:
        if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
            raise ArgumentError(f"width must be a positive integer, got {value!r}")


def _refuse_hooks(model: nn.Module) -> None:
    for name, module in model.named_modules():
        if module._forward_hooks or module._forward_pre_hooks:
            raise UnsupportedError(
                f"module {name or 'root'!r} has forward hooks, which a smaller network would call with other shapes; remove them first"
            )


def _parameters(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def _outputs(model: nn.Module, lens: Lens) -> torch.Tensor:
    with frozen(model), torch.no_grad():
        parts = [calls.run(model, call) for call in lens.calls]
    first = [next(tensors_in(part)) for part in parts]
    return torch.cat([t.reshape(call.size, -1) for t, call in zip(first, lens.calls, strict=True)]).double()


class _Choice:
    """One layer of the current small network: how many neurons to keep, the a-priori bound, and the cut itself."""

    def __init__(self, model: nn.Module, lens: Lens, unit: Unit, reference: torch.Tensor, scale: float) -> None:
        self.model, self.lens, self.unit = model, lens, unit
        self.reference, self.scale = reference, scale
        features = unit.read(model, lens)  # (N, n) as the next layer reads them
        self.samples = len(features)
        plain = features.numpy() / math.sqrt(self.samples)
        self.eigenvalues = np.linalg.svd(np.linalg.qr(plain, mode="r"), compute_uv=False) ** 2
        self.mean = features.mean(0)
        # A constant column can be absorbed by the next bias, where there is one that every position sees.
        centered = (features - self.mean).numpy() / math.sqrt(self.samples) if unit.absorbs_constant else plain
        self.factor: np.ndarray = np.asarray(np.linalg.qr(centered, mode="r"))

    def size(self, eps: float | None, width: int | None, budget: float | None) -> int:
        """Number of neurons to keep."""
        if width is not None:
            return min(width, self.unit.width)
        if eps is not None:
            return max(1, int((self.eigenvalues > eps).sum()))
        assert budget is not None
        low, high = 0, self.unit.width  # the error at `high` is within budget: cutting nothing changes nothing
        while high - low > 1:
            middle = (low + high) // 2
            trial = copy.deepcopy(self.model)
            self._cut(trial, middle)
            error = float((_outputs(trial, self.lens) - self.reference).norm()) / self.scale
            low, high = (low, middle) if error <= budget else (middle, high)
        return high

    def a_priori(self, p: int) -> float:
        """√(λ_{p+1}(1 + f² p(n − p))) ‖W_J‖ times the Lipschitz constant of what follows, relative to the output."""
        n = self.unit.width
        if p >= n:
            return 0.0
        found = interpolate(self.factor, p)
        sigma = np.linalg.svd(self.factor, compute_uv=False)
        next_sigma = float(sigma[p]) if p < len(sigma) else 0.0
        growth = math.sqrt(1 + found.growth**2 * p * (n - p)) * next_sigma
        weight = self.unit.outgoing(self.model)[:, torch.from_numpy(found.dropped)]
        norm = float(torch.linalg.norm(weight.double()))
        return growth * norm * self.unit.lipschitz(self.model) * math.sqrt(self.reference.shape[0]) / self.scale

    def carry_out(self, p: int) -> np.ndarray:
        """Cut the small network in place; returns the indices kept."""
        return self._cut(self.model, p)

    def _cut(self, model: nn.Module, p: int) -> np.ndarray:
        if p >= self.unit.width:
            return np.arange(self.unit.width)
        found = interpolate(self.factor, p)
        t = torch.from_numpy(found.coefficients)
        kept, dropped = torch.from_numpy(found.kept), torch.from_numpy(found.dropped)
        constant = self.mean[dropped] - self.mean[kept] @ t if self.unit.absorbs_constant else None
        cut(model, self.unit, kept, dropped, t, constant)
        return found.kept
