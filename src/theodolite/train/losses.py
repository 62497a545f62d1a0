"""Losses: one number per member, averaged over samples, with the gradient in the outputs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from theodolite.core.arrays import check_finite
from theodolite.core.errors import ArgumentError, unknown

__all__ = ["LOSSES", "Loss", "cross_entropy", "exponential", "find_loss", "half_mse", "logistic", "mse"]


@dataclass(frozen=True)
class Loss:
    """A loss of outputs f (C, N, K) and targets, averaged within each member, never over members.

    Attributes:
        name: as it is asked for.
        value: (f, y) -> (C,).
        gradient: (f, y) -> ∂ value_c / ∂ f_c, (C, N, K).
        labels: whether targets are class numbers rather than values.
        signs: whether targets are ±1.
        curvature: (N, K) -> the constant ∂² value / ∂f², for quadratic losses only.
    """

    name: str
    value: Callable[[Tensor, Tensor], Tensor]
    gradient: Callable[[Tensor, Tensor], Tensor]
    labels: bool = False
    signs: bool = False
    curvature: Callable[[int, int], float] | None = None

    def prepare(self, y: Tensor, samples: int, outputs: int, members: int, dtype: torch.dtype) -> Tensor:
        """Targets as (1 or members, N, K), or (1 or members, N) class numbers, checked.

        Raises:
            ArgumentError: wrong shape, non-finite values, classes out of range, or signs other than ±1.
        """
        return self._labels(y, samples, outputs, members) if self.labels else self._values(y, samples, outputs, members, dtype)

    def _labels(self, y: Tensor, samples: int, outputs: int, members: int) -> Tensor:
        if y.is_floating_point() or y.dtype == torch.bool:
            raise ArgumentError(f"y must hold integer class numbers for the loss {self.name!r}, got dtype {y.dtype}")
        if y.shape == (samples,):
            y = y[None]
        if y.shape not in ((1, samples), (members, samples)):
            raise ArgumentError(f"y must have shape ({samples},) or ({members}, {samples}), got {tuple(y.shape)}")
        if y.numel() and not (0 <= int(y.min()) and int(y.max()) < outputs):
            raise ArgumentError(f"y must hold classes 0..{outputs - 1}, got {int(y.min())}..{int(y.max())}")
        return y.long()

    def _values(self, y: Tensor, samples: int, outputs: int, members: int, dtype: torch.dtype) -> Tensor:
        y = y.to(dtype)
        given = tuple(y.shape)
        if given == (samples,) and outputs == 1:
            y = y[None, :, None]
        elif given == (samples, outputs):
            y = y[None]
        elif given == (members, samples) and outputs == 1:
            y = y[..., None]
        if y.shape not in ((1, samples, outputs), (members, samples, outputs)):
            raise ArgumentError(f"y must have shape ({samples}, {outputs}) or ({members}, {samples}, {outputs}), got {given}")
        check_finite(y, "y")
        if self.signs and not bool((y.abs() == 1).all()):
            raise ArgumentError(f"y must be ±1 for the loss {self.name!r}; map classes 0, 1 to −1, 1")
        return y


def mse(f: Tensor, y: Tensor) -> Tensor:
    """Mean of (f − y)² over samples and outputs (torch's ``MSELoss``); (C, N, K) -> (C,)."""
    return (f - y).square().mean((-2, -1))


def _mse_gradient(f: Tensor, y: Tensor) -> Tensor:
    return (f - y).mul_(2 / (f.shape[-1] * f.shape[-2]))


def half_mse(f: Tensor, y: Tensor) -> Tensor:
    """Half the sum over outputs of (f − y)², averaged over samples; (C, N, K) -> (C,)."""
    return (f - y).square().sum(-1).mean(-1) / 2


def _half_mse_gradient(f: Tensor, y: Tensor) -> Tensor:
    return (f - y).mul_(1 / f.shape[-2])


def cross_entropy(f: Tensor, y: Tensor) -> Tensor:
    """Mean of −log softmax(f)[y] over samples; f (C, N, K), y (C or 1, N) class numbers -> (C,)."""
    logarithm = torch.log_softmax(f, -1)
    return -logarithm.gather(-1, y.expand(f.shape[:-1])[..., None])[..., 0].mean(-1)


def _cross_entropy_gradient(f: Tensor, y: Tensor) -> Tensor:
    chosen = y[..., None] == torch.arange(f.shape[-1], device=f.device)
    return torch.sub(torch.softmax(f, -1), chosen.to(f.dtype)).mul_(1 / f.shape[-2])


def logistic(f: Tensor, y: Tensor) -> Tensor:
    """Mean of log(1 + exp(−y f)) over samples and outputs, y = ±1; (C, N, K) -> (C,)."""
    return functional.softplus(-y * f).mean((-2, -1))


def _logistic_gradient(f: Tensor, y: Tensor) -> Tensor:
    return -y * torch.sigmoid(-y * f) / (f.shape[-1] * f.shape[-2])


def exponential(f: Tensor, y: Tensor) -> Tensor:
    """Mean of exp(−y f) over samples and outputs, y = ±1; (C, N, K) -> (C,)."""
    return torch.exp(-y * f).mean((-2, -1))


def _exponential_gradient(f: Tensor, y: Tensor) -> Tensor:
    return -y * torch.exp(-y * f) / (f.shape[-1] * f.shape[-2])


#: Named losses.
LOSSES: dict[str, Loss] = {
    loss.name: loss
    for loss in (
        Loss("mse", mse, _mse_gradient, curvature=lambda samples, outputs: 2 / (samples * outputs)),
        Loss("half_mse", half_mse, _half_mse_gradient, curvature=lambda samples, outputs: 1 / samples),
        Loss("cross_entropy", cross_entropy, _cross_entropy_gradient, labels=True),
        Loss("logistic", logistic, _logistic_gradient, signs=True),
        Loss("exponential", exponential, _exponential_gradient, signs=True),
    )
}
_FUNCTIONS = {loss.value: loss for loss in LOSSES.values()}
_FUNCTIONS |= {functional.mse_loss: LOSSES["mse"], functional.cross_entropy: LOSSES["cross_entropy"]}


def find_loss(loss: str | Loss | Callable[[Tensor, Tensor], Tensor]) -> Loss:
    """The named loss, or a `Loss` as it is.

    Raises:
        UnknownNameError: no such name; the nearest ones are listed.
        ArgumentError: neither a name nor a loss.

    Example:
        >>> find_loss("mse").value(torch.ones(2, 3, 1), torch.zeros(1, 3, 1))
        tensor([1., 1.])
    """
    if isinstance(loss, Loss):
        return loss
    if isinstance(loss, str):
        if loss not in LOSSES:
            raise unknown("loss", loss, LOSSES)
        return LOSSES[loss]
    if isinstance(loss, torch.nn.MSELoss) and loss.reduction == "mean":
        return LOSSES["mse"]
    if isinstance(loss, torch.nn.CrossEntropyLoss) and loss.reduction == "mean":
        if loss.weight is None and loss.label_smoothing == 0 and loss.ignore_index == -100:
            return LOSSES["cross_entropy"]
        raise ArgumentError("loss: a weighted or smoothed CrossEntropyLoss is not supported; pass a theodolite.train.Loss")
    if callable(loss) and loss in _FUNCTIONS:
        return _FUNCTIONS[loss]
    raise ArgumentError(f"loss must be one of {', '.join(LOSSES)} or a theodolite.train.Loss, got {loss!r}")
