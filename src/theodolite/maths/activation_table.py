"""The known activations: function, derivative and kinks of each, and how each is written in torch and numpy."""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.special import erf, expit, log_expit

from theodolite.core.errors import ArgumentError, unknown
from theodolite.maths.activation import Activation, Evaluate
from theodolite.maths.resolution import Array

__all__ = ["BUILDERS", "build", "known", "recognise_by_value"]

#: Scale and slope constants of SELU (Klambauer et al. 2017), which give it the fixed point q = 1 at σ_w² = 1, σ_b² = 0.
SELU_ALPHA, SELU_SCALE = 1.6732632423543772, 1.0507009873554805
ROOT_2, ROOT_2PI = math.sqrt(2.0), math.sqrt(2.0 * math.pi)


def _piecewise_linear(
    name: str, family: tuple[Any, ...], kinks: tuple[float, ...], slopes: tuple[float, ...], at: float
) -> Activation:
    """Continuous, with the given slopes between the given kinks, and the value ``at`` in the first kink (or in 0)."""
    knots = np.array(kinks)
    slope = np.array(slopes)
    values = at + np.concatenate([[0.0], np.cumsum(slope[1:-1] * np.diff(knots))]) if len(knots) else np.array([at])
    anchors = knots if len(knots) else np.array([0.0])

    def function(x: Array) -> Array:
        piece = np.searchsorted(knots, x, side="right")
        anchor = np.maximum(piece - 1, 0)
        return values[anchor] + slope[piece] * (x - anchors[anchor])

    def derivative(x: Array) -> Array:
        return slope[np.searchsorted(knots, x, side="right")]

    return Activation(name, function, derivative, kinks=kinks, slopes=slopes, family=family)


def identity() -> Activation:
    """X."""
    return Activation("identity", lambda x: x, np.ones_like, slopes=(1.0,), family=("identity",))


def relu() -> Activation:
    """max(x, 0)."""
    return Activation(
        "relu", lambda x: np.maximum(x, 0.0), lambda x: (x > 0) * 1.0, kinks=(0.0,), slopes=(0.0, 1.0), family=("relu", 0.0)
    )


def leaky_relu(negative_slope: float = 0.01) -> Activation:
    """Max(x, 0) + a·min(x, 0)."""
    a = float(negative_slope)
    return Activation(
        f"leaky_relu({a:g})",
        lambda x: np.where(x > 0, x, a * x),
        lambda x: np.where(x > 0, 1.0, a),
        kinks=(0.0,),
        slopes=(a, 1.0),
        family=("relu", a),
    )


def absolute() -> Activation:
    """|x|."""
    return Activation("abs", np.abs, np.sign, kinks=(0.0,), slopes=(-1.0, 1.0), family=("relu", -1.0))


def hardtanh(min_val: float = -1.0, max_val: float = 1.0) -> Activation:
    """Clip(x, min, max)."""
    low, high = float(min_val), float(max_val)
    name = "hardtanh" if (low, high) == (-1.0, 1.0) else f"hardtanh({low:g}, {high:g})"
    return _piecewise_linear(name, ("hardtanh", low, high), (low, high), (0.0, 1.0, 0.0), low)


def relu6() -> Activation:
    """Clip(x, 0, 6)."""
    return _piecewise_linear("relu6", ("piecewise linear",), (0.0, 6.0), (0.0, 1.0, 0.0), 0.0)


def hardsigmoid() -> Activation:
    """Clip(x/6 + 1/2, 0, 1)."""
    return _piecewise_linear("hardsigmoid", ("piecewise linear",), (-3.0, 3.0), (0.0, 1 / 6, 0.0), 0.0)


def softshrink(lambd: float = 0.5) -> Activation:
    """sign(x)·max(|x| − λ, 0)."""
    k = float(lambd)
    return _piecewise_linear(f"softshrink({k:g})", ("piecewise linear",), (-k, k), (1.0, 0.0, 1.0), 0.0)


def hardshrink(lambd: float = 0.5) -> Activation:
    """X where |x| > λ, else 0: it jumps at ±λ."""
    k = float(lambd)
    return Activation(
        f"hardshrink({k:g})", lambda x: np.where(np.abs(x) > k, x, 0.0), lambda x: (np.abs(x) > k) * 1.0, jumps=(-k, k)
    )


