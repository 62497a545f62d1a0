"""The region of one input, in any dimension, and the regions that given inputs visit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from torch import nn

from theodolite.core.errors import ArgumentError, UnsupportedError
from theodolite.theory.piecewise.arguments import integer, numbers
from theodolite.theory.piecewise.domains import identity_map
from theodolite.theory.piecewise.lowering import lower
from theodolite.theory.piecewise.program import Affine, Array, Maximum, Program, Switching

__all__ = ["Hit", "LocalRegion", "Neighbour", "SampledRegions", "local_region", "sample_regions"]


class Hit(NamedTuple):
    """Where a ray leaves a region.

    Attributes:
        distance: Euclidean distance to the boundary; ∞ when the ray never leaves.
        neuron: pattern column of the switch that flips there (None when the ray never leaves).
        pattern: the pattern beyond (None likewise).
    """

    distance: float
    neuron: int | None
    pattern: Array | None


class Neighbour(NamedTuple):
    """A region across a facet: the pattern column that flips, and the pattern beyond."""

    neuron: int
    pattern: Array


@dataclass(frozen=True, eq=False, repr=False)
class LocalRegion:
    """The activation region of one input x; made by `local_region`.

    Attributes:
        program: the network.
        x: (D,), the flattened input.
        pattern: (switches,) booleans.
        affine: A (outputs, D) and b (outputs,): the network is A x + b in the region.
        halfspaces: H (F, D) and c (F,): the region is {x : H x + c ≤ 0}; one row for every switch that is not constant, including
            those that are implied by others.
        columns: (F,): the pattern column of each row.
        partners: (F,): between candidates of a maximum, the column of the one that would take over; else −1.
    """

    program: Program
    x: Array
    pattern: Array
    affine: tuple[Array, Array]
    halfspaces: tuple[Array, Array]
    columns: Array
    partners: Array
    _cache: dict[str, Any] = field(default_factory=dict)

    @cached_property
    def distances(self) -> Array:
        """Euclidean distance from x to each switch's hyperplane, |z| / ‖∇z‖, (switches,); ∞ for a switch that is constant here."""
        normals, constants = self.halfspaces
        out = np.full(len(self.pattern), np.inf)
        np.minimum.at(out, self.columns, np.abs(normals @ self.x + constants) / np.linalg.norm(normals, axis=1))
        return out

    @property
    def distance(self) -> float:
        """Euclidean distance from x to the boundary of its region."""
        return float(self.distances.min(initial=np.inf))

    def shoot(self, direction: Any) -> Hit:
        """Follow the ray x + s·direction until it leaves the region.

        Args:
            direction: of the input's shape; its length does not matter.

        Returns:
            `Hit`: distance, neuron, neighbouring pattern; unpacks as a tuple.
        """
        d = numbers(direction, "direction").reshape(-1)
        if d.shape != self.x.shape or not d.any():
            got = f"shape {np.shape(direction)}" if d.any() else "zeros"
            raise ArgumentError(f"direction must be a non-zero vector with {len(self.x)} entries, got {got}")
        d = d / np.abs(d).max()  # first, for lengths whose squares underflow
        d = d / np.linalg.norm(d)
        normals, constants = self.halfspaces
        slack = np.maximum(-(normals @ self.x + constants), 0.0)
        speed = normals @ d
        with np.errstate(divide="ignore", invalid="ignore"):
            times = np.where(speed > 0, slack / speed, np.inf)
        if not len(times) or not np.isfinite(times.min()):
            return Hit(np.inf, None, None)
        first = int(times.argmin())
        exit_ = self.x + times[first] * d

        def vanish(rows: Array) -> Array:
            size = np.abs(rows[:, :-1]) @ np.abs(exit_) + np.abs(rows[:, -1])
            return np.asarray(np.abs(rows[:, :-1] @ exit_ + rows[:, -1]) <= 1e-11 * size)

        return Hit(float(times[first]), int(self.columns[first]), self._beyond(vanish, d))

    def _beyond(self, vanish: Callable[[Array], Array], direction: Array) -> Array:
        """The pattern beyond the boundary, in a direction: of the switches whose rows vanish there, the slope decides.

        Layer by layer, since what stands behind a switch that flips has another map beyond.
        """
        pattern, values = self.pattern.copy(), {0: identity_map(len(self.x))}
        for i, step in enumerate(self.program.steps):
            if isinstance(step, Affine):
                values[i + 1] = step.maps(values)
                continue
            source, (low, high) = values[step.source], self.program.columns[i]
            if isinstance(step, Switching):
                rows = step.rows(source)[0].T
                at = np.flatnonzero(vanish(rows))
                pattern[low + at] = rows[at, :-1] @ direction > 0
            else:
                pattern[low:high] = _winners_beyond(step, source[0].T, pattern[low:high], vanish, direction)
            values[i + 1] = step.maps(source, pattern[None, low:high].astype(np.uint8))
        return pattern

    def neighbours(self) -> list[Neighbour]:
        """The regions across the facets: one linear program per switch tells which half-spaces are not implied by the others.

        Cost: F programs in D variables, warm-started.
        """
        if "facets" not in self._cache:
            self._cache["facets"] = self._stack().needed()
        normals, constants = self.halfspaces
        facets = np.concatenate([normals, constants[:, None]], axis=1) / np.linalg.norm(normals, axis=1)[:, None]
        return [Neighbour(int(self.columns[k]), self._across(facets[k])) for k in self._cache["facets"]]

    def _across(self, facet: Array) -> Array:
        def vanish(rows: Array) -> Array:
            rest = rows - np.multiply.outer(rows[:, :-1] @ facet[:-1], facet)
            return np.asarray(np.abs(rest).max(axis=1) <= 1e-11 * np.abs(rows).max(axis=1))

        return self._beyond(vanish, facet[:-1])

    def _stack(self) -> Any:
        from theodolite.maths.linprog import HalfspaceStack

        stack = HalfspaceStack(len(self.x))
        for normal, constant in zip(*self.halfspaces, strict=True):
            stack.push(normal, float(constant))
        return stack

    def neuron_name(self, column: int) -> str:
        """A pattern column in words: layer and entry."""
        if integer(column, "column", least=0) >= len(self.pattern):
            raise ArgumentError(f"column must be below {len(self.pattern)}, the number of pattern columns, got {column}")
        return self.program.column_name(int(column))

    def __repr__(self) -> str:
        return (
            f"region of an input in ℝ^{len(self.x)}: {int(self.pattern.sum())} of {len(self.pattern)} switches on, "
            f"nearest boundary at {self.distance:.4g}"
        )


