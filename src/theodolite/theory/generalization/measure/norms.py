"""Norms of networks: per layer Frobenius and spectral norm and distance from initialisation, and the path norm of the whole."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from theodolite.core.arrays import as_float64
from theodolite.core.errors import ArgumentError, UnsupportedError
from theodolite.core.measurement import Judgement, Observation
from theodolite.core.quantity import quantity

if TYPE_CHECKING:
    import torch
    from torch import nn

__all__ = [
    "LayerNorms",
    "Norms",
    "distance_from_init",
    "frobenius_norm",
    "norms",
    "parameter_distance",
    "parameter_norm",
    "spectral_norm",
]


@quantity(symbol="‖W‖_F", reference="neyshabur2017")
def frobenius_norm(weights: Any) -> Any:
    """Frobenius norm (Σ W_ij²)^½ of a layer's weights, its bias column included.

    Args:
        weights: ``(..., n, fan_in)``, or with the bias as last column, as a lens shows them.

    Returns:
        ``(...)``.

    Cost: O(n · fan_in).

    Reference: neyshabur2017 §2.

    Example:
        >>> import numpy as np
        >>> float(frobenius_norm(np.array([[3.0, 0.0], [0.0, 4.0]])))
        5.0
    """
    return as_float64(weights, "weights", at_least=2).flatten(-2).norm(dim=-1)


def judge_spectral_norm(seen: Observation) -> Judgement:
    """Whether a direction stands out of the layer's weights, beyond the largest singular value of random ones of their variance.

    For independent entries of variance s² in an n × m matrix that is s(√n + √m) with fluctuations of relative size
    (1/√n + 1/√m)^⅓/(√n + √m) (Marchenko & Pastur; Tracy & Widom); orthogonal weights lie below it.
    """
    facts = seen.facts
    if not facts.get("sigma_w2") or not facts.get("fan_in"):
        return Judgement("")
    edge, noise = _random_edge(facts["sigma_w2"], facts["sigma_b2"] or 0.0, facts["width"], facts["fan_in"])
    if seen.value > edge * (1 + 2 * noise):
        return Judgement("above random weights")
    return Judgement("below random weights" if seen.value < edge * (1 - 4 * noise) else "as random weights")


def _random_edge(sigma_w2: float, sigma_b2: float, width: int, fan_in: int) -> tuple[float, float]:
    """The largest singular value of random weights with a bias column, and its relative fluctuation.

    A column of ℓ times the others' variance stands out of an n × m matrix only where ℓ > 1 + √(m/n) (Baik, Ben Arous & Péché).
    """
    rows, columns = math.sqrt(width), math.sqrt(fan_in)
    aspect, spike = fan_in / width, sigma_b2 * fan_in / sigma_w2
    stands_out = spike > 1 + math.sqrt(aspect)
    edge = rows * math.sqrt(spike * (1 + aspect / (spike - 1))) if stands_out else rows + columns
    return edge * math.sqrt(sigma_w2 / fan_in), (1 / rows + 1 / columns) ** (1 / 3) / (rows + columns)


@quantity(symbol="‖W‖₂", reference="bartlett2017", judge=judge_spectral_norm)
def spectral_norm(weights: Any) -> Any:
    """Spectral norm of a layer's weights: the largest singular value, its bias column included.

    Args:
        weights: ``(..., n, fan_in)``, or with the bias as last column.

    Returns:
        ``(...)``.

    Cost: O(n · fan_in · min(n, fan_in)).

    Reference: bartlett2017 §1.

    Example:
        >>> import numpy as np
        >>> float(spectral_norm(np.array([[3.0, 0.0], [0.0, 4.0]])))
        4.0
    """
    import torch

    return torch.linalg.svdvals(as_float64(weights, "weights", at_least=2))[..., 0]


@quantity(symbol="‖W − W₀‖_F", reference="neyshabur2019")
def distance_from_init(weights: Any, initial_weights: Any) -> Any:
    """Frobenius distance ‖W − W₀‖_F of a layer's weights from their initialisation.

    Args:
        weights: ``(..., n, fan_in)``.
        initial_weights: the same shape.

    Returns:
        ``(...)``.

    Raises:
        ArgumentError: shapes that differ.

    Cost: O(n · fan_in).

    Reference: neyshabur2019 §2.

    Example:
        >>> import numpy as np
        >>> float(distance_from_init(np.array([[3.0, 5.0]]), np.array([[0.0, 1.0]])))
        5.0
    """
    now = as_float64(weights, "weights", at_least=2)
    then = as_float64(initial_weights, "initial_weights", at_least=2, device=now.device)
    if now.shape[-2:] != then.shape[-2:]:
        raise ArgumentError(f"initial_weights must have the shape of weights {tuple(now.shape)}, got {tuple(then.shape)}")
    return (now - then).flatten(-2).norm(dim=-1)


@quantity(symbol="‖θ‖", reference="zhang2017")
def parameter_norm(parameters: Any) -> Any:
    """Euclidean norm of all trainable parameters.

    Args:
        parameters: ``(..., P)``.

    Returns:
        ``(...)``.

    Reference: zhang2017 §5.

    Example:
        >>> import numpy as np
        >>> float(parameter_norm(np.array([3.0, 4.0])))
        5.0
    """
    return as_float64(parameters, "parameters", at_least=1).norm(dim=-1)


@quantity(symbol="‖θ − θ₀‖", reference="nagarajan2019")
def parameter_distance(parameters: Any, initial_parameters: Any) -> Any:
    """Euclidean distance of all trainable parameters from their initialisation.

    Args:
        parameters: ``(..., P)``.
        initial_parameters: ``(..., P)``.

    Returns:
        ``(...)``.

    Raises:
        ArgumentError: numbers of parameters that differ.

    Reference: nagarajan2019 §2.

    Example:
        >>> import numpy as np
        >>> float(parameter_distance(np.array([3.0, 5.0]), np.array([0.0, 1.0])))
        5.0
    """
    now = as_float64(parameters, "parameters", at_least=1)
    then = as_float64(initial_parameters, "initial_parameters", at_least=1, device=now.device)
    if now.shape[-1] != then.shape[-1]:
        raise ArgumentError(f"initial_parameters must have {now.shape[-1]} entries, got {then.shape[-1]}")
    return (now - then).norm(dim=-1)


@dataclass(frozen=True)
class LayerNorms:
    """Norms of one weight tensor, flattened to ``(out, rest)``.

    Attributes:
        frobenius: ‖W‖_F.
        spectral: ‖W‖₂.
        distance_from_init: ‖W − W₀‖_F; None without an initial model.
    """

    frobenius: float
    spectral: float
    distance_from_init: float | None


@dataclass(frozen=True)
class Norms:
    """Norms of a network.

    Attributes:
        layers: parameter name -> `LayerNorms`, for every parameter with at least two dimensions, in order.
        frobenius: ‖θ‖ over all parameters, biases included.
        spectral_product: Π‖W_l‖₂ over the layers, an upper bound of the Lipschitz constant of a plain 1-Lipschitz network.
        path: ℓ2 path norm (`path_norm`); None when it needs an example input that was not given.
        distance_from_init: ‖θ − θ₀‖ over all parameters; None without an initial model.
    """

    layers: Mapping[str, LayerNorms]
    frobenius: float
    spectral_product: float
    path: float | None
    distance_from_init: float | None

    def __str__(self) -> str:
        rows = [f"{'layer':<28} {'Frobenius':>12} {'spectral':>12} {'from init':>12}"]
        for name, layer in self.layers.items():
            moved = "—" if layer.distance_from_init is None else f"{layer.distance_from_init:.5g}"
            rows.append(f"{name:<28} {layer.frobenius:>12.5g} {layer.spectral:>12.5g} {moved:>12}")
        moved = "—" if self.distance_from_init is None else f"{self.distance_from_init:.5g}"
        path = "needs x" if self.path is None else f"{self.path:.5g}"
        rows.append(
            f"all parameters {self.frobenius:.5g} · from init {moved} · ∏ spectral {self.spectral_product:.5g} · path {path}"
        )
        return "\n".join(rows)


def norms(
    model: nn.Module, initial: nn.Module | Mapping[str, torch.Tensor] | None = None, *, x: torch.Tensor | None = None
) -> Norms:
    """All norms of a network at once, per layer and for the whole.

    Args:
        model: any module; it is only read.
        initial: the same module at initialisation, or its ``state_dict``, for distances.
        x: an example input, ``(1, …)`` or more, by which the path norm finds the shape of the input; not needed when the first
            layer is ``nn.Linear``.

    Returns:
        `Norms`; prints as a table.

    Raises:
        ArgumentError: no module, or an initial model with other parameters.
        UnsupportedError: the path norm of an operation that has none (with x given, or a first linear layer).

    Cost: one singular value decomposition per layer, one pass through the network.

    Reference: neyshabur2017 (norms), neyshabur2015 (path norm).

    Example:
        >>> import torch
        >>> from torch import nn
        >>> net = nn.Sequential(nn.Linear(2, 3, bias=False), nn.ReLU(), nn.Linear(3, 1, bias=False)).double()
        >>> found = norms(net, net.state_dict())
        >>> [first, second] = found.layers.values()
        >>> found.distance_from_init, first.spectral <= first.frobenius
        (0.0, True)
    """
    import torch
    from torch import nn

    from theodolite.theory.generalization.measure.path_norm import path_norm

    if not isinstance(model, nn.Module):
        raise ArgumentError(f"model must be a torch.nn.Module, got {type(model).__name__}")
    now = {name: p.detach().to(torch.float64) for name, p in model.named_parameters()}
    if not now:
        raise ArgumentError("model has no parameters, so it has no norms")
    then = _initial(now, initial)
    layers = {}
    for name, p in now.items():
        if p.ndim < 2:
            continue
        matrix = p.flatten(1)
        moved = None if then is None else float((matrix - then[name].flatten(1)).norm())
        layers[name] = LayerNorms(float(matrix.norm()), float(torch.linalg.matrix_norm(matrix, 2)), moved)
    spectral = 1.0
    for layer in layers.values():
        spectral *= layer.spectral
    first = next((m for m in model.modules() if not any(True for _ in m.children())), model)
    path = None
    if x is not None:
        path = path_norm(model, x)
    elif isinstance(first, nn.Linear):
        try:
            path = path_norm(model, torch.zeros(1, first.in_features, dtype=first.weight.dtype, device=first.weight.device))
        except UnsupportedError:
            path = None
    whole = sum(float(p.norm()) ** 2 for p in now.values()) ** 0.5
    moved = None if then is None else sum(float((p - then[n]).norm()) ** 2 for n, p in now.items()) ** 0.5
    return Norms(layers, whole, spectral, path, moved)


def _initial(now: Mapping[str, Any], initial: Any) -> dict[str, Any] | None:
    if initial is None:
        return None
    import torch
    from torch import nn

    given = dict(initial.named_parameters()) if isinstance(initial, nn.Module) else dict(initial)
    for name, p in now.items():
        if name not in given or given[name].shape != p.shape:
            raise ArgumentError(f"initial must hold a parameter {name!r} of shape {tuple(p.shape)}, as the model does")
    return {name: given[name].detach().to(torch.float64).to(p.device) for name, p in now.items()}
