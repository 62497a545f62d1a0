"""What a fused kernel is compiled for."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["LANES", "Plan"]

#: Neurons (or samples) that lie side by side in memory and are computed together: two vectors of doubles, or one or two of floats.
LANES = 16


@dataclass(frozen=True)
class Plan:
    """The compile-time constants of a kernel.

    Attributes:
        samples: n; a constant of the kernel that runs over neurons, 0 for the one that runs over samples.
        inputs: d.
        bias: whether the hidden layer has a bias.
        output_bias: whether the output has one.
        activation: name.
        rule: ``"sgd"``, ``"trace"``, ``"momentum"``, ``"nesterov"`` or ``"adam"``.
        loss: ``"mse"``, ``"half_mse"``, ``"logistic"`` or ``"exponential"``.
        single: float32 instead of float64.
    """

    samples: int
    inputs: int
    bias: bool
    output_bias: bool
    activation: str
    rule: str
    loss: str
    single: bool

    @property
    def slots(self) -> int:
        """Moments kept per parameter."""
        return {"sgd": 0, "trace": 0, "momentum": 1, "nesterov": 1, "adam": 2}[self.rule]

    @property
    def parameters(self) -> list[str]:
        """Names of a neuron's parameters, in the order of rows."""
        return [f"w{j}" for j in range(self.inputs)] + (["b"] if self.bias else []) + ["a"]

    @property
    def traced(self) -> bool:
        """Whether steps are divided by the trace of the Gauss–Newton matrix, which the forward sweep then sums."""
        return self.rule == "trace"

    @property
    def stored(self) -> bool:
        """Whether σ and σ' of the forward sweep are kept for the next step rather than computed again."""
        return self.activation != "relu"

    @property
    def masked(self) -> int:
        """1 if the lanes that fill up the last tile need a mask: 0 where zero parameters have zero gradients anyway."""
        return int(self.activation == "sigmoid")

    @property
    def rows(self) -> int:
        """Rows of one tile of neurons: parameters, mask if any, moments, and σ, σ' per sample if stored."""
        return len(self.parameters) * (1 + self.slots) + self.masked + (2 * self.samples if self.stored else 0)
