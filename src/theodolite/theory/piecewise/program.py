"""The piecewise-linear program: what is left of a network when only its piecewise-linear structure matters.

A program is a straight line of steps on vectors. Step s reads earlier values and appends value s + 1; value 0 is the flattened
input. There are three kinds of steps, and every supported network is made of them:

- `Affine`: Σ_k W_k v_k + b (Linear, convolution, BatchNorm in eval mode, average pooling, residual add, concatenation, reshapes);
- `Switching`: a continuous piecewise-linear function of one variable, per entry (ReLU, LeakyReLU, PReLU, abs, hardtanh, …);
- `Maximum`: the maximum over groups of entries (max pooling).

Every `Switching` knot and every `Maximum` candidate is a *switch*: one boolean column of an activation pattern. Within a region all
switches are constant and every value is an affine map (M, c) of the domain's coordinates. A batch of R such maps of n entries
over d coordinates is an array (R, d + 1, n): d rows of slopes, then the constant.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from theodolite.theory.piecewise.denselayers import DenseLayers

Array: TypeAlias = np.ndarray[Any, Any]
Matrix: TypeAlias = Any  # a dense array, a scipy CSR matrix, or None for the identity

__all__ = ["Affine", "Array", "Maximum", "Program", "Step", "Switching"]


@dataclass(frozen=True, eq=False)
class Affine:
    """Σ_k W_k v_{sources[k]} + bias. A weight is a dense array (out, in), a scipy CSR matrix, or None for the identity."""

    sources: tuple[int, ...]
    weights: tuple[Matrix, ...]
    bias: Array
    name: str = ""

    @property
    def size(self) -> int:
        """Number of entries of the result."""
        return len(self.bias)

    @property
    def is_dense(self) -> bool:
        """Whether the step is one dense matrix product."""
        return len(self.weights) == 1 and isinstance(self.weights[0], np.ndarray)

    @cached_property
    def columns(self) -> Array:
        """The weights of a dense step, transposed: (in, out)."""
        return np.ascontiguousarray(self.weights[0].T)

    @cached_property
    def fan_in(self) -> int:
        """Greatest number of products that are added for one entry."""
        total = 0
        for weight in self.weights:
            if weight is None:
                total += 1
            elif isinstance(weight, np.ndarray):
                total += weight.shape[1]
            else:
                total += int(np.diff(weight.indptr).max(initial=0))
        return total

    def maps(self, values: dict[int, Array]) -> Array:
        """The step on batches of affine maps: (R, d + 1, out)."""
        terms = [_apply(w, values[s]) for s, w in zip(self.sources, self.weights, strict=True)]
        out = terms[0].copy() if self.weights[0] is None else terms[0]
        for term in terms[1:]:
            out = out + term
        out[:, -1, :] += self.bias
        return out

    def magnitudes(self, values: dict[int, Array]) -> Array:
        """The step on bounds of magnitudes, (n,): Σ |W| m + |b|."""
        total = np.abs(self.bias)
        for source, weight in zip(self.sources, self.weights, strict=True):
            total = total + (values[source] if weight is None else abs(weight) @ values[source])
        return total


def _apply(weight: Matrix, value: Array) -> Array:
    if weight is None:
        return value
    count, rows, size = value.shape
    flat = value.reshape(count * rows, size)
    result = flat @ weight.T if isinstance(weight, np.ndarray) else (weight @ flat.T).T
    return np.ascontiguousarray(result).reshape(count, rows, result.shape[1])


@dataclass(frozen=True, eq=False)
class Switching:
    """A continuous piecewise-linear function per entry: slope and offset of piece p hold where exactly p knots are exceeded.

    Attributes:
        source: the value that is read.
        knots: (n, K), ascending.
        slopes: (n, K + 1).
        offsets: (n, K + 1).
        name: for messages.
    """

    source: int
    knots: Array
    slopes: Array
    offsets: Array
    name: str = ""

    @property
    def size(self) -> int:
        """Number of entries of the result."""
        return len(self.knots)

    @property
    def switches(self) -> int:
        """Number of pattern columns: entry j, knot k stands in column j·K + k."""
        return self.knots.size

    @cached_property
    def halves(self) -> Array | None:
        """Slopes below and above zero, (2, n), where every entry is z ↦ βz above it and αz below, |α| ≤ |β|; else None."""
        if self.knots.shape[1] != 1 or np.count_nonzero(self.knots) or np.count_nonzero(self.offsets):
            return None
        slopes = np.ascontiguousarray(self.slopes.T)
        return slopes if (np.abs(slopes[0]) <= np.abs(slopes[1])).all() else None

    @cached_property
    def is_relu(self) -> bool:
        """Whether every entry is z ↦ max(z, 0): the commonest case, whose slopes are the pattern itself."""
        if self.halves is None:
            return False
        return not np.count_nonzero(self.halves[0]) and not np.count_nonzero(self.halves[1] - 1.0)

    def rows(self, value: Array) -> Array:
        """The affine maps whose signs the switches are, (R, d + 1, n·K)."""
        count = self.knots.shape[1]
        if count == 1 and not self.knots.any():
            return value
        rows = np.repeat(value, count, axis=2)
        rows[:, -1, :] -= self.knots.reshape(-1)
        return rows

    def maps(self, value: Array, bits: Array) -> Array:
        """The step on maps, for patterns ``bits`` (R, n·K)."""
        if self.is_relu:
            return value * bits[:, None, :]
        slope, offset = self._pieces(bits)
        out = value * slope[:, None, :]
        out[:, -1, :] += offset
        return out

    def _pieces(self, bits: Array) -> tuple[Array, Array]:
        piece = bits.reshape(len(bits), *self.knots.shape).sum(axis=2, dtype=np.intp)  # (R, n)
        entry = np.arange(self.size)
        return self.slopes[entry, piece], self.offsets[entry, piece]

    def magnitudes(self, value: Array) -> Array:
        """The step on bounds of magnitudes, (n,)."""
        if self.is_relu:
            return value
        return np.asarray(value * np.abs(self.slopes).max(axis=1) + np.abs(self.offsets).max(axis=1))

    def row_magnitudes(self, value: Array) -> Array:
        """Bounds of the magnitudes of `rows`, (n·K,)."""
        if self.is_relu:
            return value
        return np.asarray((value[:, None] + np.abs(self.knots)).reshape(-1))

    def bits(self, value: Array) -> Array:
        """Patterns of points: ``value`` (N, n) → (N, n·K) booleans, z > knot."""
        return (value[:, :, None] > self.knots).reshape(len(value), -1)


@dataclass(frozen=True, eq=False)
class Maximum:
    """max over each row of ``groups`` (m, g), whose entries index the source; −1 pads rows of different length at their end.

    Slot s of group i is the switch in column i·g + s: the winner's switch is on. Ties go to the first slot.
    """

    source: int
    groups: Array
    name: str = ""

    @property
    def size(self) -> int:
        """Number of entries of the result."""
        return len(self.groups)

    @property
    def switches(self) -> int:
        """Number of pattern columns."""
        return self.groups.size

    def winners(self, bits: Array) -> Array:
        """Source index of each group's winner, (R, m)."""
        slots = bits.reshape(len(bits), *self.groups.shape).argmax(axis=2)
        return self.groups[np.arange(self.size), slots]

    def maps(self, value: Array, bits: Array) -> Array:
        """The step on maps, for patterns ``bits``."""
        return np.take_along_axis(value, self.winners(bits)[:, None, :], axis=2)

    def magnitudes(self, value: Array) -> Array:
        """The step on bounds of magnitudes, (m,)."""
        return np.asarray(np.where(self.groups >= 0, value[self.groups], 0.0).max(axis=1))

    def bits(self, value: Array) -> Array:
        """Patterns of points: ``value`` (N, n) → (N, m·g) booleans, one per group on."""
        candidates = np.where(self.groups >= 0, value[:, self.groups], -np.inf)  # (N, m, g)
        on = np.zeros(candidates.shape, dtype=bool)
        np.put_along_axis(on, candidates.argmax(axis=2)[:, :, None], True, axis=2)
        return on.reshape(len(value), -1)


