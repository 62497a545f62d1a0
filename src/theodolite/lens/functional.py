"""A module as a pure function of its parameters in a chosen precision, leaving the module untouched."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd

from theodolite.core.arrays import check_finite
from theodolite.core.errors import ArgumentError, UnsupportedError, unknown
from theodolite.lens.evaluation import recordable
from theodolite.lens.substitution import call_with

__all__ = ["FunctionalModel", "Inputs", "ParameterChoice", "as_inputs"]

Inputs: TypeAlias = tuple[torch.Tensor, ...]
ParameterChoice: TypeAlias = "str | Iterable[str | nn.Parameter] | Callable[[str], bool] | None"


def as_inputs(x: Any, name: str, dtype: torch.dtype, device: torch.device) -> Inputs:
    """One input, or a tuple of inputs of a module with several, as tensors with a common first dimension.

    Floating-point inputs are cast to ``dtype`` and checked to be finite; integer inputs (tokens) stay as they are; inference tensors
    are copied. Arrays go to the parameters' device.

    Raises:
        ArgumentError: no sample, NaN, unequal numbers of samples, or a device other than the parameters'.
    """
    parts = []
    for part in x if isinstance(x, tuple) else (x,):
        tensor = part if isinstance(part, torch.Tensor) else torch.as_tensor(np.asarray(part)).to(device)
        if tensor.ndim == 0 or tensor.shape[0] == 0:
            raise ArgumentError(f"{name} must have samples along its first dimension, got shape {tuple(tensor.shape)}")
        if tensor.device != device:
            raise ArgumentError(f"{name} is on {tensor.device} and the model's parameters on {device}; move one with .to(...)")
        if tensor.is_floating_point():
            tensor = tensor.detach().to(dtype)
            check_finite(tensor, name)
        parts.append(recordable(tensor))
    if len({p.shape[0] for p in parts}) != 1:
        raise ArgumentError(f"all inputs in {name} must have equally many samples, got {[p.shape[0] for p in parts]}")
    return tuple(parts)


class FunctionalModel:
    """``outputs(x, parameters)`` of a module in precision ``dtype``.

    The parameters are cast copies; buffers are copies too. The module's mode, gradients, hooks, buffers and the global random
    state are left as they were found. Build and call it inside `theodolite.lens.evaluation.evaluation`.

    Args:
        model: the module, evaluated in the mode in which it stands.
        dtype: precision of the computation.
        parameters: which trainable parameters are the variables: names or prefixes of names, the parameters themselves, a
            predicate on names, or None for all that require a gradient.

    Attributes:
        variables: the chosen parameters by name, as leaves that require a gradient.
        device: device of the parameters.

    Raises:
        ArgumentError: no trainable parameter, parameters on several devices, or non-finite parameters.
        UnsupportedError: batch normalisation in training mode or without running statistics, active dropout, a scripted module.
    """

    def __init__(self, model: nn.Module, dtype: torch.dtype = torch.float64, parameters: ParameterChoice = None) -> None:
        if not isinstance(model, nn.Module):
            raise ArgumentError(f"model must be a torch.nn.Module, got {type(model).__name__}")
        if not dtype.is_floating_point:
            raise ArgumentError(f"dtype must be a floating-point type, got {dtype}")
        self.model = getattr(model, "_orig_mod", model)  # a compiled module wraps the original
        self.dtype = dtype
        refuse_coupled(self.model)
        named = dict(self.model.named_parameters())
        chosen = _choose(named, parameters)
        devices = {p.device for p in named.values()}
        if len(devices) > 1:
            raise ArgumentError(f"model must have all parameters on one device, got {sorted(map(str, devices))}")
        (self.device,) = devices
        for name in chosen:
            check_finite(named[name].detach(), f"parameter {name!r}")
        self.variables = {n: self._cast(named[n]).requires_grad_() for n in chosen}
        self._rest = {n: self._cast(p) for n, p in named.items() if n not in self.variables}
        self._rest |= {n: self._cast(b).clone() for n, b in self.model.named_buffers()}

    def _cast(self, tensor: torch.Tensor) -> torch.Tensor:
        tensor = recordable(tensor.detach())
        return tensor.to(self.dtype) if tensor.is_floating_point() else tensor

    def output(self, x: Inputs, variables: Mapping[str, torch.Tensor] | None = None) -> torch.Tensor:
        """The model's output in its own shape; ``variables`` replaces some of the chosen parameters."""
        values = {**self._rest, **self.variables, **(variables or {})}
        try:
            out = call_with(self.model, values, x)
        except RuntimeError as error:
            text = str(error)
            if "dtype" in text and self.dtype != torch.get_default_dtype():
                raise UnsupportedError(
                    f"the model makes tensors of a fixed precision in its forward and cannot run in {self.dtype} ({text}); pass "
                    "dtype=torch.float32, or let the model take the dtype from its input"
                ) from error
            raise
        if not isinstance(out, torch.Tensor):
            raise UnsupportedError(
                f"the model returns {type(out).__name__}, not one tensor; wrap it in a module whose forward returns the tensor"
            )
        return out

    def __call__(self, x: Inputs, variables: Mapping[str, torch.Tensor] | None = None) -> torch.Tensor:
        """Outputs ``(N, K)``."""
        out = self.output(x, variables)
        samples = x[0].shape[0]
        if samples == 1:  # a model may squeeze the dimension of a single sample away
            return out.reshape(1, -1)
        if out.ndim == 0 or out.shape[0] != samples:
            raise UnsupportedError(
                f"the model's output must have one row per sample, got shape {tuple(out.shape)} for {samples} samples"
            )
        return out.reshape(samples, -1)

    @property
    def size(self) -> int:
        """Number of chosen parameters P."""
        return sum(v.numel() for v in self.variables.values())

    def flatten(self, values: Iterable[torch.Tensor | None]) -> torch.Tensor:
        """One vector ``(P,)`` from one tensor per chosen parameter (None stands for zeros)."""
        pairs = zip(self.variables.values(), values, strict=True)
        return torch.cat([(torch.zeros_like(v) if g is None else g).reshape(-1) for v, g in pairs])

    def unflatten(self, vector: torch.Tensor) -> list[torch.Tensor]:
        """Inverse of `flatten`."""
        parts = torch.split(vector, [v.numel() for v in self.variables.values()])
        return [part.view(v.shape) for part, v in zip(parts, self.variables.values(), strict=True)]