def local_region(model: nn.Module, x: Any) -> LocalRegion:
    """The activation region of one input, with its half-spaces, its affine map, and its distances to the boundary.

    Nothing is enumerated: one chain of Jacobians, O(D x work of one forward pass), whatever the dimension. On a boundary (z = 0) a
    switch counts as off.

    Args:
        model: any network that `regions` takes.
        x: one input, of the shape that the model takes, without batch dimension (or with one of size 1).

    Raises:
        UnsupportedError: an operation that is not piecewise linear, by name.

    Example:
        >>> import torch
        >>> net = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 1)).double()
        >>> with torch.no_grad():
        ...     _ = net[0].weight.copy_(torch.eye(2)), net[0].bias.zero_()
        >>> here = local_region(net, [3.0, -1.0])
        >>> here.pattern.tolist(), here.distances.tolist(), here.shoot([0.0, 2.0])[:2]
        ([True, False], [3.0, 1.0], (1.0, 1))
    """
    given = numbers(x, "x", at_least=1)
    point, program = given.reshape(-1), _program_at(model, given.shape)
    pattern = program.patterns(point[None])[0]
    size = len(point)
    start = identity_map(size)
    rows: list[Array] = []
    columns: list[Array] = []
    partners: list[Array] = []
    output = start
    for i, step, values in program.affine_values(start, pattern[None].astype(np.uint8)):
        output = values[i + 1]
        if not isinstance(step, Affine):
            found, first, second = _step_rows(step, values[step.source], pattern, program.columns[i])
            rows.append(found)
            columns.append(first)
            partners.append(second)
    table = np.concatenate(rows) if rows else np.zeros((0, size + 1))
    column = np.concatenate(columns) if columns else np.zeros(0, dtype=int)
    partner = np.concatenate(partners) if partners else np.zeros(0, dtype=int)
    cuts = np.linalg.norm(table[:, :-1], axis=1) > 0
    halfspaces = (table[cuts, :-1], table[cuts, -1])
    affine = (output[0, :-1].T.copy(), output[0, -1].copy())
    return LocalRegion(program, point, pattern, affine, halfspaces, column[cuts], partner[cuts])


def _program_at(model: nn.Module, shape: tuple[int, ...]) -> Program:
    """The program for an input of this shape; (1, n) is a vector in a batch of its own, or else one channel of length n."""
    if len(shape) != 2 or shape[0] != 1:
        return lower(model, shape)
    try:
        return lower(model, shape[1:])
    except (ArgumentError, UnsupportedError) as error:
        try:
            return lower(model, shape)
        except (ArgumentError, UnsupportedError):
            raise error from None


