"""The linearisation of a network in its parameters, as a module that trains like any other."""

from __future__ import annotations

import copy
from operator import attrgetter
from typing import Any

import torch
from torch import nn
from torch.func import jvp
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._pytree import tree_map_only

from theodolite.core.errors import ArgumentError, UnsupportedError
from theodolite.lens.evaluation import recordable
from theodolite.lens.functional import refuse_coupled
from theodolite.lens.substitution import call_with

__all__ = ["LinearizedModel", "linearize"]


class LinearizedModel(nn.Module):
    """f_lin(x; θ) = f(x; θ₀) + J(x)(θ − θ₀), with J(x) = ∂f/∂θ at θ₀.

    Attributes:
        model: copy of the original whose parameters are θ; frozen parameters stay frozen.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = copy.deepcopy(model)
        self._names = [n for n, p in self.model.named_parameters() if p.requires_grad]
        for index, name in enumerate(self._names):
            self.register_buffer(f"anchor_{index}", self.model.get_parameter(name).detach().clone())

    @property
    def anchors(self) -> dict[str, torch.Tensor]:
        """θ₀ by name."""
        return {name: getattr(self, f"anchor_{index}") for index, name in enumerate(self._names)}

    def forward(self, *x: Any) -> torch.Tensor:
        """Outputs of the linearised model."""
        refuse_coupled(self.model)
        x = tree_map_only(torch.Tensor, recordable, x)
        anchors = self.anchors
        moves = {name: attrgetter(name)(self.model) - anchor for name, anchor in anchors.items()}

        def at(values: dict[str, torch.Tensor]) -> torch.Tensor:
            outputs: torch.Tensor = call_with(self.model, values, x)
            return outputs

        with sdpa_kernel(SDPBackend.MATH):  # fused attention has no second derivative
            try:
                outputs, tangent = jvp(at, (anchors,), (moves,))  # type: ignore[misc]
            except (NotImplementedError, RuntimeError) as error:
                if "forward" not in str(error) and "inplace" not in str(error) and "in-place" not in str(error):
                    raise
                return self._by_reverse_mode(at, anchors, moves)
            return outputs + tangent

    @staticmethod
    def _by_reverse_mode(at: Any, anchors: dict[str, torch.Tensor], moves: dict[str, torch.Tensor]) -> torch.Tensor:
        """J v by two reverse passes, for operations without a forward-mode rule: Jᵀu is linear in u with derivative J."""
        leaves = {n: a.detach().requires_grad_() for n, a in anchors.items()}
        with torch.enable_grad():
            outputs = at(leaves)
            dummy = torch.zeros_like(outputs, requires_grad=True)
            pulled = torch.autograd.grad(outputs, list(leaves.values()), dummy, create_graph=True, allow_unused=True)
            pairs = [(g, m) for g, m in zip(pulled, moves.values(), strict=True) if g is not None and g.requires_grad]
            if not pairs:
                return outputs.detach()
            (tangent,) = torch.autograd.grad([g for g, _ in pairs], dummy, [m for _, m in pairs], create_graph=True)
        return outputs.detach() + tangent


def linearize(model: nn.Module) -> LinearizedModel:
    """The first-order Taylor expansion of a model in its parameters, f(x; θ₀) + J(x)(θ − θ₀), as an ``nn.Module``.

    Its tangent kernel is that of the model at θ₀ for every θ: training it is kernel regression with a fixed kernel.

    Args:
        model: any module in a mode in which samples are independent; it is copied, not changed.

    Returns:
        A module with the same parameters (under ``.model``), whose outputs at θ = θ₀ equal the model's.

    Raises:
        ArgumentError: no trainable parameter.
        UnsupportedError: batch normalisation in training mode, or active dropout.

    Cost: a forward pass costs about two of the model's.

    Reference: lee2019 eq. (5).

    Example:
        >>> model = nn.Sequential(nn.Linear(1, 1), nn.Tanh())
        >>> x = torch.ones(2, 1)
        >>> bool(torch.equal(linearize(model)(x), model(x)))
        True
    """
    if not isinstance(model, nn.Module):
        raise UnsupportedError(f"model must be a torch.nn.Module, got {type(model).__name__}")
    refuse_coupled(model)
    if not any(p.requires_grad for p in model.parameters()):
        raise ArgumentError("model has no trainable parameter to linearise in")
    return LinearizedModel(model)