def sign() -> Activation:
    """The sign of x, which jumps at 0."""
    return Activation("sign", np.sign, np.zeros_like, jumps=(0.0,), family=("sign",))


def threshold(threshold: float, value: float) -> Activation:
    """X where x > threshold, else value."""
    t, v = float(threshold), float(value)
    function, derivative = (lambda x: np.where(x > t, x, v)), (lambda x: (x > t) * 1.0)
    if t == v:
        return _piecewise_linear(f"threshold({t:g}, {v:g})", ("piecewise linear",), (t,), (0.0, 1.0), t)
    return Activation(f"threshold({t:g}, {v:g})", function, derivative, jumps=(t,))


def tanh() -> Activation:
    """The hyperbolic tangent."""
    return Activation("tanh", np.tanh, lambda x: 1.0 - np.tanh(x) ** 2, family=("tanh",))


def tanhshrink() -> Activation:
    """X − tanh(x)."""
    return Activation("tanhshrink", lambda x: x - np.tanh(x), lambda x: np.tanh(x) ** 2)


def sigmoid() -> Activation:
    """1/(1 + exp(−x))."""
    return Activation("sigmoid", expit, lambda x: expit(x) * expit(-x), family=("sigmoid",))


def log_sigmoid() -> Activation:
    """log(1/(1 + exp(−x)))."""
    return Activation("logsigmoid", log_expit, lambda x: expit(-x))


def error_function() -> Activation:
    """erf(x)."""
    return Activation("erf", erf, lambda x: 2.0 / math.sqrt(math.pi) * np.exp(-x * x), family=("erf",))


def sine() -> Activation:
    """sin(x)."""
    return Activation("sin", np.sin, np.cos, family=("sin",))


def cosine() -> Activation:
    """cos(x)."""
    return Activation("cos", np.cos, lambda x: -np.sin(x), family=("cos",))


def gelu(approximate: str = "none") -> Activation:
    """X·Φ(x), Φ the Gaussian distribution function, or its approximation by tanh."""
    if approximate == "tanh":
        b = math.sqrt(2.0 / math.pi)

        def bend(x: Array) -> Array:
            return np.tanh(b * (x + 0.044715 * x**3))

        def slope(x: Array) -> Array:
            t = bend(x)
            return 0.5 * (1.0 + t) + 0.5 * x * (1.0 - t * t) * b * (1.0 + 3 * 0.044715 * x * x)

        return Activation("gelu(tanh)", lambda x: 0.5 * x * (1.0 + bend(x)), slope)
    return Activation(
        "gelu",
        lambda x: 0.5 * x * (1.0 + erf(x / ROOT_2)),
        lambda x: 0.5 * (1.0 + erf(x / ROOT_2)) + x * np.exp(-0.5 * x * x) / ROOT_2PI,
        family=("gelu",),
    )


def silu() -> Activation:
    """X·sigmoid(x)."""
    return Activation("silu", lambda x: x * expit(x), lambda x: expit(x) * (1.0 + x * expit(-x)), family=("silu",))


def mish() -> Activation:
    """X·tanh(softplus(x))."""

    def derivative(x: Array) -> Array:
        t = np.tanh(np.logaddexp(0.0, x))
        return t + x * (1.0 - t * t) * expit(x)

    return Activation("mish", lambda x: x * np.tanh(np.logaddexp(0.0, x)), derivative, family=("mish",))


def softplus(beta: float = 1.0, threshold: float = 20.0) -> Activation:
    """log(1 + exp(βx))/β; torch's switch to x beyond the threshold moves it by less than 3e-9 and is left out."""
    b = float(beta)
    name = "softplus" if b == 1.0 else f"softplus({b:g})"
    return Activation(name, lambda x: np.logaddexp(0.0, b * x) / b, lambda x: expit(b * x))


