"""The backend that always works: PyTorch operations on chunks, with a hand-written backward pass for multilayer perceptrons."""

from __future__ import annotations

import torch
from torch import Tensor

from theodolite.train.backends.base import Backend, Job, Segment
from theodolite.train.chunks import chunk_size
from theodolite.train.network import Network

__all__ = ["AutogradBackend", "EagerBackend"]


class EagerBackend(Backend):
    """Stacked analytic gradients, one step after the other.

    Args:
        job: what to train.
    """

    name = "eager"

    def __init__(self, job: Job) -> None:
        super().__init__(job)
        assert isinstance(job.model, Network)
        self.network = job.model
        self.chunk = chunk_size(job.elements)

    @torch.no_grad()
    def run(self, segment: Segment) -> Tensor:
        """Take the segment's steps in place; losses before each step, (C, count)."""
        job, params = self.job, segment.params
        losses = params[0].new_empty(params[0].shape[0], segment.count)
        for k in range(segment.count):
            x, y = segment.batch(segment.first + k)
            seen = self.network.forward(params, x)
            losses[:, k] = job.loss.value(seen.outputs, y)
            gradients = self.network.backward(params, seen, job.loss.gradient(seen.outputs, y))
            factors = job.optimizer.factors(segment.first + k + 1)
            job.optimizer.update(params, gradients, segment.state, segment.lr, factors, job.groups)
        return losses


class AutogradBackend(Backend):
    """Plain autograd of the summed member losses: slow, obvious, and what the others are checked against.

    Args:
        job: what to train.
    """

    name = "autograd"

    def __init__(self, job: Job) -> None:
        super().__init__(job)
        self.chunk = chunk_size(job.elements)

    def run(self, segment: Segment) -> Tensor:
        """Take the segment's steps in place; losses before each step, (C, count)."""
        job = self.job
        losses = segment.params[0].new_empty(segment.params[0].shape[0], segment.count)
        for k in range(segment.count):
            x, y = segment.batch(segment.first + k)
            leaves = [p.detach().requires_grad_() for p in segment.params]
            with torch.enable_grad():
                value = job.loss.value(job.model.outputs(leaves, x), y)  # type: ignore[attr-defined]
                gradients = torch.autograd.grad(value.sum(), leaves, allow_unused=True, materialize_grads=True)
            losses[:, k] = value.detach()
            with torch.no_grad():
                factors = job.optimizer.factors(segment.first + k + 1)
                job.optimizer.update(segment.params, gradients, segment.state, segment.lr, factors, job.groups)
        return losses
