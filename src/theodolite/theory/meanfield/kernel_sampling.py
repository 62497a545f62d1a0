"""Monte Carlo for operations without a covariance rule: apply them to Gaussian values that have the covariance at hand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from theodolite.core.errors import TheodoliteError
from theodolite.lens.graph import Node, Ref
from theodolite.theory.meanfield import kernel_state as ks
from theodolite.theory.meanfield.kernel_state import KernelState

__all__ = ["sample_operation", "sampled"]

#: Draws of all units over which the kernel is averaged.
DRAWS = 8


def sampled(state: KernelState, units: int, generator: torch.Generator) -> torch.Tensor:
    """Values with the state's kernel, units independent Gaussians.

    Example:
        >>> flat = KernelState(np.eye(2), np.zeros(2), (2, 5), 1)
        >>> sampled(flat, 7, torch.Generator().manual_seed(0)).shape
        torch.Size([2, 7])
    """
    vals, vectors = np.linalg.eigh(state.kernel - np.outer(state.mean, state.mean))
    root = vectors * np.sqrt(np.maximum(vals, 0.0))
    noise = torch.randn(root.shape[1], units, generator=generator, dtype=torch.float64).numpy()
    values = state.mean[:, None] + root @ noise
    return torch.from_numpy(values.reshape(*state.sites, units)).movedim(-1, state.axis)


def sample_operation(
    node: Node,
    states: Mapping[Ref, KernelState],
    network: Mapping[int, Any],
    units: int | None,
    place: tuple[int, int, int | None],
    generator: torch.Generator,
) -> KernelState | None:
    """State of an operation's result, averaged over `DRAWS` samples of its inputs.

    Args:
        node: the operation.
        states: what it reads; the states must be independent of each other.
        network: node index -> the network's own value; inputs of the network stand beside a sampled operand as they are.
        units: number of units to draw; by default as many as each operand has.
        place: (dimensions of the result, axis of its units, which part of a tuple it is).
        generator: of the samples.

    Returns:
        The state, or None where the operation does not take these samples or does not return finite numbers on them.
    """
    dimensions, axis, item = place
    found = []
    for _ in range(DRAWS):
        values: dict[int, Any] = {}
        for ref, state in states.items():
            like = network[ref.index] if ref.item is None else network[ref.index][ref.item]
            kept = len(states) > 1 and not state.sources
            trial = like if kept else sampled(state, units or state.units, generator).to(like)
            if ref.item is None:
                values[ref.index] = trial
            else:
                values.setdefault(ref.index, list(network[ref.index]))[ref.item] = trial
        try:
            with torch.no_grad():
                out = node.apply(values)
        except (RuntimeError, TheodoliteError, ValueError, np.linalg.LinAlgError):
            return None
        out = out if item is None else out[item]
        if not isinstance(out, torch.Tensor) or out.ndim != dimensions or not bool(out.isfinite().all()):
            return None
        found.append(ks.measured(out, axis, frozenset()))
    spread, wobble = (max(getattr(state, part) for state in states.values()) for part in ("spread", "wobble"))
    kernel, mean = (np.mean([getattr(state, part) for state in found], axis=0) for part in ("kernel", "mean"))
    return replace(found[0], kernel=kernel, mean=mean, spread=spread, wobble=wobble)
