"""The shape of an ensemble: widths, activation, biases, initialisation, residual connections and scales."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from theodolite.core.errors import ArgumentError
from theodolite.core.experiment import canonical

if TYPE_CHECKING:
    import torch

    from theodolite.train.initial import Init

__all__ = ["MLPSpec"]


@dataclass(frozen=True)
class MLPSpec:
    """A fully connected network h_l = σ(c_l W_l h_{l−1} + c'_l b_l), f = (c_L W_L h_{L−1} + c'_L b_L)/α; no σ at the output.

    With ``residual``, hidden layers whose input and output widths agree read h_l = h_{l−1} + σ(…); the first hidden layer
    never does. The factors c_l are 1, or 1/√fan_in under the NTK initialisation (whose weights are of order one).

    Attributes:
        widths: (d, n_1, …, n_{L−1}, K): inputs, hidden widths, outputs.
        activation: a name (``"relu"``, ``"tanh"``, ``"xtanh"``, …; see `theodolite.nets.ACTIVATIONS`) or an elementwise
            function of tensors that autograd can differentiate.
        bias: True, False, ``"hidden"`` (none at the output), or one flag per layer.
        init: a name (``"torch"``, ``"gaussian"``, ``"ntk"``, ``"xavier"``, ``"he"``, ``"lecun"``, ``"mean_field"``,
            ``"deterministic"``, ``"udi"``), an object of `theodolite.train.initial` with its settings, or a function
            ``(spec, generator) -> [(weight, bias or None), …]``.
        residual: skip connections around the hidden layers of equal width.
        alpha: the output is divided by it (α of the phase diagram).

    Example:
        >>> spec = MLPSpec((1, 100, 1), "relu", bias="hidden")
        >>> spec.parameter_shapes
        {'hidden1.weight': (100, 1), 'hidden1.bias': (100,), 'output.weight': (1, 100)}
    """

    widths: tuple[int, ...]
    activation: str | Callable[[torch.Tensor], torch.Tensor] = "tanh"
    bias: bool | str | tuple[bool, ...] = True
    init: str | Init | Callable[..., Any] = "torch"
    residual: bool = False
    alpha: float = 1.0

    def __post_init__(self) -> None:
        from theodolite.train.activations import find_activation
        from theodolite.train.initial import find_init

        widths = tuple(int(w) for w in self.widths)
        if len(widths) < 2 or min(widths) < 1:
            raise ArgumentError(f"widths must be at least (inputs, outputs), all ≥ 1, got {self.widths!r}")
        object.__setattr__(self, "widths", widths)
        if not isinstance(self.bias, (bool, str)):
            object.__setattr__(self, "bias", tuple(bool(b) for b in self.bias))
        if isinstance(self.bias, str) and self.bias != "hidden":
            raise ArgumentError(f'bias must be True, False, "hidden" or one flag per layer, got {self.bias!r}')
        if isinstance(self.bias, tuple) and len(self.bias) != self.depth:
            raise ArgumentError(f"bias must have one flag per layer ({self.depth}), got {len(self.bias)}")
        if not (self.alpha > 0):
            raise ArgumentError(f"alpha must be positive, got {self.alpha}")
        find_activation(self.activation)
        find_init(self.init)

    @property
    def depth(self) -> int:
        """Number of affine layers L."""
        return len(self.widths) - 1

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of the affine layers: ``hidden1``, …, ``output``."""
        return (*(f"hidden{k}" for k in range(1, self.depth)), "output")

    @property
    def biases(self) -> tuple[bool, ...]:
        """Which layers have a bias."""
        if isinstance(self.bias, tuple):
            return self.bias
        if self.bias == "hidden":
            return (True,) * (self.depth - 1) + (False,)
        return (bool(self.bias),) * self.depth

    @property
    def skips(self) -> tuple[bool, ...]:
        """Which layers have a skip connection around them."""
        inside = range(1, self.depth - 1)
        return tuple(self.residual and k in inside and self.widths[k] == self.widths[k + 1] for k in range(self.depth))

    @property
    def scales(self) -> tuple[tuple[float, float], ...]:
        """Forward factors (c_l, c'_l) of weight and bias of each layer; 1/α is folded into the last."""
        from theodolite.train.initial import find_init

        factors = find_init(self.init).factors(self)
        *hidden, (weight, bias) = factors
        return (*hidden, (weight / self.alpha, bias / self.alpha))

    @property
    def parameter_shapes(self) -> dict[str, tuple[int, ...]]:
        """Name -> shape of one member's parameters, in order."""
        shapes: dict[str, tuple[int, ...]] = {}
        for k, name in enumerate(self.layers):
            shapes[f"{name}.weight"] = (self.widths[k + 1], self.widths[k])
            if self.biases[k]:
                shapes[f"{name}.bias"] = (self.widths[k + 1],)
        return shapes

    @property
    def key(self) -> str:
        """Content hash of the specification."""
        fields = [self.widths, self.activation, self.bias, self.init, self.residual, self.alpha]
        text = json.dumps(canonical([f if not hasattr(f, "settings") else f.settings for f in fields]), sort_keys=True)
        return hashlib.blake2b(text.encode(), digest_size=10).hexdigest()