def elu(alpha: float = 1.0) -> Activation:
    """X for x > 0, α(eˣ − 1) below: the slope jumps at 0 unless α = 1, where the curvature does."""
    a = float(alpha)
    return Activation(
        "elu" if a == 1.0 else f"elu({a:g})",
        lambda x: np.where(x > 0, x, a * np.expm1(np.minimum(x, 0.0))),
        lambda x: np.where(x > 0, 1.0, a * np.exp(np.minimum(x, 0.0))),
        kinks=(0.0,),
    )


def celu(alpha: float = 1.0) -> Activation:
    """X for x > 0, α(exp(x/α) − 1) below."""
    a = float(alpha)
    return Activation(
        "celu" if a == 1.0 else f"celu({a:g})",
        lambda x: np.where(x > 0, x, a * np.expm1(np.minimum(x, 0.0) / a)),
        lambda x: np.where(x > 0, 1.0, np.exp(np.minimum(x, 0.0) / a)),
        kinks=(0.0,),
    )


def selu() -> Activation:
    """λ·elu(x, α) with the self-normalising constants."""
    return Activation(
        "selu",
        lambda x: SELU_SCALE * np.where(x > 0, x, SELU_ALPHA * np.expm1(np.minimum(x, 0.0))),
        lambda x: SELU_SCALE * np.where(x > 0, 1.0, SELU_ALPHA * np.exp(np.minimum(x, 0.0))),
        kinks=(0.0,),
    )


def softsign() -> Activation:
    """x/(1 + |x|), whose curvature jumps at 0."""
    return Activation("softsign", lambda x: x / (1.0 + np.abs(x)), lambda x: (1.0 + np.abs(x)) ** -2, kinks=(0.0,))


def hardswish() -> Activation:
    """x·clip(x + 3, 0, 6)/6."""
    return Activation(
        "hardswish",
        lambda x: x * np.clip(x + 3.0, 0.0, 6.0) / 6.0,
        lambda x: np.where(x <= -3.0, 0.0, np.where(x >= 3.0, 1.0, (2.0 * x + 3.0) / 6.0)),
        kinks=(-3.0, 3.0),
    )


def square() -> Activation:
    """x²."""
    return Activation("square", np.square, lambda x: 2.0 * x, family=("square",))


def exponential() -> Activation:
    """exp(x)."""
    return Activation("exp", np.exp, np.exp, family=("exp",))


#: Name -> builder; aliases of one function stand beside each other.
BUILDERS: dict[str, Callable[..., Activation]] = {
    "identity": identity, "linear": identity,
    "relu": relu, "leaky_relu": leaky_relu, "abs": absolute, "relu6": relu6,
    "hardtanh": hardtanh, "hard_tanh": hardtanh, "hardsigmoid": hardsigmoid, "hardswish": hardswish,
    "softshrink": softshrink, "hardshrink": hardshrink, "sign": sign, "threshold": threshold,
    "tanh": tanh, "tanhshrink": tanhshrink, "sigmoid": sigmoid, "logsigmoid": log_sigmoid,
    "erf": error_function, "sin": sine, "cos": cosine,
    "gelu": gelu, "silu": silu, "swish": silu, "mish": mish, "softplus": softplus,
    "elu": elu, "celu": celu, "selu": selu, "softsign": softsign, "square": square, "exp": exponential,
}  # fmt: skip


@functools.lru_cache(maxsize=256)
def build(name: str, **parameters: Any) -> Activation:
    """The known activation of that name; one object per name and parameters, so that its panels are computed once.

    Example:
        >>> build("elu", alpha=0.5).name, build("tanh") is build("tanh")
        ('elu(0.5)', True)
    """
    return BUILDERS[name](**parameters)


@functools.cache
def _torch_functions() -> dict[Any, str]:
    """Functions of torch, torch.nn.functional, numpy and scipy -> names of builders."""
    import torch
    from torch.nn import functional

    table: dict[Any, str] = {}
    for name in BUILDERS:
        for place in (torch, functional, torch.special, torch.Tensor, np):
            for spelling in (name, name + "_"):
                function = getattr(place, spelling, None)
                if callable(function):
                    table[function] = name
    table |= {erf: "erf", expit: "sigmoid", log_expit: "logsigmoid", np.positive: "identity", torch.special.expit: "sigmoid"}
    return table


