"""The initial stage of training: normalised descent from small weights, gated by |w·x|, not by an epoch."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from theodolite.core.errors import TheodoliteWarning
from theodolite.nets.activations import activation as find_activation
from theodolite.theory.condensation.measure.count import DirectionCount, count_directions
from theodolite.theory.condensation.predict.directions import Directions, predict_directions
from theodolite.theory.condensation.predict.multiplicity import LeadingTerm, leading_term

__all__ = ["GATE", "StageResult", "compare_stage", "sine_data"]

Array = npt.NDArray[np.float64]

#: Cosine from which on a neuron stands at an orientation.
ARRIVED = 0.98
#: The initial stage lasts while max |w·x| is at most this.
GATE = 0.3


@dataclass(frozen=True)
class StageResult:
    """Prediction and training of one activation on one data set.

    Attributes:
        predicted: all attracting orientations.
        resolved: growing predicted orientations, counted with the same bandwidth as the trained ones (by basin).
        trained: what the trained neurons show.
        worst_cosine: least cosine of a trained direction to its nearest growing predicted one; NaN when none is counted.
        largest: max |w·x| at the end.
        loss_drop: share of the loss gained.
        explained: of the neurons that see data (some slope on some sample is not zero), the share within cosine 0.98 of a growing
            predicted orientation; NaN when none is predicted.
        populated: growing predicted orientations to which some such neuron is nearest.
    """

    predicted: Directions
    resolved: int
    trained: DirectionCount
    worst_cosine: float
    largest: float
    loss_drop: float
    explained: float
    populated: int


def sine_data(dimension: int, samples: int, seed: int) -> tuple[Array, Array]:
    """Data of the papers: 1-d: sin 3x + ½ sin 6x on a grid of [−1, 1.5]; else Σ_k 3.5 sin(5 x_k + 1), x uniform on [−4, 2]^d."""
    from theodolite.core.seed import generator

    if dimension == 1:
        x = np.linspace(-1.0, 1.5, samples)[:, None]
        return x, (np.sin(3 * x) + np.sin(6 * x) / 2)[:, 0]
    stream = generator(seed, "condensation.sine_data", dimension)
    x = -4 + 6 * torch.rand(samples, dimension, generator=stream, dtype=torch.float64).numpy()
    return x, 3.5 * np.sin(5 * x + 1).sum(1)


def compare_stage(
    x: Array, y: Array, activation: str, *, neurons: int, std: float, steps: int, lr: float, seed: int
) -> StageResult:
    """Predict, train by neuron-wise normalised gradient descent, and count.

    With σ(0) ≠ 0 the target is centred, as it is once the output's mean has been fitted.

    Warns:
        TheodoliteWarning: training has left the initial stage (max |w·x| above 0.3).
    """
    from theodolite.train import Ensemble, Gaussian, MLPSpec

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "the activation has a kink", TheodoliteWarning)  # the record says it: p is 0
        predicted = predict_directions(x, y, find_activation(activation))
    term, behaviour = leading_term(find_activation(activation))
    targets = y - y.mean() if abs(behaviour.value_at_zero) > 1e-12 else y
    spec = MLPSpec((x.shape[1], neurons, 1), activation, bias="hidden", init=Gaussian(std=std))
    ensemble = Ensemble(spec, 1, seed=seed)
    inputs = torch.from_numpy(x)
    # Two rates: a coarse one to rotate, a fine one to settle. A unit step of normalised descent never shrinks by itself.
    losses = []
    for rate, part in ((lr, 0.8), (0.1 * lr, 0.2)):
        run = ensemble.train(
            inputs,
            torch.from_numpy(targets)[:, None],
            steps=max(1, round(part * steps)),
            optimizer="normalized_gd",
            lr=rate,
            schedule=[],
            curve=False,
        )
        losses += run.data["train_loss"].values[0].tolist()
    weights, outgoing = ensemble.weights("hidden1")[0], ensemble.parameters["output.weight"][0]
    largest = stage_gate(weights, inputs)
    trained = count_directions(weights, outgoing.norm(dim=0) * weights.norm(dim=1))
    growing = torch.from_numpy(predicted.vectors[predicted.growing])
    cosine = (trained.vectors @ growing.mT).amax(1) if len(growing) and trained.directions else torch.tensor([float("nan")])
    share = predicted.basin[predicted.growing]
    resolved = count_directions(growing, torch.from_numpy(share)).directions if len(growing) else 0
    explained, populated = _arrivals(weights, growing, x, term)
    return StageResult(
        predicted, resolved, trained, float(cosine.min()), largest, 1 - losses[-1] / losses[0], explained, populated
    )


def _arrivals(weights: Tensor, growing: Tensor, x: Array, term: LeadingTerm) -> tuple[float, int]:
    """Share of the neurons that see data which stand at a predicted orientation, and number of such orientations; by neurons, since
    by amplitude those that grow fastest hide the others.
    """
    rows = np.concatenate([x, np.ones((len(x), 1))], 1)
    seeing = torch.from_numpy((term.slope(weights.numpy() @ rows.T) != 0).any(1))
    unit = (weights / weights.norm(dim=1, keepdim=True))[seeing]
    if not len(growing) or not len(unit):
        return float("nan"), 0
    best, nearest = (unit @ growing.mT).max(1)
    there = best >= ARRIVED
    return float(there.double().mean()), len(nearest[there].unique())


def stage_gate(weights: Tensor, x: Tensor) -> float:
    """max |w·x| over neurons and samples, with a warning when it shows that the initial stage is over."""
    rows = torch.cat([x.double(), torch.ones(len(x), 1, dtype=torch.float64)], 1)
    largest = float((rows @ weights.double().mT).abs().max())
    if largest > GATE:
        warnings.warn(
            f"training has left the initial stage: max |w·x| = {largest:.2f} exceeds {GATE}, where the activation's leading "
            "term no longer decides; start from smaller weights (std) or stop earlier",
            TheodoliteWarning,
            stacklevel=3,
        )
    return largest


def padded(rows: list[Any], width: int, fill: float = float("nan")) -> Array:
    """Rows of different length as one array."""
    out = np.full((len(rows), width), fill)
    for k, row in enumerate(rows):
        values = np.asarray(row, dtype=np.float64)[:width]
        out[k, : len(values)] = values
    return out
