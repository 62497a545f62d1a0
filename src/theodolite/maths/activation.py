"""How an elementwise activation is recognised: its function, its derivative, and the points where it is not smooth.

`identify` takes whatever a user has (``torch.relu``, ``nn.GELU()``, ``"tanh"``, ``lambda x: x.clamp(0, 1)``, ``np.tanh``) and
returns one `Activation`, evaluated in float64 on numpy arrays. Known functions are recognised by identity, class or value; for
others the kinks are found numerically, and a doubt is a `TheodoliteWarning`.
"""

from __future__ import annotations

import functools
import itertools
import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from theodolite.core.errors import ArgumentError, TheodoliteWarning, UnsupportedError
from theodolite.maths.resolution import Array, chebyshev_points, find_kinks, panels

__all__ = ["Activation", "identify"]

Evaluate = Callable[[Array], Array]


@dataclass(frozen=True, eq=False)
class Activation:
    """An elementwise function φ with what quadrature must know of it.

    Attributes:
        name: readable name, e.g. ``leaky_relu(0.2)``.
        function: φ on float64 arrays.
        derivative: φ′ on float64 arrays (its value at a kink does not matter).
        kinks: points where φ is continuous, but φ′ or φ″ jumps.
        jumps: points where φ jumps: values have expectations there, slopes have not.
        slopes: slopes of the pieces, left to right, when φ is continuous and piecewise linear; else None.
        family: name and parameters by which closed forms are looked up, or ``("generic",)``.
    """

    name: str
    function: Evaluate
    derivative: Evaluate
    kinks: tuple[float, ...] = ()
    jumps: tuple[float, ...] = ()
    slopes: tuple[float, ...] | None = None
    family: tuple[Any, ...] = ("generic",)
    _panels: dict[float, Array] = field(default_factory=dict, repr=False)

    def __call__(self, x: Array) -> Array:
        """φ(x)."""
        return self.function(np.asarray(x, dtype=np.float64))

    @property
    def splits(self) -> tuple[float, ...]:
        """All points at which quadrature must be split."""
        return tuple(sorted({*self.kinks, *self.jumps}))

    @functools.cached_property
    def prime(self) -> Activation:
        """φ′ as an activation, with the same splits.

        Raises:
            UnsupportedError: φ jumps, so that φ′ holds a delta function and E φ′² is infinite.
        """
        if self.jumps:
            raise UnsupportedError(
                f"the slope of {self.name} has no finite second moment: it jumps at {self.jumps[0]:g}, so that E φ′², and with it "
                "χ and every gradient, is infinite; use a continuous activation, or the values (q_map, c_map) alone"
            )
        return Activation(f"{self.name}′", self.derivative, _no_second_derivative, jumps=self.splits, _panels=self._panels)

    def panels(self, radius: float) -> Array:
        """Breakpoints in [−r, r], r ≥ ``radius``, between which φ and φ′ are polynomials of degree 24 to rounding."""
        size = 2.0 ** max(2, math.ceil(math.log2(max(radius, 1.0))))
        if size not in self._panels:
            if self.slopes is not None:
                found = np.array(sorted({-size, size, *(k for k in self.kinks if abs(k) < size)}))
            else:
                functions = [self.function] if self.derivative is _no_second_derivative else [self.function, self.derivative]
                found, _ = panels(functions, size, self.splits)
            self._panels[size] = found
        return self._panels[size]


def _no_second_derivative(x: Array) -> Array:
    raise UnsupportedError("the derivative of a derivative is not known here")


def identify(activation: Any) -> Activation:
    """The `Activation` behind a torch function, module, numpy function, name or any elementwise callable.

    Known ones (`theodolite.maths.activation_table`) come with exact kinks and closed forms; unknown ones are evaluated in
    float64 with autograd slopes, and their kinks are found numerically.

    Args:
        activation: ``torch.relu``, ``F.gelu``, ``nn.LeakyReLU(0.2)``, ``functools.partial(F.elu, alpha=0.5)``, ``np.tanh``,
            ``"tanh"``, a lambda, or an `Activation`, which is returned as it is. A module is used in evaluation mode; the module
            itself is not touched.

    Raises:
        ArgumentError: not callable, not elementwise, random, complex- or integer-valued, or NaN somewhere on [−16, 16].

    Warns:
        TheodoliteWarning: the smoothness of an unknown callable could not be decided.

    Example:
        >>> import torch
        >>> identify(torch.nn.LeakyReLU(0.2)).name, identify(lambda x: x.clamp(-2, 1)).kinks
        ('leaky_relu(0.2)', (-2.0, 1.0))
    """
    from theodolite.maths.activation_table import known

    if isinstance(activation, Activation):
        return activation
    found = known(activation)
    if found is not None:
        return found
    if not callable(activation):
        raise ArgumentError(f"activation must be an elementwise callable, a torch module or a name, got {activation!r}")
    try:
        return _identify_unknown(activation)
    except TypeError as error:
        if "unhashable" not in str(error):
            raise
    return _examine(activation)