Step: TypeAlias = Affine | Switching | Maximum


@dataclass(eq=False)
class Program:
    """A network as a straight line of piecewise-linear steps; see the module's text.

    Attributes:
        source: the steps, or the plain chain of layers whose steps they are.
        input_shape: shape of one input, as the network takes it.
        output_shape: shape of one output.
    """

    source: tuple[Step, ...] | DenseLayers
    input_shape: tuple[int, ...]
    output_shape: tuple[int, ...]

    @cached_property
    def steps(self) -> tuple[Step, ...]:
        """In order; step s appends value s + 1."""
        return self.source if isinstance(self.source, tuple) else self.source.steps()

    @property
    def input_size(self) -> int:
        """Number of input coordinates."""
        return int(np.prod(self.input_shape, dtype=int))

    @property
    def output_size(self) -> int:
        """Number of output coordinates."""
        return self.steps[-1].size if self.steps else self.input_size

    @cached_property
    def nonlinear(self) -> tuple[int, ...]:
        """Indices of the steps that hold switches."""
        return tuple(i for i, step in enumerate(self.steps) if not isinstance(step, Affine))

    @cached_property
    def columns(self) -> dict[int, tuple[int, int]]:
        """Step index → its half-open range of pattern columns."""
        found, start = {}, 0
        for i in self.nonlinear:
            step = self.steps[i]
            assert not isinstance(step, Affine)
            found[i] = (start, start + step.switches)
            start += step.switches
        return found

    @property
    def switches(self) -> int:
        """Number of pattern columns."""
        return max((stop for _, stop in self.columns.values()), default=0)

    @cached_property
    def last_use(self) -> dict[int, int]:
        """Value index → the last step that reads it (the number of steps, for the output)."""
        use = {len(self.steps): len(self.steps)}
        for i, step in enumerate(self.steps):
            for source in step.sources if isinstance(step, Affine) else (step.source,):
                use[source] = max(use.get(source, -1), i)
        return use

    @property
    def relu_layers(self) -> tuple[Array, Array, Array]:
        """The chain of dense layers that the program begins with, for compiled code; nothing later reads inside it.

        Returns:
            W_1, b_1, W_2, b_2, … one after the other; the sizes n_0, n_1, …; whether a ReLU stands behind each layer, as it does behind
            the last one, unless the program ends with that.
        """
        source = self.source
        if isinstance(source, tuple) or source.relu_layers is None:
            return self._relu_layers
        return source.relu_layers

    @cached_property
    def _relu_layers(self) -> tuple[Array, Array, Array]:
        """The same from the steps."""
        parts, sizes, relus, i = [], [self.input_size], [], 0
        while i < len(self.steps) and self.last_use.get(i) == i:
            layer = self.steps[i]
            if not (isinstance(layer, Affine) and layer.is_dense and layer.sources == (i,)):
                break
            after = self.steps[i + 1] if i + 1 < len(self.steps) else None
            relu = isinstance(after, Switching) and after.is_relu and self.last_use.get(i + 1) == i + 1 == after.source
            parts.append((layer.weights[0], layer.bias))
            sizes.append(layer.size)
            relus.append(relu)
            i += 1 + relu
        while relus and not relus[-1] and i < len(self.steps):
            i -= 1
            relus.pop(), sizes.pop(), parts.pop()
        flat = np.concatenate([np.zeros(0), *(array for layer in parts for array in layer)], axis=None)
        return flat, np.array(sizes), np.array(relus, dtype=bool)

    def column_name(self, column: int) -> str:
        """Which switch a pattern column is, in words."""
        for i, (start, stop) in self.columns.items():
            if start <= column < stop:
                step = self.steps[i]
                assert not isinstance(step, Affine)
                width = step.knots.shape[1] if isinstance(step, Switching) else step.groups.shape[1]
                entry, part = divmod(column - start, width)
                what = "knot" if isinstance(step, Switching) else "candidate"
                return f"{step.name}[{entry}]" + (f" {what} {part}" if width > 1 else "")
        raise IndexError(column)

    def walk(self, points: Array) -> Iterator[tuple[int, Step, dict[int, Array]]]:
        """Evaluate at points (N, D), step by step: yields (step index, step, values), values[index + 1] being its result."""
        values: dict[int, Array] = {0: points[:, None, :]}
        for i, step in enumerate(self.steps):
            if isinstance(step, Affine):
                values[i + 1] = step.maps(values)
            else:
                source = values[step.source]
                values[i + 1] = step.maps(source, step.bits(source[:, 0, :]))
            yield i, step, values

    def forward(self, points: Array) -> Array:
        """The network's outputs at points (N, D), in float64: (N, outputs)."""
        values = {0: points[:, None, :]}
        for _, _, reached in self.walk(points):
            values = reached
        return values[len(self.steps)][:, 0, :]

    def patterns(self, points: Array) -> Array:
        """Activation patterns of points (N, D): (N, switches) booleans, z > knot."""
        bits = [step.bits(values[step.source][:, 0, :]) for _, step, values in self.walk(points) if not isinstance(step, Affine)]
        return np.concatenate(bits, axis=1) if bits else np.zeros((len(points), 0), dtype=bool)

    def affine_values(self, start: Array, patterns: Array) -> Iterator[tuple[int, Step, dict[int, Array]]]:
        """As `walk`, for affine maps under given patterns.

        Args:
            start: map of the input over the domain's coordinates, (1 or R, d + 1, D).
            patterns: (R, switches).
        """
        count = len(patterns)
        values = {0: np.broadcast_to(start, (count, *start.shape[1:]))}
        for i, step in enumerate(self.steps):
            if isinstance(step, Affine):
                values[i + 1] = step.maps(values)
            else:
                low, high = self.columns[i]
                values[i + 1] = step.maps(values[step.source], patterns[:, low:high])
            yield i, step, values
            for source in [s for s in values if self.last_use.get(s, -1) <= i and s != len(self.steps)]:
                if source != i + 1:
                    del values[source]

    def output_maps(self, start: Array, patterns: Array) -> Array:
        """Maps of the output under given patterns, (R, d + 1, outputs)."""
        values = {0: np.broadcast_to(start, (len(patterns), *start.shape[1:]))}
        for _, _, reached in self.affine_values(start, patterns):
            values = reached
        return values[len(self.steps)]
