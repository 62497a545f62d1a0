"""What a backend is, and the job that it is given."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from theodolite.train.chunks import Layout
from theodolite.train.losses import Loss
from theodolite.train.network import Network, Pass
from theodolite.train.optimizers import Groups, Optimizer, State, TraceGD

__all__ = ["Backend", "Job", "Segment"]


@dataclass(frozen=True)
class Job:
    """What stays the same during a run: the model as functions of stacked parameters, the loss, the optimiser.

    Attributes:
        model: the stacked network (`theodolite.train.network.Network`) or stacked module.
        loss: the loss.
        optimizer: the optimiser.
        groups: (weight, bias) positions per layer; empty for a user's module.
        samples: training samples N.
        batch: samples per step.
        elements: elements of the largest tensor of one member.
        dtype: dtype of the parameters.
        device: where they live.
        steps: length of the whole run.
    """

    model: object
    loss: Loss
    optimizer: Optimizer
    groups: Groups
    samples: int
    batch: int
    elements: int
    dtype: torch.dtype
    device: torch.device
    steps: int


@dataclass
class Segment:
    """Some members and the steps that they are to take.

    Attributes:
        params: per parameter (C, …); moved in place.
        state: optimiser state; moved in place.
        lr: per parameter, broadcastable to it.
        x: (1 or C, N, …).
        y: targets as the loss prepared them.
        first: number of steps already taken.
        count: steps to take.
        batches: step -> (C, B) sample numbers; None: all samples.
        buffers: per moving buffer of a user's module (C, …); moved in place.
        streams: (seed, number) of every slot, from which the noise of a user's module derives.
    """

    params: list[Tensor]
    state: State
    lr: list[Tensor]
    x: Tensor
    y: Tensor
    first: int
    count: int
    batches: Callable[[int], Tensor] | None = None
    buffers: list[Tensor] = field(default_factory=list)
    streams: Sequence[tuple[int, int]] = ()

    def rates(self, job: Job, seen: Pass | None) -> list[Tensor]:
        """Learning rates of one step; divided by the Gauss–Newton trace if the optimiser asks for it."""
        if not isinstance(job.optimizer, TraceGD):
            return self.lr
        assert isinstance(job.model, Network)
        assert job.loss.curvature is not None
        if seen is None:
            seen = job.model.forward(self.params, self.x)
        trace = job.loss.curvature(*seen.outputs.shape[1:]) * job.model.trace(self.params, seen)
        inverse = torch.where(trace > 0, 1 / trace, 0.0)
        return [rate * inverse.reshape(-1, *[1] * (rate.ndim - 1)) for rate in self.lr]

    def batch(self, step: int) -> tuple[Tensor, Tensor]:
        """Inputs and targets of one step."""
        if self.batches is None:
            return self.x, self.y
        chosen = self.batches(step)  # (C, B)
        rows = torch.arange(chosen.shape[0], device=chosen.device)[:, None]
        return _pick(self.x, rows, chosen), _pick(self.y, rows, chosen)


def _pick(data: Tensor, rows: Tensor, chosen: Tensor) -> Tensor:
    return data[0][chosen] if data.shape[0] == 1 else data[rows, chosen]


class Backend(ABC):
    """Carries segments out.

    Attributes:
        name: as it is asked for.
        layout: how members are laid out in chunks.
    """

    name: str = ""
    layout: Layout
    #: Steps that it and plain autograd are both carried through before a run.
    checked = 2

    def __init__(self, job: Job) -> None:
        self.job = job

    @abstractmethod
    def run(self, segment: Segment) -> Tensor:
        """Take the segment's steps in place; losses before each step, (C, count)."""
