"""A theory pass over a user's module: what mean-field theory predicts at every layer, beside what the network does."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import nn

from theodolite.core.errors import ArgumentError, NumericalError, TheodoliteError, UnsupportedError
from theodolite.core.seed import generator
from theodolite.lens.frozen import frozen
from theodolite.lens.graph import Graph, Node, Ref, trace
from theodolite.maths.activation import identify
from theodolite.theory.meanfield import kernel_state as ks
from theodolite.theory.meanfield.kernel_positions import position_map
from theodolite.theory.meanfield.kernel_sampling import Sampler
from theodolite.theory.meanfield.kernel_state import KernelState
from theodolite.theory.meanfield.predict import critical_line
from theodolite.theory.meanfield.predict.moments import slope_moment
from theodolite.theory.meanfield.propagation import Propagation, PropagationRow

__all__ = ["Propagation", "PropagationRow", "propagate"]

#: Sites (inputs × positions) that a covariance matrix may span.
MOST_SITES = 2048
#: Beyond this, with two inputs, the matrix no longer fits.
TOO_MANY_SITES = 8192
#: Names of the positional arguments of norms.
NORM_ARGUMENTS = {
    "layer_norm": ("input", "normalized_shape", "weight", "bias", "eps"),
    "rms_norm": ("input", "normalized_shape", "weight", "eps"),
    "batch_norm": ("input", "running_mean", "running_var", "weight", "bias", "training", "momentum", "eps"),
}
#: Relative standard deviation of a norm's scales from which on it is flagged that an average stands for them.
UNEVEN = 0.2
#: Kinds of operations that are never maps of positions alone.
MIXES_UNITS = ("affine", "norm", "attention", "recurrent")


def propagate(model: nn.Module, x: Any, *, samples: int = 256, seed: int = 0) -> Propagation:
    """Mean-field theory of every layer of ``model`` on the inputs ``x``, beside the measurement.

    The module is traced; weight and bias variances are measured from its tensors. Covariances between all inputs (and positions) pass
    through linear and convolutional layers, activations, residual sums (independent branches; their means enter the cross terms),
    layer and RMS norms, batch norms in evaluation mode, flattening, dropout (evaluation mode), and whatever acts on the positions of
    each unit linearly (padding, averages, interpolation, selection, factors). Weights that are used twice are flagged. Any other
    operation is
    applied to Gaussian samples with the covariance at hand (of each input of its own, where they are independent), or, where inputs
    depend on the same weights, replaced by the network's own values; both are flagged and never passed through silently.

    Args:
        model: any module; left as it was, run in evaluation mode.
        x: inputs (N, …), N ≥ 2 for correlations; as many are used as keep inputs × positions below 2048.
        samples: units of a Monte Carlo sample, of which 8 are averaged.
        seed: of them.

    Returns:
        A `Propagation`: rows with ``.layer, .quantity, .measured, .predicted, .predicted_sd, .z, .verdict, .advice``.

    Raises:
        ArgumentError: no module; no inputs, or inputs that are not finite or have more than 4096 positions.

    Cost: one forward pass; per layer O(sites²) for the covariance.

    Reference: poole2016; schoenholz2017; for sums yang2017.

    Example:
        >>> _ = torch.manual_seed(0)
        >>> net = nn.Sequential(nn.Linear(64, 512), nn.Tanh(), nn.Linear(512, 512), nn.Tanh(), nn.Linear(512, 10))
        >>> result = propagate(net, torch.randn(8, 64))
        >>> [row.verdict for row in result if row.quantity == "chi_1"]
        ['ordered', 'ordered']
    """
    if not isinstance(model, nn.Module):
        raise ArgumentError(f"model must be an nn.Module, got {type(model).__name__}")
    inputs = torch.as_tensor(x)
    if inputs.ndim < 2 or not inputs.numel() or not bool(inputs.isfinite().all()):
        raise ArgumentError(f"x must hold finite inputs, one per row, got shape {tuple(inputs.shape)}")
    reference = next((p for p in model.parameters()), inputs)
    positions = (
        math.prod(inputs.shape[2:]) if inputs.ndim > 3 or _starts_with_convolution(model) else math.prod(inputs.shape[1:-1])
    )
    if 2 * positions > TOO_MANY_SITES:
        raise ArgumentError(
            f"x must have at most {TOO_MANY_SITES // 2} positions per input, between which covariances are followed, got {positions}: "
            "crop or resize the inputs"
        )
    inputs = inputs[: max(2, MOST_SITES // max(1, positions))].to(reference.device)
    if reference.is_floating_point() and inputs.is_floating_point():
        inputs = inputs.to(reference.dtype)
    with frozen(model):
        graph = trace(model, inputs, keep=lambda node: True)
        # frozen() has put the model in evaluation mode; nodes are evaluated within, so that dropout stays off
        passing = _Pass(graph, _values(graph, inputs), generator(seed, "propagate"), samples)
        for node in graph:
            passing.visit(node)
        passing.flag_cut()
    return Propagation(tuple(passing.rows), tuple(passing.flags))


def _has_covariance(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and value.is_floating_point() and value.ndim >= 2


def _identity(weight: torch.Tensor) -> tuple[Any, ...]:
    return weight.data_ptr(), weight.device, tuple(weight.shape)


def _starts_with_convolution(model: nn.Module) -> bool:
    first = next((m for m in model.modules() if isinstance(m, (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d))), None)
    return isinstance(first, (nn.Conv1d, nn.Conv2d, nn.Conv3d))


def _values(graph: Graph, inputs: torch.Tensor) -> Mapping[int, Any]:
    return {**graph.values, **dict.fromkeys(graph.inputs, inputs)}


class _Pass:
    """States node by node, and the rows that compare them with the network."""

    def __init__(self, graph: Graph, values: Mapping[int, Any], generator: torch.Generator, samples: int) -> None:
        self.graph, self.values = graph, values
        self.sampler = Sampler(graph, values, samples, generator)
        self.states: dict[Ref, KernelState] = {}
        self.rows: list[PropagationRow] = []
        self.flags: list[tuple[str, str]] = []
        self._users: dict[tuple[Any, ...], int] = {}

    def visit(self, node: Node) -> None:
        """Compute the node's state, and its rows if it is a layer."""
        value = self.values[node.index]
        if isinstance(value, (tuple, list)):
            self._visit_parts(node, value)
            return
        if not _has_covariance(value):
            if value is not None:
                self.flags.append((node.name, f"{node.label} returned no tensor of real numbers per input; it has no covariance"))
            return
        try:
            state = self._state(node, value)
        except (UnsupportedError, NumericalError, ArgumentError) as error:
            state = self._moved(node, value) or self._fallback(node, value, str(error))
        self.states[Ref(node.index)] = state
        if node.kind == "affine":
            self._flag_reuse(node)
            self._compare(node, value, state)
        elif node.kind == "elementwise":
            self._compare_slope(node)

    def flag_cut(self) -> None:
        """Say so where the result does not hang together with the inputs by operations that can be seen."""
        if not self.graph.outputs:
            reason = "was not reached from the inputs: an operation outside torch cuts the pass; what lies behind it has no rows"
            self.flags.append(("output", reason))

    def _flag_reuse(self, node: Node) -> None:
        first = self._source(node)
        if first != node.index:
            reason = f"uses the weights of {self.graph[first].name} again; taken to be drawn anew, which is an approximation"
            self.flags.append((node.name, reason))

    def _visit_parts(self, node: Node, parts: Sequence[Any]) -> None:
        """An operation that returns several tensors has no rule; each of them gets a state."""
        reason = f"{node.label} has no covariance rule"
        found = {i: part for i, part in enumerate(parts) if _has_covariance(part)}
        for i, part in found.items():
            self.states[Ref(node.index, i)] = self._fallback(node, part, reason, item=i)
        if not found:
            self.flags.append((node.name, f"{node.label} returned no tensor of real numbers per input; it has no covariance"))

    # -- rules ------------------------------------------------------------------------------------------------------------------

    def _parent(self, node: Node, place: int = 0) -> KernelState:
        refs = node.refs
        if len(refs) <= place or refs[place] not in self.states:
            raise UnsupportedError("what it reads has no covariance")
        return self.states[refs[place]]

    def _state(self, node: Node, value: torch.Tensor) -> KernelState:
        if node.kind == "input":
            axis = 1 if self._feeds_convolution(node) else value.ndim - 1
            return ks.measured(value, axis, frozenset())
        rule = getattr(self, f"_{node.kind}", None)
        if rule is None:
            raise UnsupportedError(f"{node.label} has no covariance rule")
        found: KernelState = rule(node, self._parent(node), tuple(value.shape))
        return found

    def _feeds_convolution(self, node: Node) -> bool:
        return any(self.graph[i].label.startswith("conv") for i in self.graph.children(node.index)) or (
            len(node.shape) == 4 and not any(self.graph[i].label == "linear" for i in self.graph.children(node.index))
        )

    def _source(self, node: Node) -> int:
        """The first node that used the weights of ``node``: what they made is not independent of what they make here."""
        return self._users.setdefault(_identity(node.weight), node.index)

    def _affine(self, node: Node, state: KernelState, shape: tuple[int, ...]) -> KernelState:
        weight = node.weight
        if node.label == "linear":
            if state.axis != len(state.shape) - 1 or state.units != weight.shape[1]:
                raise UnsupportedError("the units that it sums over are not those of the layer before")
            return ks.affine(state, weight, node.bias, self._source(node), shape)
        if node.label in ("matmul", "mm", "__matmul__", "addmm"):
            return ks.affine(state, weight.mT, node.bias, self._source(node), shape)
        if node.label in ("conv1d", "conv2d", "conv3d"):
            names = ("input", "weight", "bias", "stride", "padding", "dilation", "groups")
            given = {**dict(zip(names, node.args, strict=False)), **node.kwargs}
            if given.get("groups", 1) != 1:
                raise UnsupportedError("grouped convolutions mix few channels each; the limit of many does not apply")
            options = tuple(given.get(name, default) for name, default in (("stride", 1), ("padding", 0), ("dilation", 1)))
            return ks.convolved(state, weight, node.bias, self._source(node), shape, options)
        raise UnsupportedError(f"{node.label} has no covariance rule")

    def _elementwise(self, node: Node, state: KernelState, shape: tuple[int, ...]) -> KernelState:
        return ks.elementwise(state, node.activation)

    def _add(self, node: Node, state: KernelState, shape: tuple[int, ...]) -> KernelState:
        if len(node.refs) != 2 or node.label in ("sub", "__sub__", "__isub__", "rsub"):
            raise UnsupportedError("only the sum of two tensors has a rule")
        if len(node.args) > 2 or node.kwargs:
            raise UnsupportedError("a sum with a factor has no rule")
        return ks.added(self._parent(node, 0), self._parent(node, 1))

    def _dropout(self, node: Node, state: KernelState, shape: tuple[int, ...]) -> KernelState:
        return state

    def _reshape(self, node: Node, state: KernelState, shape: tuple[int, ...]) -> KernelState:
        if shape == state.shape and node.label in (
            "view",
            "reshape",
            "contiguous",
            "clone",
            "flatten",
            "detach",
            "to",
            "view_as",
        ):
            return state
        flattened = len(shape) == 2 and shape[0] == state.shape[0] and shape[1] == math.prod(state.shape[1:])
        if flattened and node.label in ("flatten", "view", "reshape"):
            # Units of all positions become units of one site: its second moment is the mean over positions.
            n = state.shape[0]
            p = len(state.mean) // n
            kernel = np.einsum("ipjp->ij", state.kernel.reshape(n, p, n, p)) / p
            means = state.mean.reshape(n, p).mean(1)
            return KernelState(kernel, means, shape, 1, False, state.sources, state.spread, state.wobble)
        raise UnsupportedError(f"{node.label} moves values between sites in a way without a rule")

    def _norm(self, node: Node, state: KernelState, shape: tuple[int, ...]) -> KernelState:
        given = {**dict(zip(NORM_ARGUMENTS.get(node.label, ()), node.args, strict=False)), **node.kwargs}
        eps, dtype = given.get("eps"), self.values[node.index].dtype
        if node.label in ("layer_norm", "rms_norm"):
            if len(given["normalized_shape"]) != 1 or state.axis != len(state.shape) - 1:
                raise UnsupportedError("only norms over the units have a rule")
            if eps is None:
                eps = 1e-5 if node.label == "layer_norm" else torch.finfo(dtype).eps
            self._flag_uneven(node, given.get("weight"))
            return ks.normalised(state, node.label == "layer_norm", eps, given.get("weight"), given.get("bias"))
        if node.label == "batch_norm" and state.axis == 1 and not given.get("training"):
            scale, offset = ks.batch_norm_map(given, 1e-5 if eps is None else eps)
            self._flag_uneven(node, scale)
            return ks.batch_normalised(state, scale, offset)
        raise UnsupportedError(f"{node.label} has no covariance rule")

    def _flag_uneven(self, node: Node, scale: torch.Tensor | None) -> None:
        if scale is not None and float(scale.detach().std(correction=0)) > UNEVEN * float(scale.detach().abs().mean()):
            self.flags.append((node.name, "its scales differ between units; their averages stand for them"))

    def _moved(self, node: Node, value: torch.Tensor) -> KernelState | None:
        """Operations on positions: linear, and the same for every unit and input."""
        refs = node.refs
        if len(refs) != 1 or refs[0] not in self.states or node.kind in MIXES_UNITS:
            return None
        state, shape = self.states[refs[0]], tuple(value.shape)
        found = position_map(node, refs[0], state, self.values, shape)
        return None if found is None else ks.moved(state, *found, shape)

    # -- what has no rule -----------------------------------------------------------------------------------------------------

    def _fallback(self, node: Node, value: torch.Tensor, reason: str, item: int | None = None) -> KernelState:
        """Monte Carlo where the operation's inputs can be sampled, the network's own values else; flagged either way."""
        known = [self.states[ref] for ref in dict.fromkeys(node.refs) if ref in self.states]
        axis = known[0].axis if known and known[0].axis < value.ndim else value.ndim - 1
        own = self._source(node) if node.kind == "affine" else node.index
        sources = frozenset().union(*(state.sources for state in known)) | {own}
        name = node.name if item is None else f"{node.name}[{item}]"
        gaussian = node.kind == "affine"
        found = self.sampler.state(node, self.states, (value, axis, item))
        if found is not None:
            self.flags.append((name, f"sampled by Monte Carlo on Gaussian inputs ({reason})"))
            return replace(found, shape=tuple(value.shape), gaussian=gaussian, sources=sources)
        self.flags.append((name, f"taken from the network itself ({reason})"))
        return ks.measured(value, axis, sources, gaussian=gaussian)

    # -- comparison -----------------------------------------------------------------------------------------------------------

    def _compare(self, node: Node, value: torch.Tensor, state: KernelState) -> None:
        seen = ks.measured(value, state.axis, frozenset())
        free = max(state.overlap(2) - _known_share(node, state), 0.0)
        rounding = 4.0 * torch.finfo(value.dtype).eps
        q_sd = state.length * math.sqrt(state.spread + 2.0 * (1.0 + state.spread) * free / state.units + rounding**2)
        self._row(node.name, "q_length", seen.length, state.length, q_sd)
        if state.shape[0] > 1:
            # Correlations of 1 hold to rounding only.
            sd = math.hypot(math.sqrt(state.wobble + state.sampling), rounding)
            self._row(node.name, "correlation", seen.correlation, state.correlation, sd)

    def _row(
        self, layer: str, quantity: str, measured: float, predicted: float, sd: float, verdict: str = "", advice: str = ""
    ) -> None:
        z = (measured - predicted) / sd if sd > 0 else float("nan")
        if not verdict:
            verdict = "as predicted" if not abs(z) > 4 else "off"
            if verdict == "off" and not advice:
                advice = "the weights are not independent of each other (trained or tied?), or the layer is narrow"
        self.rows.append(PropagationRow(layer, quantity, measured, predicted, sd, z, verdict, advice))

    def _compare_slope(self, node: Node) -> None:
        """χ₁ from this activation's inputs to the next affine layer's outputs."""
        before = self.states.get(node.refs[0])
        reader = _next_affine(self.graph, node)
        if before is None or not before.gaussian or reader is None:
            return
        try:
            phi = identify(node.activation)
            q, step = np.diag(before.kernel), 1e-3
            slope = slope_moment(phi, q)
            # How E φ′² answers to a change of q
            rate = float(np.mean(np.log(slope_moment(phi, q * (1 + step)) / slope_moment(phi, q * (1 - step))))) / (2 * step)
            z = self.values[node.parents[0]].detach().double()
            measured_slope = phi.prime(z.cpu().numpy()) ** 2
        except TheodoliteError as error:
            self.flags.append((node.name, f"χ₁ was left out: {error}"))
            return
        weight = reader.weight.detach().double()
        w2 = float((weight**2).mean()) * weight[0].numel()
        fourth = float((measured_slope**2).mean() / max(float(measured_slope.mean()) ** 2, 1e-300))
        measured, predicted = w2 * float(measured_slope.mean()), w2 * float(slope.mean())
        sd = predicted * math.sqrt(max(fourth - 1.0, 0.0) * before.overlap() / before.units + rate**2 * before.spread)
        self._row(node.name, "chi_1", measured, predicted, sd, *_phase(phi, predicted, sd, w2, reader))