def refuse_coupled(model: nn.Module) -> None:
    """Raise `UnsupportedError` for modules whose outputs are not a deterministic function of one sample."""
    if isinstance(model, torch.jit.ScriptModule):
        raise UnsupportedError("model is a scripted module, whose operations cannot be observed; pass the original nn.Module")
    for name, module in model.named_modules():
        label = f"{type(module).__name__} {name!r}"
        if isinstance(module, _BatchNorm) and module.training:
            raise UnsupportedError(
                f"{label} is in training mode: it couples the samples of a batch, so that no kernel Θ(x, x′) of two samples "
                "exists; call model.eval() first"
            )
        if isinstance(module, _BatchNorm) and module.running_mean is None:
            raise UnsupportedError(
                f"{label} has no running statistics (track_running_stats=False): even in eval mode it couples the samples of "
                "a batch, so that no kernel Θ(x, x′) of two samples exists; use running statistics or another norm"
            )
        rate = module.p if isinstance(module, _DropoutNd) else getattr(module, "dropout", 0.0)
        if module.training and isinstance(rate, float) and rate > 0:
            raise UnsupportedError(f"{label} is random in training mode (dropout {rate}); call model.eval() first")


def _choose(named: Mapping[str, nn.Parameter], parameters: ParameterChoice) -> list[str]:
    """Names of the trainable parameters that ``parameters`` describes, in the model's order."""
    trainable = [n for n, p in named.items() if p.requires_grad]
    if not trainable:
        raise ArgumentError(
            "model has no trainable parameter; the tangent kernel is taken over parameters with requires_grad=True"
        )
    if parameters is None:
        return trainable
    if callable(parameters):
        chosen = {n for n in trainable if parameters(n)}
    else:
        by_id = {id(p): n for n, p in named.items()}
        chosen = set()
        for wanted in [parameters] if isinstance(parameters, str) else parameters:
            name = wanted if isinstance(wanted, str) else by_id.get(id(wanted), "?")
            found = {n for n in named if n == name or n.startswith(name + ".")}
            if not found:
                raise unknown("parameter", name, named)
            chosen |= found
    result = [n for n in trainable if n in chosen]
    if not result:
        raise ArgumentError("parameters selects no trainable parameter; trainable are: " + ", ".join(trainable))
    return result
