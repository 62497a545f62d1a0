"""Random features φ_k(x) = σ(v_k·x): random Fourier, cosine, ReLU and erf features, nested in their number."""

from __future__ import annotations

import math
from collections.abc import Callable
from numbers import Integral
from typing import TYPE_CHECKING, Any

from theodolite.core.errors import ArgumentError, unknown
from theodolite.core.seed import generator as seeded
from theodolite.theory.generalization.predict.labelled import as_matrix, positive

if TYPE_CHECKING:
    import torch

__all__ = ["FEATURE_KINDS", "random_features"]


def _fourier(torch: Any, phase: torch.Tensor, offset: torch.Tensor) -> torch.Tensor:
    return torch.complex(phase.cos(), phase.sin())


def _cosine(torch: Any, phase: torch.Tensor, offset: torch.Tensor) -> torch.Tensor:
    return math.sqrt(2) * (phase + offset).cos()


def _relu(torch: Any, phase: torch.Tensor, offset: torch.Tensor) -> torch.Tensor:
    return torch.relu(phase)


def _erf(torch: Any, phase: torch.Tensor, offset: torch.Tensor) -> torch.Tensor:
    return torch.erf(phase)


_FEATURES: dict[str, Callable[[Any, torch.Tensor, torch.Tensor], torch.Tensor]] = {
    "fourier": _fourier,
    "cosine": _cosine,
    "relu": _relu,
    "erf": _erf,
}

#: Names of the kinds.
FEATURE_KINDS = tuple(_FEATURES)


def random_features(
    x: Any, count: int, *, kind: str = "fourier", scale: float = 1.0, generator: torch.Generator | int | None = None
) -> Any:
    """Random features of the points x, one column per feature, not normalised by their number.

    ========  =====================================  =========================================
    kind      φ_k(x)                                 distribution
    ========  =====================================  =========================================
    fourier   exp(i v_k·x), complex                  v_k ~ N(0, scale² I)
    cosine    √2 cos(v_k·x + b_k)                    v_k ~ N(0, scale² I), b_k uniform on [0, 2π)
    relu      max(v_k·x, 0)                          v_k = scale · uniform on the unit sphere
    erf       erf(v_k·x)                             v_k ~ N(0, scale² I)
    ========  =====================================  =========================================

    The mean of φ_k(x) φ_k(x')* over features is the Gaussian kernel exp(−scale²‖x − x'‖²/2) for fourier and cosine, an
    arc-cosine kernel for relu, and an arc-sine kernel for erf. The features are nested: the first N of ``count`` features are
    the same (to rounding) whatever ``count``, as the widths of one double-descent curve want.

    Args:
        x: ``(n, d)`` points.
        count: number of features N ≥ 1.
        kind: one of the table.
        scale: standard deviation (for relu: length) of v_k; an inverse length scale in the units of x.
        generator: a torch generator, or an integer seed; None is seed 0. Equal seeds give equal features on every set of points,
            so call twice with the same *seed* for training and test points.

    Returns:
        ``(n, count)`` float64 (complex128 for fourier); a torch tensor if x is one, else numpy.

    Raises:
        ArgumentError: bad points, count, scale or generator.
        UnknownNameError: no such kind.

    Cost: O(n d count) time, n·count numbers.

    Reference: rahimi2007 (fourier, cosine); belkin2019 App. C (fourier, relu); cho2009 for the kernel of relu.

    Example:
        >>> import numpy as np
        >>> x = np.random.default_rng(0).normal(size=(5, 3))
        >>> features = random_features(x, 1000, kind="cosine", generator=1)
        >>> bool(np.allclose(features[:, :40], random_features(x, 40, kind="cosine", generator=1), atol=1e-14))
        True
    """
    import torch

    if kind not in _FEATURES:
        raise unknown("kind of random features", kind, _FEATURES)
    if isinstance(count, bool) or not isinstance(count, Integral) or count < 1:
        raise ArgumentError(f"count must be a whole number of at least 1, got {count!r}")
    scale = positive(scale, "scale")
    points = torch.as_tensor(as_matrix(x, "x"))
    d = points.shape[1]
    if generator is not None and (isinstance(generator, bool) or not isinstance(generator, (Integral, torch.Generator))):
        raise ArgumentError(f"generator must be a torch.Generator or an integer seed, got {generator!r}")
    source = generator if isinstance(generator, torch.Generator) else seeded(int(generator or 0), "random_features")
    # Two more normals per feature give its phase. Whole blocks of 16 features keep torch's stream the same whatever the count.
    blocks = -(-int(count) // 16) * 16
    normals = torch.randn(blocks, d + 2, generator=source, dtype=torch.float64, device=source.device)[: int(count)].to(
        points.device
    )
    v = normals[:, :d]
    if kind == "relu":
        v = v / v.norm(dim=1, keepdim=True)
    offset = torch.atan2(normals[:, d], normals[:, d + 1])
    features = _FEATURES[kind](torch, points @ (scale * v).T, offset)
    return features.to(x.device) if isinstance(x, torch.Tensor) else features.numpy()
