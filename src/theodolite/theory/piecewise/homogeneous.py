"""A program made homogeneous: it reads u · (x, 1), and all constants multiply u, the last entry of its input.

For u > 0, u times the program at x is the homogeneous program at u · (x, 1). It is linear along rays, which brings infinity within
reach. Switches, their columns and their order are the program's own.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from theodolite.core.errors import UnsupportedError
from theodolite.theory.piecewise.builder import diagonal, selection, switching
from theodolite.theory.piecewise.knots import RELU
from theodolite.theory.piecewise.program import Affine, Array, Matrix, Maximum, Program, Step, Switching

__all__ = ["homogeneous"]


def homogeneous(program: Program, exact: bool = False) -> Program:
    """The homogeneous program.

    Args:
        program: any.
        exact: refuse what becomes another function, by a rounding.

    Raises:
        UnsupportedError: pieces of an activation that do not meet exactly, with ``exact``.
    """
    size = program.input_size
    steps: list[Step] = [Affine((0,), (selection(np.arange(size), size + 1),), np.zeros(size), "input")]
    at = [1]
    for step in program.steps:
        if isinstance(step, Affine):
            sources, weights = [at[s] for s in step.sources], list(step.weights)
            steps.append(_affine(sources, weights, step.bias, size, step.name))
        elif isinstance(step, Maximum):
            steps.append(Maximum(at[step.source], step.groups, step.name))
        elif step.is_relu:
            steps.append(Switching(at[step.source], step.knots, step.slopes, step.offsets, step.name))
        else:
            if exact:
                _check_pieces(step)
            steps += _by_relus(step, at[step.source], len(steps), size)
        at.append(len(steps))
    return Program(tuple(steps), (size + 1,), program.output_shape)


def _affine(sources: list[int], weights: list[Matrix], constant: Array, size: int, name: str) -> Affine:
    """Σ_k W_k v_k + constant · u."""
    if constant.any():
        sources, weights = [*sources, 0], [*weights, _at_end(constant, size)]
    return Affine(tuple(sources), tuple(weights), np.zeros(len(constant)), name)


def _at_end(constant: Array, size: int) -> Array:
    """The matrix that takes u, the last of size + 1 entries, to constant · u."""
    out = np.zeros((len(constant), size + 1))
    out[:, -1] = constant
    return out


def _by_relus(step: Switching, source: int, count: int, size: int) -> list[Step]:
    """s₀ z + o₀ u + Σ_k (s_{k+1} r_k − s_k r_k), r_k = max(z − κ_k u, 0): three steps behind the ``count`` that stand already.

    The two products are not joined: the difference of the slopes would be rounded.
    """
    n, knots = step.knots.shape
    repeated = selection(np.repeat(np.arange(n), knots), n)
    up, down = ((repeated.T @ diagonal(s.reshape(-1))).tocsr() for s in (step.slopes[:, 1:], -step.slopes[:, :-1]))
    before = diagonal(step.slopes[:, 0])
    return [
        _affine([source], [repeated], -step.knots.reshape(-1), size, step.name),
        switching(count + 1, n * knots, RELU, step.name),
        _affine([source, count + 2, count + 2], [before, up, down], step.offsets[:, 0], size, step.name),
    ]


def _check_pieces(step: Switching) -> None:
    for knots, slopes, offsets in zip(step.knots, step.slopes, step.offsets, strict=True):
        for k, knot in enumerate(knots):
            left, right = (Fraction(float(slopes[p])) * Fraction(float(knot)) + Fraction(float(offsets[p])) for p in (k, k + 1))
            if left != right:
                raise UnsupportedError(
                    f"the pieces of {step.name!r} meet at {knot:g} only up to rounding, so that nothing can be certified on all of ℝᵈ; "
                    'use certify="none", or a bounded domain'
                )
