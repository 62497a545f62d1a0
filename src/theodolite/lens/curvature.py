"""Products with J Jᵀ and with Hessians, without ever forming them.

The graph of the first derivative is built once and kept, so that each product costs one or two backward passes and no forward pass.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from theodolite.core.errors import ArgumentError
from theodolite.lens.evaluation import evaluation
from theodolite.lens.functional import FunctionalModel, ParameterChoice, as_inputs

__all__ = ["LossHessian", "OutputHessian", "TangentOperator", "half_squared_error"]


def half_squared_error(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """L = ½ ‖f − y‖², summed over samples and outputs: the loss for which the tangent kernel's theory is stated."""
    fits = outputs.numel() == targets.numel()
    if not fits or (min(targets.ndim, outputs.ndim) > 1 and targets.shape[0] != outputs.shape[0]):
        raise ArgumentError(
            f"y must have as many entries as the outputs {tuple(outputs.shape)}, row by row, got shape {tuple(targets.shape)}"
        )
    return 0.5 * (outputs.reshape(-1) - targets.reshape(-1)).square().sum()


class TangentOperator:
    """The tangent kernel K = J Jᵀ as an operator on vectors ``(N · K,)``, ordered (sample, output).

    Args:
        model: evaluated in the mode in which it stands; left as found.
        x: inputs ``(N, ...)``.
        parameters: as in `theodolite.lens.kernel.tangent_kernel`.
        dtype: precision.

    Attributes:
        size: N · K.
        shape: (N, K).

    Cost of a product: two backward passes; the graph of one forward and one backward pass is kept.

    Example:
        >>> operator = TangentOperator(nn.Linear(2, 1), torch.tensor([[1.0, 2.0]]))
        >>> operator(torch.ones(1))  # x·x + 1
        tensor([6.], dtype=torch.float64)
    """

    @evaluation()
    def __init__(
        self, model: nn.Module, x: Any, *, parameters: ParameterChoice = None, dtype: torch.dtype = torch.float64
    ) -> None:
        self.net = FunctionalModel(model, dtype, parameters)
        inputs = as_inputs(x, "x", dtype, self.net.device)
        self._variables = list(self.net.variables.values())
        self._outputs = self.net(inputs)
        self.shape = tuple(self._outputs.shape)
        self._dummy = torch.zeros_like(self._outputs, requires_grad=True)
        # Jᵀu is linear in u; its derivative with respect to u in direction w is J w (the double-backward trick).
        found = torch.autograd.grad(self._outputs, self._variables, self._dummy, create_graph=True, allow_unused=True)
        self._pull = [(i, g) for i, g in enumerate(found) if g is not None and g.requires_grad]

    @property
    def size(self) -> int:
        """N · K."""
        return self.shape[0] * self.shape[1]

    @property
    def device(self) -> torch.device:
        """Where vectors are taken."""
        return self.net.device

    @torch.inference_mode(False)
    def transposed(self, u: torch.Tensor) -> list[torch.Tensor | None]:
        """Jᵀ u, one tensor per parameter."""
        found = torch.autograd.grad(
            self._outputs, self._variables, u.reshape(self.shape).to(self._outputs), retain_graph=True, allow_unused=True
        )
        return list(found)

    @torch.inference_mode(False)
    def forward_mode(self, w: list[torch.Tensor | None]) -> torch.Tensor:
        """J w, flat."""
        pairs = [(g, w[i]) for i, g in self._pull if w[i] is not None]
        if not pairs:
            return torch.zeros(self.size, dtype=self._outputs.dtype, device=self._outputs.device)
        (result,) = torch.autograd.grad([g for g, _ in pairs], self._dummy, [v for _, v in pairs], retain_graph=True)
        return result.reshape(-1)

    def __call__(self, u: torch.Tensor) -> torch.Tensor:
        """K u."""
        if u.numel() != self.size:
            raise ArgumentError(f"the vector must have N · K = {self.size} entries, got shape {tuple(u.shape)}")
        return self.forward_mode(self.transposed(u))


class _Hessian:
    """The Hessian of a scalar with respect to the chosen parameters, as an operator on ``(P,)``."""

    net: FunctionalModel

    def _differentiate(self, value: torch.Tensor) -> None:
        variables = list(self.net.variables.values())
        if not value.requires_grad:
            self._gradients: list[torch.Tensor | None] = [None] * len(variables)
            return
        self._gradients = list(torch.autograd.grad(value, variables, create_graph=True, allow_unused=True))

    @property
    def size(self) -> int:
        """Number of parameters P."""
        return self.net.size

    @property
    def device(self) -> torch.device:
        """Where vectors are taken."""
        return self.net.device

    @property
    def gradient(self) -> torch.Tensor:
        """The gradient, ``(P,)``."""
        return self.net.flatten(self._gradients).detach()

    @torch.inference_mode(False)
    def __call__(self, v: torch.Tensor) -> torch.Tensor:
        """H v."""
        pairs = [
            (g, part)
            for g, part in zip(self._gradients, self.net.unflatten(v.to(self.net.dtype)), strict=True)
            if g is not None and g.requires_grad
        ]
        if not pairs:  # the value is affine in the parameters
            return torch.zeros_like(v, dtype=self.net.dtype)
        found = torch.autograd.grad(
            [g for g, _ in pairs], list(self.net.variables.values()), [p for _, p in pairs], retain_graph=True, allow_unused=True
        )
        return self.net.flatten(found)


class LossHessian(_Hessian):
    """∇²L of a loss of the outputs, as an operator on flattened parameters ``(P,)``.

    Args:
        model: evaluated in the mode in which it stands; left as found.
        x: inputs.
        y: targets; floating-point ones are cast to ``dtype``.
        loss: ``loss(outputs, y) -> scalar``; None for ½‖f − y‖².
        parameters: as in `theodolite.lens.kernel.tangent_kernel`.
        dtype: precision.

    Attributes:
        value: the loss.

    Raises:
        ArgumentError: the loss is not a scalar or not finite.

    Cost of a product: one double backward pass.
    """

    @evaluation()
    def __init__(
        self,
        model: nn.Module,
        x: Any,
        y: Any,
        *,
        loss: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] | None = None,
        parameters: ParameterChoice = None,
        dtype: torch.dtype = torch.float64,
    ) -> None:
        self.net = FunctionalModel(model, dtype, parameters)
        inputs = as_inputs(x, "x", dtype, self.net.device)
        (targets,) = as_inputs(y, "y", dtype, self.net.device)
        value = (loss or half_squared_error)(self.net.output(inputs), targets)
        if not isinstance(value, torch.Tensor) or value.numel() != 1:
            got = f"shape {tuple(value.shape)}" if isinstance(value, torch.Tensor) else type(value).__name__
            raise ArgumentError(f"loss must return a scalar tensor, got {got}; use reduction='mean' or 'sum'")
        if not bool(torch.isfinite(value)):
            raise ArgumentError(f"the loss must be finite, got {float(value.detach())}")
        self.value = float(value.detach())
        self._differentiate(value.reshape(()))


class OutputHessian(_Hessian):
    """∇²f_k(x) of one output at one input, as an operator on flattened parameters ``(P,)``.

    Args:
        net: the module as a function.
        sample: one sample, with its dimension kept.
        output: which of the flattened outputs.
    """

    @evaluation()
    def __init__(self, net: FunctionalModel, sample: tuple[torch.Tensor, ...], output: int) -> None:
        self.net = net
        self._differentiate(net(sample)[0, output])
