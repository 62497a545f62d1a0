"""A plain chain of dense layers and ReLUs by its parameters; its steps are made when they are asked for."""

from __future__ import annotations

from dataclasses import dataclass

from theodolite.theory.piecewise.builder import switching
from theodolite.theory.piecewise.knots import RELU
from theodolite.theory.piecewise.program import Affine, Array, Step

__all__ = ["DenseLayers"]


@dataclass(eq=False)
class DenseLayers:
    """v ↦ W v + b and v ↦ max(v, 0), in some order.

    Attributes:
        parameters: W_1, b_1, W_2, b_2, … one after the other.
        sizes: n_0, n_1, …, the inputs and the outputs of each W.
        names: of the steps, in order.
        dense: of the steps, whether it is one with W and b.
        relu_layers: as `theodolite.theory.piecewise.program.Program.relu_layers` has them, where they are all; None where a ReLU
            stands elsewhere than behind a layer.
    """

    parameters: Array
    sizes: list[int]
    names: list[str]
    dense: list[bool]
    relu_layers: tuple[Array, Array, Array] | None

    def steps(self) -> tuple[Step, ...]:
        """The steps, with views of the parameters."""
        found: list[Step] = []
        at, layer = 0, 0
        for name, dense in zip(self.names, self.dense, strict=True):
            if not dense:
                found.append(switching(len(found), self.sizes[layer], RELU, name))
                continue
            n, m = self.sizes[layer : layer + 2]
            weight, bias = self.parameters[at : at + m * n].reshape(m, n), self.parameters[at + m * n : at + m * (n + 1)]
            found.append(Affine((len(found),), (weight,), bias, name))
            at, layer = at + m * (n + 1), layer + 1
        return tuple(found)
