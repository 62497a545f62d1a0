"""Derivatives of a frozen model: loss gradients, Jacobians, Hessian products. Nothing is left in ``.grad``."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.func import jacrev, vmap
from torch.utils._pytree import tree_map

from theodolite.core.errors import ArgumentError, TheodoliteError, UnsupportedError
from theodolite.lens import inputs
from theodolite.lens.evaluation import evaluation, recordable
from theodolite.lens.frozen import frozen
from theodolite.lens.graph import tensors_in
from theodolite.lens.substitution import call_with, tensors_of

if TYPE_CHECKING:
    from theodolite.lens.lens import Lens

__all__ = ["default_loss", "hessian_product", "input_jacobian", "loss_gradients", "parameter_jacobian", "trainable"]


def trainable(model: nn.Module) -> dict[str, torch.Tensor]:
    """Name -> parameter, of those that require a gradient; where it was made in inference mode, a leaf with its values.

    Raises:
        UnsupportedError: there is none.
    """
    found = {name: recordable(p).requires_grad_() for name, p in model.named_parameters() if p.requires_grad}
    if not found:
        raise UnsupportedError("the model has no trainable parameter; set requires_grad on those that you mean")
    return found


def _call(model: nn.Module, parameters: Mapping[str, torch.Tensor], args: tuple[Any, ...], **kwargs: Any) -> Any:
    """``model(*args, **kwargs)`` at ``parameters``."""
    fixed = {name: recordable(tensor) for name, tensor in tensors_of(model).items() if name not in parameters}
    return call_with(model, {**fixed, **parameters}, args, kwargs)


def _losses(lens: Lens, parameters: Mapping[str, torch.Tensor]) -> Iterator[tuple[float, torch.Tensor]]:
    """(share, loss) per batch, with its graph from ``parameters``; shares sum to one."""
    loss = lens.show("loss")

    def model(*args: Any, **kwargs: Any) -> Any:
        return _call(lens.model, parameters, args, **kwargs)

    total = sum(call.size for call in lens.calls)
    for call in lens.calls:
        if call.y is None:
            raise UnsupportedError("a loss needs targets; pass y, or a loader of pairs (x, y)")
        outputs = inputs.run(model, call)
        try:
            value = loss(outputs, call.y)
        except TheodoliteError:
            raise
        except Exception as error:
            raise ArgumentError(
                f"loss raised {type(error).__name__} on outputs {_described(outputs)} and y {_described(call.y)}: {error}; "
                "pass loss=, a function of the model's outputs and y"
            ) from error
        if not isinstance(value, torch.Tensor) or value.ndim != 0:
            shape = tuple(value.shape) if isinstance(value, torch.Tensor) else type(value).__name__
            raise ArgumentError(f"loss must return a scalar tensor, got {shape}; reduce it with .mean() or .sum()")
        yield call.size / total, value


def default_loss(outputs: Any, y: torch.Tensor) -> torch.Tensor:
    """Mean squared error for float targets, cross-entropy for integer ones, on the first tensor among the outputs."""
    first = next(tensors_in(outputs), None)
    if first is None:
        raise UnsupportedError(f"the model returned no tensor but a {type(outputs).__name__}; pass loss=")
    if not y.is_floating_point():
        return torch.nn.functional.cross_entropy(first, y.long())
    if y.shape != first.shape:  # broadcasting (N,) against (N, 1) would compare every output with every target
        raise ArgumentError(f"y must match the outputs, of shape {tuple(first.shape)}, got {tuple(y.shape)}")
    return torch.nn.functional.mse_loss(first, y)


def _described(value: Any) -> str:
    if isinstance(value, torch.Tensor):
        return f"of shape {tuple(value.shape)} and dtype {value.dtype}"
    return f"of type {type(value).__name__}"


@evaluation()
def loss_gradients(lens: Lens) -> Mapping[str, torch.Tensor]:
    """Parameter name -> gradient of the mean loss; zero for parameters that the loss does not reach."""
    parameters = trainable(lens.model)
    total = {name: torch.zeros_like(p) for name, p in parameters.items()}
    with frozen(lens.model):
        for share, value in _losses(lens, parameters):
            found = torch.autograd.grad(value, list(parameters.values()), allow_unused=True)
            for name, gradient in zip(parameters, found, strict=True):
                if gradient is not None:
                    total[name] += share * gradient
    return total


@evaluation()
def hessian_product(lens: Lens) -> Callable[[torch.Tensor], torch.Tensor]:
    """``v -> ∇²L v`` on flattened trainable parameters, in the parameters' dtype; v may be (P,) or (P, k)."""
    parameters = trainable(lens.model)
    size = sum(p.numel() for p in parameters.values())

    def one(v: torch.Tensor) -> torch.Tensor:
        pieces = list(v.split([p.numel() for p in parameters.values()]))
        vectors = [piece.view_as(p).to(p) for piece, p in zip(pieces, parameters.values(), strict=True)]
        total = torch.zeros(size, dtype=v.dtype, device=v.device)
        with frozen(lens.model):
            for share, value in _losses(lens, parameters):
                first = torch.autograd.grad(value, list(parameters.values()), create_graph=True, allow_unused=True)
                pairs = [(g, u) for g, u in zip(first, vectors, strict=True) if g is not None and g.requires_grad]
                if not pairs:
                    continue  # the loss is affine in the parameters: its Hessian vanishes
                slopes, directions = zip(*pairs, strict=True)
                second = torch.autograd.grad(slopes, list(parameters.values()), directions, allow_unused=True)
                flat = [torch.zeros_like(p) if g is None else g for g, p in zip(second, parameters.values(), strict=True)]
                total += share * torch.cat([g.reshape(-1) for g in flat]).to(total)
        return total

    @evaluation()
    def product(v: torch.Tensor) -> torch.Tensor:
        if v.shape[0] != size:
            raise ArgumentError(f"v must have {size} rows, one per trainable parameter, got shape {tuple(v.shape)}")
        return one(v) if v.ndim == 1 else torch.stack([one(column) for column in v.unbind(1)], 1)

    return product