def _known_share(node: Node, state: KernelState) -> float:
    """The share of the mean of c² by which all sites' lengths scatter together with the mean square of the layer's weights.

    That mean square is measured and stands in the prediction: Var q̂ ∝ tr M²/(tr M)² − 1/n for inputs of second moment M in ℝⁿ.
    """
    if node.weight is None or not state.length > 0:
        return 0.0
    bias = 0.0 if node.bias is None else float((node.bias.detach().double() ** 2).mean())
    return max(1.0 - bias / state.length, 0.0) ** 2 * state.units / node.weight.numel()


def _next_affine(graph: Graph, node: Node) -> Node | None:
    for child in graph.children(node.index):
        if graph[child].kind == "affine" and graph[child].label in ("linear", "conv1d", "conv2d", "conv3d"):
            return graph[child]
        if graph[child].kind in ("reshape", "dropout", "pool"):
            return _next_affine(graph, graph[child])
    return None


def _phase(phi: Any, chi: float, sd: float, w2: float, reader: Node) -> tuple[str, str]:
    """(phase, advice)."""
    if abs(chi - 1.0) <= max(0.01, min(sd, 0.05)):
        return "critical", f"χ₁ = {chi:.3f}: gradients keep their size"
    b2 = 0.0 if reader.bias is None else float((reader.bias.detach().double() ** 2).mean())
    try:
        point = critical_line(phi, b2)
        way_out = f"critical at σ_w² = {point.sigma_w2:.4g} (now {w2:.4g}) with σ_b² = {b2:.3g}"
    except TheodoliteError:
        way_out = f"critical at σ_w² = {w2 / chi:.4g} (now {w2:.4g}) as long as q stays what it is"
    if chi > 1:
        return "chaotic", f"χ₁ = {chi:.3f}, squared gradients grow ×{chi:.3f} per layer; {way_out}"
    return "ordered", f"χ₁ = {chi:.3f}, squared gradients shrink ×{chi:.3f} per layer; {way_out}"
