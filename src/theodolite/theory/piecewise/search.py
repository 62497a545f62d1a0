"""Regions by linear programming: any dimension, bounded or not.

Depth first over the switches, layer by layer. Every open cell carries a witness, a point of its interior: the side of the next
switch on which the witness lies needs no linear program, the other side needs one. Only half-spaces that really cut are kept.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from theodolite.maths.linprog import HalfspaceStack
from theodolite.theory.piecewise.cells import PAIR
from theodolite.theory.piecewise.program import Affine, Array, Maximum, Program, Switching

__all__ = ["Leaf", "search_regions"]

#: A witness nearer than this to a hyperplane (relative to its unit normal) does not decide its side.
NEAR = 1e-9


@dataclass(frozen=True, eq=False)
class Leaf:
    """A region found.

    Attributes:
        bits: (switches,).
        maps: (d + 1, outputs).
        rows: (F, d + 1): a·t + c ≤ 0 inside; contains every facet that is not the domain's, perhaps more.
        labels: (F,).
        witness: (d,), a point of the interior.
    """

    bits: Array
    maps: Array
    rows: Array
    labels: Array
    witness: Array


@dataclass(frozen=True, eq=False)
class _Node:
    """An open cell: where it stands in the program, its kept half-spaces, its witness (None: still to be found)."""

    step: int
    switch: int
    values: dict[int, Array]
    bits: tuple[int, ...]
    rows: tuple[Array, ...]
    labels: tuple[int, ...]
    witness: Array


def search_regions(program: Program, start: Array, low: Array | None, high: Array | None) -> Iterator[Leaf]:
    """All regions with interior.

    Args:
        program: the network.
        start: the input as a map of the domain's coordinates, (1, d + 1, D).
        low: (d,) lower bounds, or None for all of ℝᵈ.
        high: likewise.
    """
    dim = start.shape[1] - 1
    first = HalfspaceStack(dim, low, high).inside()
    assert first is not None, "a domain has an interior"
    stack = [_Node(0, 0, {0: start}, (), (), (), first[0])]
    space = _Space(dim, low, high)
    while stack:
        node = stack.pop()
        step = program.steps[node.step] if node.step < len(program.steps) else None
        if step is None:
            maps = node.values[len(program.steps)][0]
            rows = np.array(node.rows).reshape(-1, dim + 1)
            yield Leaf(np.array(node.bits, dtype=np.uint8), maps, rows, np.array(node.labels, dtype=np.int64), node.witness)
        elif isinstance(step, Affine):
            values = {**node.values, node.step + 1: step.maps(node.values)}
            stack.append(
                _Node(node.step + 1, 0, _alive(program, values, node.step), node.bits, node.rows, node.labels, node.witness)
            )
        elif isinstance(step, Maximum):
            stack.extend(reversed(list(_winners(program, node, step, space))))
        else:
            stack.extend(reversed(list(_sides(program, node, step, space))))


class _Space:
    """The bounds of the domain, and one linear program that moves from cell to cell."""

    def __init__(self, dim: int, low: Array | None, high: Array | None) -> None:
        self.low, self.high = low, high
        self.program = HalfspaceStack(dim, low, high)
        self._held: list[Array] = []

    def never_crosses(self, row: Array) -> int:
        """−1 or 1 when a·t + c has one sign on the whole bounding box, else 0."""
        if self.low is None or self.high is None:
            return 0
        a, c = row[:-1], row[-1]
        centre = a @ (self.low + self.high) / 2 + c
        reach = np.abs(a) @ (self.high - self.low) / 2
        return 1 if centre > reach * (1 + 1e-12) else (-1 if centre < -reach * (1 + 1e-12) else 0)

    def inside(self, rows: tuple[Array, ...]) -> Array | None:
        """A point in the interior of the cell; the rows that the last cell shares are left in place."""
        shared = 0
        while shared < min(len(rows), len(self._held)) and rows[shared] is self._held[shared]:
            shared += 1
        for _ in range(len(self._held) - shared):
            self.program.pop()
            self._held.pop()
        for row in rows[shared:]:
            self.program.push(row[:-1], float(row[-1]))
            self._held.append(row)
        found = self.program.inside()
        return None if found is None else found[0]


def _alive(program: Program, values: dict[int, Array], index: int) -> dict[int, Array]:
    return {k: v for k, v in values.items() if program.last_use.get(k, -1) > index}


def _sides(program: Program, node: _Node, step: Switching, space: _Space) -> Iterator[_Node]:
    """Follow the witness through the switches of one step, branching off at every switch whose other side has an interior."""
    low, high = program.columns[node.step]
    table = step.rows(node.values[step.source])[0].T  # (m, d + 1)
    bits, rows, labels, witness = list(node.bits), node.rows, node.labels, node.witness
    for j in range(node.switch, high - low):
        row = table[j]
        norm = float(np.linalg.norm(row[:-1]))
        if norm <= 1e-300:
            bits.append(int(row[-1] > 0))
            continue
        constant = space.never_crosses(row)
        if constant:
            bits.append(int(constant > 0))
            continue
        value = (row[:-1] @ witness + row[-1]) / norm
        side = 1 if value > 0 else -1
        here, there = (*rows, -side * row), (*rows, side * row)
        other = space.inside(there)
        if abs(value) <= NEAR:
            mine = space.inside(here)
            if mine is None:  # the witness stood on the hyperplane; all of the cell lies beyond it
                if other is None:
                    return
                bits.append(int(side < 0))
                witness = other
                continue
            witness = mine
        if other is not None:
            bit = int(side < 0)
            yield _Node(node.step, j + 1, node.values, (*bits, bit), there, (*labels, low + j), other)
            rows, labels = here, (*labels, low + j)
        bits.append(int(side > 0))
    pattern = np.array(bits[low:], dtype=np.uint8)[None]
    values = {**node.values, node.step + 1: step.maps(node.values[step.source], pattern)}
    yield _Node(node.step + 1, 0, _alive(program, values, node.step), tuple(bits), rows, labels, witness)


def _winners(program: Program, node: _Node, step: Maximum, space: _Space) -> Iterator[_Node]:
    """One group of a maximum: a branch for every candidate that wins somewhere."""
    low, _ = program.columns[node.step]
    width = step.groups.shape[1]
    if node.switch == step.size:
        pattern = np.array(node.bits[low:], dtype=np.uint8)[None]
        values = {**node.values, node.step + 1: step.maps(node.values[step.source], pattern)}
        yield _Node(node.step + 1, 0, _alive(program, values, node.step), node.bits, node.rows, node.labels, node.witness)
        return
    group = step.groups[node.switch]
    slots = np.flatnonzero(group >= 0)
    table = node.values[step.source][0].T
    for slot in slots:
        rows, labels, possible = node.rows, node.labels, True
        for other in slots[slots != slot]:
            row = table[group[other]] - table[group[slot]]  # ≤ 0 where the slot wins
            if np.linalg.norm(row[:-1]) <= 1e-300:
                possible &= row[-1] < 0 or (row[-1] == 0 and slot < other)
                continue
            rows = (*rows, row)
            base = low + node.switch * width
            labels = (*labels, int(base + slot + PAIR * (base + other + 1)))
        witness = space.inside(rows) if possible else None
        if witness is not None:
            bits = (*node.bits, *(int(s == slot) for s in range(width)))
            yield _Node(node.step, node.switch + 1, node.values, bits, rows, labels, witness)