def _single(model: nn.Module, parameters: Mapping[str, torch.Tensor], x: torch.Tensor) -> torch.Tensor:
    output = _call(model, parameters, (x.unsqueeze(0),))
    if not isinstance(output, torch.Tensor):
        raise UnsupportedError(f"Jacobians need a model that returns one tensor, got {type(output).__name__}")
    return output.reshape(-1)


def _jacobians(function: Callable[..., Any], x: torch.Tensor) -> Any:
    """Values of ``function(row, chunk_size=…)``, a Jacobian, stacked.

    What torch cannot batch (PReLU with several slopes, for one) is differentiated sample by sample and output by output.
    """
    try:
        return vmap(function, randomness="same")(x)
    except torch.OutOfMemoryError:
        raise
    except RuntimeError:
        rows = [function(row, chunk_size=1) for row in x]
        return tree_map(lambda *parts: torch.stack(parts), *rows)


@evaluation()
def parameter_jacobian(model: nn.Module, x: Any) -> torch.Tensor:
    """∂ outputs / ∂ trainable parameters, (N, K, P), in the parameters' dtype. Cost: N·K·P numbers."""
    parameters = {name: p.detach() for name, p in trainable(model).items()}
    with frozen(model):

        def one(row: torch.Tensor, chunk_size: int | None = None) -> Any:
            return jacrev(lambda p: _single(model, p, row), chunk_size=chunk_size)(parameters)

        per_sample = _jacobians(one, x)
    return torch.cat([j.reshape(*j.shape[:2], -1) for j in per_sample.values()], 2)


@evaluation()
def input_jacobian(model: nn.Module, x: Any) -> torch.Tensor:
    """∂ outputs / ∂ inputs, (N, K, d) with both sides flattened."""
    if not x.is_floating_point():
        raise UnsupportedError(f"the inputs are {x.dtype}; a Jacobian with respect to them needs floating point")
    with frozen(model):

        def one(row: torch.Tensor, chunk_size: int | None = None) -> Any:
            return jacrev(lambda r: _single(model, {}, r), chunk_size=chunk_size)(row)

        jacobian = _jacobians(one, x)
    return jacobian.flatten(2).detach()