def _winners_beyond(step: Maximum, rows: Array, bits: Array, vanish: Callable[[Array], Array], direction: Array) -> Array:
    """The winners of all groups beyond a boundary: of those that tie on it, the steepest, and of these the first."""
    out = bits.reshape(step.groups.shape).copy()
    for group, own in zip(step.groups, out, strict=True):
        slots = np.flatnonzero(group >= 0)
        winner = int(own.argmax())
        tied = slots[vanish(rows[group[slots]] - rows[group[winner]]) | (slots == winner)]
        own[:] = False
        own[tied[np.argmax(rows[group[tied], :-1] @ direction)]] = True
    return out.reshape(-1)


def _step_rows(step: Switching | Maximum, value: Array, pattern: Array, span: tuple[int, int]) -> tuple[Array, Array, Array]:
    """Rows (F, D + 1), ≤ 0 inside, of one step's switches, with their columns and partners."""
    low, high = span
    bits = pattern[low:high]
    if isinstance(step, Switching):
        rows = step.rows(value)[0].T
        return np.where(bits[:, None], -rows, rows), np.arange(low, high), np.full(high - low, -1)
    width = step.groups.shape[1]
    table = value[0].T
    winner = bits.reshape(-1, width).argmax(axis=1)
    group, slot = np.nonzero((step.groups >= 0) & (np.arange(width) != winner[:, None]))
    rows = table[step.groups[group, slot]] - table[step.groups[group, winner[group]]]
    return rows, low + group * width + slot, low + group * width + winner[group]


@dataclass(frozen=True, eq=False, repr=False)
class SampledRegions:
    """The regions that given inputs visit: a lower bound on the number of regions, never the number itself.

    Attributes:
        program: the network.
        patterns: (R, switches) booleans, distinct.
        visits: (R,): how many of the inputs lie in each region.
        assignment: (N,): the region of each input.
    """

    program: Program
    patterns: Array
    visits: Array
    assignment: Array

    @property
    def count(self) -> int:
        """Number of distinct patterns seen: a lower bound on the number of regions, at most the number of inputs."""
        return len(self.patterns)

    @property
    def complete(self) -> bool:
        """Always False: sampling proves nothing about what it did not visit."""
        return False

    @property
    def saturated(self) -> bool:
        """Whether most inputs have a region of their own, so that the count says more of their number than of the network."""
        return 2 * self.count > len(self.assignment)

    @cached_property
    def affine(self) -> tuple[Array, Array]:
        """The network on each region visited: A (R, outputs, D) and b (R, outputs)."""
        size = self.program.input_size
        start = identity_map(size)
        maps = [self.program.output_maps(start, row[None].astype(np.uint8))[0] for row in self.patterns]
        table = np.stack(maps)
        return table[:, :-1].transpose(0, 2, 1).copy(), table[:, -1].copy()

    def __repr__(self) -> str:
        note = "; most inputs have a region of their own, so the bound is loose" if self.saturated else ""
        return f"at least {self.count} regions (a lower bound from {len(self.assignment)} inputs{note})"


def sample_regions(model: nn.Module, points: Any) -> SampledRegions:
    """The regions that given inputs lie in: local linear models of the data, and a *lower bound* on the number of regions.

    The count saturates at the number of inputs, as in many dimensions nearly every input has a region of its own; it must not be
    compared between networks then. `regions` counts exactly, on a domain or on a slice of the input space.

    Args:
        model: any network that `regions` takes.
        points: (N, …), inputs of the shape that the model takes.

    Example:
        >>> import torch
        >>> net = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 1)).double()
        >>> with torch.no_grad():
        ...     _ = net[0].weight.copy_(torch.eye(2)), net[0].bias.zero_()
        >>> sample_regions(net, [[1.0, 1.0], [1.0, -1.0], [2.0, 2.0]])
        at least 2 regions (a lower bound from 3 inputs; most inputs have a region of their own, so the bound is loose)
    """
    inputs = numbers(points, "points", at_least=2)
    if not len(inputs):
        raise ArgumentError("points must hold at least one input, got none")
    program = lower(model, inputs.shape[1:])
    flat = inputs.reshape(len(inputs), -1)
    patterns = np.concatenate([program.patterns(flat[k : k + 4096]) for k in range(0, len(flat), 4096)])
    packed = np.packbits(patterns, axis=1)
    _, first, assignment, visits = np.unique(packed, axis=0, return_index=True, return_inverse=True, return_counts=True)
    return SampledRegions(program, patterns[first], visits, assignment.reshape(-1))
