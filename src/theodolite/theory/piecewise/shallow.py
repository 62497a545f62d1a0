"""A deep piecewise-linear network as a network of three layers, in three readings of the construction of Villani and Schoots.

With regions Ω_i = {x : H_k x + c_k ≤ 0 for k ∈ K_i} and f = A_i x + b_i on Ω_i:

- layer 1: n = relu(H x + c), and relu(±x). A half-space is satisfied exactly where its n vanishes.
- layer 2: v_i = A_i x + b_i + Σ_k S_ik n_k with S_ik = −∞ for k ∈ K_i and 0 else: the true value on the row of the own region,
  −∞ on all others; then relu(v) and relu of −(A_i x + b_i) + Σ_k S_ik n_k.
- layer 3: the sum of the first block minus the sum of the second.

Read literally (``paper``), a point on a facet satisfies the closed half-spaces of both sides, and the output is their sum. ``exact``
takes one region there, the first; ``finite`` uses half-open half-spaces and finite weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from theodolite.core.errors import ArgumentError
from theodolite.maths.extended import ExtendedLinear
from theodolite.theory.piecewise.arguments import numbers
from theodolite.theory.piecewise.certificate import Certificate
from theodolite.theory.piecewise.facets import FacetTable
from theodolite.theory.piecewise.program import Array

__all__ = ["Explanation", "Shallow"]

#: Points times regions that are held at a time.
BLOCK = 1 << 22


@dataclass(frozen=True, eq=False)
class Explanation:
    """Why the shallow network says what it says at one point.

    Attributes:
        region: number of the region that answers (row of the selector).
        half_spaces: H (F, d) and c (F,) of that region, H x + c ≤ 0.
        neurons: what each half-space is: the neuron of the deep network that switches there.
        affine: A (outputs, d) and b (outputs,).
        value: A x + b, (outputs,).
        slack: −(H x + c), distances in units of each row's norm: how far each half-space is from being violated.
    """

    region: int
    half_spaces: tuple[Array, Array]
    neurons: list[str]
    affine: tuple[Array, Array]
    value: Array
    slack: Array

    def __str__(self) -> str:
        lines = [f"region {self.region}, f(x) = A x + b = {np.array2string(self.value, precision=6)}"]
        for name, normal, constant, slack in zip(self.neurons, *self.half_spaces, self.slack, strict=True):
            lines.append(f"  {np.array2string(normal, precision=4)}·x {constant:+.4g} ≤ 0   by {slack:.3g}   ({name})")
        return "\n".join(lines)


class Shallow(nn.Module):
    """The three-layer network; made by `theodolite.piecewise.to_shallow`.

    Inputs are the domain's coordinates, (N, d) or (d,), float64. On the domain the network equals the deep one; outside it is
    whatever its half-spaces say.

    Attributes:
        mode: ``paper``, ``exact`` or ``finite``.
        half_spaces: layer 1, `torch.nn.Linear`: the matrix H and vector c, satisfied means ≤ 0.
        selector: layer 2, an `ExtendedLinear` with entries −∞ (``paper``), 1 (``exact``: how much each region's half-spaces are
            violated) or ±1 (``finite``: required states of the half-spaces).
        affine_weight: (R, outputs, d): A.
        affine_bias: (R, outputs): b.
        facets: where the half-spaces come from, in exact arithmetic.
        certificate: what was proved, or None.
    """

    affine_weight: torch.Tensor
    affine_bias: torch.Tensor
    margin: torch.Tensor

    def __init__(self, facets: FacetTable, mode: str, certificate: Certificate | None) -> None:
        super().__init__()
        self.mode = mode
        self.facets = facets
        self.certificate = certificate
        rows = facets.rows
        # not initialised, which would draw random numbers
        self.half_spaces = nn.utils.skip_init(nn.Linear, facets.dim, len(rows), dtype=torch.float64).requires_grad_(False)
        self.half_spaces.weight.copy_(torch.from_numpy(rows[:, :-1]))
        self.half_spaces.bias.copy_(torch.from_numpy(rows[:, -1]))
        values = {"paper": np.full(len(facets.region), -np.inf), "exact": np.ones(len(facets.region)), "finite": facets.required}[
            mode
        ]
        active = (
            np.bincount(facets.region[facets.required > 0], minlength=facets.count)
            if mode == "finite"
            else facets.handicap * (mode == "exact")
        )
        self.selector = ExtendedLinear(
            torch.from_numpy(facets.region),
            torch.from_numpy(facets.row),
            torch.from_numpy(values.astype(np.float64)),
            torch.from_numpy(active.astype(np.float64)),
            len(rows),
        )
        weight, bias = facets.affine
        self.register_buffer("affine_weight", torch.from_numpy(weight))
        self.register_buffer("affine_bias", torch.from_numpy(bias))
        # finite mode: a power of two above |A_i x + b_i| on the whole domain
        self.register_buffer("margin", torch.tensor(facets.margin, dtype=torch.float64))

    @property
    def widths(self) -> tuple[int, int, int, int]:
        """Inputs, first hidden layer (half-spaces and relu(±x)), second hidden layer (two per region and output), outputs."""
        regions, outputs, dim = self.affine_weight.shape
        return dim, self.half_spaces.out_features + 2 * dim, 2 * regions * outputs, outputs

    @property
    def parameters_dense(self) -> int:
        """Number of weights and biases of the three layers, stored densely."""
        d, first, second, outputs = self.widths
        return (d + 1) * first + (first + 1) * second + (second + 1) * outputs

    @property
    def entries(self) -> int:
        """Number of non-zero entries of the selector."""
        return len(self.selector.values)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, d) or (d,) → (N, outputs) or (outputs,)."""
        inputs, single = self._inputs(x)
        size = max(1, BLOCK // max(1, self.entries))
        out = torch.cat([self._evaluate(inputs[k : k + size]) for k in range(0, max(len(inputs), 1), size)])
        return out[0] if single else out

    def _inputs(self, x: Any) -> tuple[torch.Tensor, bool]:
        """Points (N, d), and whether one (d,) was given."""
        given = x if isinstance(x, torch.Tensor) else torch.from_numpy(numbers(x, "x", at_least=1))
        single = given.ndim == 1
        inputs = (given[None] if single else given).to(self.affine_weight)
        if inputs.ndim != 2 or inputs.shape[1] != self.widths[0]:
            raise ArgumentError(f"x must have shape (N, {self.widths[0]}), the domain's coordinates, got {tuple(given.shape)}")
        return inputs, single

    def _evaluate(self, x: torch.Tensor) -> torch.Tensor:
        before = self.half_spaces(x)
        if self.mode == "exact":
            violated = self.selector(torch.relu(before))  # (N, R): its bias exactly on the closed region
            chosen = violated.argmin(dim=1)  # the first of the least: total, also where rounding leaves no region
            return torch.einsum("nd,nod->no", x, self.affine_weight[chosen]) + self.affine_bias[chosen]
        values = torch.einsum("nd,rod->nro", x, self.affine_weight) + self.affine_bias
        if self.mode == "paper":
            block = self.selector(torch.relu(before))[:, :, None]  # 0 or −∞
        else:
            # an integer, zero on the own half-open region and at least one elsewhere; formed before it meets the values
            satisfied = (before > 0).to(x.dtype)
            mismatch = 2 * self.selector.bias - self.selector(satisfied)
            block = -self.margin * mismatch[:, :, None]
        return torch.relu(values + block).sum(dim=1) - torch.relu(-values + block).sum(dim=1)

    @torch.no_grad()
    def matches(self, x: torch.Tensor) -> torch.Tensor:
        """How many rows answer at each point, (N,): one in the interior of a region; the literal reading adds up all of them."""
        inputs, _ = self._inputs(x)
        before = self.half_spaces(inputs)
        if self.mode == "finite":
            return (2 * self.selector.bias - self.selector((before > 0).to(inputs.dtype)) == 0).sum(dim=1)
        return (self.selector(torch.relu(before)) == self.selector.bias).sum(dim=1)

    @torch.no_grad()
    def explain(self, x: Any) -> Explanation:
        """Which region answers at x, by which half-spaces, and with which affine map.

        Args:
            x: one point of the domain, (d,).
        """
        point = torch.from_numpy(numbers(x, "x").reshape(-1)).to(self.affine_weight)
        if len(point) != self.widths[0]:
            raise ArgumentError(f"x must be one point with {self.widths[0]} coordinates, got shape {np.shape(x)}")
        before = self.half_spaces(point[None])[0].numpy()[self.facets.row]
        # the rows of the finite network are not turned towards their regions
        sign = -self.facets.required if self.mode == "finite" else np.ones(self.entries)
        violated = np.bincount(self.facets.region, weights=np.maximum(sign * before, 0.0), minlength=self.facets.count)
        charged = violated + self.selector.bias.numpy() if self.mode == "exact" else violated
        region = int(charged.argmin())
        mine = self.facets.region == region
        own = self.facets.row[mine]
        rows = self.facets.rows[own] * sign[mine][:, None]
        weight, bias = self.affine_weight[region].numpy(), self.affine_bias[region].numpy()
        p = point.numpy()
        slack = -(rows[:, :-1] @ p + rows[:, -1]) / np.linalg.norm(rows[:, :-1], axis=1)
        names = [self.facets.names[k] for k in own]
        return Explanation(region, (rows[:, :-1], rows[:, -1]), names, (weight, bias), weight @ p + bias, slack)

    def rational(self, points: Sequence[Sequence[Any]]) -> list[list[Fraction]]:
        """The three-layer network over ℚ, with its weights unrounded: outputs at rational points of the domain.

        Args:
            points: (N, d) of ints, floats (exact as they stand), Fractions or flint.fmpq.

        Returns:
            (N, outputs) Fractions.
        """
        return self.facets.evaluate(points, self.mode)

    def deep_rational(self, points: Sequence[Sequence[Any]]) -> list[list[Fraction]]:
        """The deep network over ℚ at the same points, for comparison."""
        return self.facets.evaluate_deep(points)

    def to_onnx(self, path: str | Path) -> Path:
        """Write the network as ONNX (extra ``onnx``), without arithmetic on infinities."""
        from theodolite.theory.piecewise.interchange import to_onnx

        return to_onnx(self, path)

    @cached_property
    def description(self) -> str:
        """The size of the network in a line."""
        d, first, second, outputs = self.widths
        return f"{d} → {first} → {second} → {outputs}, {self.facets.count} regions, {self.entries} selector entries"

    def extra_repr(self) -> str:
        """Mode and size, for printing."""
        return f"mode={self.mode!r}, {self.description}"