def _identify_unknown(activation: Any) -> Activation:
    """`_examine`, remembered per callable; a module is remembered together with its state."""
    import torch

    if isinstance(activation, torch.nn.Module):
        state = tuple((k, tuple(v.detach().reshape(-1).tolist())) for k, v in activation.state_dict().items())
        if sum(len(v) for _, v in state) > 64:
            raise ArgumentError(
                f"activation {type(activation).__name__} holds {sum(len(v) for _, v in state)} numbers, so that it is hardly "
                "elementwise; pass the activation function itself"
            )
        return _examine_once(activation, repr(activation) + repr(state))
    return _examine_once(activation, "")


@functools.lru_cache(maxsize=256)
def _examine_once(activation: Any, state: str) -> Activation:
    return _examine(activation)


def _examine(activation: Any) -> Activation:
    """Evaluate an unknown callable until its nature is known."""
    from theodolite.maths.activation_table import recognise_by_value

    name = getattr(activation, "__name__", None) or type(activation).__name__
    function, derivative = _evaluators(activation, name)
    _check_elementwise(function, name)
    known = recognise_by_value(function)
    if known is not None:
        return known
    found = find_kinks(function)
    if found.pole is not None:
        raise ArgumentError(
            f"activation {name!r} must be finite on the whole line, but grows beyond bounds at {found.pole:.6g}; its Gaussian "
            "expectations are infinite or not to be computed"
        )
    if found.undecided:
        warnings.warn(
            f"the kinks of the activation {name!r} could not be decided: {found.undecided}; expectations of it may be off, check "
            "them against a sample",
            TheodoliteWarning,
            stacklevel=4,
        )
    slopes = None if found.jumps or found.undecided else _slopes(function, found.kinks)
    if derivative is None:
        derivative = _ChebyshevDerivative(function, tuple(sorted({*found.kinks, *found.jumps})))
    return Activation(name, function, derivative, found.kinks, found.jumps, slopes)


def _slopes(function: Evaluate, kinks: tuple[float, ...]) -> tuple[float, ...] | None:
    """Slopes of the pieces if the function is linear between its kinks, else None."""
    ends = [(kinks[0] if kinks else 0.0) - 40.0, *kinks, (kinks[-1] if kinks else 0.0) + 40.0]
    slopes = []
    for low, high in itertools.pairwise(ends):
        x = np.linspace(low, high, 19)
        with np.errstate(over="ignore"):
            y = function(x)
        if not np.isfinite(y).all():
            return None
        slope = (y[-1] - y[0]) / (high - low)
        if np.abs(y - y[0] - slope * (x - low)).max() > 1e-13 * max(1.0, np.abs(y).max()):
            return None
        slopes.append(float(slope))
    return tuple(slopes)


def _evaluators(activation: Any, name: str) -> tuple[Evaluate, Evaluate | None]:
    """(φ, φ′) on numpy arrays, from a torch or a numpy callable; φ′ is None when autograd cannot give it."""
    import torch

    if isinstance(activation, torch.nn.Module):
        import copy

        activation = copy.deepcopy(activation).double().eval()

    def by_torch(x: Array) -> Array:
        with torch.no_grad():
            return _checked(activation(torch.from_numpy(np.array(x, dtype=np.float64))), x, name)

    def slope_by_torch(x: Array) -> Array:
        with torch.enable_grad():
            at = torch.from_numpy(np.array(x, dtype=np.float64)).requires_grad_()
            (slope,) = torch.autograd.grad(activation(at).sum(), at)
        return slope.numpy()

    def by_numpy(x: Array) -> Array:
        return _checked(activation(np.asarray(x, dtype=np.float64)), x, name)

    probe = np.linspace(-1.9, 2.1, 7)
    try:
        with warnings.catch_warnings():
            # numpy functions take a tensor half-heartedly, which numpy announces; then the callable is a numpy one.
            warnings.filterwarnings("error", message=".*__array_wrap__.*")
            result = activation(torch.from_numpy(probe.copy()))
    except ArgumentError:
        raise
    except Exception as torch_error:
        try:
            by_numpy(probe)
        except ArgumentError:
            raise
        except Exception as numpy_error:
            raise ArgumentError(
                f"activation {name!r} must map a float64 tensor or array to one of the same shape, but raised "
                f"{type(torch_error).__name__}: {torch_error} on torch and {type(numpy_error).__name__}: {numpy_error} on numpy"
            ) from numpy_error
        return by_numpy, None
    if not isinstance(result, torch.Tensor):
        return by_numpy, None
    by_torch(probe)
    try:
        slope_by_torch(probe)
    except RuntimeError:  # no graph: the callable leaves autograd
        return by_torch, None
    return by_torch, slope_by_torch


