"""Monte Carlo for operations without a covariance rule: apply them to Gaussian values that have the covariance at hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from theodolite.core.errors import TheodoliteError
from theodolite.lens.graph import Graph, Node, Ref
from theodolite.theory.meanfield import kernel_state as ks
from theodolite.theory.meanfield.kernel_positions import with_value
from theodolite.theory.meanfield.kernel_state import KernelState

__all__ = ["Sampler", "sample_operation", "sampled"]

#: Draws of all units over which the kernel is averaged.
DRAWS = 8
#: Kinds of operations that mix units, so that their number must be that of the network.
KEEPS_UNITS = ("norm", "affine", "reshape", "attention", "recurrent")
#: (the network's own result, the axis of its units, which part of a tuple it is).
Place = tuple[torch.Tensor, int, int | None]


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
    steps: Sequence[Node],
    states: Mapping[Ref, KernelState],
    network: Mapping[int, Any],
    units: int | None,
    place: Place,
    generator: torch.Generator,
) -> KernelState | None:
    """State of the result of the last of some operations, averaged over `DRAWS` samples of what they start from.

    Args:
        steps: the operations, in order.
        states: what they start from; the states must be independent of each other.
        network: node index -> the network's own value; inputs of the network stand beside a sampled operand as they are.
        units: number of units to draw; by default as many as each operand has.
        place: (the network's own result, the axis of its units, which part of a tuple it is).
        generator: of the samples.

    Returns:
        The state, or None where the operations do not take these samples or do not return finite numbers on them. How far one
        network's result and the mean of the samples scatter adds to its spread and wobble.
    """
    result, axis, item = place
    found = []
    for _ in range(DRAWS):
        values: dict[int, Any] = {}
        for ref, state in states.items():
            like = network[ref.index] if ref.item is None else network[ref.index][ref.item]
            kept = len(states) > 1 and not state.sources
            trial = like if kept else sampled(state, units or state.units, generator).to(like)
            with_value(values, ref, trial, network)
        try:
            with torch.no_grad():
                for step in steps:
                    values[step.index] = step.apply(values)
                out = values[steps[-1].index]
        except (RuntimeError, TheodoliteError, ValueError, np.linalg.LinAlgError):
            return None
        out = out if item is None else out[item]
        if not isinstance(out, torch.Tensor) or out.ndim != result.ndim or not bool(out.isfinite().all()):
            return None
        found.append(ks.measured(out, axis, frozenset()))
    spread, wobble = (max(getattr(state, part) for state in states.values()) for part in ("spread", "wobble"))
    kernel, mean = (np.mean([getattr(state, part) for state in found], axis=0) for part in ("kernel", "mean"))
    # One network's result is one more draw, of its own number of units; the mean over draws has an error of its own.
    share = found[0].units / result.shape[axis] + 1.0 / DRAWS
    lengths, cosines = (np.array([getattr(state, part) for state in found]) for part in ("length", "correlation"))
    if lengths.mean() > 0:
        spread += share * float(lengths.var(ddof=1)) / float(lengths.mean()) ** 2
    if result.shape[0] > 1:
        wobble += share * float(cosines.var(ddof=1))
    return replace(found[0], kernel=kernel, mean=mean, spread=spread, wobble=wobble)


@dataclass(frozen=True)
class Sampler:
    """Monte Carlo for the nodes of one traced network.

    Attributes:
        graph: the traced network.
        network: node index -> its own values.
        units: number of units to draw where an operation takes any.
        generator: of the samples.
    """

    graph: Graph
    network: Mapping[int, Any]
    units: int
    generator: torch.Generator

    def state(self, node: Node, states: Mapping[Ref, KernelState], place: Place) -> KernelState | None:
        """State of a node's result, sampled from the Gaussian values that it depends on, or else from Gaussians as its operands.

        None where it depends on values that are not independent, or does not take the samples.
        """
        for steps, starts in (self._back_to_gaussians(node, states), ([node], _operands(node, states))):
            made = [state.sources for state in starts.values()]
            independent = sum(map(len, made)) == len(frozenset().union(*made))
            if not starts or (len(starts) > 1 and not (independent and any(made))):
                continue
            keeps = len(starts) > 1 or any(step.kind in KEEPS_UNITS for step in steps)
            for units in (None, self.units)[:: 1 if keeps else -1]:
                found = sample_operation(steps, starts, self.network, units, place, self.generator)
                if found is not None:
                    return found
        return None

    def _back_to_gaussians(self, node: Node, states: Mapping[Ref, KernelState]) -> tuple[list[Node], dict[Ref, KernelState]]:
        """(operations up to ``node``, the Gaussian states or inputs that they start from)."""
        steps, starts, frontier = {node.index: node}, dict[Ref, KernelState](), list(node.refs)
        while frontier:
            ref = frontier.pop()
            state, parent = states.get(ref), self.graph[ref.index]
            if state is None:
                return [node], {}
            if state.gaussian or not state.sources or parent.kind in ("input", "affine", "embedding"):
                starts[ref] = state
            elif parent.index not in steps:
                steps[parent.index] = parent
                frontier.extend(parent.refs)
        return [steps[i] for i in sorted(steps)], starts


def _operands(node: Node, states: Mapping[Ref, KernelState]) -> dict[Ref, KernelState]:
    """What an operation reads; nothing, if some of it has no state."""
    known = {ref: states[ref] for ref in node.refs if ref in states}
    return known if len(known) == len(set(node.refs)) else {}