@functools.cache
def _torch_modules() -> dict[type, str]:
    from torch import nn

    return {
        nn.Identity: "identity", nn.ReLU: "relu", nn.LeakyReLU: "leaky_relu", nn.ReLU6: "relu6", nn.Hardtanh: "hardtanh",
        nn.Hardsigmoid: "hardsigmoid", nn.Hardswish: "hardswish", nn.Softshrink: "softshrink", nn.Hardshrink: "hardshrink",
        nn.Threshold: "threshold", nn.Tanh: "tanh", nn.Tanhshrink: "tanhshrink", nn.Sigmoid: "sigmoid",
        nn.LogSigmoid: "logsigmoid", nn.GELU: "gelu", nn.SiLU: "silu", nn.Mish: "mish", nn.Softplus: "softplus", nn.ELU: "elu",
        nn.CELU: "celu", nn.SELU: "selu", nn.Softsign: "softsign",
    }  # fmt: skip


def known(activation: Any) -> Activation | None:
    """The table's activation for a name, a torch function or class or module, a numpy function or a partial of one; else None.

    Raises:
        UnknownNameError: a string that is no name here.
        ArgumentError: an `nn.PReLU` with different slopes per channel, or arguments that the function does not have.
    """
    if isinstance(activation, str):
        name = activation.lower()
        if name not in BUILDERS:
            raise unknown("activation", activation, BUILDERS)
        return build(name)
    import torch

    if isinstance(activation, functools.partial):
        if activation.args or activation.func not in _torch_functions():
            return None
        return _build_with(_torch_functions()[activation.func], activation.keywords)
    if isinstance(activation, type) and activation in _torch_modules():
        return build(_torch_modules()[activation])
    if isinstance(activation, torch.nn.PReLU):
        slopes = activation.weight.detach().double().unique().tolist()
        if len(slopes) > 1:
            raise ArgumentError(
                f"activation PReLU has {len(slopes)} different slopes, so that it is not one elementwise function; "
                "pass nn.LeakyReLU with the slope of one channel"
            )
        return build("leaky_relu", negative_slope=slopes[0])
    if isinstance(activation, torch.nn.RReLU):
        return build("leaky_relu", negative_slope=0.5 * (activation.lower + activation.upper))
    if type(activation) in _torch_modules():
        name = _torch_modules()[type(activation)]
        return _build_with(name, {p: getattr(activation, p) for p in inspect.signature(BUILDERS[name]).parameters})
    try:
        name_ = _torch_functions().get(activation)
    except TypeError:
        return None
    return build(name_) if name_ is not None else None


def _build_with(name: str, parameters: dict[str, Any]) -> Activation:
    accepted = inspect.signature(BUILDERS[name]).parameters
    extra = [p for p in parameters if p not in accepted and p != "inplace"]
    if extra:
        raise ArgumentError(f"activation {name} has no parameter {extra[0]!r}; it has: {', '.join(accepted) or 'none'}")
    return build(name, **{p: v for p, v in parameters.items() if p in accepted})


#: Where an unknown callable is compared with the known ones: dense where activations bend, and far out on both sides.
_PROBES = np.concatenate([np.linspace(-8.03, 8.07, 323), -np.geomspace(9.0, 9e4, 60), np.geomspace(8.5, 8.5e4, 60)])
_BY_VALUE = ("relu", "leaky_relu", "abs", "relu6", "hardtanh", "tanh", "sigmoid", "erf", "gelu", "silu", "softplus",
             "elu", "selu", "softsign", "mish", "sin", "cos", "square", "identity", "hardswish", "hardsigmoid")  # fmt: skip


@functools.cache
def _known_values() -> dict[str, Array]:
    return {name: build(name)(_PROBES) for name in _BY_VALUE}


def recognise_by_value(function: Evaluate) -> Activation | None:
    """The known activation with the same values at 443 probes within [−9e4, 9e4], so that ``lambda x: torch.relu(x)`` is ReLU."""
    with np.errstate(all="ignore"):
        values = function(_PROBES)
    if not np.isfinite(values).all():
        return None
    for name, known_values in _known_values().items():
        if np.allclose(values, known_values, rtol=1e-13, atol=3e-15 if name in ("relu", "identity") else 1e-14):
            return build(name)
    return None
