"""Per-sample gradients of a module's outputs, layer by layer, in the cheapest exact form.

A first pass over three samples (`Plan`) finds out, by measurement, how each parameter is used: which operations read it, which rows
of their results belong to which sample, and which parameters need the general per-sample Jacobian. Passes over the data (`Plan.tile`)
then return one `Term` per group of parameters.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.autograd.graph import GradientEdge

from theodolite.core.arrays import check_finite
from theodolite.core.errors import UnsupportedError
from theodolite.core.seed import generator
from theodolite.lens.capture import Capture
from theodolite.lens.functional import FunctionalModel, Inputs
from theodolite.lens.terms import Dense, Outer, Term, Token
from theodolite.lens.uses import Broadcast, Factored, Layout, Lookup, Piece, Use

__all__ = ["Plan", "cotangents"]

_PROBE_SAMPLES = 3


def cotangents(outputs: str | int, width: int, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    """The combinations of outputs whose gradients are wanted, ``(C, K)``: all, their sum, or one of them."""
    eye = torch.eye(width, dtype=dtype, device=device)
    if outputs == "sum":
        return torch.ones(1, width, dtype=dtype, device=device)
    return eye[outputs][None] if isinstance(outputs, int) else eye


@dataclass
class Plan:
    """How to obtain the per-sample gradients of one module.

    Attributes:
        net: the module as a function.
        general: parameters that need the general per-sample Jacobian.
        layouts: the layout of each recorded use, in order of execution.
        width: number of outputs K.
        sizes: (positions, fan-in, fan-out) of each parameter whose every use is a linear map.
    """

    net: FunctionalModel
    general: set[str] = field(default_factory=set)
    layouts: list[Layout] = field(default_factory=list)
    width: int = 0
    sizes: dict[Piece, tuple[int, int, int]] = field(default_factory=dict)
    _kept: tuple[int, int] = (0, 0)

    @classmethod
    def probe(cls, net: FunctionalModel, x: Inputs) -> Plan:
        """Measure how ``net`` uses its parameters on the first samples of ``x``.

        Raises:
            UnsupportedError: an output depends on other samples of the batch.
        """
        plan = cls(net)
        few = tuple(part[:_PROBE_SAMPLES] for part in x)
        plan._check_samples_independent(few)
        while True:
            found = plan._probe_once(few)
            if not found:
                return plan
            plan.general |= found

    @property
    def structured(self) -> dict[str, torch.Tensor]:
        """The parameters whose uses are recorded."""
        return {n: v for n, v in self.net.variables.items() if n not in self.general}

    def _check_samples_independent(self, few: Inputs) -> None:
        with torch.no_grad():
            together = self.net(few)
            check_finite(together, "the model's output")
            self.width = together.shape[1]
            if few[0].shape[0] == 1:
                return
            alone = self.net(tuple(part[:1] for part in few))
        scale = together.abs().max().clamp_min(torch.finfo(together.dtype).tiny)
        gap = float((together[:1] - alone).abs().max() / scale)
        if gap > torch.finfo(together.dtype).eps ** 0.5:
            raise UnsupportedError(
                f"the model's output at a sample changes by a fraction {gap:.1e} with the other samples of the batch (or is "
                "random), so that no kernel Θ(x, x′) of two samples exists; put it in eval mode or remove the coupling"
            )

    def _probe_once(self, few: Inputs) -> set[str]:
        """One recorded pass; returns the parameters that must be treated generally after all."""
        samples = few[0].shape[0]
        capture, out = self._record(few)
        uses, edges = capture.uses, _edges(capture.uses)
        watched = self.structured
        weights = torch.randn(out.shape, dtype=torch.float64, generator=generator(0, "probe")).to(out)
        labels = 2.0 ** torch.arange(samples, dtype=out.dtype, device=out.device).unsqueeze(1)
        inputs: list[Any] = [*edges, *watched.values()]
        plain = _gradients(out, inputs, weights, retain=True)
        tagged = _gradients(out, edges, weights * labels)
        reached = {n for n, g in zip(watched, plain[len(edges) :], strict=True) if g is not None}
        bad = reached | _overlapping(uses)
        self.layouts = []
        place = {edge: i for i, edge in enumerate(edges)}
        for use in uses:
            i = place[use.edge]
            layout = _layout(use, plain[i], tagged[i], samples)
            if layout is None:
                bad.add(use.piece.parameter)
            self.layouts.append(layout or Layout(1, 1))
        self._measure(uses, samples)
        return bad

    def _measure(self, uses: list[Use], samples: int) -> None:
        """Sizes per sample, for choosing forms and tiles."""
        groups: dict[Piece, list[Use]] = {}
        for use, layout in zip(uses, self.layouts, strict=True):
            use.layout = layout
            groups.setdefault(use.piece, []).append(use)
        self.sizes = {piece: size for piece, group in groups.items() if (size := _linear_size(group)) is not None}
        inputs = sum(u.inputs.numel() for u in uses if isinstance(u, Factored))
        inputs += sum(u.factor.numel() for u in uses if isinstance(u, Broadcast) and u.factor is not None)
        results = sum({u.edge: math.prod(u.shape) for u in uses}.values())
        self._kept = (inputs + 3 * results) // samples + 1, 2 * results // samples + 1

    def floats_per_sample(self, combinations: int, fold: bool, total: int) -> int:
        """About how many numbers a tile holds per sample."""
        dense = sum(i * o for piece, (_, i, o) in self.sizes.items() if not self._by_factors(piece, combinations, fold, total))
        general = 3 * sum(self.net.variables[n].numel() for n in self.general)
        return self._kept[0] + combinations * (self._kept[1] + dense + general)

    def _by_factors(self, piece: Piece, combinations: int, fold: bool, total: int) -> bool:
        """Whether a linear map's kernel is cheaper from its factors than from its per-sample gradients.

        Per pair of samples the factors cost T² (i + c o) and the gradients c i o, where c is the number of pairs of output
        combinations; making the gradients costs 2 C T i o per sample.
        """
        if piece not in self.sizes:
            return False
        positions, fan_in, fan_out = self.sizes[piece]
        pairs = combinations if fold else combinations**2
        gradients = pairs * fan_in * fan_out + 2 * combinations * positions * fan_in * fan_out / total
        return positions == 1 or positions**2 * (fan_in + pairs * fan_out) < gradients

    def _record(self, x: Inputs) -> tuple[Capture, torch.Tensor]:
        watched = self.structured
        frozen = {n: self.net.variables[n].detach() for n in self.general}
        with Capture(watched) as capture:
            out = self.net(x, frozen)
        capture.check_unmodified()
        if not out.requires_grad:  # no recorded parameter reaches the outputs
            out = out + torch.zeros((), dtype=out.dtype, device=out.device, requires_grad=True)
        return capture, out

    def uses(self, x: Inputs, directions: torch.Tensor) -> list[tuple[Use, torch.Tensor]]:
        """Each use with its gradients ``(C, *shape of z)`` for the combinations ``directions`` ``(C, K)`` of outputs."""
        samples, watched = x[0].shape[0], self.structured
        capture, out = self._record(x)
        consistent = len(capture.uses) == len(self.layouts) and all(
            use.rows == layout.outer * samples * layout.inner for use, layout in zip(capture.uses, self.layouts, strict=False)
        )
        if not consistent:
            raise UnsupportedError(
                "the model's operations change with the data or with the batch size, so that per-sample gradients cannot be "
                "assembled from one pass; pass samples of one kind at a time"
            )
        edges = _edges(capture.uses)
        stacks: list[torch.Tensor | None] = [None] * len(edges)
        for c, direction in enumerate(directions):
            last = c == len(directions) - 1
            inputs: list[Any] = [*edges, *watched.values()] if c == 0 else list(edges)
            found = _gradients(out, inputs, direction.expand_as(out), retain=not last)
            if any(g is not None for g in found[len(edges) :]):
                raise UnsupportedError(
                    "the model takes another branch here than on its first samples; no structured pass is exact"
                )
            for i, gradient in enumerate(found[: len(edges)]):
                if gradient is not None:
                    if stacks[i] is None:
                        stacks[i] = gradient.new_zeros(len(directions), *gradient.shape)
                    stacks[i][c] = gradient  # type: ignore[index]
        place = {edge: i for i, edge in enumerate(edges)}
        result = []
        for use, layout in zip(capture.uses, self.layouts, strict=True):
            use.layout = layout
            stack = stacks[place[use.edge]]
            if stack is not None:
                result.append((use, stack))
        return result

    def tile(self, x: Inputs, directions: torch.Tensor, *, fold: bool, total: int) -> list[Term]:
        """One term per group of parameters for the samples ``x``.

        Args:
            x: the samples of the tile.
            directions: ``(C, K)`` combinations of outputs.
            fold: sum the kernel over the C combinations (trace) instead of keeping all C × C blocks.
            total: number of samples of the whole computation, for choosing the cheapest form.
        """
        samples = x[0].shape[0]
        groups: dict[Piece, list[tuple[Use, torch.Tensor]]] = {}
        for use, gradient in self.uses(x, directions):
            groups.setdefault(use.piece, []).append((use, gradient))
        constants = _merge_biases(groups)
        terms = []
        for piece, group in groups.items():
            factors = self._by_factors(piece, len(directions), fold, total)
            terms.append(_term(group, samples, factors, constants.get(piece, 0.0)))
        if self.general:
            terms.append(Dense(self.general_jacobian(x, directions)))
        return [term.folded() for term in terms] if fold else terms

    def general_jacobian(self, x: Inputs, directions: torch.Tensor) -> torch.Tensor:
        """∂(directions · outputs)/∂(general parameters), ``(C, N, P)``: one sample at a time, batched where torch can."""
        names = [n for n in self.net.variables if n in self.general]
        variables = {n: self.net.variables[n].detach() for n in names}

        def combined(values: dict[str, torch.Tensor], *sample: torch.Tensor) -> torch.Tensor:
            fixed = {n: v.detach() for n, v in self.net.variables.items() if n not in values}
            return directions @ self.net(tuple(part.unsqueeze(0) for part in sample), {**fixed, **values})[0]

        try:
            per_sample = torch.func.vmap(torch.func.jacrev(combined), in_dims=(None, *[0] * len(x)))(variables, *x)
            blocks = [per_sample[n].flatten(2) for n in names]  # (N, C, P_n)
        except (RuntimeError, ValueError, NotImplementedError):  # an operation without batching rule: the same, one by one
            rows = [self._one_sample(combined, variables, tuple(part[i] for part in x)) for i in range(x[0].shape[0])]
            blocks = [torch.stack(rows)]
        return torch.cat(blocks, dim=2).transpose(0, 1).contiguous()

    @staticmethod
    def _one_sample(combined: object, variables: dict[str, torch.Tensor], sample: Inputs) -> torch.Tensor:
        """Jacobian ``(C, P)`` at one sample by plain reverse passes."""
        leaves = {n: v.detach().requires_grad_() for n, v in variables.items()}
        values = combined(leaves, *sample)  # type: ignore[operator]
        rows = []
        for c in range(len(values)):
            found = torch.autograd.grad(values[c], list(leaves.values()), retain_graph=True, allow_unused=True)
            parts = [torch.zeros_like(v) if g is None else g for v, g in zip(leaves.values(), found, strict=True)]
            rows.append(torch.cat([p.reshape(-1) for p in parts]))
        return torch.stack(rows)


def _edges(uses: Sequence[Use]) -> list[GradientEdge]:
    return list(dict.fromkeys(use.edge for use in uses))


def _gradients(
    out: torch.Tensor, inputs: Sequence[Any], weights: torch.Tensor, retain: bool = False
) -> Sequence[torch.Tensor | None]:
    if not inputs:
        return []
    return torch.autograd.grad(out, list(inputs), grad_outputs=weights, retain_graph=retain, allow_unused=True)


def _overlapping(uses: Sequence[Use]) -> set[str]:
    """Parameters read whole by one operation and in part by another."""
    pieces = list({use.piece for use in uses})
    return {a.parameter for a in pieces for b in pieces if a.overlaps(b)}


def _layout(use: Use, plain: torch.Tensor | None, tagged: torch.Tensor | None, samples: int) -> Layout | None:
    """The layout that the measured labels of the rows of z imply, or None when a row belongs to several samples.

    ``tagged`` is the gradient with sample n's cotangent multiplied by 2ⁿ, so a row of sample n has tagged = 2ⁿ · plain; powers of
    two keep this exact in floating point, so that even a gradient that is nothing but rounding noise is labelled rightly.
    """
    if samples == 1:
        return Layout(1, use.rows)
    if use.rows % samples:
        return None
    default = Layout(1, use.rows // samples)
    if plain is None or tagged is None:
        return default
    first, second = (g.reshape(use.rows, -1) for g in (plain, tagged))
    power = (first * first).sum(1)
    alive = power > 0
    ratio = torch.where(alive, (first * second).sum(1) / power.clamp_min(torch.finfo(power.dtype).tiny), torch.ones_like(power))
    label = torch.log2(ratio.clamp_min(0.5)).round()
    gap = (second - 2.0 ** label.unsqueeze(1) * first).norm(dim=1) - 1e-3 * first.norm(dim=1)
    if bool(((gap > 0) & alive).any()) or bool(((label < 0) | (label >= samples)).any()):
        return None
    row = torch.arange(use.rows, device=power.device)
    per_sample = use.rows // samples
    for inner in sorted((d for d in range(1, per_sample + 1) if per_sample % d == 0), reverse=True):
        if bool(((row // inner % samples == label.long()) | ~alive).all()):
            return Layout(per_sample // inner, inner)
    return None


def _merge_biases(groups: dict[Piece, list[tuple[Use, torch.Tensor]]]) -> dict[Piece, float]:
    """Join a bias to its weight where both enter one operation applied once per sample: A Aᵀ becomes A Aᵀ + constant.

    Removes the merged biases from ``groups`` and returns the constant of each weight.
    """
    weights = {}
    for piece, group in groups.items():
        use = group[0][0]
        once = isinstance(use, Factored) and use.layout.outer * use.layout.inner * use.inputs.shape[1] == 1 and use.groups == 1
        if len(group) == 1 and once and use.scale != 0.0:
            weights[use.edge] = (piece, use.scale)
    constants = {}
    for piece, group in list(groups.items()):
        use = group[0][0]
        plain = isinstance(use, Broadcast) and use.factor is None and use.aligned == (use.shape[-1],)
        if len(group) == 1 and plain and use.edge in weights:
            weight, scale = weights[use.edge]
            constants[weight] = (use.scale / scale) ** 2
            del groups[piece]
    return constants


def _linear_size(group: Sequence[Use]) -> tuple[int, int, int] | None:
    """(positions, fan-in, fan-out) over all uses of one parameter, or None where a use is no plain linear map."""
    linear = [use for use in group if isinstance(use, Factored) and use.groups == 1]
    if len(linear) < len(group) or len({use.transposed for use in linear}) > 1:
        return None
    positions = sum(use.layout.outer * use.layout.inner * use.inputs.shape[1] for use in linear)
    first = linear[0]
    return positions, first.inputs.shape[-1], math.prod(first.shape[first.leading :]) // first.inputs.shape[1]


def _term(group: list[tuple[Any, torch.Tensor]], samples: int, factors: bool, constant: float) -> Term:
    """The uses of one parameter as a single term: by factors, or by per-sample gradients."""
    if factors:
        pairs = [use.factors(gradient, samples) for use, gradient in group]
        left = torch.cat([g[:, :, :, 0] for g, _ in pairs], dim=2) if len(pairs) > 1 else pairs[0][0][:, :, :, 0]
        right = torch.cat([a[:, :, 0] for _, a in pairs], dim=1) if len(pairs) > 1 else pairs[0][1][:, :, 0]
        return Outer(left, right, constant)  # (C, N, T, o) and (N, T, i)
    if all(isinstance(use, Lookup) for use, _ in group):
        looked = [use.factors(gradient, samples) for use, gradient in group]
        return Token(torch.cat([g for g, _ in looked], dim=2), torch.cat([t for _, t in looked], dim=1))
    dense = group[0][0].per_sample(group[0][1], samples)
    for use, gradient in group[1:]:
        dense = dense + use.per_sample(gradient, samples)
    return Dense(dense)