def _checked(result: Any, x: Array, name: str) -> Array:
    """The activation's result as a float64 array of the shape of x."""
    import torch

    values = result.detach().cpu().numpy() if isinstance(result, torch.Tensor) else np.asarray(result)
    if np.iscomplexobj(values):
        raise ArgumentError(f"activation {name!r} must be real, got dtype {values.dtype}; take its real part or modulus")
    if values.dtype.kind not in "f":
        raise ArgumentError(
            f"activation {name!r} must return floating-point numbers, got dtype {values.dtype}; end it in .double()"
        )
    if values.shape != np.shape(x):
        raise ArgumentError(
            f"activation {name!r} must be elementwise, but turned shape {np.shape(x)} into {values.shape}; gated, pooling and "
            "normalising layers are not activations"
        )
    return values.astype(np.float64, copy=False)


def _check_elementwise(function: Evaluate, name: str) -> None:
    x = np.linspace(-15.9, 16.1, 161)
    try:
        with np.errstate(all="ignore"):
            y = function(x)
            backwards = function(x[::-1].copy())[::-1]
            alone = np.concatenate([function(x[i : i + 1]) for i in (0, 40, 80, 120, 160)])
            again = function(x)
    except RuntimeError as error:
        raise ArgumentError(
            f"activation {name!r} must take arrays of any shape, as an elementwise function does, but raised: {error}"
        ) from error
    if np.isnan(y).any():
        raise ArgumentError(f"activation {name!r} must be defined on the whole line, but is NaN at {x[np.isnan(y)][0]:.4g}")
    if not np.array_equal(y, again, equal_nan=True):
        raise ArgumentError(f"activation {name!r} must be deterministic, but gave two results for one input; use its eval mode")
    close = functools.partial(np.allclose, rtol=1e-12, atol=1e-13)
    if not close(y, backwards) or not close(y[[0, 40, 80, 120, 160]], alone):
        raise ArgumentError(
            f"activation {name!r} must be elementwise, but its value at a point depends on the other points; softmax and "
            "normalising layers are not activations"
        )


class _ChebyshevDerivative:
    """The slope of a function known only by values: piecewise Chebyshev interpolants, differentiated.

    Panels of width ½ that end at the splits, degree 16: relative error about 1e-12 for functions with features of size one.
    """

    WIDTH = 0.5

    def __init__(self, function: Evaluate, splits: tuple[float, ...]) -> None:
        self.function = function
        self.splits = np.array(splits)

    def __call__(self, x: Array) -> Array:
        x = np.asarray(x, dtype=np.float64)
        flat = x.ravel()
        low = np.floor(flat / self.WIDTH) * self.WIDTH
        high = low + self.WIDTH
        if len(self.splits):
            place = np.searchsorted(self.splits, flat, side="right")
            padded = np.concatenate([[-np.inf], self.splits, [np.inf]])
            low, high = np.maximum(low, padded[place]), np.minimum(high, padded[place + 1])
        panel, index = np.unique(np.stack([low, high], 1), axis=0, return_inverse=True)
        points, matrix = chebyshev_points(17)
        half = 0.5 * (panel[:, 1] - panel[:, 0])
        values = self.function(panel.mean(1)[:, None] + half[:, None] * points)
        slopes = np.polynomial.chebyshev.chebder(values @ matrix.T, axis=1) / half[:, None]
        at = (flat - panel.mean(1)[index.ravel()]) / half[index.ravel()]
        return np.polynomial.chebyshev.chebval(at, slopes[index.ravel()].T, tensor=False).reshape(x.shape)
