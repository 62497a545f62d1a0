"""Optimisers as pure update rules on stacked parameters; every member moves by its own gradient and learning rate."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from theodolite.core.errors import ArgumentError, unknown

__all__ = ["GD", "OPTIMIZERS", "SGD", "Adam", "NormalizedGD", "Optimizer", "TraceGD", "find_optimizer"]

#: Optimiser state: slot name -> one tensor per parameter.
State = dict[str, list[Tensor]]
#: (position of the weight, position of the bias or None) of each layer in the list of parameters.
Groups = Sequence[tuple[int, int | None]]


class Optimizer(ABC):
    """An update rule. Subclasses are frozen dataclasses of their settings."""

    def start(self, params: Sequence[Tensor], groups: Groups) -> State:
        """The state before the first step."""
        return {}

    def factors(self, step: int) -> tuple[float, ...]:
        """Numbers that depend on the step alone (step 1 is the first update)."""
        return ()

    @abstractmethod
    def update(
        self,
        params: Sequence[Tensor],
        gradients: Sequence[Tensor],
        state: State,
        lr: Sequence[Tensor],
        factors: Sequence[Any],
        groups: Groups,
    ) -> None:
        """Move ``params`` and ``state`` in place; ``lr`` holds one broadcastable tensor per parameter."""

    @property
    def settings(self) -> dict[str, Any]:
        """Name and settings, for hashes and records."""
        return {"optimizer": type(self).__name__, **asdict(self)}  # type: ignore[call-overload]


@dataclass(frozen=True)
class SGD(Optimizer):
    """Stochastic gradient descent: v ← μ v + g, θ ← θ − lr v (torch's form, no dampening).

    With the whole data set as one batch it is gradient descent.

    Attributes:
        momentum: μ.
        nesterov: step along g + μ v instead of v.
    """

    momentum: float = 0.0
    nesterov: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.momentum < 1:
            raise ArgumentError(f"momentum must lie in [0, 1), got {self.momentum}")
        if self.nesterov and not self.momentum:
            raise ArgumentError("nesterov needs a positive momentum, got 0")

    def start(self, params: Sequence[Tensor], groups: Groups) -> State:
        """The state before the first step."""
        return {"velocity": [torch.zeros_like(p) for p in params]} if self.momentum else {}

    def update(self, params, gradients, state, lr, factors, groups) -> None:
        """Move ``params`` and ``state`` in place."""
        if self.momentum:
            for v, g in zip(state["velocity"], gradients, strict=True):
                v.mul_(self.momentum).add_(g)
            moved = state["velocity"]
            if self.nesterov:
                moved = [torch.add(g, v, alpha=self.momentum) for g, v in zip(gradients, moved, strict=True)]
        else:
            moved = gradients
        for p, v, rate in zip(params, moved, lr, strict=True):
            p.addcmul_(rate, v, value=-1)


@dataclass(frozen=True)
class GD(SGD):
    """Full-batch gradient descent: θ ← θ − lr ∇L; refuses mini-batches."""


@dataclass(frozen=True)
class TraceGD(GD):
    """Full-batch gradient descent with the step lr / tr H, H = κ JᵀJ the Gauss–Newton matrix at the current parameters.

    κ = ∂²L/∂f² is a constant of the quadratic losses. As λ_max(H) ≤ tr H, lr = 1 is stable in the linearised dynamics for every
    initialisation and width, without a search; every member takes its own step. In the flow's time a step lasts lr / tr H.
    """

    def __post_init__(self) -> None:
        if self.momentum:
            raise ArgumentError("TraceGD has no momentum")


@dataclass(frozen=True)
class Adam(Optimizer):
    """Adam (torch's form): m ← β₁m + (1−β₁)g, v ← β₂v + (1−β₂)g², θ ← θ − lr m̂/(√v̂ + eps).

    Gradients much smaller than ``eps`` turn Adam into momentum descent of rate lr/eps: lower ``eps`` for small initialisations.

    Attributes:
        betas: (β₁, β₂).
        eps: added to √v̂.
    """

    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8

    def __post_init__(self) -> None:
        object.__setattr__(self, "betas", (float(self.betas[0]), float(self.betas[1])))
        if not all(0 <= b < 1 for b in self.betas):
            raise ArgumentError(f"betas must lie in [0, 1), got {self.betas}")
        if self.eps < 0:
            raise ArgumentError(f"eps must not be negative, got {self.eps}")

    def start(self, params: Sequence[Tensor], groups: Groups) -> State:
        """The state before the first step."""
        return {"first": [torch.zeros_like(p) for p in params], "second": [torch.zeros_like(p) for p in params]}

    def factors(self, step: int) -> tuple[float, ...]:
        """1/(1 − β₁^t) and 1/√(1 − β₂^t)."""
        return 1 / (1 - self.betas[0] ** step), 1 / math.sqrt(1 - self.betas[1] ** step)

    def update(self, params, gradients, state, lr, factors, groups) -> None:
        """Move ``params`` and ``state`` in place."""
        b1, b2 = self.betas
        unbias_first, unbias_second = factors
        for p, g, m, v, rate in zip(params, gradients, state["first"], state["second"], lr, strict=True):
            m.mul_(b1).add_(g, alpha=1 - b1)
            v.mul_(b2).addcmul_(g, g, value=1 - b2)
            size = v.sqrt().mul_(unbias_second).add_(self.eps)
            p.addcmul_(rate * unbias_first, m / size, value=-1)


@dataclass(frozen=True)
class NormalizedGD(Optimizer):
    """Neuron-wise normalised gradient descent: it samples the direction field of the initial stage.

    Every neuron's row w_k (bias included) of a hidden layer moves by lr ‖w_k‖ against its unit gradient; then the layer's rows
    are rescaled together so that their mean norm stays what it was at the start. Every outgoing column a_k of the output layer
    moves by lr s against its unit gradient, s being the mean column norm at the start, and is clamped to ‖a_k‖ ≤ s; an output
    bias moves by plain gradient descent. Rotation speeds are thereby independent of amplitudes: no neuron runs away, and
    every attractor of the direction field collects its basin. Neurons with zero gradient stay.
    """

    def start(self, params: Sequence[Tensor], groups: Groups) -> State:
        """The state before the first step: the mean norms to keep."""
        sizes = []
        for weight, bias in groups[:-1]:
            sizes.append(_row_norms(params[weight], None if bias is None else params[bias]).mean(1))
        sizes.append(params[groups[-1][0]].norm(dim=1).mean(1))
        return {"size": sizes}

    def update(self, params, gradients, state, lr, factors, groups) -> None:
        """Move ``params`` and ``state`` in place."""
        for (weight, bias), size in zip(groups[:-1], state["size"], strict=False):
            w, b = params[weight], None if bias is None else params[bias]
            length = _row_norms(gradients[weight], None if bias is None else gradients[bias])
            speed = torch.where(length > 0, _row_norms(w, b) / length, 0.0)  # (C, n)
            w.sub_(lr[weight] * speed[..., None] * gradients[weight])
            if b is not None and bias is not None:
                b.sub_(lr[bias] * speed * gradients[bias])
            keep = size / _row_norms(w, b).mean(1)
            w.mul_(keep[:, None, None])
            if b is not None:
                b.mul_(keep[:, None])
        weight, bias = groups[-1]
        a, s = params[weight], state["size"][-1][:, None, None]
        length = gradients[weight].norm(dim=1, keepdim=True)
        a.sub_(lr[weight] * s * torch.where(length > 0, gradients[weight] / length, 0.0))
        a.mul_(torch.clamp(s / a.norm(dim=1, keepdim=True), max=1.0).nan_to_num(1.0))
        if bias is not None:
            params[bias].sub_(lr[bias] * gradients[bias])


def _row_norms(weight: Tensor, bias: Tensor | None) -> Tensor:
    """‖(w_k, b_k)‖ without under- or overflow; (C, n, d) -> (C, n)."""
    rows = weight if bias is None else torch.cat([weight, bias[..., None]], -1)
    largest = rows.abs().amax(-1, keepdim=True)
    safe = torch.where(largest > 0, largest, 1.0)
    return (rows / safe).norm(dim=-1) * largest[..., 0]


#: Named optimisers at their usual settings.
OPTIMIZERS: dict[str, Optimizer] = {
    "gd": GD(),
    "sgd": SGD(),
    "momentum": SGD(momentum=0.9),
    "nesterov": SGD(momentum=0.9, nesterov=True),
    "adam": Adam(),
    "trace_gd": TraceGD(),
    "normalized_gd": NormalizedGD(),
}


def find_optimizer(optimizer: str | Optimizer) -> Optimizer:
    """The named optimiser, or an `Optimizer` as it is.

    Raises:
        UnknownNameError: no such name; the nearest ones are listed.
        ArgumentError: neither a name nor an optimiser.

    Example:
        >>> find_optimizer("adam")
        Adam(betas=(0.9, 0.999), eps=1e-08)
    """
    if isinstance(optimizer, Optimizer):
        return optimizer
    if isinstance(optimizer, str):
        if optimizer.lower() not in OPTIMIZERS:
            raise unknown("optimizer", optimizer, OPTIMIZERS)
        return OPTIMIZERS[optimizer.lower()]
    raise ArgumentError(
        f"optimizer must be one of {', '.join(OPTIMIZERS)} or an object of theodolite.train such as Adam(eps=1e-12), got {optimizer!r}"
    )
