"""Random recurrent networks of finite width, and how fast a small perturbation of their state grows."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

__all__ = ["GATES", "RandomCell", "perturbation_growth"]

#: Number of weight matrices on each side.
GATES = {"vanilla": 1, "minimal": 1, "lstm": 4, "gru": 3}

State = tuple[torch.Tensor, torch.Tensor]


@dataclass(frozen=True)
class RandomCell:
    """One step of a recurrent network, in the conventions of `theodolite.theory.meanfield.predict`.

    Attributes:
        kind: ``vanilla`` (tanh), ``minimal``, ``lstm`` or ``gru``.
        sigma_w2: variance of the recurrent weights times width.
        sigma_v2: of the input weights times width.
        mu: bias of the memory gate.
    """

    kind: str
    sigma_w2: float
    sigma_v2: float
    mu: float

    def weights(self, width: int, g: torch.Generator) -> State:
        """(recurrent, input) weights."""
        shape = (GATES[self.kind] * width, width)
        draw = [torch.randn(shape, dtype=torch.float64, generator=g) for _ in range(2)]
        return draw[0] * math.sqrt(self.sigma_w2 / width), draw[1] * math.sqrt(self.sigma_v2 / width)

    def step(self, state: State, x: torch.Tensor, weights: State) -> State:
        """(h, c) after an input; c is used by the LSTM alone."""
        (h, c), (recurrent, inputs) = state, weights
        if self.kind == "vanilla":
            return torch.tanh(h) @ recurrent.T + x @ inputs.T, c
        a, b = x @ inputs.T, h @ recurrent.T
        if self.kind == "minimal":
            u = torch.sigmoid(a + b + self.mu)
            return u * h + (1 - u) * x, c
        if self.kind == "lstm":
            i, f, n, o = (a + b).chunk(4, 1)
            c = torch.sigmoid(f + self.mu) * c + torch.sigmoid(i) * torch.tanh(n)
            return torch.sigmoid(o) * torch.tanh(c), c
        (a_r, a_z, a_n), (b_r, b_z, b_n) = a.chunk(3, 1), b.chunk(3, 1)
        z = torch.sigmoid(a_z + b_z + self.mu)
        return (1 - z) * torch.tanh(a_n + torch.sigmoid(a_r + b_r) * b_n) + z * h, c


def perturbation_growth(
    cell: RandomCell, *, width: int, sequences: int, steps: tuple[int, int], tied: bool, g: torch.Generator
) -> tuple[float, float]:
    """(E h², growth per step of the squared distance of two nearby states), averaged over time after a warm-up.

    Args:
        cell: the network.
        width: of it.
        sequences: number of input sequences that run at once.
        steps: of the warm-up and of the average; the perturbation settles in the first fifth of the latter.
        tied: whether the weights are the same at every step (or drawn anew, as mean-field theory supposes).
        g: source of randomness.
    """
    eps, logs, lengths = 1e-6, [], []
    zero = torch.zeros(sequences, width, dtype=torch.float64)
    state, weights, other = (zero, zero), cell.weights(width, g), None
    for t in range(sum(steps)):
        if t == steps[0]:
            noise = [eps * torch.randn(zero.shape, dtype=torch.float64, generator=g) for _ in range(2)]
            other = (state[0] + noise[0], state[1] + noise[1] * (cell.kind == "lstm"))
        weights = weights if tied else cell.weights(width, g)
        x = torch.randn(zero.shape, dtype=torch.float64, generator=g)
        state, moved = cell.step(state, x, weights), None if other is None else cell.step(other, x, weights)
        if moved is not None:
            gap = [new - old for new, old in zip(moved, state, strict=True)]
            size = float(sum(part.square().mean() for part in gap)) ** 0.5 / eps
            logs.append(2.0 * math.log(size))
            lengths.append(float(state[0].square().mean()))
            other = (state[0] + gap[0] / size, state[1] + gap[1] / size)
    settled = logs[len(logs) // 5 :]
    return sum(lengths) / len(lengths), math.exp(sum(settled) / len(settled))
